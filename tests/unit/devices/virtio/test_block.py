# SPDX-License-Identifier: Apache-2.0
"""The block device against an in-memory disk."""

import errno
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.devices.virtio.block import VirtioBlock
from innkeeper.errors import HostError
from tests.unit.devices.virtio.driver import RAM_BASE, VERSION_1, Driver, Ram, Segment

SECTORS = 64
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2


class ListDisk:
    """A disk in memory that notes its flushes and discards."""

    def __init__(self, read_only: bool = False) -> None:
        self.data = bytearray(i * 7 % 251 for i in range(SECTORS * 512))
        self.size_bytes = len(self.data)
        self.read_only = read_only
        self.flushes = 0
        self.discards: list[tuple[int, int]] = []
        self.failure: Exception | None = None

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def readv(self, offset_bytes, buffers) -> None:
        self._check()
        for buffer in buffers:
            buffer[:] = self.data[offset_bytes : offset_bytes + len(buffer)]
            offset_bytes += len(buffer)

    def writev(self, offset_bytes, buffers) -> None:
        self._check()
        for buffer in buffers:
            self.data[offset_bytes : offset_bytes + len(buffer)] = buffer
            offset_bytes += len(buffer)

    def flush(self) -> None:
        self._check()
        self.flushes += 1

    def discard(self, offset_bytes, length_bytes) -> None:
        self._check()
        self.discards.append((offset_bytes, length_bytes))

    def write_zeroes(self, offset_bytes, length_bytes) -> None:
        self._check()
        self.data[offset_bytes : offset_bytes + length_bytes] = bytes(length_bytes)


class Bench:
    def __init__(self, *, read_only: bool = False, features: int | None = None) -> None:
        self.ram = Ram()
        self.disk = ListDisk(read_only)
        self.errors: list[str] = []
        self.device = VirtioBlock(self.ram, self.disk, serial="disk0", on_error=self.errors.append)
        self.driver = Driver(self.ram, self.device).start(features)

    def request(self, kind, sector=0, data=b"", room=0, cuts=(), indirect=False):
        """(status, what was read). `cuts` are places where header and data are split into segments."""
        out = struct.pack("<IIQ", kind, 0, sector) + data
        places = [0, *sorted(set(cuts) & set(range(1, len(out)))), len(out)]
        segments = [Segment(out[a:b]) for a, b in itertools.pairwise(places)]
        segments += [Segment(room=room + 1)]
        self.driver.submit(0, *segments, indirect=indirect)
        ((_, used, contents),) = self.driver.queues[0].collect()
        self.used = used
        return contents[-1], contents[:-1]


def test_configuration_space():
    bench = Bench()
    config = bytes(bench.driver.transport.read(0x100 + i, 1) for i in range(60))
    assert struct.unpack_from("<Q", config) == (SECTORS,)
    assert struct.unpack_from("<I", config, 12) == (254,)
    assert struct.unpack_from("<I", config, 20) == (512,)
    assert struct.unpack_from("<BBHI", config, 24) == (3, 0, 8, 0)
    assert struct.unpack_from("<H", config, 34) == (1,)
    assert bench.driver.transport.read(0x100, 8) == SECTORS


def test_read_in_one_and_in_several_segments():
    bench = Bench()
    assert bench.request(IN, 3, room=1024) == (OK, bytes(bench.disk.data[3 * 512 : 5 * 512]))
    assert bench.used == 1025
    header = Segment(struct.pack("<IIQ", IN, 0, 1))
    bench.driver.submit(0, header, Segment(room=100), Segment(room=412), Segment(room=1))
    ((_, used, contents),) = bench.driver.queues[0].collect()
    assert (used, contents) == (513, bytes(bench.disk.data[512:1024]) + b"\0")


@given(
    sector=st.integers(0, SECTORS - 4),
    data=st.binary(min_size=512 * 2, max_size=512 * 2),
    cuts=st.sets(st.integers(1, 1039), max_size=8),
    indirect=st.booleans(),
)
def test_a_write_reads_back_however_it_is_framed(sector, data, cuts, indirect):
    bench = Bench()
    before = bytes(bench.disk.data)
    assert bench.request(OUT, sector, data, cuts=cuts, indirect=indirect)[0] == OK
    assert bench.disk.data == before[: sector * 512] + data + before[sector * 512 + 1024 :]
    assert bench.request(IN, sector, room=1024) == (OK, data)


@pytest.mark.parametrize("sector,length", [(SECTORS, 512), (SECTORS - 1, 1024), (2**64 - 1, 512), (0, 100)])
def test_requests_outside_the_disk_or_not_of_whole_sectors_fail(sector, length):
    bench = Bench()
    before = bytes(bench.disk.data)
    assert bench.request(IN, sector, room=length)[0] == IOERR
    assert bench.request(OUT, sector, bytes(length))[0] == IOERR
    assert bench.disk.data == before
    assert not bench.driver.needs_reset


def test_flush_reaches_the_disk_and_without_the_feature_each_write_does():
    bench = Bench()
    bench.request(OUT, 0, bytes(512))
    assert bench.disk.flushes == 0
    assert bench.request(FLUSH)[0] == OK
    assert bench.disk.flushes == 1
    bench = Bench(features=VERSION_1)
    bench.request(OUT, 0, bytes(512))
    assert bench.disk.flushes == 1


def test_get_id():
    assert Bench().request(GET_ID, room=20) == (OK, b"disk0" + bytes(15))


def test_discard_and_write_zeroes_of_several_ranges():
    bench = Bench()
    ranges = struct.pack("<QIIQII", 1, 2, 0, 10, 1, 0)
    assert bench.request(DISCARD, data=ranges)[0] == OK
    assert bench.disk.discards == [(512, 1024), (5120, 512)]
    assert bench.request(WRITE_ZEROES, data=struct.pack("<QII", 4, 2, 1))[0] == OK
    assert bench.disk.data[2048:3072] == bytes(1024)
    assert bench.disk.data[3072] == 3072 * 7 % 251


@pytest.mark.parametrize(
    "kind,data,status",
    [
        (DISCARD, b"", IOERR),
        (DISCARD, bytes(15), IOERR),
        (DISCARD, struct.pack("<QII", 0, 1, 1), UNSUPP),
        (DISCARD, struct.pack("<QII", SECTORS, 1, 0), IOERR),
        (WRITE_ZEROES, struct.pack("<QII", 0, 2**32 - 1, 0), IOERR),
        (WRITE_ZEROES, struct.pack("<QII", 2**64 - 1, 1, 0), IOERR),
        (WRITE_ZEROES, struct.pack("<QII", 0, 1, 2), UNSUPP),
        (WRITE_ZEROES, struct.pack("<QII", 0, 1, 0) * 5, IOERR),
        (99, b"", UNSUPP),
    ],
)
def test_bad_ranges_and_unknown_requests_change_nothing(kind, data, status):
    bench = Bench()
    before = bytes(bench.disk.data)
    assert bench.request(kind, data=data)[0] == status
    assert (bench.disk.data, bench.disk.discards) == (before, [])


def test_a_read_only_disk_says_so_and_refuses_writes():
    bench = Bench(read_only=True)
    assert bench.driver.offered() & 1 << 5
    assert not bench.driver.offered() & (1 << 13 | 1 << 14)
    assert bench.request(OUT, 0, bytes(512))[0] == IOERR
    assert bench.request(IN, 0, room=512)[0] == OK


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), HostError("the disk is full", "free some")]
)
def test_a_failing_disk_is_an_io_error_and_is_reported(failure):
    bench = Bench()
    bench.disk.failure = failure
    assert bench.request(OUT, 0, bytes(512))[0] == IOERR
    assert bench.request(FLUSH)[0] == IOERR
    assert bench.request(IN, 0, room=512)[0] == IOERR
    assert len(bench.errors) == 3
    bench.disk.failure = None
    assert bench.request(OUT, 0, bytes(512))[0] == OK


def test_a_request_without_status_or_with_half_a_header_needs_a_reset():
    bench = Bench()
    bench.driver.submit(0, Segment(bytes(16)))
    assert bench.driver.needs_reset
    bench = Bench()
    bench.driver.submit(0, Segment(bytes(15)), Segment(room=1))
    assert bench.driver.needs_reset


def test_data_outside_ram_needs_a_reset_and_leaves_the_disk_alone():
    bench = Bench()
    queue = bench.driver.queues[0]
    before = bytes(bench.disk.data)
    bench.ram.write(RAM_BASE + 0x90000, struct.pack("<IIQ", OUT, 0, 0))
    queue.descriptor(0, RAM_BASE + 0x90000, 16, 1, 1)
    queue.descriptor(1, 0x1000_0000, 512, 1, 2)
    queue.descriptor(2, RAM_BASE + 0x90100, 1, 2)
    queue.offer(0)
    bench.driver.put(0x050, 0)
    assert bench.driver.needs_reset
    assert bench.disk.data == before
