# SPDX-License-Identifier: Apache-2.0
"""A hypervisor in this process, in folders of its own, over stand-in VMMs. Whatever it starts is ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from innkeeper.api.places import Places
from innkeeper.host.clock import HostClock
from innkeeper.hypervisor.folders import make_places
from innkeeper.hypervisor.hypervisor import Hypervisor
from innkeeper.hypervisor.services import Services
from innkeeper.hypervisor.store import Store
from tests.unit.hypervisor.daemon import STAND_IN

T = TypeVar("T")


@contextlib.contextmanager
def temporary_places() -> Iterator[Places]:
    """Folders with short paths; what runs for a VM in them is killed at the end."""
    with tempfile.TemporaryDirectory(prefix="inn-") as folder:
        places = Places(Path(folder) / "run", Path(folder) / "state")
        make_places(places)
        try:
            yield places
        finally:
            end_processes(places)


@pytest.fixture
def places() -> Iterator[Places]:
    """As `temporary_places`, for one test."""
    with temporary_places() as places:
        yield places


def end_processes(places: Places) -> None:
    """SIGKILL to hypervisors and VMMs of `places`, also to forked ones."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.fsencode(places.state) in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                os.waitpid(int(entry.name), 0)


async def open_hypervisor(places: Places) -> Hypervisor:
    services = Services(places, Store(places.database, HostClock()), HostClock(), STAND_IN)
    return await Hypervisor.open(services)


Scenario = Callable[[Hypervisor], Awaitable[T]]


@pytest.fixture
def run(places: Places) -> Callable[[Scenario[T]], T]:
    """Runs a scenario with a hypervisor in `places`, which lets go of its VMs afterwards."""

    def run(scenario: Scenario[T]) -> T:
        async def within() -> T:
            hypervisor = await open_hypervisor(places)
            try:
                async with asyncio.timeout(120):
                    return await scenario(hypervisor)
            finally:
                await hypervisor.close()

        return asyncio.run(within())

    return run
