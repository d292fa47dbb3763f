# SPDX-License-Identifier: Apache-2.0
"""Raw disks and overlays: contents against a model, locks, damage, a full host, and crashes."""

import contextlib
import errno
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.devices.virtio.block import DiskBackend
from innkeeper.errors import ConfigError, HostError
from innkeeper.host import disk_file
from innkeeper.images.copy_on_write import CLUSTER_BYTES
from innkeeper.images.disk import RawDisk
from innkeeper.images.overlay import MemoryOverlay, OverlayDisk

SIZE_BYTES = 4 * CLUSTER_BYTES + 1536


def pattern(size_bytes: int) -> bytes:
    return (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]


def read(disk: DiskBackend, offset_bytes: int = 0, length_bytes: int | None = None) -> bytes:
    """Through two buffers, so that the split falls inside clusters."""
    content = bytearray(b"\xee" * (disk.size_bytes - offset_bytes if length_bytes is None else length_bytes))
    view = memoryview(content)
    disk.readv(offset_bytes, [view[: len(view) // 3], view[len(view) // 3 :]])
    return bytes(content)


def write(disk: DiskBackend, offset_bytes: int, data: bytes) -> None:
    view = memoryview(data)
    disk.writev(offset_bytes, [view[: len(view) // 2], view[len(view) // 2 :]])


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    path = tmp_path / "base.img"
    path.write_bytes(pattern(SIZE_BYTES))
    return path


@pytest.fixture
def overlay_path(tmp_path: Path, base_path: Path) -> Path:
    path = tmp_path / "disk.overlay"
    OverlayDisk.create(path, base_path)
    return path


def test_raw_disk_reads_writes_discards_and_zeroes(base_path):
    model = bytearray(pattern(SIZE_BYTES))
    with RawDisk(base_path) as disk:
        assert read(disk) == model
        write(disk, 1024, b"x" * 3000)
        model[1024:4024] = b"x" * 3000
        disk.write_zeroes(4096, 8192)
        model[4096 : 4096 + 8192] = bytes(8192)
        disk.flush()
        assert read(disk) == model
        disk.discard(65536, 65536)
    assert base_path.stat().st_size == SIZE_BYTES


def test_raw_discard_gives_blocks_back_where_the_file_system_can(base_path):
    with RawDisk(base_path) as disk:
        disk.flush()
        before = base_path.stat().st_blocks
        with open(base_path, "r+b") as probe:
            if not disk_file.punch_hole(probe.fileno(), 0, 4096):
                pytest.skip("this file system cannot punch holes")
        disk.discard(0, 4 * CLUSTER_BYTES)
        assert base_path.stat().st_blocks < before
        assert read(disk, 0, 4096) == bytes(4096)


def test_zeroes_are_written_where_holes_cannot_be_punched(base_path, monkeypatch):
    monkeypatch.setattr(disk_file, "punch_hole", lambda *_: False)
    with RawDisk(base_path) as disk:
        disk.write_zeroes(512, 200_000)
        assert read(disk) == pattern(512) + bytes(200_000) + pattern(SIZE_BYTES)[200_512:]


def test_a_read_only_disk_of_odd_length_is_padded_and_a_writable_one_refused(tmp_path):
    path = tmp_path / "odd"
    path.write_bytes(b"a" * 700)
    with RawDisk(path, read_only=True) as disk:
        assert (disk.size_bytes, disk.read_only) == (1024, True)
        assert read(disk) == b"a" * 700 + bytes(324)
        with pytest.raises(HostError):
            write(disk, 0, b"b" * 512)
    with pytest.raises(ConfigError, match="truncate -s 1024"):
        RawDisk(path)


def test_a_second_writer_is_refused_and_readers_share(base_path):
    with RawDisk(base_path):
        for read_only in (False, True):
            with pytest.raises(ConfigError, match="in use"):
                RawDisk(base_path, read_only)
    refused = pytest.raises(ConfigError, match="in use")
    with RawDisk(base_path, read_only=True), RawDisk(base_path, read_only=True), refused:
        RawDisk(base_path)
    RawDisk(base_path).close()


def test_what_is_no_disk_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "empty", "pipe", "."):
        with pytest.raises(ConfigError):
            RawDisk(tmp_path / name)
    with pytest.raises(ConfigError):
        RawDisk(Path("/dev/null"))


def test_a_full_host_is_told_with_a_remedy(base_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with RawDisk(base_path) as disk:
        monkeypatch.setattr(os, "pwritev", full)
        with pytest.raises(HostError, match="free some space"):
            write(disk, 0, bytes(512))


def test_a_failed_flush_is_never_forgotten(base_path, overlay_path, monkeypatch):
    real = disk_file.sync_data

    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    raw_path = shutil.copy(base_path, base_path.with_name("raw.img"))
    for disk in (OverlayDisk(overlay_path), RawDisk(raw_path)):
        monkeypatch.setattr(disk_file, "sync_data", broken)
        with pytest.raises(HostError):
            disk.flush()
        monkeypatch.setattr(disk_file, "sync_data", real)
        with pytest.raises(HostError):
            disk.flush()


def test_short_transfers_are_completed(base_path, monkeypatch):
    """The host may move fewer bytes than asked for; 700 at a time here."""

    def short(real):
        def transfer(fd, buffers, offset):
            return real(fd, [buffers[0][:700]], offset)

        return transfer

    monkeypatch.setattr(os, "preadv", short(os.preadv))
    monkeypatch.setattr(os, "pwritev", short(os.pwritev))
    with RawDisk(base_path) as disk:
        write(disk, 512, b"q" * 5000)
        assert read(disk, 0, 8192) == pattern(512) + b"q" * 5000 + pattern(SIZE_BYTES)[5512:8192]


def test_an_overlay_keeps_the_base_and_persists(base_path, overlay_path):
    with OverlayDisk(overlay_path) as disk:
        write(disk, CLUSTER_BYTES - 512, b"new" * 512)
        expected = read(disk)
    assert base_path.read_bytes() == pattern(SIZE_BYTES)
    with OverlayDisk(overlay_path, read_only=True) as disk:
        assert disk.read_only and read(disk) == expected
    assert expected[CLUSTER_BYTES - 512 : CLUSTER_BYTES + 1024] == b"new" * 512


def test_an_overlay_larger_than_its_base_reads_zeroes_behind_it(tmp_path, base_path):
    path = tmp_path / "large"
    OverlayDisk.create(path, base_path, 10 * CLUSTER_BYTES)
    with OverlayDisk(path) as disk:
        assert read(disk) == pattern(SIZE_BYTES) + bytes(10 * CLUSTER_BYTES - SIZE_BYTES)
        write(disk, SIZE_BYTES - 512, b"z" * 1024)
        assert read(disk, SIZE_BYTES - 1024, 2048) == (
            pattern(SIZE_BYTES)[-1024:-512] + b"z" * 1024 + bytes(512)
        )


operation = st.tuples(
    st.sampled_from(["write", "zero", "flush", "reopen"]),
    st.integers(0, SIZE_BYTES // 512 - 1),
    st.integers(1, 2 * CLUSTER_BYTES // 512 + 3),
    st.integers(1, 255),
)


@pytest.mark.parametrize("kind", ["raw", "overlay", "memory"])
@settings(max_examples=40)
@given(operations=st.lists(operation, max_size=15))
def test_every_disk_agrees_with_a_model(tmp_path_factory, kind, operations):
    folder = tmp_path_factory.mktemp("disk")
    base_path = folder / "base"
    base_path.write_bytes(pattern(SIZE_BYTES))
    if kind == "overlay":
        OverlayDisk.create(folder / "overlay", base_path)

    def open_disk():
        if kind == "raw":
            return RawDisk(base_path)
        if kind == "overlay":
            return OverlayDisk(folder / "overlay")
        return MemoryOverlay(RawDisk(base_path, read_only=True), folder)

    disk, model = open_disk(), bytearray(pattern(SIZE_BYTES))
    for action, sector, sectors, fill in operations:
        offset, length = sector * 512, min(sectors * 512, SIZE_BYTES - sector * 512)
        if action == "write":
            write(disk, offset, bytes([fill]) * length)
            model[offset : offset + length] = bytes([fill]) * length
        elif action == "zero":
            disk.write_zeroes(offset, length)
            model[offset : offset + length] = bytes(length)
        elif action == "flush":
            disk.flush()
        elif kind != "memory":
            disk.close()
            disk = open_disk()
        assert read(disk) == model
    disk.close()
    if kind != "raw":
        assert base_path.read_bytes() == pattern(SIZE_BYTES)
    shutil.rmtree(folder)


def test_discarded_clusters_are_reused_only_after_a_flush(overlay_path):
    with OverlayDisk(overlay_path) as disk:
        write(disk, 0, b"a" * CLUSTER_BYTES)
        disk.flush()
        size = overlay_path.stat().st_size
        disk.discard(0, CLUSTER_BYTES)
        assert read(disk, 0, CLUSTER_BYTES) == bytes(CLUSTER_BYTES)
        write(disk, CLUSTER_BYTES, b"b" * CLUSTER_BYTES)
        assert overlay_path.stat().st_size > size, "the old place is still referenced on disk"
        disk.flush()
        size = overlay_path.stat().st_size
        write(disk, 2 * CLUSTER_BYTES, b"c" * CLUSTER_BYTES)
        assert overlay_path.stat().st_size == size
        assert read(disk, CLUSTER_BYTES, 2 * CLUSTER_BYTES) == b"b" * CLUSTER_BYTES + b"c" * CLUSTER_BYTES


class PowerLoss(Exception):
    """The host loses power."""


class HostDisk:
    """The disk under a file: what is durable, and the writes since the last sync, which may be lost."""

    def __init__(self, path: Path, lose_power_at: int) -> None:
        self.durable = bytearray(path.read_bytes())
        self.pending: list[tuple[int, bytes]] = []
        self._writes_left = lose_power_at

    def write_fully(self, fd, offset_bytes, buffers) -> None:
        self._writes_left -= 1
        if self._writes_left == 0:
            raise PowerLoss
        data = b"".join(buffers)
        os.pwrite(fd, data, offset_bytes)
        self.pending.append((offset_bytes, data))

    def sync_data(self, fd) -> None:
        self.apply(self.pending)
        self.pending.clear()

    def apply(self, writes) -> None:
        for offset_bytes, data in writes:
            end = offset_bytes + len(data)
            self.durable.extend(bytes(max(0, end - len(self.durable))))
            self.durable[offset_bytes:end] = data


class ClusterHistory:
    """What each cluster may hold after a crash: as last flushed, or as written since."""

    def __init__(self, content: bytes) -> None:
        places = range(0, 4 * CLUSTER_BYTES, CLUSTER_BYTES)
        self.allowed = [[content[place : place + CLUSTER_BYTES]] for place in places]

    def flushed(self) -> None:
        self.allowed = [versions[-1:] for versions in self.allowed]


def work_on(disk: OverlayDisk, history: ClusterHistory, rng) -> None:
    """Whole clusters written and zeroed at random, with a flush now and then."""
    for step in range(12):
        cluster = rng.randrange(4)
        data = bytes(CLUSTER_BYTES) if step % 4 == 2 else bytes([step + 1]) * CLUSTER_BYTES
        history.allowed[cluster].append(data)
        if any(data):
            disk.writev(cluster * CLUSTER_BYTES, [memoryview(data)])
        else:
            disk.write_zeroes(cluster * CLUSTER_BYTES, CLUSTER_BYTES)
        if step % 3 == 2:
            disk.flush()
            history.flushed()


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_a_crash_at_any_write_leaves_old_or_new_contents(tmp_path, base_path, monkeypatch, rng, kept):
    for lose_power_at in range(1, 40):
        path = tmp_path / f"overlay{lose_power_at}"
        OverlayDisk.create(path, base_path)
        host, history = HostDisk(path, lose_power_at), ClusterHistory(pattern(SIZE_BYTES))
        with monkeypatch.context() as patch, contextlib.suppress(PowerLoss):
            patch.setattr(disk_file, "write_fully", host.write_fully)
            patch.setattr(disk_file, "sync_data", host.sync_data)
            patch.setattr(disk_file, "punch_hole", lambda *_: False)
            disk = OverlayDisk(path)
            work_on(disk, history, rng)
        os.close(disk._fd)
        disk._base.close()
        host.apply([write for write in host.pending if rng.random() < kept])
        path.write_bytes(host.durable)
        with OverlayDisk(path) as disk:
            for cluster, versions in enumerate(history.allowed):
                assert read(disk, cluster * CLUSTER_BYTES, CLUSTER_BYTES) in versions


def test_a_failed_write_leaves_the_overlay_usable(overlay_path, monkeypatch):
    with OverlayDisk(overlay_path) as disk:
        before = read(disk)

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", full)
            with pytest.raises(HostError, match="free some space"):
                write(disk, 100 * 512, bytes(CLUSTER_BYTES))
        assert read(disk) == before
        write(disk, 512, b"k" * 512)
        assert read(disk, 512, 512) == b"k" * 512


def test_overlays_are_locked_and_lock_their_base(base_path, overlay_path):
    with OverlayDisk(overlay_path):
        with pytest.raises(ConfigError, match="in use"):
            OverlayDisk(overlay_path)
        with pytest.raises(ConfigError, match="in use"):
            RawDisk(base_path)
    RawDisk(base_path).close()


def test_a_changed_or_missing_base_is_refused(base_path, overlay_path):
    os.utime(base_path, ns=(1, 1))
    with pytest.raises(ConfigError, match="was changed"):
        OverlayDisk(overlay_path)
    base_path.unlink()
    with pytest.raises(ConfigError, match="cannot open"):
        OverlayDisk(overlay_path)


def resealed(raw: bytes, offset: int, format: str, value: int) -> bytes:
    """A header with one field changed and a right checksum."""
    header = bytearray(raw[:4092])
    struct.pack_into(format, header, offset, value)
    return bytes(header) + struct.pack("<I", zlib.crc32(header)) + raw[4096:]


DAMAGE = {
    "empty": lambda raw: b"",
    "cut header": lambda raw: raw[:1000],
    "cut table": lambda raw: raw[:4100],
    "wrong magic": lambda raw: b"QFI\xfb" + raw[4:],
    "wrong checksum": lambda raw: raw[:100] + b"\x01" + raw[101:],
    "other version": lambda raw: resealed(raw, 8, "<I", 2),
    "other cluster size": lambda raw: resealed(raw, 12, "<I", 4096),
    "no size": lambda raw: resealed(raw, 16, "<Q", 0),
    "size of exabytes": lambda raw: resealed(raw, 16, "<Q", 1 << 60),
    "size of odd bytes": lambda raw: resealed(raw, 16, "<Q", SIZE_BYTES + 1),
    "data inside the table": lambda raw: resealed(raw, 32, "<Q", 4096),
    "entry outside the file": lambda raw: raw[:4096] + struct.pack("<Q", 1 << 40) + raw[4104:],
    "entry in the header": lambda raw: raw[:4096] + struct.pack("<Q", 2) + raw[4104:],
    "entry not aligned": lambda raw: raw[:4096] + struct.pack("<Q", 65537) + raw[4104:],
    "entry twice": lambda raw: raw[:4096] + struct.pack("<QQ", 65536, 65536) + raw[4112:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_overlays_are_refused(overlay_path, damage):
    with OverlayDisk(overlay_path) as disk:
        write(disk, 0, b"a" * CLUSTER_BYTES)
    overlay_path.write_bytes(damage(overlay_path.read_bytes()))
    with pytest.raises(ConfigError):
        OverlayDisk(overlay_path)


@settings(max_examples=100)
@given(data=st.data())
def test_random_bytes_never_open_as_anything_but_an_overlay_or_an_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "base").write_bytes(pattern(2048))
    OverlayDisk.create(folder / "o", folder / "base")
    raw = bytearray((folder / "o").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 5000))] = data.draw(st.integers(0, 255))
    (folder / "o").write_bytes(raw)
    with contextlib.suppress(ConfigError):
        OverlayDisk(folder / "o").close()
    shutil.rmtree(folder)


def test_create_refuses_bad_sizes_and_existing_files(tmp_path, base_path, overlay_path):
    for size_bytes in (SIZE_BYTES - 512, SIZE_BYTES + 1, 1 << 50):
        with pytest.raises(ConfigError):
            OverlayDisk.create(tmp_path / "new", base_path, size_bytes)
    with pytest.raises(ConfigError, match="exists"):
        OverlayDisk.create(overlay_path, base_path)
    with pytest.raises(ConfigError):
        OverlayDisk.create(tmp_path / "new", tmp_path / "missing")
    with pytest.raises(HostError):
        OverlayDisk.create(tmp_path / "no" / "folder", base_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.img", "disk.overlay"]


def test_a_memory_overlay_throws_writes_away(tmp_path, base_path):
    with MemoryOverlay(RawDisk(base_path, read_only=True), tmp_path) as disk:
        assert not disk.read_only
        write(disk, 700 * 512 % SIZE_BYTES, b"gone" * 128)
        disk.discard(0, SIZE_BYTES)
        disk.flush()
    assert base_path.read_bytes() == pattern(SIZE_BYTES)
    assert [path.name for path in tmp_path.iterdir()] == ["base.img"]
    with pytest.raises(HostError):
        MemoryOverlay(RawDisk(base_path, read_only=True), tmp_path / "missing")
