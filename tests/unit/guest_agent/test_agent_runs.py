# SPDX-License-Identifier: Apache-2.0
"""The agent itself, run by QEMU in user mode on this host, against the VMM's side of it.

QEMU makes a vfork of what the agent does, and lets it run programs of the host. What needs a guest (commands
that are not there, identity, power-off) is in tests/guest.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.api.vmm_protocol import ExecParameters
from innkeeper.bench.programs import Program
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.program import build
from innkeeper.vmm.agent import GuestAgent
from innkeeper.vmm.agent_session import AgentSession
from innkeeper.vmm.agent_wire import Identity
from tests.oracle.fixtures import qemu_user  # noqa: F401
from tests.unit.vmm.agent_port import Listener, frame

pytestmark = pytest.mark.oracle
WAIT_S = 60.0


class TerminalPort:
    """A port that is a pseudo-terminal in raw mode."""

    def __init__(self) -> None:
        self.fd, self.theirs = pty.openpty()
        tty.setraw(self.theirs)
        os.set_blocking(self.fd, False)
        self.path = os.ttyname(self.theirs)
        self.on_output: Callable[[bytes], None] = lambda data: None
        self.on_open: Callable[[bool], None] = lambda is_open: None
        self.on_space: Callable[[], None] = lambda: None
        self._waiting = bytearray()

    def receive_whole(self, data: bytes) -> bool:
        if len(self._waiting) + len(data) > 65536:
            return False
        self._waiting += data
        return True

    def set_open(self, is_open: bool) -> None:
        pass

    def forget_input(self) -> None:
        self._waiting.clear()

    def turn(self, timeout_s: float) -> None:
        """Move bytes both ways, once."""
        readers, writers, _ = select.select([self.fd], [self.fd] if self._waiting else [], [], timeout_s)
        if writers:
            with contextlib.suppress(BlockingIOError):
                del self._waiting[: os.write(self.fd, self._waiting[:1024])]
            self.on_space()
        if readers:
            with contextlib.suppress(BlockingIOError):
                self.on_output(os.read(self.fd, 65536))


class Bench:
    """An agent that runs, and who talks to it."""

    def __init__(self, qemu: Program, program: Path) -> None:
        self.port = TerminalPort()
        self.troubles: list[str] = []
        self.agent = GuestAgent(self.port, Identity, lambda is_ready: None, self.troubles.append)
        self.process = subprocess.Popen([qemu.path, program, self.port.path], start_new_session=True)
        # Identity needs root in a guest: here a ping has to do.
        self.agent.set_identity = lambda identity, answer: answer(())  # type: ignore[method-assign]
        self.agent.begin()
        self.wait_for(lambda: self.agent.is_ready)

    def wait_for(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not reached():
            assert time.monotonic() < deadline, self.troubles
            self.port.turn(0.1)

    def start(self, *argv: str, **fields: object) -> tuple[AgentSession, Listener]:
        listener = Listener()
        parameters = ExecParameters(argv, **fields)  # type: ignore[arg-type]
        return self.agent.start_command(parameters, listener), listener

    def run(self, *argv: str, stdin: bytes = b"", **fields: object) -> tuple[object, bytes, bytes]:
        session, listener = self.start(*argv, **fields)
        sent = taken = 0

        def reached() -> bool:
            nonlocal sent, taken
            while sent < len(stdin) and (size := session.write(stdin[sent:])):
                sent += size
                if sent == len(stdin):
                    session.end_input()
            total = sum(len(data) for _, data in listener.output)
            session.taken(total - taken)
            taken = total
            return listener.end is not None

        if not stdin:
            session.end_input()
        self.wait_for(reached)
        output = {
            kind: b"".join(data for found, data in listener.output if found == kind)
            for kind in (say.STDOUT, say.STDERR)
        }
        return listener.end, output[say.STDOUT], output[say.STDERR]

    def close(self) -> None:
        # Both of the agent's processes, and no other, are in the supervisor's session and group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.port.fd)
        os.close(self.port.theirs)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "innkeeper-agent"
    path.write_bytes(build())
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def bench(qemu_user: Program, program: Path) -> Iterator[Bench]:  # noqa: F811
    bench = Bench(qemu_user, program)
    yield bench
    bench.close()


def test_streams_and_status(bench: Bench) -> None:
    data = os.urandom(300_000)
    assert bench.run("sh", "-c", "echo err >&2; cat; exit 7", stdin=data) == (7, data, b"err\n")


def test_environment(bench: Bench) -> None:
    status, out, _ = bench.run("sh", "-c", 'echo "$A|$HOME"', env={"A": "x y", "HOME": "/else"}, cwd="/tmp")
    assert (status, out) == (0, b"x y|/else\n")


def test_a_signal_ends_it(bench: Bench) -> None:
    session, listener = bench.start("sleep", "1000")
    session.signal(signal.SIGTERM)
    bench.wait_for(lambda: listener.end is not None)
    assert listener.end == 128 + signal.SIGTERM


def test_many_at_once(bench: Bench) -> None:
    """As many as there may be, and one more."""
    started = [bench.start("cat") for _ in range(say.SESSION_LIMIT)]
    for number, (session, _) in enumerate(started):
        session.write(b"%d" % number)
        session.end_input()
    bench.wait_for(lambda: all(listener.end is not None for _, listener in started))
    for number, (_, listener) in enumerate(started):
        assert (listener.end, listener.output) == (0, [(say.STDOUT, b"%d" % number)])


def test_files(bench: Bench, tmp_path: Path) -> None:
    path, listener = tmp_path / "file", Listener()
    session = bench.agent.write_file(str(path), 0o640, 1_000_000_000_123, listener)
    session.write(b"content")
    session.end_input()
    bench.wait_for(lambda: listener.end is not None)
    assert (listener.end, path.read_bytes()) == (0, b"content")
    assert (path.stat().st_mode & 0o7777, path.stat().st_mtime_ns) == (0o640, 1_000_000_000_123)
    reader = Listener()
    bench.agent.read_file(str(path), reader)
    bench.wait_for(lambda: reader.end is not None)
    assert reader.output == [(say.STDOUT, b"content")]
    assert reader.file is not None and reader.file.size_bytes == 7


FRAMES = st.builds(
    frame,
    # Not what signals processes of this host: nothing runs, so HANG_UP and SIGNAL find nobody.
    st.sampled_from([kind for kind in range(64) if kind not in (say.POWER_OFF, say.REBOOT, say.IDENTITY)]),
    st.integers(0, 3),
    st.binary(max_size=200),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(FRAMES, max_size=8))
def test_senseless_frames_do_not_end_it(bench: Bench, frames: list[bytes]) -> None:
    for data in frames:
        assert bench.port.receive_whole(data)
    bench.agent.begin()
    bench.wait_for(lambda: bench.agent.is_ready)
    assert bench.run("echo", "here")[:2] == (0, b"here\n")
