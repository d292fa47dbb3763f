# SPDX-License-Identifier: Apache-2.0
"""What all parts of the hypervisor share: its folders, its store, its events, its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from innkeeper.api.models import Event
from innkeeper.api.places import Places
from innkeeper.host.processes import boot_id
from innkeeper.hypervisor.children import Children
from innkeeper.hypervisor.records import NewEvent
from innkeeper.hypervisor.store import Change, Store, WallClock

EVENTS_WAITING = 1000
"""Events that a subscriber may be behind."""


class Subscription:
    """The events that happen from now on, in order."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(EVENTS_WAITING)
        self.lagging = False
        """It has missed events: read them from the store."""

    def put(self, event: Event) -> None:
        """Called by the hub."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.lagging = True

    async def next(self) -> Event:
        """The next event, once it happens."""
        return await self._queue.get()


@dataclass(eq=False)
class Services:
    """Handed to every part. `vmm_command` starts a VMM; the path of its configuration is added."""

    places: Places
    store: Store
    clock: WallClock
    vmm_command: Sequence[str]
    children: Children = field(default_factory=Children)
    boot_id: str = field(default_factory=boot_id)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def __post_init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, "store")
        self._subscriptions: set[Subscription] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def commit(self, *changes: Change, events: Sequence[NewEvent] = ()) -> None:
        """One transaction; durable, and its events told, when this returns. Not undone by cancelling."""
        loop = asyncio.get_running_loop()
        await asyncio.shield(asyncio.ensure_future(self._commit(loop, changes, events)))

    async def _commit(
        self, loop: asyncio.AbstractEventLoop, changes: Sequence[Change], events: Sequence[NewEvent]
    ) -> None:
        added = await loop.run_in_executor(self._writer, lambda: self.store.commit(*changes, events=events))
        for event in added:
            for subscription in self._subscriptions:
                subscription.put(event)

    async def read_events(self, after: int, limit: int, vm: str | None = None) -> list[Event]:
        """As `Store.events`, without holding up the loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, lambda: self.store.events(after, limit, vm))

    def subscribe(self) -> Subscription:
        """Hear of events from now on, until `unsubscribe`."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hear no more."""
        self._subscriptions.discard(subscription)

    def spawn(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        """Run `work` beside the others; it ends with the hypervisor at the latest."""

        async def run() -> None:
            await work

        task = asyncio.get_running_loop().create_task(run(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End the tasks and the store. VMMs go on."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._writer.shutdown(wait=True)
        self.store.close()
