# SPDX-License-Identifier: Apache-2.0
"""Disks of the user's in real guests: what is kept, what is not touched, and a host that is full."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.vmm import DiskSpec
from tests.guest.machines import machine

pytestmark = pytest.mark.guest
MKFS, FSCK = (
    shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin"),
    shutil.which("e2fsck", path="/usr/sbin:/sbin"),
)
WRITE_BEHIND_THE_LIMIT = (
    "for time in 1 2 3; do dd if=/dev/zero of=/dev/vda bs=1M seek=2048 count=4 conv=fsync 2>/dev/null;"
    " echo $?; done"
)


def test_reset_boots_again_and_disks_keep_what_was_flushed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    command = (
        'if [ "$(head -c 4 /dev/vda)" = done ]; then exit 5; fi;'
        "printf done | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null; reboot -f"
    )
    assert machine(disks=[disk]).run(command).returncode == 5
    assert disk.read_bytes()[:4] == b"done"


def test_a_read_only_disk_stays_as_it_is(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"keep" + bytes(4092))
    result = machine(disks=[DiskSpec(disk, read_only=True)]).run(
        "head -c 4 /dev/vda; printf gone | dd of=/dev/vda 2>/dev/null"
    )
    assert result.stdout == b"keep" and result.returncode != 0
    assert disk.read_bytes()[:4] == b"keep"


@pytest.mark.skipif(MKFS is None or FSCK is None, reason="e2fsprogs is not installed")
def test_power_off_leaves_a_clean_file_system(tmp_path: Path) -> None:
    assert MKFS is not None and FSCK is not None
    disk = tmp_path / "disk"
    disk.write_bytes(b"")
    os.truncate(disk, 64 << 20)
    subprocess.run([MKFS, "-q", str(disk)], check=True)
    command = (
        "mount -t ext4 /dev/vda /mnt && seq 100000 >/mnt/numbers && mkdir /mnt/folder && sync /mnt/numbers"
    )
    result = machine(disks=[disk], cpus=2).run("mkdir -p /mnt; " + command)
    assert (result.returncode, result.stderr) == (0, b"")
    done = subprocess.run([FSCK, "-fn", str(disk)], capture_output=True)
    assert done.returncode == 0, done.stdout
    content = subprocess.run(["/usr/sbin/debugfs", "-R", "cat /numbers", str(disk)], capture_output=True)
    assert content.stdout == b"".join(b"%d\n" % number for number in range(1, 100_001))


@contextlib.contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """Let the host refuse to write files behind `size_bytes`, as a full disk does."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.mark.parametrize("listens", [True, False])
def test_a_disk_that_the_host_cannot_write_is_an_io_error_and_told_once(
    tmp_path: Path, listens: bool
) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 4 << 30)
    told: list[str] = []
    guest = machine(disks=[disk], on_warning=told.append if listens else None)
    watching = contextlib.nullcontext() if listens else pytest.warns(RuntimeWarning)
    with full_disk(1 << 30), watching as seen:
        result = guest.run(WRITE_BEHIND_THE_LIMIT)
    assert result.stdout == b"1\n1\n1\n"
    messages = told if listens else [str(warning.message) for warning in seen or ()]
    assert len(messages) == 1 and f"no space left on the host for the disk {disk}" in messages[0]
    if not listens:
        assert seen and seen[0].filename == __file__
