# SPDX-License-Identifier: Apache-2.0
"""The I/O thread: descriptors of every kind, deferred work, timers, errors and its end."""

from __future__ import annotations

import functools
import os
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.host.clock import HostClock
from innkeeper.machine.clock import VirtualClock
from innkeeper.machine.io_loop import IoLoop

Queue = queue.Queue


class Loop:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.errors: Queue[BaseException] = Queue()
        self.io = IoLoop(self.lock, HostClock(), self.errors.put)
        self.io.start()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.io.stop()


def read_all(loop: Loop, fd: int) -> bytes:
    """What the loop reads from `fd` until its end."""
    result: Queue[bytes] = Queue()

    def ready() -> None:
        data = os.read(fd, 4096)
        if not data:
            loop.io.remove_reader(fd)
        result.put(data)

    with loop.lock:
        loop.io.add_reader(fd, ready)
    parts = []
    while part := result.get(timeout=10):
        parts.append(part)
    return b"".join(parts)


def test_pipes_files_and_the_null_device(loop: Loop, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"through a pipe")
    os.close(writer)
    assert read_all(loop, reader) == b"through a pipe"
    os.close(reader)
    (tmp_path / "file").write_bytes(b"x" * 10000)
    for path, content in ((tmp_path / "file", b"x" * 10000), (Path(os.devnull), b"")):
        fd = os.open(path, os.O_RDONLY)
        assert read_all(loop, fd) == content
        os.close(fd)


def test_a_descriptor_that_is_not_open_is_left_out(loop: Loop) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with loop.lock:
        loop.io.add_reader(writer, lambda: None)
    done = threading.Event()
    loop.io.call_soon(done.set)
    assert done.wait(10)


def test_timers_come_in_the_order_of_their_deadlines(loop: Loop) -> None:
    came: Queue[int] = Queue()
    now = HostClock().now_ns()
    for number in (3, 1, 2):
        loop.io.call_at(now + number * 2_000_000, lambda number=number: came.put(number))  # type: ignore[misc]
    assert [came.get(timeout=10) for _ in range(3)] == [1, 2, 3]


def test_an_error_is_told_and_the_loop_goes_on(loop: Loop) -> None:
    done = threading.Event()
    loop.io.call_soon(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    loop.io.call_soon(done.set)
    assert isinstance(loop.errors.get(timeout=10), ZeroDivisionError)
    assert done.wait(10)


def test_work_has_the_lock(loop: Loop) -> None:
    def work() -> None:
        taken.append(other_can_take())
        done.set()

    def other_can_take() -> bool:
        result: list[bool] = []
        thread = threading.Thread(target=lambda: result.append(loop.lock.acquire(blocking=False)))
        thread.start()
        thread.join()
        return result[0]

    taken: list[bool] = []
    done = threading.Event()
    loop.io.call_soon(work)
    assert done.wait(10) and taken == [False]


def test_a_loop_that_never_ran_can_be_stopped_and_called() -> None:
    io = IoLoop(threading.RLock(), HostClock(), lambda error: None)
    io.stop()
    io.call_soon(lambda: None)


def test_a_writer_is_called_while_there_is_room_and_a_reader_of_the_same_socket_beside_it(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(10)
    full, echoed = threading.Event(), Queue[bytes]()

    def write() -> None:
        try:
            ours.send(bytes(65536))
        except BlockingIOError:
            loop.io.remove_writer(ours.fileno())
            full.set()

    with loop.lock:
        loop.io.add_writer(ours.fileno(), write)
        loop.io.add_reader(ours.fileno(), lambda: echoed.put(ours.recv(4096)))
    theirs.sendall(b"over here")
    assert echoed.get(timeout=10) == b"over here"
    for _ in range(1000):
        if full.is_set():
            break
        theirs.recv(1 << 20)
        full.wait(0.001)
    # Removed, it is called no more even when there is room again; the reader still is.
    with loop.lock:
        loop.io.remove_writer(ours.fileno())
    theirs.sendall(b"again")
    assert echoed.get(timeout=10) == b"again"
    with loop.lock:
        loop.io.remove_reader(ours.fileno())
    ours.close()
    theirs.close()


def test_a_number_that_was_closed_and_opened_again_is_watched_anew(loop: Loop) -> None:
    for _ in range(3):
        reader, writer = os.pipe()
        os.write(writer, b"x")
        os.close(writer)
        assert read_all(loop, reader) == b"x"
        os.close(reader)


def test_cancelled_timers_are_not_called_and_not_kept() -> None:
    clock = VirtualClock()
    io = IoLoop(threading.RLock(), clock, lambda error: None)
    called: list[int] = []
    timers = [io.call_at(1000 + number, functools.partial(called.append, number)) for number in range(1000)]
    for timer in timers[1:]:
        timer.cancel()
        timer.cancel()
    assert len(io._timers) < 100
    clock.advance_ns(5000)
    io.run_due()
    assert called == [0] and io.next_timer_ns() is None
    timers[0].cancel()
    io.call_at(1, lambda: called.append(-1))
    io.run_due()
    assert called == [0, -1]
    io.stop()


def test_work_from_many_threads_is_never_left_waiting(loop: Loop) -> None:
    """Each thread waits for its work to be done before it asks for more: one lost wake-up would hang."""

    def ask() -> None:
        for _ in range(300):
            done = threading.Event()
            loop.io.call_soon(done.set)
            assert done.wait(10)
            counts.append(1)

    counts: list[int] = []
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 1200
