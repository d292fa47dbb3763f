# SPDX-License-Identifier: Apache-2.0
"""The compile worker and its client: answers, senseless requests, workers that end, folders of others."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innkeeper.codegen.region_code import RegionCode
from innkeeper.codegen.region_object import compile_region
from innkeeper.engines.engine import ExitReason
from innkeeper.engines.jit.compile_client import MAX_FAILURES, CompileClient, runtime_folder
from innkeeper.engines.jit.engine import JitEngine
from innkeeper.engines.jit.optimizer import Wanted
from innkeeper.engines.jit.region_cache import RegionCache
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.assembler import assemble
from tests.unit.runtime.guest import BASE, GuardedRam

VERSION = "v1"
LOOP = "loop: addi x5, x5, 3; addi x6, x6, 1; jal x0, loop"
PAGE = assemble(LOOP).ljust(4096, b"\0")
JOIN_TIMEOUT_S = 60
KILLS, KILL_WITHIN_S = 100, 0.1


def kill(pid: int) -> None:
    """Kill a process and wait until it is gone; whose child it is does not matter, nor who reaps it."""
    waiting = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([waiting], [], [], JOIN_TIMEOUT_S)[0]
    os.close(waiting)


class Workers:
    """Where the workers of one test are; none outlives it."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "innkeeper" / f"compile-{VERSION}.sock"
        self.cache = folder / "cache" / "code"
        self._clients: list[CompileClient] = []

    def client(self) -> CompileClient:
        self._clients.append(CompileClient(VERSION, self.cache))
        return self._clients[-1]

    def pid(self) -> int | None:
        """The process that listens."""
        with socket.socket(socket.AF_UNIX) as asked:
            try:
                asked.connect(str(self.socket))
            except OSError:
                return None
            return int(struct.unpack("3i", asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def kill(self) -> bool:
        """Kill the worker, if there is one, and wait until it is gone."""
        pid = self.pid()
        if pid is not None:
            kill(pid)
        return pid is not None

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.kill()


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = Workers(tmp_path)
    yield made
    made.close()


def test_request_and_answer(workers: Workers) -> None:
    client = workers.client()
    assert client.compile(PAGE, (0,), Wanted.KNOWN) is None
    expected = compile_region(PAGE, (0,))
    assert expected is not None
    assert client.compile(PAGE, (0,), Wanted.ANY) == expected
    assert client.compile(PAGE, (0,), Wanted.KNOWN) == expected
    assert client.compile(bytes(4096), (0,), Wanted.ANY) is None
    assert RegionCache(workers.cache, VERSION).load(PAGE) == expected
    assert workers.socket.parent.stat().st_mode & 0o077 == 0


def test_two_clients_share_one_worker(workers: Workers) -> None:
    one, other = workers.client(), workers.client()
    assert one.compile(PAGE, (0,), Wanted.ANY)
    first = workers.pid()
    found = other.compile(PAGE, (4,), Wanted.ALL_ENTRIES)
    assert found is not None and found.has(0) and found.has(4)
    assert one.compile(PAGE, (0,), Wanted.KNOWN) == found
    assert workers.pid() == first


def unanswered(workers: Workers, client: CompileClient, entry: int, end: Callable[[int], None]) -> int:
    """Ask a worker that stands still, and let `end`, given its process, make that fail; the process."""
    assert client.compile(PAGE, (0,), Wanted.ANY)
    pid = workers.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    wanted = Wanted.ALL_ENTRIES if entry else Wanted.ANY
    answers: list[RegionCode | None] = []
    thread = threading.Thread(target=lambda: answers.append(client.compile(PAGE, (entry,), wanted)))
    thread.start()
    end(pid)
    thread.join(JOIN_TIMEOUT_S)
    assert answers == [None]
    return pid


def test_a_worker_that_is_killed_costs_one_region(workers: Workers) -> None:
    client = workers.client()
    pid = unanswered(workers, client, 4, kill)
    assert client.compile(PAGE, (0,), Wanted.ANY)
    assert workers.pid() not in (pid, None)


def test_workers_killed_at_any_moment(workers: Workers, rng: random.Random) -> None:
    """A region is right or there is none, whoever asks goes on, and nothing in the cache is damaged."""
    pages = [assemble(LOOP.replace("3", str(n))).ljust(4096, b"\0") for n in range(1, KILLS + 1)]
    expected = [compile_region(page, (0,)) for page in pages]
    answers: list[RegionCode | None] = []
    killed = 0

    def ask(client: CompileClient, page: bytes) -> None:
        answers.append(client.compile(page, (0,), Wanted.ANY))

    for page in pages:
        client = workers.client()
        thread = threading.Thread(target=ask, args=(client, page))
        thread.start()
        while workers.pid() is None and thread.is_alive():
            thread.join(0.01)
        thread.join(rng.random() * KILL_WITHIN_S)
        killed += workers.kill()
        thread.join(JOIN_TIMEOUT_S)
        assert not thread.is_alive()
        client.close()
    assert len(answers) == KILLS and all(a in (None, e) for a, e in zip(answers, expected, strict=True))
    assert killed > KILLS // 2
    print(f"{killed} workers were killed, {KILLS - answers.count(None)} had answered")
    cache = RegionCache(workers.cache, VERSION)
    assert all(cache.load(page) in (None, region) for page, region in zip(pages, expected, strict=True))
    client = workers.client()
    assert [client.compile(page, (0,), Wanted.ANY) for page in pages] == expected


def test_giving_up_ends_a_request_and_all_others(workers: Workers) -> None:
    client = workers.client()
    pid = unanswered(workers, client, 0, lambda pid: client.give_up())
    os.kill(pid, signal.SIGCONT)
    assert client.compile(PAGE, (0,), Wanted.ANY) is None


@pytest.mark.parametrize("kind", ["socket", "file"])
def test_a_stale_socket_is_replaced(workers: Workers, kind: str) -> None:
    runtime_folder()
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(workers.socket))
    else:
        workers.socket.write_text("")
    assert workers.client().compile(PAGE, (0,), Wanted.ANY)


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_folder_that_is_not_only_the_users_is_refused(workers: Workers, tmp_path: Path, kind: str) -> None:
    folder = workers.socket.parent
    if kind == "open":
        folder.mkdir()
        folder.chmod(0o750)
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.write_text("")
    with pytest.raises(OSError):
        runtime_folder()
    assert workers.client().compile(PAGE, (0,), Wanted.ANY) is None
    assert workers.pid() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder somebody else's")
def test_a_folder_of_somebody_else_is_refused(workers: Workers) -> None:
    os.chown(runtime_folder(), 12345, 12345)
    with pytest.raises(PermissionError):
        runtime_folder()


def test_without_a_folder_of_the_system_there_is_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        folder = runtime_folder()
        assert folder == tmp_path / f"innkeeper-{os.getuid()}"
        assert folder.stat().st_mode & 0o777 == 0o700


def test_workers_that_do_not_start_are_not_tried_for_ever(workers: Workers, tmp_path: Path) -> None:
    """Too long a name for a socket: it cannot listen."""
    client = CompileClient("v" * 120, workers.cache)
    for _ in range(MAX_FAILURES):
        assert client.compile(PAGE, (0,), Wanted.ANY) is None
    left = os.listdir(tmp_path / "innkeeper")
    for name in left:
        (tmp_path / "innkeeper" / name).unlink()
    (tmp_path / "innkeeper").rmdir()
    assert client.compile(PAGE, (0,), Wanted.ANY) is None
    assert not (tmp_path / "innkeeper").exists()


def test_it_takes_no_modules_from_the_folder_it_was_started_in(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("import os; os._exit(1)")
    monkeypatch.chdir(tmp_path)
    assert workers.client().compile(PAGE, (0,), Wanted.ANY)


def test_a_guest_does_not_notice_workers_that_are_killed(workers: Workers, rng: random.Random) -> None:
    ram = GuardedRam(1 << 16)
    ram.write(BASE, assemble(LOOP))
    engine = JitEngine(ram)
    vcpu = engine.create_vcpu(0, ecall_exits=True)
    client = workers.client()
    engine.start_optimizer(client.compile, client.give_up)
    vcpu.reset(BASE, 1, 0, 0)
    turns = killed = 0
    while killed < 3:
        for _ in range(rng.randrange(1, 30)):
            assert vcpu.run(1_000_000).reason == ExitReason.BUDGET
            turns += 1
            if turns % 7 == 0:  # the region is wanted again
                ram.write(BASE + 64 + turns % 64, bytes([turns & 255]))
                engine.memory_written(BASE, 4096)
        killed += workers.kill()
    assert vcpu.words[state.INSTRET] == turns * 1_000_000
    rounds, rest = divmod(turns * 1_000_000, 3)
    assert vcpu.words[state.X + 5] == 3 * (rounds + (rest > 0))
    assert vcpu.words[state.X + 6] == rounds + (rest > 1)
    engine.close()
    assert ram.intact
