# SPDX-License-Identifier: Apache-2.0
"""Streams: order, back-pressure, ends and errors."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable

from innkeeper.host.clock import HostClock
from innkeeper.machine.io_loop import IoLoop
from innkeeper.vmm.streams import DROP_ABOVE_BYTES, PAUSE_ABOVE_BYTES, InputStream, OutputStream, write_all


class Port:
    """A guest that writes as long as it may."""

    def __init__(self) -> None:
        self.paused = False
        self.changes: list[bool] = []
        self.pending: list[bytes] = []
        self.push: Callable[[bytes], None] = lambda data: None
        self.resumed = threading.Event()

    def pause_output(self, paused: bool) -> None:
        self.paused = paused
        self.changes.append(paused)
        if not paused:
            self.resumed.set()
            self.write()

    def write(self) -> None:
        while self.pending and not self.paused:
            self.push(self.pending.pop(0))


def test_output_waits_for_a_slow_sink_and_loses_nothing() -> None:
    lock, port, may_go = threading.RLock(), Port(), threading.Event()
    received = bytearray()

    def sink(data: bytes) -> None:
        assert may_go.wait(10)
        received.extend(data)

    stream = OutputStream(sink, lock, lambda error: None, port)
    port.push = stream.push
    chunks = [bytes([number % 256]) * 50_000 for number in range(100)]
    with lock:
        port.pending = list(chunks)
        port.write()
        assert port.paused
        # The first piece may already be with the sink; beyond it no more than the limit and one chunk waits.
        assert len(port.pending) * 50_000 >= 5_000_000 - PAUSE_ABOVE_BYTES - 2 * 50_000
    may_go.set()
    assert port.resumed.wait(10)
    while port.pending:
        with lock:
            port.write()
    with lock:
        stream.drain()
    assert stream.finish(10)
    assert received == b"".join(chunks)


def test_a_sink_that_fails_frees_the_guest() -> None:
    lock, port = threading.RLock(), Port()
    errors: list[BaseException] = []
    failed = threading.Event()

    def sink(data: bytes) -> None:
        raise BrokenPipeError

    def on_error(error: BaseException) -> None:
        errors.append(error)
        failed.set()

    stream = OutputStream(sink, lock, on_error, port)
    port.push = stream.push
    with lock:
        port.pending = [bytes(100_000)] * 30
        port.write()
    assert failed.wait(10)
    assert stream.finish(10)
    assert isinstance(errors[0], BrokenPipeError) and len(errors) == 1
    with lock:
        port.write()
    assert not port.paused and not port.pending


def test_what_cannot_be_paused_is_bounded() -> None:
    lock, may_go, received = threading.RLock(), threading.Event(), bytearray()

    def sink(data: bytes) -> None:
        assert may_go.wait(10)
        received.extend(data)

    stream = OutputStream(sink, lock, lambda error: None)
    with lock:
        for _ in range(100):
            stream.push_lossy(bytes(1 << 20))
    may_go.set()
    assert stream.finish(10)
    assert len(received) <= DROP_ABOVE_BYTES + (2 << 20)


def test_a_blocked_sink_does_not_hold_up_the_end() -> None:
    never = threading.Event()
    stream = OutputStream(lambda data: never.wait() and None, threading.RLock(), lambda error: None)  # type: ignore[func-returns-value]
    stream.push(b"x")
    assert not stream.finish(0.01)
    never.set()
    assert stream.finish(10)


class Taker:
    """A port that takes what `room` allows."""

    def __init__(self) -> None:
        self.room = 0
        self.taken = bytearray()

    def receive(self, data: bytes) -> int:
        part = data[: self.room]
        self.taken += part
        self.room -= len(part)
        return len(part)


def test_bytes_are_fed_as_there_is_room_and_then_the_end_is_told(rng: random.Random) -> None:
    data = rng.randbytes(300_000)
    taker, ends = Taker(), []
    io = IoLoop(threading.RLock(), HostClock(), lambda error: None)
    stream = InputStream(data, taker.receive, io, lambda: ends.append(len(taker.taken)))
    taker.room = 100
    assert not taker.taken
    stream.start()
    assert taker.taken == data[:100]
    while len(taker.taken) < len(data):
        assert not ends
        taker.room += rng.randrange(1, 90_000)
        stream.resume()
    stream.resume()
    assert taker.taken == data and ends == [len(data)]
    io.stop()


def test_a_pipe_is_read_only_as_far_as_the_guest_takes() -> None:
    lock, taker, ended = threading.RLock(), Taker(), threading.Event()
    io = IoLoop(lock, HostClock(), lambda error: None)
    reader, writer = os.pipe()
    io.start()
    stream = InputStream(reader, taker.receive, io, ended.set)
    data = random.Random(1).randbytes(2_000_000)
    feeder = threading.Thread(target=lambda: (write_all(writer)(data), os.close(writer)))
    feeder.start()
    with lock:
        stream.start()
    while not ended.is_set():
        with lock:
            taker.room = 10_000
            stream.resume()
        threading.Event().wait(0)
    feeder.join()
    io.stop()
    os.close(reader)
    assert taker.taken == data


def test_write_all_waits_on_a_descriptor_that_does_not_block() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    received = bytearray()

    def drain() -> None:
        while data := os.read(reader, 1 << 16):
            received.extend(data)

    thread = threading.Thread(target=drain)
    thread.start()
    write_all(writer)(b"z" * 1_000_000)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert received == b"z" * 1_000_000
