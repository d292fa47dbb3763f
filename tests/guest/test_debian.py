# SPDX-License-Identifier: Apache-2.0
"""The `debian` image: built in a guest of our own where it is not in the cache, then booted."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from innkeeper import images
from innkeeper.images.mirror import mirrors
from tests.guest.machines import machine

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]
FSCK = shutil.which("e2fsck", path="/usr/sbin:/sbin")
SUM = "print(sum(i*i for i in range(10**6)))"


def test_its_own_disk_is_not_written(debian: images.BootFiles) -> None:
    assert debian.root_disk is not None
    before = debian.root_disk.stat()
    result = machine(image="debian", cpus=2).run("echo kept >/root/file && sync && cat /root/file; exit 3")
    assert (result.stdout, result.stderr, result.returncode) == (b"kept\n", b"", 3)
    after = debian.root_disk.stat()
    assert (after.st_mtime_ns, after.st_blocks) == (before.st_mtime_ns, before.st_blocks)


@pytest.mark.skipif(FSCK is None, reason="e2fsprogs is not installed")
def test_userland_works_and_power_off_leaves_a_clean_file_system(
    debian: images.BootFiles, tmp_path: Path
) -> None:
    """On a copy of the disk, as the user's: what is left on it can be looked at."""
    assert FSCK is not None
    disk = tmp_path / "disk"
    subprocess.run(["cp", "--sparse=always", str(debian.root_disk), str(disk)], check=True)
    disk.chmod(0o600)
    script = f"""
        apt-get --version | head -n 1
        python3 -c '{SUM}'
        dpkg --audit && apt-get check >/dev/null
        dpkg-query -W -f '${{db:Status-Status}}\\n' | sort | uniq -c | wc -l
        dd if=/dev/urandom of=/root/random bs=1M count=8 conv=fsync 2>&1 | tail -n 1 | cut -d " " -f 1
        sleep 1000 &
        exit 5
    """
    guest = machine(kernel=debian.kernel, initrd=debian.initrd, append=debian.append, disks=[disk])
    result = guest.run(script)
    version, total, states, written = result.stdout.decode().splitlines()
    assert (result.returncode, result.stderr) == (5, b"")
    assert version.startswith("apt 3.") and (total, states, written) == ("333332833333500000", "1", "8388608")
    checked = subprocess.run([FSCK, "-fn", str(disk)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_packages_are_installed_through_the_user_network(debian: images.BootFiles) -> None:
    """From the archive that the image was built from, which is what the guest's apt knows."""
    mirror = mirrors(os.environ, Path("/etc/apt"))[0]
    if not _is_reachable(mirror):
        pytest.skip("Debian's mirror cannot be reached from here")
    script = """
        (apt-get update && apt-get install -y --no-install-recommends jq) >&2 &&
        echo '{"a":1}' | jq .a
    """
    result = machine(image="debian", memory_bytes=1 << 30).run(script)
    log = result.stderr.decode()
    assert result.returncode == 0 and result.stdout == b"1\n", log[-2000:]


def _is_reachable(mirror: str) -> bool:
    try:
        return httpx.get(f"{mirror}/dists/stable/InRelease", timeout=20).is_success
    except httpx.HTTPError:
        return False
