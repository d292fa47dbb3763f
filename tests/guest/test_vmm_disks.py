# SPDX-License-Identifier: Apache-2.0
"""The root disk of a VM in its VMM process: kept, and copied into forks and snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.api.vmm_protocol import VmDisk
from innkeeper.errors import ConfigError
from tests.guest.vmm import Vmm, config_of, start_vmm

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900), pytest.mark.usefixtures("debian")]
MEMORY_BYTES = 512 << 20


def start_debian(folder: Path, number: int, **fields: object) -> Vmm:
    folder.mkdir()
    overlay = str(folder / "root.overlay")
    vmm = start_vmm(folder, number, image="debian", root_overlay=overlay, memory_bytes=MEMORY_BYTES, **fields)
    vmm.wait_ready()
    return vmm


def end_cleanly(vmm: Vmm) -> None:
    vmm.control.call("stop")
    assert vmm.ended().ending == "power-off"
    vmm.close()


def test_disks_of_copies(tmp_path: Path) -> None:
    origin = start_debian(tmp_path / "origin", 1)
    copies: list[Vmm] = []
    try:
        origin.shell("echo origin > /root/file; sync")
        folder = tmp_path / "fork"
        folder.mkdir()
        config = config_of(
            folder, 2, image="debian", root_overlay=str(folder / "root.overlay"), memory_bytes=MEMORY_BYTES
        )
        origin.control.call("fork", configs=[config.to_json()])
        copies.append(Vmm(folder, None, config))
        copies[0].wait_ready()
        copies[0].shell("echo fork > /root/file; python3 -c 'print(2**64)' > /root/more; sync")
        assert origin.shell("cat /root/file; ls /root") == "origin\nfile\n"
        copies[0].control.call("snapshot", folder=str(tmp_path / "snapshot"), parent=None)
        copies[0].shell("rm /root/file; sync")
        end_cleanly(copies[0])
        restored = start_debian(tmp_path / "restored", 3, restore_from=str(tmp_path / "snapshot"))
        copies.append(restored)
        assert restored.shell("cat /root/file /root/more") == f"fork\n{2**64}\n"
        restored.shell(
            "echo 3 > /proc/sys/vm/drop_caches; cat /root/file /root/more; echo restored > /root/file"
        )
        end_cleanly(restored)
        # The same disk, booted: what was written is there, and its file system was left clean.
        again = start_debian_again(restored)
        copies.append(again)
        assert again.shell("cat /root/file") == "restored\n"
        assert "recovery" not in again.shell("dmesg | grep -i ext4")
        end_cleanly(origin)
    finally:
        for vmm in (origin, *copies):
            vmm.close()


def start_debian_again(ended: Vmm) -> Vmm:
    (ended.folder / "ended.json").unlink()
    overlay = str(ended.folder / "root.overlay")
    vmm = start_vmm(ended.folder, 3, image="debian", root_overlay=overlay, memory_bytes=MEMORY_BYTES)
    vmm.wait_ready()
    return vmm


def test_a_vm_that_writes_to_a_disk_of_its_user_is_not_copied(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    folder = tmp_path / "vm"
    folder.mkdir()
    vmm = start_vmm(folder, 1, disks=(VmDisk(str(disk)),))
    try:
        vmm.wait_ready()
        other = config_of(tmp_path, 2, disks=(VmDisk(str(disk)),))
        with pytest.raises(ConfigError, match="written by both"):
            vmm.control.call("fork", configs=[other.to_json()])
        with pytest.raises(ConfigError, match="written by both"):
            vmm.control.call("snapshot", folder=str(tmp_path / "snapshot"), parent=None)
        assert vmm.status().ready and not (tmp_path / "snapshot").exists()
    finally:
        vmm.close()
