# SPDX-License-Identifier: Apache-2.0
"""Connects what the user types, or an input that is no terminal, to the guest's console."""

from __future__ import annotations

from innkeeper.host.terminal import is_terminal
from innkeeper.host.terminal_escape import EscapeFilter
from innkeeper.vmm import session as vm
from innkeeper.vmm.console import END_OF_TRANSMISSION, KILL_LINE, ConsoleInput
from innkeeper.vmm.streams import InputStream

PATIENCE_NS = 10_000_000_000
"""How long input that is not typed waits for a guest that does not say that it is ready."""
END_INTERVAL_NS = 250_000_000
END_INTERVAL_MAX_NS = 1_000_000_000


def connect_keyboard(session: vm.Session, input_fd: int) -> None:
    """Feed the console from `input_fd`; on a terminal Ctrl-] q stops the machine. Before `run`."""
    machine = session.machine
    board = machine.board
    interactive = is_terminal(input_fd)
    target = ConsoleInput(
        board.console.port(vm.CONSOLE), machine.firmware_console, board.uart, interactive=interactive
    )

    def type_end() -> None:
        if not interactive:
            target.receive((b"" if target.at_line_start else b"\n") + END_OF_TRANSMISSION)
            type_end_again(END_INTERVAL_NS)

    def type_end_again(interval_ns: int) -> None:
        """A shell that takes the terminal over while Ctrl-D waits there finds a NUL in its line instead."""

        def again() -> None:
            target.receive(KILL_LINE + END_OF_TRANSMISSION)
            type_end_again(min(2 * interval_ns, END_INTERVAL_MAX_NS))

        machine.io.call_at(machine.clock.now_ns() + interval_ns, again)

    escape = EscapeFilter(lambda: machine.stop("the user has left"))
    stream = InputStream(
        input_fd,
        target.receive,
        machine.io,
        type_end,
        translate=escape.feed if interactive else None,
    )

    def release() -> None:
        target.release()
        stream.resume()

    target.on_space(stream.resume)
    session.add_input(stream)
    stream.start()
    session.on_ready(release)
    # A guest that is not one of our images does not say when it is ready.
    machine.io.call_at(machine.clock.now_ns() + PATIENCE_NS, release)
