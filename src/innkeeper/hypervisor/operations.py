# SPDX-License-Identifier: Apache-2.0
"""Things that take a while: they go on whether or not somebody waits, and say how far they are."""

from __future__ import annotations

import asyncio
import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from innkeeper.api.models import Operation
from innkeeper.api.problems import NotFoundError, problem_of
from innkeeper.errors import HostError, InnkeeperError
from innkeeper.hypervisor.changes import put_operation
from innkeeper.hypervisor.services import Services
from innkeeper.hypervisor.store import OPERATIONS_KEPT


@dataclass(frozen=True)
class Outcome:
    """What an operation made or changed: ids."""

    vms: Sequence[str] = ()
    snapshot: str | None = None


class Progress:
    """How far an operation is."""

    def __init__(self, tell: Callable[[str, int, int], None]) -> None:
        self._tell = tell

    def report(self, what: str, done: int = 0, total: int = 0) -> None:
        """`total` 0: unknown."""
        self._tell(what, done, total)


Work = Callable[[Progress], Awaitable[Outcome]]


class Operations:
    """Those that run and those that have ended lately, also of former hypervisors."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._all: dict[str, Operation] = {}
        self._ends: dict[str, asyncio.Task[None]] = {}

    async def recover(self) -> None:
        """Read what is kept; what still ran when the last hypervisor ended has failed."""
        problem = problem_of(HostError("the hypervisor ended while it was at work", "try again"))
        for operation in reversed(await asyncio.to_thread(self._services.store.operations)):
            if operation.state == "running":
                operation = replace(
                    operation, state="failed", problem=problem, ended_ns=self._services.clock.wall_ns()
                )
                await self._services.commit(put_operation(operation))
            self._all[operation.id] = operation

    async def begin(self, kind: str, target: str, work: Work) -> Operation:
        """Start `work`; the operation is durable when this returns. `target`: what it is about."""
        operation = Operation(
            id=secrets.token_hex(8), kind=kind, target=target, state="running", what=kind, done=0, total=0,
            vms=[], snapshot=None, problem=None, created_ns=self._services.clock.wall_ns(), ended_ns=None,
        )  # fmt: skip
        await self._services.commit(put_operation(operation))
        self._all[operation.id] = operation
        self._ends[operation.id] = self._services.spawn(self._run(operation.id, work), f"{kind} of {target}")
        self._forget_old()
        return operation

    def get(self, operation_id: str) -> Operation:
        """NotFoundError if there is none."""
        try:
            return self._all[operation_id]
        except KeyError:
            raise NotFoundError(f"there is no operation {operation_id}", "see inn ls") from None

    def all(self) -> list[Operation]:
        """The newest first."""
        return list(reversed(self._all.values()))

    async def wait(self, operation_id: str, timeout_s: float) -> Operation:
        """The operation once it has ended, or as it is after `timeout_s`."""
        self.get(operation_id)
        task = self._ends.get(operation_id)
        if task is not None and timeout_s > 0:
            await asyncio.wait([task], timeout=timeout_s)
        return self.get(operation_id)

    async def _run(self, operation_id: str, work: Work) -> None:
        def tell(what: str, done: int, total: int) -> None:
            self._all[operation_id] = replace(self._all[operation_id], what=what, done=done, total=total)

        try:
            outcome = await work(Progress(tell))
            ended = replace(
                self._all[operation_id], state="done", vms=list(outcome.vms), snapshot=outcome.snapshot
            )
        except InnkeeperError as error:
            ended = replace(self._all[operation_id], state="failed", problem=problem_of(error))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            defect = InnkeeperError(f"unexpected {type(error).__name__}: {error}")
            ended = replace(self._all[operation_id], state="failed", problem=problem_of(defect))
        ended = replace(ended, ended_ns=self._services.clock.wall_ns())
        try:
            await self._services.commit(put_operation(ended))
        finally:
            self._all[operation_id] = ended
            self._ends.pop(operation_id, None)

    def _forget_old(self) -> None:
        spare = len(self._all) - OPERATIONS_KEPT
        for operation_id in [key for key in self._all if key not in self._ends][: max(spare, 0)]:
            del self._all[operation_id]
