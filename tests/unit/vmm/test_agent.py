# SPDX-License-Identifier: Apache-2.0
"""The VMM's side of the agent: conversations, flow control, and guests that say what they like."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.api.vmm_protocol import ExecParameters
from innkeeper.errors import ConfigError, GuestError
from innkeeper.guest_agent import protocol as say
from innkeeper.vmm.agent import OUTPUT_WINDOW_BYTES
from innkeeper.vmm.agent_session import AgentSession
from tests.unit.vmm.agent_port import Bench, Listener, frame

COMMAND = ExecParameters(("ls", "-l"), {"A": "1"}, cwd="/tmp", user="me", tty=True, columns=132, rows=43)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.greet()
    return bench


def start(bench: Bench) -> tuple[AgentSession, Listener, int]:
    """A command that runs, and its token."""
    listener = Listener()
    session = bench.agent.start_command(ExecParameters(("cat",)), listener)
    [(kind, token, _)] = bench.port.read()
    assert kind == say.EXEC
    return session, listener, token


def test_it_is_ready_once_the_guest_has_its_identity() -> None:
    bench = Bench()
    with pytest.raises(GuestError, match="does not answer"):
        bench.agent.start_command(COMMAND, Listener())
    bench.greet()
    assert bench.ready == [True] and not bench.troubles
    bench.port.on_open(False)
    assert bench.ready == [True, False]
    bench.greet()
    assert bench.ready == [True, False, True]


@given(st.binary(max_size=300))
def test_what_was_said_before_the_conversation_is_dropped(rest: bytes) -> None:
    bench = Bench()
    bench.port.on_open(True)
    [(_, _, nonce)] = bench.port.read()
    hello = frame(say.HELLO, 0, nonce + struct.pack("<II", say.VERSION, 64))
    for piece in (rest, hello[:5], hello[5:20], hello[20:]):
        bench.port.on_output(piece)
    assert [kind for kind, _, _ in bench.port.read()] == [say.IDENTITY]
    assert not bench.troubles


def test_an_identity_that_cannot_be_set_is_told(bench: Bench) -> None:
    bench.agent.set_identity(bench.agent._identity(), bench.agent._identified)
    [(_, token, _)] = bench.port.read()
    bench.port.say(say.DONE, token, struct.pack("<6I", 0, 0, 0, 0, errno.EBUSY, 0))
    assert bench.troubles == ["the guest's MAC address could not be set: Device or resource busy"]


def test_what_a_command_is_told(bench: Bench) -> None:
    bench.agent.start_command(COMMAND, Listener())
    [(kind, _, payload)] = bench.port.read()
    head = struct.unpack_from(say.EXEC_HEAD, payload)
    strings = payload[struct.calcsize(say.EXEC_HEAD) :].split(b"\0")
    assert kind == say.EXEC
    assert head == (say.EXEC_TTY, 132, 43, 2, 4, OUTPUT_WINDOW_BYTES)
    assert strings[:4] == [b"me", b"/tmp", b"ls", b"-l"]
    assert {b"A=1", b"TERM=xterm-256color", b"LANG=C.UTF-8"} < set(strings[4:])


def test_a_command_that_is_too_long(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="61440"):
        bench.agent.start_command(ExecParameters(("x" * 70_000,)), Listener())
    assert bench.port.read() == []


def test_output_and_status(bench: Bench) -> None:
    _, listener, token = start(bench)
    bench.port.say(say.STDOUT, token, b"out")
    bench.port.say(say.STDERR, token, b"err")
    bench.port.say(say.EXIT, token, struct.pack("<I", 143))
    bench.port.say(say.STDOUT, token, b"late")
    assert listener.output == [(say.STDOUT, b"out"), (say.STDERR, b"err")]
    assert listener.end == 143


def test_input_is_sent_as_far_as_the_agent_consumes_it() -> None:
    bench = Bench(room_bytes=1 << 20)
    bench.greet()
    session, listener, token = start(bench)
    data = bytes(range(256)) * 1024
    sent = 0
    while taken := session.write(data[sent:]):
        sent += taken
    assert sent == say.STDIN_WINDOW_BYTES
    pieces = [payload for kind, _, payload in bench.port.read() if kind == say.STDIN]
    assert b"".join(pieces) == data[:sent]
    bench.port.say(say.CREDIT, token, struct.pack("<I", 1000))
    assert listener.spaces == 1
    assert session.write(data[sent:]) == 1000
    # A guest that gives back more than it got does not get more than the window.
    bench.port.say(say.CREDIT, token, struct.pack("<I", 0xFFFFFFFF))
    sent = 0
    while taken := session.write(data[sent:]):
        sent += taken
    assert sent == say.STDIN_WINDOW_BYTES


def test_the_agent_sends_as_much_as_was_taken(bench: Bench) -> None:
    session, listener, token = start(bench)
    for _ in range(OUTPUT_WINDOW_BYTES // 16384):
        bench.port.say(say.STDOUT, token, bytes(16384))
    assert bench.port.read() == []
    session.taken(100_000)
    assert bench.port.read() == [(say.CREDIT, token, struct.pack("<I", 100_000))]
    bench.port.say(say.STDOUT, token, bytes(16384))
    assert listener.end is None
    for _ in range(6):
        bench.port.say(say.STDOUT, token, bytes(16384))
    assert isinstance(listener.end, GuestError) and not bench.agent.is_ready


@pytest.mark.parametrize(
    "stage, number, status",
    [(say.STAGE_RUN, errno.ENOENT, 127), (say.STAGE_RUN, errno.EACCES, 126)],
)
def test_a_command_that_is_not_there(bench: Bench, stage: int, number: int, status: int) -> None:
    _, listener, token = start(bench)
    bench.port.say(say.FAILED, token, struct.pack("<II", number, stage))
    assert listener.end == status
    assert listener.output[0][0] == say.STDERR and b"'cat'" in listener.output[0][1]


@pytest.mark.parametrize("stage", [say.STAGE_USER, say.STAGE_FOLDER, say.STAGE_TERMINAL, say.STAGE_OPEN])
def test_a_command_that_cannot_begin(bench: Bench, stage: int) -> None:
    _, listener, token = start(bench)
    bench.port.say(say.FAILED, token, struct.pack("<II", errno.ENOENT, stage))
    assert isinstance(listener.end, ConfigError)


def test_a_client_that_goes(bench: Bench) -> None:
    session, listener, token = start(bench)
    session.hang_up()
    assert bench.port.read() == [(say.HANG_UP, token, b"")]
    bench.port.say(say.STDOUT, token, b"nobody listens")
    session.signal(15)
    assert (bench.port.read(), listener.output, listener.end) == ([], [], None)


def test_the_table_is_bounded(bench: Bench) -> None:
    for _ in range(say.SESSION_LIMIT):
        start(bench)
    with pytest.raises(GuestError, match="64 commands"):
        bench.agent.start_command(COMMAND, Listener())


def test_a_guest_that_reads_nothing_gets_whole_frames_later() -> None:
    bench = Bench(room_bytes=3000)
    bench.greet()
    listeners = [Listener() for _ in range(40)]
    for listener in listeners:
        bench.agent.start_command(ExecParameters(("x" * 500,)), listener)
    assert len(bench.port.input) <= 3000
    assert [kind for kind, _, _ in bench.port.read()] == [say.EXEC] * 40


def test_all_ends_with_the_agent(bench: Bench) -> None:
    _, listener, _ = start(bench)
    answers: list[object] = []
    bench.agent.ping(answers.append)
    bench.port.on_open(False)
    assert isinstance(listener.end, GuestError)
    assert len(answers) == 1 and isinstance(answers[0], GuestError)
    assert not bench.port.input


FRAMES = st.builds(
    frame,
    st.sampled_from(range(256)),
    st.integers(0, 4) | st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=64),
)


@given(st.lists(FRAMES | st.binary(max_size=40), max_size=12))
def test_hostile_guests(pieces: list[bytes]) -> None:
    """Whatever comes, sessions end once, what is kept is bounded, and another agent is heard."""
    bench = Bench()
    bench.greet()
    listeners = [Listener() for _ in range(3)]
    for listener in listeners:
        bench.agent.start_command(ExecParameters(("cat",)), listener)
    for piece in pieces:
        bench.port.on_output(piece)
    assert len(bench.agent._reader._buffer) <= say.PAYLOAD_LIMIT_BYTES + say.HEADER_BYTES
    bench.port.on_open(False)
    assert all(listener.end is not None for listener in listeners)
    bench.greet()


def test_an_agent_of_another_version() -> None:
    bench = Bench()
    bench.port.on_open(True)
    [(_, _, nonce)] = bench.port.read()
    bench.port.say(say.HELLO, 0, nonce + struct.pack("<II", say.VERSION + 1, 64))
    assert not bench.agent.is_ready and "version" in bench.troubles[0]
