# SPDX-License-Identifier: Apache-2.0
"""One command in a guest that goes on from a prepared start, or boots and leaves one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from innkeeper.errors import GuestError, InnkeeperError
from innkeeper.images.store import BootFiles
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.machine import Ending, EngineFactory, MachineConfig, Outcome
from innkeeper.vmm.command_guest import Command, CommandGuest, GuestParts
from innkeeper.vmm.network import GuestNetwork
from innkeeper.vmm.prepared import PreparedStart, StartShape
from innkeeper.vmm.session import SILENCE_NS, SILENCE_WARNING, last_words

ANSWER_NS = 10_000_000_000
"""A guest that goes on from a snapshot and says nothing for so long is given up."""


@dataclass(frozen=True)
class CommandStart:
    """What `Machine.run` knows. `make_network` makes the adapters of one start."""

    image: str
    files: BootFiles
    cpus: int
    memory_bytes: int
    engine: str
    make_engine: EngineFactory
    make_network: Callable[[], GuestNetwork]
    mac_address: bytes | None
    on_warning: Callable[[str], None]


def run_command(start: CommandStart, command: Command, timeout_s: float | None) -> int | None:
    """The status of the command, None if the time was up. What a sink raised is raised.

    GuestError if the guest ended before the command did; InnkeeperError for what else cannot be.
    """
    network = start.make_network()
    words = network.kernel_words()
    append = " ".join(part for part in (start.files.append, words) if part)
    shape = StartShape(
        start.image, append, start.cpus, start.memory_bytes, start.engine, int(start.mac_address is not None)
    )
    prepared = PreparedStart(shape, start.files)
    boot = BootConfig(start.files.kernel, (start.files.initrd,), append)
    config = MachineConfig(boot, start.cpus, start.memory_bytes)
    if prepared.exists:
        attempt = _Attempt(start, config, prepared, network, command)
        with contextlib.suppress(_OfNoUseError):
            return attempt.run(timeout_s, restored=True)
        prepared.drop()
        network = start.make_network()
    return _Attempt(start, config, prepared, network, command).run(timeout_s, restored=False)


class _OfNoUseError(Exception):
    """The snapshot leads nowhere, and nothing of the command has happened."""


class _Attempt:
    """One start, one way or the other. Closes `network`."""

    def __init__(
        self,
        start: CommandStart,
        config: MachineConfig,
        prepared: PreparedStart,
        network: GuestNetwork,
        command: Command,
    ) -> None:
        self._start, self._config, self._prepared = start, config, prepared
        self._network, self._command = network, command
        self._is_silent = False

    def run(self, timeout_s: float | None, *, restored: bool) -> int | None:
        """See `run_command`; _OfNoUseError if the guest should boot instead."""
        start = self._start
        with contextlib.ExitStack() as stack:
            stack.callback(self._network.close)
            try:
                root = stack.enter_context(self._prepared.open_root(restored=restored))
            except InnkeeperError as error:
                if restored:
                    raise _OfNoUseError from error
                raise
            parts = GuestParts(
                self._config, start.make_engine, self._network, start.mac_address, root, start.on_warning
            )
            guest = CommandGuest(parts, self._command)
            stack.callback(guest.close)
            if restored:
                try:
                    self._prepared.restore(guest)
                except InnkeeperError as error:
                    raise _OfNoUseError from error
            else:
                self._prepared.keep(guest, root)
            self._watch(guest, restored)
            outcome = guest.run(timeout_s)
            if restored and not guest.has_begun and (self._is_silent or outcome.ending is Ending.CRASHED):
                raise _OfNoUseError
            return _status(guest, outcome)

    def _watch(self, guest: CommandGuest, restored: bool) -> None:
        def look() -> None:
            if guest.has_begun:
                return
            if restored:
                self._is_silent = True
                guest.machine.stop("its agent does not answer")
            else:
                self._start.on_warning(SILENCE_WARNING)

        guest.machine.io.call_at(guest.clock.now_ns() + (ANSWER_NS if restored else SILENCE_NS), look)


def _status(guest: CommandGuest, outcome: Outcome) -> int | None:
    for error in guest.sink_errors:
        raise error
    if guest.timed_out and guest.status is None:
        return None
    if outcome.ending is Ending.CRASHED:
        raise GuestError(f"the guest was stopped: {outcome.reason}", last_words(guest.last_output()))
    if guest.status is not None:
        return guest.status
    if guest.error is not None and outcome.ending is Ending.POWER_OFF:
        raise guest.error
    raise GuestError(
        f"the guest ended ({outcome.ending.value}) before its command did", last_words(guest.last_output())
    )
