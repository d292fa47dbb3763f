# SPDX-License-Identifier: Apache-2.0
"""A machine with the `small` image and a console to type into, without a VMM around it.

As a program it restores a snapshot in a process of its own: `python -m tests.guest.bare_machine FOLDER LINE
EXPECTED` types LINE, prints what the console says until it says EXPECTED, and ends.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path

from innkeeper import images
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.host.clock import HostClock
from innkeeper.machine import snapshot
from innkeeper.machine.board import Peripherals
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.machine import MachineConfig, Outcome, VirtMachine
from innkeeper.vmm.engine_choice import choose_engine
from tests.guest.machines import TIMEOUT_S

PORTS = (PortConfig("innkeeper.console", is_console=True), PortConfig("innkeeper.control"))
PROMPT = b":~# "
_ANSWER = re.compile(rb'<([^"<>]*)>')
FRESH = b"built-in commands"
"""What a shell says when it starts."""


class BareMachine:
    """Runs on a thread of its own; `type` and `expect` talk to its shell."""

    def __init__(self, cpus: int = 1, *, engine: str = "auto") -> None:
        files = images.ensure("small", images.SILENT, None)
        self.output = bytearray()
        self._changed = threading.Condition()
        boot = BootConfig(files.kernel, (files.initrd,), files.append)
        peripherals = Peripherals(os.urandom, self._printed, console_ports=PORTS)
        self.machine = VirtMachine(MachineConfig(boot, cpus), choose_engine(engine), peripherals, HostClock())
        console = self.machine.board.console
        console.port(0).on_output = self._printed
        console.port(1).set_open(True)
        self.outcome: Outcome | BaseException | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)

    def start(self) -> BareMachine:
        self._thread.start()
        return self

    def _main(self) -> None:
        try:
            self.outcome = self.machine.run()
        except BaseException as error:
            self.outcome = error

    def _printed(self, data: bytes) -> None:
        with self._changed:
            self.output += data
            self._changed.notify_all()

    def forked(self) -> None:
        """In a forked child: other threads may have held the lock of the output."""
        self._changed = threading.Condition()
        self.output.clear()

    def type(self, line: str) -> None:
        """Type a line; what was printed before is forgotten."""
        with self.machine.lock:
            self.output.clear()
            assert self.machine.board.console.port(0).receive(line.encode() + b"\n") == len(line) + 1

    def expect(self, text: bytes) -> bytes:
        """Wait until the guest has printed `text`; everything up to there."""
        with self._changed:
            found = self._changed.wait_for(lambda: text in self.output, TIMEOUT_S)
            assert found, f"the guest has not said {text!r} but {bytes(self.output[-500:])!r}"
            return bytes(self.output[: self.output.index(text) + len(text)])

    def answer(self, command: str) -> str:
        """What a command prints on one line."""
        self.type(f'echo "<""$({command})"">"')  # what is typed comes back too, with quotes
        with self._changed:
            assert self._changed.wait_for(lambda: _ANSWER.search(self.output), TIMEOUT_S), self.output
            found = _ANSWER.search(self.output)
        assert found is not None
        return found[1].decode()

    def close(self) -> None:
        if self._thread.is_alive():
            self.machine.stop()
            self._thread.join(TIMEOUT_S)
        self.machine.close()

    def __enter__(self) -> BareMachine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(folder: str, line: str, expected: str) -> None:
    """See above."""
    with BareMachine(snapshot.read_info(Path(folder)).hart_count) as bare:
        snapshot.load(bare.machine, Path(folder))
        bare.start().type(line)
        sys.stdout.buffer.write(bare.expect(expected.encode()))


if __name__ == "__main__":
    main(*sys.argv[1:])
