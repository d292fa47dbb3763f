# SPDX-License-Identifier: Apache-2.0
"""The real images, fetched from a mirror and booted under QEMU.

Not part of every run: set INNKEEPER_QEMU_GUESTS=1. Needs QEMU 10 and a mirror, and minutes the first time.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from innkeeper import images
from innkeeper.images import GuestDisk, GuestJob
from tests.unit.images.qemu_runner import PROGRAM, QemuRunner

pytestmark = [
    pytest.mark.guest,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not os.environ.get("INNKEEPER_QEMU_GUESTS") or shutil.which(PROGRAM) is None,
        reason="set INNKEEPER_QEMU_GUESTS=1 and install QEMU",
    ),
]
EVERY_BYTE = bytes(range(1, 256))


def _run(
    boot: images.BootFiles,
    argv: list[str | bytes],
    disk: Path | None = None,
    stdin: bytes = b"",
    cpus: int = 1,
) -> tuple[int, bytes, bytes]:
    initrd = images.join_initrd(
        boot.initrd.read_bytes(), images.command_archive(argv, {"MARK": "it's"}, None)
    )
    disks = (GuestDisk(disk, False),) if disk is not None else ()
    runner = QemuRunner(stdin=stdin, cpus=cpus)
    status = runner.run(GuestJob(boot.kernel, initrd, boot.append, disks, 512 << 20), lambda data: None)
    assert runner.output["control"].startswith(b"ready\n")
    return status, runner.output["stdout"], runner.output["stderr"]


@pytest.fixture(scope="module")
def small() -> images.BootFiles:
    return images.ensure("small", images.SILENT, None)


@pytest.fixture(scope="module")
def debian() -> images.BootFiles:
    return images.ensure("debian", images.SILENT, QemuRunner())


@pytest.mark.parametrize("cpus", [1, 2])
def test_small_runs_a_command(small: images.BootFiles, cpus: int) -> None:
    status, output, errors = _run(small, ["sh", "-c", "uname -srm; echo e >&2; exit 7"], cpus=cpus)
    assert (status, errors) == (7, b"e\n")
    assert output.startswith(b"Linux 6.12")
    assert output.endswith(b"riscv64\n")


def test_small_passes_every_byte(small: images.BootFiles) -> None:
    assert _run(small, ["printf", "%s", EVERY_BYTE]) == (0, EVERY_BYTE, b"")


def test_small_passes_input_and_environment(small: images.BootFiles) -> None:
    status, output, _ = _run(small, ["sh", "-c", 'read -r line; echo "$line $MARK"'], stdin=b"input\n")
    assert (status, output) == (0, b"input it's\n")


@pytest.mark.parametrize(
    ("argv", "expected"), [(["sh", "-c", "kill -9 $$"], 137), (["none"], 127), (["/etc/hosts"], 126)]
)
def test_small_tells_how_a_command_ended(
    small: images.BootFiles, argv: list[str | bytes], expected: int
) -> None:
    assert _run(small, argv)[0] == expected


def test_small_mounts_an_ext4_disk(small: images.BootFiles, debian: images.BootFiles, tmp_path: Path) -> None:
    disk = _copy(debian, tmp_path)
    status, output, _ = _run(
        small, ["sh", "-c", "mount /dev/vda /sysroot && cat /sysroot/etc/hostname"], disk
    )
    assert (status, output) == (0, b"innkeeper\n")
    _check_clean(disk)


def _copy(debian: images.BootFiles, folder: Path) -> Path:
    disk = folder / "disk"
    subprocess.run(["cp", "--sparse=always", str(debian.root_disk), str(disk)], check=True)
    disk.chmod(0o600)
    return disk


def _check_clean(disk: Path) -> None:
    checked = subprocess.run(["e2fsck", "-fn", str(disk)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_debian_works_and_stays_clean(debian: images.BootFiles, tmp_path: Path) -> None:
    disk = _copy(debian, tmp_path)
    program = "import os; f = open('/x', 'w'); f.write('x' * 99999); f.flush(); os.fsync(f.fileno())"
    script = (
        f'apt-get --version | head -1; dpkg --audit; sleep 99 & python3 -c "{program}"; wc -c </x; exit 3'
    )
    status, output, errors = _run(debian, ["bash", "-c", script], disk)
    assert status == 3, errors
    assert output.startswith(b"apt 3.")
    assert output.endswith(b"\n99999\n")
    assert output.count(b"\n") == 2, "dpkg --audit found something"
    _check_clean(disk)


def test_debian_has_all_packages_installed(debian: images.BootFiles, tmp_path: Path) -> None:
    argv: list[str | bytes] = [
        "sh",
        "-c",
        "dpkg-query -W -f '${db:Status-Status}\\n' | sort | uniq; apt-get check",
    ]
    status, output, errors = _run(debian, argv, _copy(debian, tmp_path))
    assert (status, errors) == (0, b"")
    assert output.startswith(b"installed\n")
