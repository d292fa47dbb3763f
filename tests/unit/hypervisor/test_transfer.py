# SPDX-License-Identifier: Apache-2.0
"""Exports and imports: what goes in comes out, and nothing of what a hostile file wants happens."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from innkeeper.api.models import Operation, SnapshotRestore
from innkeeper.api.places import Places
from innkeeper.api.problems import ConflictError
from innkeeper.errors import ConfigError, InnkeeperError
from innkeeper.hypervisor import snapshots, transfer
from innkeeper.hypervisor.export_format import CHECKSUMS, MANIFEST, ROOT_DISK, read_archive, write_archive
from innkeeper.hypervisor.hypervisor import Hypervisor
from tests.unit.hypervisor.conftest import open_hypervisor, temporary_places
from tests.unit.hypervisor.test_lifecycle import done, launch
from tests.unit.hypervisor.test_snapshots import take

Run = Callable[..., Any]


async def exported(parts: Any) -> bytes:
    return b"".join([part async for part in parts])


async def imported(hypervisor: Hypervisor, data: bytes, name: str | None = None) -> Operation:
    path = transfer.scratch_path(hypervisor)
    path.write_bytes(data)
    operation = await transfer.import_archive(hypervisor, path, name)
    return await hypervisor.operations.wait(operation.id, 60)


def fake_disk_tool(*arguments: str) -> None:
    """Overlays are raw disks with a word before them."""
    if arguments[0] == "flatten":
        Path(arguments[2]).write_bytes(Path(arguments[1]).read_bytes().removeprefix(b"overlay "))
    else:
        Path(arguments[2]).write_bytes(b"overlay " + Path(arguments[1]).read_bytes())


def test_a_vm_goes_to_another_host(run: Run, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "run_disk_tool", fake_disk_tool)

    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a", labels={"x": "y"}, autostart=True, memory_bytes=1 << 30)
        with pytest.raises(ConflictError, match="stop it first"):
            await exported(transfer.export_vm(hypervisor, vm))
        await vm.stop(force=True, timeout_s=0)
        disk = places.vm(vm.id) / "disks/root.overlay"
        disk.write_bytes(b"overlay " + bytes(200_000) + b"content" + bytes(100_000))
        data = await exported(transfer.export_vm(hypervisor, vm))
        with temporary_places() as elsewhere:
            other = await open_hypervisor(elsewhere)
            made = other.vms[(await done(other, await imported(other, data))).vms[0]]
            assert made.record.name == "a" and made.record.settings.labels == {"x": "y"}
            assert made.record.settings.memory_bytes == 1 << 30 and not made.record.settings.autostart
            assert made.record.mac_address != vm.record.mac_address
            assert (elsewhere.vm(made.id) / "disks/root.overlay").read_bytes() == disk.read_bytes()
            await made.start()
            assert (await imported(other, data)).state == "failed"
            assert (await imported(other, data, "b")).state == "done"
            assert list(elsewhere.imports.iterdir()) == []
            await made.stop(force=True, timeout_s=0)
            await other.close()
        assert list(places.imports.iterdir()) == []

    run(scenario)


def test_a_snapshot_goes_with_its_parents(run: Run, places: Places) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a")
        first, second = await take(hypervisor, vm, "one"), await take(hypervisor, vm, "two")
        (places.snapshot(second.id) / "memory.raw").write_bytes(b"only of this host")
        data = await exported(transfer.export_snapshot(hypervisor, second))
        assert (await imported(hypervisor, data)).state == "failed", "it is here already"
        with temporary_places() as elsewhere:
            other = await open_hypervisor(elsewhere)
            assert (await imported(other, data, "zwei")).snapshot == second.id
            assert [record.name for record in snapshots.select(other)] == ["one", "zwei"]
            for record in (first, second):
                for path in places.snapshot(record.id).glob("[!m]*"):
                    assert (elsewhere.snapshot(record.id) / path.name).read_bytes() == path.read_bytes()
            assert not (elsewhere.snapshot(second.id) / "memory.raw").exists()
            operation = await snapshots.restore(other, other.snapshots[second.id], SnapshotRestore())
            restored = other.vms[(await done(other, operation)).vms[0]]
            await restored.stop(force=True, timeout_s=0)
            await other.close()
        (places.snapshot(first.id) / "root.overlay").touch()
        with pytest.raises(ConflictError, match="stop the VM"):
            await exported(transfer.export_snapshot(hypervisor, second))

    run(scenario)


def test_cut_and_changed_files_are_refused(run: Run, places: Places, rng: random.Random) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a")
        data = await exported(transfer.export_snapshot(hypervisor, await take(hypervisor, vm)))
        await hypervisor.remove_now(vm)
        await done(hypervisor, await snapshots.remove(hypervisor, snapshots.select(hypervisor)[0]))
        for number in range(100):
            damaged = bytearray(data)
            if number % 2:
                damaged = damaged[: rng.randrange(len(data) - 8)]
            else:
                damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            ended = await imported(hypervisor, bytes(damaged))
            if ended.state == "done":  # a bit that zstd does not use
                await done(hypervisor, await snapshots.remove(hypervisor, snapshots.select(hypervisor)[0]))
            else:
                assert ended.problem is not None and ended.problem.status == 422, ended
            assert hypervisor.snapshots == {} and hypervisor.vms == {}
            assert list(places.snapshots.iterdir()) == list(places.imports.iterdir()) == []
        assert (await imported(hypervisor, data)).state == "done"

    run(scenario)


def archive(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    """A compressed tar archive with these members."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return zstandard.compress(plain.getvalue())


def special(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


HEAD = (MANIFEST, json.dumps({"format": "innkeeper-export", "version": 1, "kind": "vm"}).encode())
END = (CHECKSUMS, b'{"files": {}}')


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([HEAD, ("../evil", b"x"), END], "does not belong"),
        ([HEAD, ("/etc/evil", b"x"), END], "does not belong"),
        ([HEAD, ("snapshots/0123456789ab/../../evil", b"x"), END], "does not belong"),
        ([HEAD, ("snapshots/0123456789ab/.hidden", b"x"), END], "does not belong"),
        ([HEAD, ("vm/root.overlay", b"x"), END], "does not belong"),
        ([HEAD, (special(ROOT_DISK, tarfile.SYMTYPE), b""), END], "no plain file"),
        ([HEAD, (special(ROOT_DISK, tarfile.LNKTYPE), b""), END], "no plain file"),
        ([HEAD, (special(ROOT_DISK, tarfile.CHRTYPE), b""), END], "no plain file"),
        ([HEAD, (special("vm", tarfile.DIRTYPE), b""), END], "no plain file"),
        ([HEAD, (ROOT_DISK, b"x"), (ROOT_DISK, b"y"), END], "does not belong"),
        ([HEAD, (ROOT_DISK, b"x"), END], "checksums"),
        ([HEAD], "cut off"),
        ([HEAD, (CHECKSUMS, b"[]")], "no object"),
        ([HEAD, (CHECKSUMS, b"\xff")], "no JSON"),
        ([(MANIFEST, b"{}"), END], "no export"),
        ([("other", b"{}"), END], "no export"),
        ([(MANIFEST, b'{"format": "innkeeper-export", "version": 2}'), END], "version 2"),
        ([], "cut off"),
    ],
)
def test_hostile_archives(tmp_path: Path, members: list[Any], reason: str) -> None:
    path, folder = tmp_path / "archive", tmp_path / "a/b/c"
    path.write_bytes(archive(*members))
    folder.mkdir(parents=True)
    with pytest.raises(ConfigError, match=reason):
        read_archive(path, folder)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("data", [b"", b"x" * 100, zstandard.compress(b"x" * 5000)])
def test_files_that_are_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "archive").write_bytes(data)
    with pytest.raises(ConfigError):
        read_archive(tmp_path / "archive", tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [
        {"kind": "vm", "name": "../x", "settings": {}},
        {"kind": "vm", "name": "x", "settings": {"cpus": 10**9}},
        {"kind": "vm", "name": "x", "settings": {"image": "../../etc"}},
        {"kind": "vm", "name": "x", "settings": {"restart": "perhaps"}},
        {"kind": "vm", "name": 5},
        {"kind": "snapshot", "snapshots": []},
        {"kind": "snapshot", "snapshots": [{"id": "../../../etc"}]},
        {"kind": "snapshot", "snapshots": 5},
        {"kind": "cake"},
        {},
    ],
)
def test_wrong_manifests(run: Run, places: Places, manifest: dict[str, Any]) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        ended = await imported(hypervisor, b"".join(write_archive(manifest, [])))
        assert ended.problem is not None and ended.problem.status == 422, ended
        assert hypervisor.vms == {} and hypervisor.services.store.intents() == []

    run(scenario)


def test_large_holes_stay_holes(tmp_path: Path) -> None:
    source = tmp_path / "root.raw"
    with source.open("wb") as file:
        file.seek(200 << 20)
        file.write(b"end")
    data = b"".join(write_archive({"kind": "vm"}, [(ROOT_DISK, source)]))
    assert len(data) < 1 << 20
    (tmp_path / "archive").write_bytes(data)
    (tmp_path / "out").mkdir()
    read_archive(tmp_path / "archive", tmp_path / "out")
    copy = tmp_path / "out" / ROOT_DISK
    assert copy.stat().st_size == source.stat().st_size and copy.stat().st_blocks * 512 < 1 << 20


def test_the_disk_tool_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InnkeeperError, match="nothing"):
        transfer.run_disk_tool("flatten", str(tmp_path / "nothing"), str(tmp_path / "raw"))
