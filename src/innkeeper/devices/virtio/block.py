# SPDX-License-Identifier: Apache-2.0
"""virtio block device: a disk for the guest over any `DiskBackend`.

Data moves between the disk and guest memory without a copy: the backend gets views of a request's segments.

Spec: virtio-1.3 5.2 "Block Device".
"""

import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from innkeeper.devices.ports import GuestMemory
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import Chain
from innkeeper.errors import GuestError, HostError
from innkeeper.spec.virtio import (
    BLK_F_BLK_SIZE,
    BLK_F_DISCARD,
    BLK_F_FLUSH,
    BLK_F_RO,
    BLK_F_SEG_MAX,
    BLK_F_TOPOLOGY,
    BLK_F_WRITE_ZEROES,
    BLK_HEADER_BYTES,
    BLK_ID_BYTES,
    BLK_RANGE_BYTES,
    BLK_RANGE_F_UNMAP,
    BLK_S_IOERR,
    BLK_S_OK,
    BLK_S_UNSUPP,
    BLK_SECTOR_BYTES,
    BLK_T_DISCARD,
    BLK_T_FLUSH,
    BLK_T_GET_ID,
    BLK_T_IN,
    BLK_T_OUT,
    BLK_T_WRITE_ZEROES,
    DEVICE_BLOCK,
)

QUEUE_SIZE = 256
# One request holds the machine's lock while it runs, so a hostile one must not name terabytes.
REQUEST_BYTES_MAX = 256 << 20
DISCARD_RANGES_MAX = 64
DISCARD_SECTORS_MAX = (1 << 30) // BLK_SECTOR_BYTES
# Where the host cannot punch holes, zeroes are written one by one.
ZERO_RANGES_MAX = 4
ZERO_SECTORS_MAX = (64 << 20) // BLK_SECTOR_BYTES
PHYSICAL_BLOCK_BYTES = 4096

_HEADER = struct.Struct("<IIQ")
_RANGE = struct.Struct("<QII")
# capacity; size_max, seg_max; geometry; blk_size; topology; writeback, num_queues; discard; write zeroes.
_CONFIG = struct.Struct("<Q II HBB I BBHI BBH III IIB3x")


class DiskBackend(Protocol):
    """A disk of `size_bytes`, a multiple of 512. Offsets and lengths are in bytes and within the disk.

    Failures are `OSError` or `HostError`; the guest sees them as an I/O error.
    """

    @property
    def size_bytes(self) -> int: ...

    @property
    def read_only(self) -> bool: ...

    def readv(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
        """Fill all of `buffers`, one after another, from the disk."""
        ...

    def writev(self, offset_bytes: int, buffers: Sequence[memoryview]) -> None:
        """Write all of `buffers`, one after another. Durable only after `flush`."""
        ...

    def flush(self) -> None:
        """Return once everything written before is durable."""
        ...

    def discard(self, offset_bytes: int, length_bytes: int) -> None:
        """The contents are not needed any more; may do nothing."""
        ...

    def write_zeroes(self, offset_bytes: int, length_bytes: int) -> None: ...


class VirtioBlock(VirtioDevice):
    """A block device of 512-byte sectors over `disk`; GET_ID answers `serial`, at most 20 ASCII bytes.

    A failure of the disk is an I/O error for the guest, and `on_error(message)` hears of it.
    """

    device_type = DEVICE_BLOCK

    def __init__(
        self,
        memory: GuestMemory,
        disk: DiskBackend,
        *,
        serial: str = "",
        on_error: Callable[[str], None] | None = None,
    ) -> None:
        features = [BLK_F_SEG_MAX, BLK_F_BLK_SIZE, BLK_F_TOPOLOGY, BLK_F_FLUSH]
        features += [BLK_F_RO] if disk.read_only else [BLK_F_DISCARD, BLK_F_WRITE_ZEROES]
        super().__init__(memory, [QUEUE_SIZE], features)
        self._disk = disk
        self._on_error = on_error
        self._serial = serial.encode("ascii", "replace")[:BLK_ID_BYTES].ljust(BLK_ID_BYTES, b"\0")
        self._sectors = disk.size_bytes // BLK_SECTOR_BYTES
        self.config = self._build_config()

    def _build_config(self) -> bytearray:
        """Spec: virtio-1.3 5.2.4 "Device configuration layout"."""
        sectors_per_block = PHYSICAL_BLOCK_BYTES // BLK_SECTOR_BYTES
        exponent = sectors_per_block.bit_length() - 1
        topology = (exponent, 0, sectors_per_block, 0)
        discard = (DISCARD_SECTORS_MAX, DISCARD_RANGES_MAX, sectors_per_block)
        write_zeroes = (ZERO_SECTORS_MAX, ZERO_RANGES_MAX, 1)
        seg_max = QUEUE_SIZE - 2
        fixed = (self._sectors, 0, seg_max, 0, 0, 0, BLK_SECTOR_BYTES, *topology, 0, 0, 1)
        return bytearray(_CONFIG.pack(*fixed, *discard, *write_zeroes))

    def serve(self, queue_index: int) -> None:
        self.drain(queue_index, self._handle)

    def _handle(self, chain: Chain) -> int:
        """Execute one request and return how many bytes of the buffer were written, the status byte included.

        Spec: virtio-1.3 5.2.6 "Device Operation"; 2.7.4 lets the driver frame the fields as it likes.
        """
        if not chain.writable:
            raise GuestError("a block request has no room for its status")
        kind, sector, output = _split_header(chain.readable)
        writable = chain.writable
        status_segment = writable[-1]
        if len(status_segment) > 1:
            writable[-1] = status_segment[:-1]
        else:
            writable.pop()
        written = 0
        try:
            status, written = self._execute(kind, sector, output, writable)
        except (OSError, HostError) as error:
            status = BLK_S_IOERR
            if self._on_error is not None:
                self._on_error(str(error))
        status_segment[-1] = status
        if status != BLK_S_OK:
            # The used length may only cover what is known to be written from the buffer's start on.
            return 0 if writable else 1
        return written + 1

    def _execute(
        self, kind: int, sector: int, output: list[memoryview], target: list[memoryview]
    ) -> tuple[int, int]:
        """Returns the status and how many bytes of `target` were filled."""
        if kind == BLK_T_IN:
            return self._read(sector, target)
        if kind == BLK_T_FLUSH:
            self._disk.flush()
            return BLK_S_OK, 0
        if kind == BLK_T_GET_ID:
            return self._get_id(target)
        if kind not in (BLK_T_OUT, BLK_T_DISCARD, BLK_T_WRITE_ZEROES):
            return BLK_S_UNSUPP, 0
        if self._disk.read_only:
            return BLK_S_IOERR, 0
        status = self._write(sector, output) if kind == BLK_T_OUT else self._ranges(kind, output)
        if status == BLK_S_OK and not self.negotiated(BLK_F_FLUSH):
            # A driver that cannot flush takes the cache to be write-through: virtio-1.3 5.2.6.2.
            self._disk.flush()
        return status, 0

    def _read(self, sector: int, target: list[memoryview]) -> tuple[int, int]:
        length = sum(map(len, target))
        if not self._transferable(sector, length):
            return BLK_S_IOERR, 0
        if length:
            self._disk.readv(sector * BLK_SECTOR_BYTES, target)
        return BLK_S_OK, length

    def _write(self, sector: int, source: list[memoryview]) -> int:
        length = sum(map(len, source))
        if not self._transferable(sector, length):
            return BLK_S_IOERR
        if length:
            self._disk.writev(sector * BLK_SECTOR_BYTES, source)
        return BLK_S_OK

    def _transferable(self, sector: int, length_bytes: int) -> bool:
        sectors, rest = divmod(length_bytes, BLK_SECTOR_BYTES)
        return rest == 0 and length_bytes <= REQUEST_BYTES_MAX and sector + sectors <= self._sectors

    def _get_id(self, target: list[memoryview]) -> tuple[int, int]:
        left = self._serial
        for segment in target:
            part = left[: len(segment)]
            segment[: len(part)] = part
            left = left[len(part) :]
        return BLK_S_OK, len(self._serial) - len(left)

    def _ranges(self, kind: int, source: list[memoryview]) -> int:
        """DISCARD and WRITE_ZEROES: all ranges are checked before the first is executed."""
        ranges_max, sectors_max, allowed_flags, act = (
            (ZERO_RANGES_MAX, ZERO_SECTORS_MAX, BLK_RANGE_F_UNMAP, self._disk.write_zeroes)
            if kind == BLK_T_WRITE_ZEROES
            else (DISCARD_RANGES_MAX, DISCARD_SECTORS_MAX, 0, self._disk.discard)
        )
        count, rest = divmod(sum(map(len, source)), BLK_RANGE_BYTES)
        if rest or not 0 < count <= ranges_max:
            return BLK_S_IOERR
        ranges = list(_RANGE.iter_unpack(b"".join(source)))
        for sector, sectors, flags in ranges:
            if flags & ~allowed_flags:
                return BLK_S_UNSUPP
            if sectors > sectors_max or sector + sectors > self._sectors:
                return BLK_S_IOERR
        for sector, sectors, _ in ranges:
            if sectors:
                act(sector * BLK_SECTOR_BYTES, sectors * BLK_SECTOR_BYTES)
        return BLK_S_OK


def _split_header(readable: list[memoryview]) -> tuple[int, int, list[memoryview]]:
    """(type, sector, the readable segments behind the 16-byte header), however the driver framed it."""
    if readable and len(readable[0]) == BLK_HEADER_BYTES:
        kind, _, sector = _HEADER.unpack(readable[0])
        return kind, sector, readable[1:]
    header = b""
    for position, segment in enumerate(readable):
        needed = BLK_HEADER_BYTES - len(header)
        header += segment[:needed]
        if len(header) == BLK_HEADER_BYTES:
            kind, _, sector = _HEADER.unpack(header)
            rest = segment[needed:]
            return kind, sector, ([rest] if rest else []) + readable[position + 1 :]
    raise GuestError("a block request is shorter than its header")
