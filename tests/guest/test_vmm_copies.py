# SPDX-License-Identifier: Apache-2.0
"""Forks and restores of a VM: each is a machine of its own, to whoever looks from inside."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from innkeeper.api.vmm_protocol import ENDED_FILE, EndedRecord
from innkeeper.errors import ConfigError
from tests.guest.vmm import WAIT_S, Vmm, config_of, start_vmm

pytestmark = pytest.mark.guest

WHO_AM_I = (
    "hostname; cat /etc/machine-id; cat /sys/class/net/eth0/address; cat /run/innkeeper/generation;"
    "head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; date +%s"
)


@dataclass(frozen=True)
class Who:
    """What a machine is known by; `wall_s` is its clock."""

    hostname: str
    machine_id: str
    mac_address: str
    generation: str
    random: str
    wall_s: int

    @classmethod
    def ask(cls, vmm: Vmm) -> Who:
        *texts, wall = vmm.shell(WHO_AM_I).splitlines()
        return cls(*texts, wall_s=int(wall))


def require_all_different(everybody: list[Who]) -> None:
    for name in ("hostname", "machine_id", "mac_address", "generation", "random"):
        values = [getattr(who, name) for who in everybody]
        assert len(set(values)) == len(values), f"{name}: {values}"
    for who in everybody:
        assert abs(who.wall_s - time.time()) < 60, "its clock is wrong"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vmm]:
    vmm = start_vmm(tmp_path_factory.mktemp("v"), 1)
    try:
        vmm.wait_ready()
        yield vmm
    finally:
        vmm.close()


def fork(origin: Vmm, folder: Path, numbers: range) -> list[Vmm]:
    configs = []
    for number in numbers:
        (folder / str(number)).mkdir()
        configs.append(config_of(folder / str(number), number))
    pids = origin.control.call("fork", configs=[config.to_json() for config in configs])["pids"]
    forks = [Vmm(Path(config.console_log).parent, None, config) for config in configs]
    assert [vmm.status().pid for vmm in forks] == pids
    return forks


def test_forks(origin: Vmm, tmp_path: Path) -> None:
    origin.shell("echo before > /tmp/file; mkfifo /tmp/fifo; (read x < /tmp/fifo; echo $x > /tmp/out) &")
    forks = fork(origin, tmp_path, range(10, 12))
    try:
        again = fork(forks[0], tmp_path, range(20, 21))
        everybody = [origin, *forks, *again]
        for vmm in everybody:
            vmm.wait_ready()
        require_all_different([Who.ask(vmm) for vmm in everybody])
        for number, vmm in enumerate(everybody):
            # What ran goes on in each, and nobody sees what another does.
            assert vmm.shell("cat /tmp/file") == "before\n"
            vmm.shell(f"echo {number} > /tmp/fifo; until [ -s /tmp/out ]; do sleep 0.01; done")
            assert vmm.shell("cat /tmp/out") == f"{number}\n"
    finally:
        for vmm in forks + again:
            vmm.close()
    assert origin.status().ready
    assert [vmm.ended().ending for vmm in forks] == ["stopped", "stopped"]


def test_a_command_that_runs_in_the_origin_goes_on_there_only_for_its_client(
    origin: Vmm, tmp_path: Path
) -> None:
    with origin.connect() as client:
        client.call("exec", argv=["sh", "-c", "echo on; read x; echo got $x"])
        client.frame()
        [copy] = fork(origin, tmp_path, range(30, 31))
        try:
            copy.wait_ready()
            client.send(b"\0\0\0\0\5word\n" + b"\0\0\0\0\0")
            assert client.result() == (0, b"got word\n", b"")
        finally:
            copy.close()


def test_restored_snapshots(origin: Vmm, tmp_path: Path) -> None:
    origin.shell("echo kept > /tmp/kept")
    taken = origin.control.call("snapshot", folder=str(tmp_path / "first"), parent=None)
    origin.shell("echo more > /tmp/more")
    origin.control.call("snapshot", folder=str(tmp_path / "second"), parent=str(tmp_path / "first"))
    assert taken["pause_ns"] > 0
    with pytest.raises(ConfigError, match="exists"):
        origin.control.call("snapshot", folder=str(tmp_path / "first"), parent=None)
    everybody = [Who.ask(origin)]
    for number, name, files in (
        (40, "first", "kept"),
        (41, "second", "kept more"),
        (42, "second", "kept more"),
    ):
        folder = tmp_path / f"vm{number}"
        folder.mkdir()
        copy = start_vmm(folder, number, restore_from=str(tmp_path / name))
        try:
            copy.wait_ready()
            everybody.append(Who.ask(copy))
            assert copy.shell("cd /tmp; cat kept more 2>/dev/null; true").split() == files.split()
            copy.control.call("stop")
            assert copy.ended().ending == "power-off"
        finally:
            copy.close()
    require_all_different(everybody)


def test_a_damaged_snapshot_is_refused(origin: Vmm, tmp_path: Path) -> None:
    origin.control.call("snapshot", folder=str(tmp_path / "good"), parent=None)
    manifest = tmp_path / "good" / "snapshot.json"
    manifest.write_bytes(manifest.read_bytes()[:-100])
    folder = tmp_path / "vm"
    folder.mkdir()
    with pytest.raises(AssertionError, match="inn: "):
        start_vmm(folder, 50, restore_from=str(tmp_path / "good"))
    assert '"crashed"' in (folder / "ended.json").read_text("utf-8")


def test_a_fork_that_cannot_listen_ends_and_harms_nobody(origin: Vmm, tmp_path: Path) -> None:
    lost = config_of(tmp_path, 70, control_socket=str(tmp_path / "missing" / "vmm.sock"))
    origin.control.call("fork", configs=[lost.to_json()])
    deadline = time.monotonic() + WAIT_S
    while not (tmp_path / ENDED_FILE).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ended = EndedRecord.from_json(json.loads((tmp_path / ENDED_FILE).read_text("utf-8")))
    assert ended.ending == "crashed" and "cannot listen" in ended.reason
    assert origin.status().ready and origin.run("true")[0] == 0
    assert not (origin.folder / ENDED_FILE).exists()


def test_forks_that_cannot_be(origin: Vmm, tmp_path: Path) -> None:
    for fields in ({"cpus": 2}, {"memory_bytes": 512 << 20}, {"mac_addresses": ()}):
        with pytest.raises(ConfigError, match="fork"):
            origin.control.call("fork", configs=[config_of(tmp_path, 60, **fields).to_json()])
    with pytest.raises(ConfigError, match="forks at once"):
        origin.control.call("fork", configs=[])
    assert origin.run("true")[0] == 0
