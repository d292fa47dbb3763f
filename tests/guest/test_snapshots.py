# SPDX-License-Identifier: Apache-2.0
"""A real guest that is saved, restored and forked while it runs."""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.machine import snapshot
from innkeeper.machine.fork import fork, save_live
from tests.guest.bare_machine import FRESH, PROMPT, BareMachine
from tests.guest.machines import TIMEOUT_S

pytestmark = pytest.mark.guest
FORKS = 4
MIB = 6
DIGEST = hashlib.md5(bytes(MIB << 20)).hexdigest()
COMPUTE = f"head -c {MIB << 20} /dev/zero | md5sum"


@pytest.fixture(scope="module")
def bare() -> Iterator[BareMachine]:
    """A guest with two harts that has booted to its shell, where `secret` is set."""
    with BareMachine(2) as made:
        made.start().expect(PROMPT)
        made.type("secret=kept")
        made.expect(PROMPT)
        yield made


@pytest.fixture(scope="module")
def saved(bare: BareMachine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshots") / "booted"
    bare.machine.at_rest(lambda: snapshot.save(bare.machine, folder))
    return folder


def test_a_guest_goes_on_in_another_process(bare: BareMachine, saved: Path) -> None:
    """It keeps what it knew and goes on computing; the one that was saved goes on as well."""
    command = [sys.executable, "-m", "tests.guest.bare_machine", str(saved)]
    line = f"echo $secret $({COMPUTE})"
    done = subprocess.run(
        [*command, line, f"kept {DIGEST}"], capture_output=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert bare.answer("echo $secret") == "kept"


def test_a_restored_guest_can_be_saved_and_reset(saved: Path) -> None:
    child = saved.with_name("child")
    with BareMachine(2) as bare:
        snapshot.load(bare.machine, saved)
        bare.start()
        bare.type("secret=changed; echo do''ne")
        bare.expect(b"done")
        bare.machine.at_rest(lambda: snapshot.save(bare.machine, child, saved))
        assert (child / "memory.pack").stat().st_size < (saved / "memory.pack").stat().st_size / 4
        bare.type("reboot -f")
        bare.expect(FRESH)
        assert bare.answer("echo $secret") == ""
    with BareMachine(2) as bare:
        snapshot.load(bare.machine, child)
        bare.start()
        assert bare.answer("echo $secret") == "changed"
    snapshot.verify(child)


def test_a_live_snapshot_of_a_guest_that_computes(bare: BareMachine, saved: Path) -> None:
    """Both finish what they are at; the guest's clock has no gap that it would see as lost time."""
    live = saved.with_name("live")
    bare.type(f"uptime=$(cat /proc/uptime); {COMPUTE}; {COMPUTE}; echo all''done")
    bare.expect(DIGEST.encode())
    writer = bare.machine.at_rest(lambda: save_live(bare.machine, live))
    bare.expect(b"alldone")
    writer.finish()
    with BareMachine(2) as again:
        snapshot.load(again.machine, live)
        before = again.machine.time_ticks()
        again.start().expect(b"alldone")
        assert again.output.count(DIGEST.encode()) == 1
        assert float(again.answer("cut -d. -f1 /proc/uptime")) >= before // 10_000_000


def child_main(bare: BareMachine, number: int, writer: int) -> None:
    """What one fork does: its own computation, while its siblings do theirs. Ends the process."""
    text = "failed"
    try:
        secret = bare.answer(f"secret=${{secret}}{number}; echo $secret; {COMPUTE}")
        text = f"{secret.split()[0]} {secret.split()[1]}"
    except BaseException as error:
        text = repr(error)
    finally:
        os.write(writer, text.encode())
        os._exit(0)


def test_forks_go_on_each_by_itself(bare: BareMachine) -> None:
    """Forked in the middle of a computation, which each of them ends."""
    machine = bare.machine
    pipes = [os.pipe() for _ in range(FORKS)]

    pids: list[int] = []

    def make() -> None:
        number = fork(machine, FORKS, pids)
        if number is not None:
            bare.forked()
            threading.Thread(target=child_main, args=(bare, number, pipes[number][1]), daemon=True).start()

    bare.type(f"{COMPUTE}; echo all''done")
    machine.at_rest(make)
    bare.expect(b"alldone")
    for number, (reader, writer) in enumerate(pipes):
        os.close(writer)
        assert select.select([reader], [], [], TIMEOUT_S)[0], f"fork {number} does not answer"
        assert os.read(reader, 4096).decode() == f"kept{number} {DIGEST}"
        os.close(reader)
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert bare.answer("echo $secret") == "kept"


def test_a_paused_guest_notices_nothing(bare: BareMachine) -> None:
    """Its time stands still, so that no timer is late."""
    clock = bare.machine.clock
    bare.machine.pause()
    before, since_ns = bare.machine.at_rest(bare.machine.time_ticks), clock.now_ns()
    bare.output.clear()
    threading.Event().wait(0.3)
    with bare.machine.lock:
        bare.machine.board.console.port(0).receive(b"echo a''wake\n")
    assert bare.output == b""
    bare.machine.resume()
    bare.expect(b"awake")
    real_ticks = (clock.now_ns() - since_ns) // 100
    assert bare.machine.time_ticks() - before <= real_ticks - 2_900_000
