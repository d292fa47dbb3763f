# SPDX-License-Identifier: Apache-2.0
"""The attached console: typing, the way out, window size, and the terminal afterwards."""

from __future__ import annotations

import os
import pty
import signal
import termios
import threading
from collections.abc import Iterator

import pytest

from innkeeper.vmm import Machine

pytestmark = pytest.mark.guest
TIMEOUT_S = 240
PROMPT = b"# "


class Terminal:
    """A terminal whose other end waits for texts and types answers."""

    def __init__(self, script: list[tuple[bytes, bytes]]) -> None:
        self.main, self.fd = pty.openpty()
        termios.tcsetwinsize(self.fd, (40, 132))
        self.output = bytearray()
        self._script = script
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        seen = 0
        while True:
            try:
                data = os.read(self.main, 4096)
            except OSError:
                return
            self.output += data
            # The terminal answers busybox's question where the cursor is.
            if b"\x1b[6n" in data:
                os.write(self.main, b"\x1b[1;1R")
            while self._script and (at := self.output.find(self._script[0][0], seen)) >= 0:
                wanted, typed = self._script.pop(0)
                seen = at + len(wanted)
                if typed == b"resize":
                    termios.tcsetwinsize(self.fd, (50, 100))
                    os.kill(os.getpid(), signal.SIGWINCH)
                    typed = b"\r"
                os.write(self.main, typed)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.main)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for terminal in made:
        terminal.close()


def is_raw(fd: int) -> bool:
    return not termios.tcgetattr(fd)[3] & termios.ICANON


def attach(
    terminals: list[Terminal], script: list[tuple[bytes, bytes]], **arguments: object
) -> tuple[int, bytes]:
    terminal = Terminal(script)
    terminals.append(terminal)
    guest = Machine(**{"timeout_s": TIMEOUT_S, **arguments})  # type: ignore[arg-type]
    status = guest.run_console(terminal.fd, terminal.fd)
    assert not is_raw(terminal.fd)
    return status, bytes(terminal.output)


def test_typing_the_window_and_the_way_out(terminals: list[Terminal]) -> None:
    status, output = attach(
        terminals,
        [
            (PROMPT, b"stty size\r"),
            (b"40 132", b"resize"),
            (PROMPT, b"stty size; echo $((6 * 7))\r"),
            (b"42", b"\x1dq"),
        ],
    )
    assert status == 0
    assert b"50 100" in output


@pytest.mark.parametrize("cpus", [1, 2])
def test_power_off_ends_it(terminals: list[Terminal], cpus: int) -> None:
    assert attach(terminals, [(PROMPT, b"exit\r")], cpus=cpus)[0] == 0


def test_a_busy_guest_can_be_left(terminals: list[Terminal]) -> None:
    status, _ = attach(terminals, [(PROMPT, b"yes\r"), (b"y\r\ny\r\n", b"\x1dq")])
    assert status == 0


def test_a_guest_that_does_not_start_can_be_left(terminals: list[Terminal]) -> None:
    """A kernel without an init panics and stands still."""
    status, output = attach(terminals, [(b"Kernel panic", b"\x1dq")], append="rdinit=/none init=/none root=")
    assert status == 0 and b"Kernel panic" in output


@pytest.mark.parametrize(
    "commands",
    [
        b"echo $((3 * 14))\nexit\n",
        # The end comes while the command has the terminal, and before the shell takes it again.
        b"sleep 1; echo $((3 * 14))\n",
        b"cat; echo $((3 * 14))",
    ],
)
def test_commands_from_a_pipe(commands: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, commands)
    os.close(writer)
    out_reader, out_writer = os.pipe()
    output = bytearray()

    def drain() -> None:
        while data := os.read(out_reader, 4096):
            output.extend(data)

    thread = threading.Thread(target=drain)
    thread.start()
    assert Machine(timeout_s=TIMEOUT_S).run_console(reader, out_writer) == 0
    os.close(out_writer)
    thread.join()
    for fd in (reader, out_reader):
        os.close(fd)
    assert b"42" in output


def test_the_null_device_ends_the_shell() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    assert Machine(timeout_s=TIMEOUT_S).run_console(null, null) == 0
    os.close(null)
