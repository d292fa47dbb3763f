# SPDX-License-Identifier: Apache-2.0
"""Commands in real guests: the `small` image on the engine that `auto` chooses."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from innkeeper.machine.machine import VirtMachine
from innkeeper.vmm import DiskSpec, Machine

pytestmark = pytest.mark.guest
TIMEOUT_S = 240
FIRMWARE = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic")
MKFS, FSCK = (
    shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin"),
    shutil.which("e2fsck", path="/usr/sbin:/sbin"),
)


def machine(**arguments: object) -> Machine:
    return Machine(**{"timeout_s": TIMEOUT_S, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_output_and_status(cpus: int) -> None:
    with machine(cpus=cpus) as guest:
        result = guest.run("uname -srm; nproc; echo to stderr >&2; exit 7")
        name, count = result.stdout.decode().splitlines()
        assert name.startswith("Linux 6.12") and name.endswith("riscv64") and int(count) == cpus
        assert (result.stderr, result.returncode, result.timed_out) == (b"to stderr\n", 7, False)
        assert guest.run(["false"]).returncode == 1  # a second boot


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize("file", ["fw_dynamic.bin", "fw_jump.elf"])
def test_firmware(file: str, cpus: int) -> None:
    if not (FIRMWARE / file).exists():
        pytest.skip("Debian's opensbi is not installed")
    result = machine(cpus=cpus, firmware=FIRMWARE / file).run("nproc")
    assert (result.stdout, result.returncode) == (b"%d\n" % cpus, 0)


def test_standard_input_of_any_size(rng: random.Random) -> None:
    data = rng.randbytes(5_000_000)
    result = machine().run("sha256sum", stdin=data)
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_standard_input_from_a_pipe_and_a_slow_reader(rng: random.Random) -> None:
    """What comes in goes out again, through a reader on the host that is slower than the guest."""
    data = rng.randbytes(3_000_000)
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    received = bytearray()
    biggest = 0

    def take(part: bytes) -> None:
        nonlocal biggest
        biggest = max(biggest, len(part))
        for _ in range(50):
            hashlib.sha256(data[:65536]).digest()
        received.extend(part)

    result = machine(cpus=2).run(["cat"], stdin=reader, stdout=take)
    thread.join()
    os.close(reader)
    assert result.returncode == 0 and result.stdout == b""
    assert received == data
    assert biggest < 2 << 20


@pytest.mark.parametrize("stdin", [None, b""])
def test_standard_input_at_its_end(stdin: bytes | None) -> None:
    assert machine().run("cat; echo end", stdin=stdin).stdout == b"end\n"


def test_the_null_device_as_standard_input() -> None:
    with open(os.devnull, "rb") as null:
        assert machine().run(["cat"], stdin=null.fileno()).returncode == 0


def test_a_command_that_leaves_its_input_alone() -> None:
    reader, writer = os.pipe()
    try:
        assert machine().run(["true"], stdin=reader).returncode == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_status_of_signals_and_of_what_is_not_there() -> None:
    guest = machine()
    assert guest.run("kill -9 $$").returncode == 128 + 9
    assert guest.run(["no-such-program"]).returncode == 127


def test_arguments_environment_and_folder_arrive_as_they_are() -> None:
    argv = ["printf", "%s|", "a b", "", "$HOME", "'\"\\", "ü\n"]
    assert machine().run(argv).stdout.decode() == "a b||$HOME|'\"\\|ü\n|"
    result = machine().run("echo $GREETING; pwd", env={"GREETING": "hello  there"}, cwd="/tmp")
    assert result.stdout == b"hello there\n/tmp\n"


def test_time_out_keeps_what_was_written() -> None:
    result = machine(timeout_s=15).run("echo begun; sleep 1000")
    assert (result.returncode, result.timed_out, result.stdout) == (124, True, b"begun\n")


def test_an_error_in_a_callback_ends_the_guest() -> None:
    def closed(data: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        machine().run(["yes"], stdout=closed)


def test_an_idle_guest_costs_next_to_nothing() -> None:
    def cpu_s(command: str) -> float:
        before = time.process_time()
        assert machine(cpus=2).run(command).returncode == 0
        return time.process_time() - before

    booting = min(cpu_s("true") for _ in range(2))
    # 20 s asleep; the promise is 2 %, the rest is room for the boots to differ.
    assert cpu_s("sleep 20") - booting < 20 * 0.02 + booting


def test_memory_that_is_not_touched_is_not_resident(monkeypatch: pytest.MonkeyPatch) -> None:
    resident: list[int] = []
    close = VirtMachine.close

    def measured(self: VirtMachine) -> None:
        resident.append(self.memory.resident_bytes())
        close(self)

    monkeypatch.setattr(VirtMachine, "close", measured)
    assert machine(memory_bytes=8 << 30).run(["true"]).returncode == 0
    # The kernel describes each page in 64 bytes, which is 128 MiB of 8 GiB.
    assert 0 < resident[0] < 512 << 20


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
