# SPDX-License-Identifier: Apache-2.0
"""The whole way of an image, from a fake archive to files to boot."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innkeeper import images
from innkeeper.errors import ConfigError, GuestError, HostError, InnkeeperError
from innkeeper.images.cpio import read_entries
from innkeeper.images.definition import definition, parse_definition
from innkeeper.images.progress import Unit
from tests.unit.images.fake_archive import FakeArchive, serving
from tests.unit.images.fake_debian import APPLETS, IMAGE, RELEASE, add_debian, add_small


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeArchive]:
    archive = FakeArchive()
    with serving(archive):
        monkeypatch.setenv("INNKEEPER_MIRROR", archive.address)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr("innkeeper.images.build.debian_keyring", lambda: archive.keyring)
        yield archive


class Recorded:
    """Progress that remembers whether every task was finished."""

    def __init__(self) -> None:
        self.open = 0
        self.amounts: dict[str, int] = {}
        self.totals: dict[str, int | None] = {}

    def task(self, title: str, total: int | None, unit: Unit) -> "_RecordedTask":
        self.open += 1
        self.totals[title] = total
        return _RecordedTask(self, title)


class _RecordedTask:
    def __init__(self, owner: Recorded, title: str) -> None:
        self._owner, self._title = owner, title

    def advance(self, amount: int) -> None:
        self._owner.amounts[self._title] = self._owner.amounts.get(self._title, 0) + amount

    def finish(self) -> None:
        self._owner.open -= 1


class FakeRunner:
    """Pretends to be the guest that installs Debian."""

    def __init__(self, status: int = 0, error: InnkeeperError | None = None) -> None:
        self.jobs: list[images.GuestJob] = []
        self.status, self.error = status, error

    def run(self, job: images.GuestJob, on_output: Callable[[bytes], None]) -> int:
        self.jobs.append(job)
        assert job.disks[1].path.read_bytes()[257:262] == b"ustar"
        on_output(b"step unpack\nSetting up ba")
        on_output(b"sh\nE: \x1b[31mboom\n")
        if self.error is not None:
            raise self.error
        return self.status


def _small(mirror: FakeArchive, installer: bool = True) -> images.BootFiles:
    add_small(mirror, installer)
    mirror.publish()
    return images.ensure("small", images.SILENT, None)


@pytest.mark.parametrize("installer", [True, False])
def test_small_is_built_from_either_kernel_package(mirror: FakeArchive, installer: bool) -> None:
    boot = _small(mirror, installer)
    assert boot.kernel.read_bytes() == IMAGE
    assert boot.root_disk is None
    assert "console=hvc0" in boot.append
    fetched = " ".join(path for path, _ in mirror.requests)
    assert ("-di_" in fetched, "linux-image" in fetched) == (installer, not installer)


@pytest.mark.parametrize("part", ["dists/trixie/main/debian-installer/", "pool/nic-"])
def test_installer_packages_that_are_not_the_listed_ones_give_way_to_the_full_kernel(
    mirror: FakeArchive, part: str
) -> None:
    """A cache in front of a mirror may have a part that is newer or older than the release it serves."""
    add_small(mirror)
    mirror.publish()
    [path] = [path for path in mirror.files if path.startswith(part)]
    mirror.files[path] = mirror.files[path][:-1] + b"!"
    boot = images.ensure("small", images.SILENT, FakeRunner())
    assert boot.kernel.read_bytes() == IMAGE
    assert any("linux-image" in path for path, _ in mirror.requests)


def test_a_mirror_without_installer_packages_serves_the_full_kernel(mirror: FakeArchive) -> None:
    add_small(mirror)
    mirror.publish()
    for path in [path for path in mirror.files if "-di_" in path]:
        del mirror.files[path]
    assert images.ensure("small", images.SILENT, None).kernel.read_bytes() == IMAGE


def test_the_initramfs_holds_what_a_guest_needs(mirror: FakeArchive) -> None:
    entries = {e.path.decode(): e for e in read_entries(_small(mirror).initrd.read_bytes())}
    assert entries["init"].mode & 0o111
    assert entries["init"].data.startswith(b"#!/bin/sh")
    assert stat.S_ISLNK(entries["bin/sh"].mode)
    assert {f"bin/{name}" for name in APPLETS} <= set(entries)
    assert "lib/modules/early/0-virtio_mmio.ko" in entries
    order = entries[f"lib/modules/{RELEASE}/modules.dep"].data.decode().splitlines()
    assert "virtio_net.ko: net_failover.ko failover.ko" in order
    assert "ext4.ko: jbd2.ko crc32c_generic.ko" in order
    assert entries[f"lib/modules/{RELEASE}/ext4.ko"].data.startswith(b"\x7fELF")
    assert b"alias fs-ext4 ext4" in entries[f"lib/modules/{RELEASE}/modules.alias"].data


def test_the_second_time_nothing_is_fetched(mirror: FakeArchive) -> None:
    boot = _small(mirror)
    mirror.requests.clear()
    assert images.ensure("small", images.SILENT, None) == boot
    assert mirror.requests == []


@pytest.mark.parametrize("damage", ["shorter", "changed", "removed", "manifest"])
def test_a_damaged_image_is_built_again(mirror: FakeArchive, damage: str) -> None:
    boot = _small(mirror)
    good = boot.initrd.read_bytes()
    match damage:
        case "shorter":
            boot.initrd.write_bytes(good[:-1])
        case "changed":
            boot.initrd.write_bytes(b"!" + good[1:])
            os.utime(boot.initrd, ns=(1, 1))
        case "removed":
            boot.initrd.unlink()
        case "manifest":
            (boot.initrd.parent / "manifest.json").write_text("{")
    images.ensure("small", images.SILENT, None)
    assert boot.initrd.read_bytes() == good


def test_a_touched_but_whole_image_is_kept(mirror: FakeArchive) -> None:
    boot = _small(mirror)
    os.utime(boot.kernel, ns=(1, 1))
    mirror.requests.clear()
    images.ensure("small", images.SILENT, None)
    assert mirror.requests == []


def test_a_kernel_that_is_not_one_is_refused(mirror: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.images.fake_debian.IMAGE", b"MZ" + bytes(200))
    with pytest.raises(HostError, match="not an uncompressed RISC-V kernel"):
        _small(mirror)
    assert images.installed() == []


def test_progress_is_complete_and_finished(mirror: FakeArchive) -> None:
    add_small(mirror)
    mirror.publish()
    progress = Recorded()
    images.ensure("small", progress, None)
    assert progress.open == 0
    assert progress.amounts == {title: total for title, total in progress.totals.items() if total is not None}


def test_progress_is_finished_after_an_error(mirror: FakeArchive) -> None:
    progress = Recorded()
    with pytest.raises(HostError):
        images.ensure("small", progress, None)
    assert progress.open == 0


def _add_debian(mirror: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = definition("debian").disk
    assert disk is not None
    add_small(mirror)
    add_debian(mirror, disk.packages)
    mirror.publish()


def test_debian_is_built_in_a_guest(mirror: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    _add_debian(mirror, monkeypatch)
    runner = FakeRunner()
    boot = images.ensure("debian", images.SILENT, runner)
    assert boot.root_disk is not None
    assert (
        boot.root_disk.stat().st_size
        == runner.jobs[0].disks[0].path.parent.joinpath("root.ext4").stat().st_size
    )
    assert not boot.root_disk.stat().st_mode & 0o222
    assert boot.append.endswith("innkeeper.root=/dev/vda")
    assert sorted(path.name for path in boot.root_disk.parent.iterdir()) == ["manifest.json", "root.ext4"]
    names = {entry.path for entry in read_entries(runner.jobs[0].initrd)}
    assert {b"init", b"innkeeper/build-disk", b"innkeeper/mkfs/mke2fs", b"innkeeper/command"} <= names
    assert images.ensure("debian", images.SILENT, None) == boot
    assert [image.name for image in images.installed()] == ["small", "debian"]


@pytest.mark.parametrize("runner", [FakeRunner(status=3), FakeRunner(error=GuestError("the guest crashed"))])
def test_a_failed_installation_leaves_no_disk(
    mirror: FakeArchive, monkeypatch: pytest.MonkeyPatch, runner: FakeRunner
) -> None:
    _add_debian(mirror, monkeypatch)
    with pytest.raises(InnkeeperError) as caught:
        images.ensure("debian", images.SILENT, runner)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((images.cache_directory() / "images/debian").iterdir()) == []
    assert [image.name for image in images.installed()] == ["small"]


def test_debian_without_a_runner_is_refused_before_anything_is_fetched(mirror: FakeArchive) -> None:
    with pytest.raises(ConfigError, match="built in a guest"):
        images.ensure("debian", images.SILENT, None)
    assert mirror.requests == []


def test_remove(mirror: FakeArchive) -> None:
    boot = _small(mirror)
    images.remove("small")
    assert not boot.kernel.exists()
    with pytest.raises(ConfigError, match="not in the cache"):
        images.remove("small")
    with pytest.raises(ConfigError, match="choose one of: small, build, debian"):
        images.remove("none")


def test_two_processes_build_one_image_once(mirror: FakeArchive, tmp_path: Path) -> None:
    add_small(mirror)
    mirror.publish()
    key = tmp_path / "key"
    key.write_bytes(bytes(mirror.keyring[0]))
    program = (
        "import sys; from pysequoia import Cert\n"
        "from innkeeper import images; from innkeeper.images import build\n"
        "build.debian_keyring = lambda: [Cert.from_file(sys.argv[1])]\n"
        "print(images.ensure('small', images.SILENT, None).kernel)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(key)], stdout=subprocess.PIPE) for _ in range(3)
    ]
    outputs = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(outputs) == 1
    assert sum(path.endswith("InRelease") for path, _ in mirror.requests) == 1


def test_an_unwritable_cache_is_one_clear_error(mirror: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(HostError, match="cannot write below") as caught:
        images.ensure("small", images.SILENT, None)
    assert "XDG_CACHE_HOME" in caught.value.remedy


def test_the_default_image_comes_first() -> None:
    assert [image.name for image in images.catalog()] == ["small", "build", "debian"]


def test_an_image_that_extends_another_has_its_packages_and_more() -> None:
    debian, build = definition("debian"), definition("build")
    assert debian.disk is not None and build.disk is not None
    assert build.disk.packages[: len(debian.disk.packages)] == debian.disk.packages
    assert "gcc" in build.disk.packages and "gcc" not in debian.disk.packages
    assert (build.base, build.append, build.archive) == (debian.base, debian.append, debian.archive)
    assert build.disk.left_out == debian.disk.left_out


@pytest.mark.parametrize(
    "text",
    [
        *("", "name = 1", "kind = 'disk'", "=", "name='a'\nsummary='b'\nkind='x'\nappend=''"),
        *("extends = 'nowhere'", "extends = 1", "extends = 'small'", "extends = 'debian'\ndisk = 1"),
    ],
)
def test_a_wrong_definition_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml"):
        parse_definition(text, "x.toml")
