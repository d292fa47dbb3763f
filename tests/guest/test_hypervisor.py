# SPDX-License-Identifier: Apache-2.0
"""Real guests that the hypervisor keeps: started, reached, forked, saved, moved, killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import innkeeper
from innkeeper.api.places import Places
from innkeeper.client.sync import Client, Vm
from innkeeper.host.processes import process_start_ticks

pytestmark = pytest.mark.guest
ROOT = Path(__file__).parents[2]
INN = (sys.executable, "-c", "import sys; from innkeeper.cli import main; sys.exit(main())")
IDENTITY = "hostname; cat /etc/machine-id /sys/class/net/eth0/address; head -c 16 /dev/urandom | sha256sum"
READY_S = 120


@pytest.fixture(scope="module")
def client(places: Places) -> Client:
    return innkeeper.connect()


@pytest.fixture(scope="module")
def vm(client: Client) -> Vm:
    """One guest for all tests of the module."""
    vm = client.create("small", name="origin", labels={"test": "1"})
    vm.wait("ready", READY_S)
    return vm


def _inn(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*INN, *arguments], input=stdin, capture_output=True, timeout=120)


def test_commands_in_a_running_guest(vm: Vm) -> None:
    done = _inn(
        "exec", "origin", "--env", "A=b c", "--", "sh", "-c", 'cat; echo "$A" >&2; exit 7', stdin=b"text"
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, b"text", b"b c\n")
    data = os.urandom(5_000_000)
    assert vm.exec(["cat"], stdin=data).stdout == data
    assert vm.exec(["sleep", "60"], timeout_s=0.2).returncode == 124
    listed = _inn("ls", "--label", "test=1", "--quiet")
    assert listed.stdout == b"origin\n"


def test_a_console_for_two(vm: Vm) -> None:
    with vm.console() as one, vm.console() as other:
        one.send(b"echo $((6*7))-here\r")
        for stream in (one, other):
            seen = b""
            for output in stream.outputs():
                seen += output.data
                if b"42-here" in seen:
                    break
            assert b"42-here" in seen
    assert b"42-here" in b"".join(vm.logs())


def test_forks_are_machines_of_their_own(vm: Vm) -> None:
    vm.exec(["sh", "-c", "echo kept > /tmp/file"])
    forks = vm.fork(3)
    said = {each.name: each.exec(["sh", "-c", IDENTITY]).stdout.split() for each in (vm, *forks)}
    assert all(lines[0].decode() == name for name, lines in said.items())
    for position in range(4):
        assert len({lines[position] for lines in said.values()}) == 4, said
    assert all(each.exec(["cat", "/tmp/file"]).stdout == b"kept\n" for each in forks)
    assert len({each.refresh().pid for each in forks}) == 3
    for each in forks:
        each.remove(force=True)


def test_a_snapshot_is_restored_here_and_elsewhere(client: Client, vm: Vm, tmp_path: Path) -> None:
    vm.exec(["sh", "-c", "echo before > /tmp/file; sleep 1000 &"])
    first = vm.snapshot("first")
    vm.exec(["sh", "-c", "echo after > /tmp/file"])
    second = vm.snapshot("second")
    assert (second.info.parent_id, second.info.size_bytes < first.info.size_bytes) == (first.id, True)
    old = first.restore("old")
    assert old.exec(["cat", "/tmp/file"]).stdout == b"before\n"
    assert b"sleep 1000" in old.exec(["ps"]).stdout
    assert old.exec(["hostname"]).stdout == b"old\n"
    old.remove(force=True)
    assert _inn("export", "second", str(tmp_path / "file")).returncode == 0
    second.remove()
    first.remove()
    assert _inn("import", str(tmp_path / "file"), "--name", "moved").stdout == b"moved\n"
    new = client.snapshot("moved").restore("new")
    assert new.exec(["cat", "/tmp/file"]).stdout == b"after\n"
    new.remove(force=True)
    client.snapshot("moved").remove()
    client.snapshot("first").remove()


def test_a_damaged_snapshot_is_refused_and_its_vm_starts(client: Client, vm: Vm, places: Places) -> None:
    snapshot = vm.snapshot("damaged")
    pack = places.snapshot(snapshot.id) / "memory.pack"
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    with pytest.raises(innkeeper.errors.InnkeeperError, match=r"damaged|digest|checksum"):
        snapshot.restore(in_place=True)
    vm.start()
    vm.wait("ready", READY_S)
    snapshot.remove()


def test_vms_outlive_the_hypervisor_and_die_alone(client: Client, vm: Vm) -> None:
    pid = vm.refresh().pid
    daemon = client.info().pid
    os.kill(daemon, signal.SIGKILL)
    while process_start_ticks(daemon) is not None:
        pass
    again = innkeeper.connect().vm("origin")
    assert again.wait("ready", READY_S).pid == pid
    assert again.exec(["echo", "still here"]).stdout == b"still here\n"
    os.kill(pid or 0, signal.SIGKILL)
    assert "killed" in again.wait("crashed", READY_S).reason
    again.start()
    again.wait("ready", READY_S)
    again.stop()
    assert again.wait("stopped").reason == again.info.reason


@pytest.mark.parametrize("number", [0, 1])
def test_examples_of_the_documentation(places: Places, number: int) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text("utf-8"), re.M | re.S)
    done = subprocess.run([sys.executable, "-c", blocks[number]], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert ("riscv64" if number == 0 else "b'some text'") in done.stdout
