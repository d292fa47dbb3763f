# SPDX-License-Identifier: Apache-2.0
"""`inn console` and `inn exec`: this terminal and a guest."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from innkeeper.cli.failures import STATUS_TIMEOUT, say
from innkeeper.cli.parts import Parts
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.terminal import is_terminal, on_resize, raw_mode, terminal_size
from innkeeper.host.terminal_escape import EscapeFilter

if TYPE_CHECKING:
    from innkeeper.api.models import ExecRequest
    from innkeeper.client.streams import Stream

STDIN, STDOUT, STDERR = 0, 1, 2
_READ_BYTES = 32768


def attach(parts: Parts, name: str, history: bool) -> int:
    """Attach this terminal to a VM's console until it ends or the user leaves; the VM runs on."""
    with parts.connect() as client:
        vm = client.vm(name)
        if is_terminal(STDIN):
            say("Ctrl-] q leaves the console; the VM runs on")
        with vm.console(history=history) as stream, raw_mode(STDIN), _controls(stream) as control:
            control(lambda: stream.resize(*terminal_size(STDOUT)))
            with on_resize(lambda: control(lambda: stream.resize(*terminal_size(STDOUT)))):
                threading.Thread(target=_type, args=(stream,), daemon=True).start()
                for output in stream.outputs():
                    _write(STDOUT, output.data)
    if is_terminal(STDIN):
        say("left the console")
    return 0


def _type(stream: Stream) -> None:
    """Send what is typed, until Ctrl-] q."""
    leave = EscapeFilter(stream.close)
    with contextlib.suppress(OSError):
        while data := os.read(STDIN, _READ_BYTES):
            typed = leave.feed(data) if is_terminal(STDIN) else data
            if typed:
                stream.send(typed)


def run_command(parts: Parts, name: str, request: ExecRequest) -> int:
    """Run a command in a running guest, its streams ours; returns its status."""
    from innkeeper.api.frames import FrameKind

    with parts.connect() as client, contextlib.ExitStack() as stack:
        vm = client.vm(name)
        stream = stack.enter_context(vm.open_exec(request))
        control = stack.enter_context(_controls(stream))
        if request.tty:
            stack.enter_context(raw_mode(STDIN))
            stack.enter_context(on_resize(lambda: control(lambda: stream.resize(*terminal_size(STDOUT)))))
        threading.Thread(target=_feed, args=(stream,), daemon=True).start()
        outputs = stream.outputs()
        while True:
            try:
                for output in outputs:
                    if output.kind == FrameKind.EXIT:
                        if output.status == STATUS_TIMEOUT and request.timeout_s:
                            say(f"the command did not end within {request.timeout_s:g} s")
                        return output.status
                    _write(STDERR if output.kind == FrameKind.STDERR else STDOUT, output.data)
                raise HostError(f"the command in {vm.name} was cut off", f"see inn logs {vm.name}")
            except KeyboardInterrupt:
                # The generator has ended with it; the stream has not.
                control(lambda: stream.signal(signal.SIGINT))
                outputs = stream.outputs()


def _feed(stream: Stream) -> None:
    """Standard input to the command, until its end."""
    with contextlib.suppress(OSError):
        while data := os.read(STDIN, _READ_BYTES):
            stream.send(data)
    stream.send_end()


@contextlib.contextmanager
def _controls(stream: Stream) -> Iterator[Callable[[Callable[[], None]], None]]:
    """What sends short messages from signal handlers, which must not wait for the connection themselves."""
    waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def send() -> None:
        while (message := waiting.get()) is not None:
            message()

    threading.Thread(target=send, daemon=True).start()
    try:
        yield waiting.put
    finally:
        waiting.put(None)


def exec_request(
    command: Sequence[str] | None,
    env: Sequence[str] | None,
    cwd: str,
    user: str,
    tty: bool | None,
    timeout_s: float,
) -> ExecRequest:
    """The request for `command`. A terminal is given to it if ours is one, unless `tty` says otherwise."""
    from innkeeper.api.models import ExecRequest

    if not command:
        raise ConfigError("no command stands after --", "as in inn exec NAME -- uname -a")
    variables = {}
    for text in env or ():
        variable, equals, value = text.partition("=")
        if not equals or not variable:
            raise ConfigError(f"'{text}' is no variable", "write NAME=VALUE")
        variables[variable] = value
    with_tty = is_terminal(STDIN) and is_terminal(STDOUT) if tty is None else tty
    columns, rows = terminal_size(STDOUT)
    if with_tty and "TERM" in os.environ:
        variables.setdefault("TERM", os.environ["TERM"])
    return ExecRequest(
        argv=list(command), env=variables, cwd=cwd, user=user, tty=with_tty,
        columns=columns, rows=rows, timeout_s=timeout_s,
    )  # fmt: skip


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
