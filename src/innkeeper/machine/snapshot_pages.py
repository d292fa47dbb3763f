# SPDX-License-Identifier: Apache-2.0
"""Pages of RAM in a snapshot: which are where, and the file that holds them.

`memory.index` is one zstd frame of, all numbers little-endian:

    4 bytes for each page of RAM: 0 for zeroes, else 1 + the number of a content
    for each content: 2 bytes, the source (0: this snapshot, n: its n-th base), in the order of contents;
        then 4 bytes each, its place there; then 16 bytes each, the start of the SHA-256 of the page
    for each chunk of this snapshot's pack: 4 bytes, its size; then 16 bytes each, the start of its SHA-256

`memory.pack` is one chunk behind the other, each a zstd frame of up to 64 pages; place p is page p % 64 of
chunk p // 64. A content stands in it once, and only if no base has it.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from innkeeper.devices.saved import refuse, require
from innkeeper.spec.board import PAGE_BYTES

CHUNK_PAGES = 64
CHUNK_BYTES = CHUNK_PAGES * PAGE_BYTES
DIGEST_BYTES = 16
SOURCE_LIMIT = 32
LEVEL = 1
"""zstd's fastest but for the negative ones: a snapshot competes with the guest for the CPU."""


def digest_of(data: bytes | memoryview) -> bytes:
    """What contents and chunks are known by. 128 bits: no two contents of one VM meet by chance."""
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]


@dataclass
class PageIndex:
    """`pages[n]` is 0 or 1 + a content's number; the other lists are by content and by chunk."""

    pages: array[int]
    sources: array[int]
    places: array[int]
    digests: list[bytes]
    chunk_bytes: array[int]
    chunk_digests: list[bytes]

    def pack(self) -> bytes:
        """The content of `memory.index`."""
        raw = b"".join(
            (
                self.pages.tobytes(), self.sources.tobytes(), self.places.tobytes(), *self.digests,
                self.chunk_bytes.tobytes(), *self.chunk_digests,
            )
        )  # fmt: skip
        return zstandard.ZstdCompressor(level=LEVEL).compress(raw)

    @classmethod
    def unpack(cls, data: bytes, page_count: int, content_count: int, chunk_count: int) -> PageIndex:
        """Of `memory.index`, whose digest was checked. ConfigError if the numbers make no sense together."""
        sizes = [4 * page_count, 2 * content_count, 4 * content_count, DIGEST_BYTES * content_count]
        sizes += [4 * chunk_count, DIGEST_BYTES * chunk_count]
        raw = decompress(data, sum(sizes), "the index of memory")
        parts, at = [], 0
        for size in sizes:
            parts.append(raw[at : at + size])
            at += size
        index = cls(
            array("I", parts[0]), array("H", parts[1]), array("I", parts[2]), _split(parts[3]),
            array("I", parts[4]), _split(parts[5]),
        )  # fmt: skip
        require(max(index.pages, default=0) <= content_count, "a page has no content")
        require(max(index.sources, default=0) <= SOURCE_LIMIT, "a page comes from an unknown snapshot")
        return index

    @property
    def own_contents(self) -> int:
        """How many contents are in this snapshot's pack."""
        return self.sources.count(0)


def _split(data: bytes) -> list[bytes]:
    return [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]


def decompress(data: bytes, size_bytes: int, what: str) -> bytes:
    """One zstd frame of exactly `size_bytes`; ConfigError for anything else, without taking more memory."""
    try:
        require(zstandard.frame_content_size(data) == size_bytes, f"{what} has another size")
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=size_bytes)
    except zstandard.ZstdError as error:
        raise refuse(f"{what} cannot be unpacked ({error})") from error
    require(len(raw) == size_bytes, f"{what} has another size")
    return raw


class PackWriter:
    """Collects contents and writes them to `file` in chunks; `known`: (source, place) of what bases have."""

    def __init__(self, file: BinaryIO, page_count: int, known: dict[bytes, tuple[int, int]]) -> None:
        self._file = file
        self._known = known
        self._numbers: dict[bytes, int] = {}
        self._buffer = io.BytesIO()
        self._own = 0
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.index = PageIndex(array("I", bytes(4 * page_count)), array("H"), array("I"), [], array("I"), [])

    def put(self, page_number: int, page: bytes) -> None:
        """Page `page_number` holds `page`, which is not all zeroes."""
        digest = digest_of(page)
        number = self._numbers.get(digest)
        if number is None:
            where = self._known.get(digest)
            if where is None:
                where = (0, self._own)
                self._own += 1
                self._buffer.write(page)
                if self._own % CHUNK_PAGES == 0:
                    self._flush()
            number = self._enter(digest, where)
        self.index.pages[page_number] = number

    def put_known(self, page_number: int, digest: bytes) -> None:
        """Page `page_number` holds what a base has under `digest`."""
        number = self._numbers.get(digest)
        self.index.pages[page_number] = number or self._enter(digest, self._known[digest])

    def _enter(self, digest: bytes, where: tuple[int, int]) -> int:
        index = self.index
        index.sources.append(where[0])
        index.places.append(where[1])
        index.digests.append(digest)
        self._numbers[digest] = len(index.digests)
        return len(index.digests)

    def _flush(self) -> None:
        frame = self._compressor.compress(self._buffer.getvalue())
        self._buffer = io.BytesIO()
        self._file.write(frame)
        self.index.chunk_bytes.append(len(frame))
        self.index.chunk_digests.append(digest_of(frame))

    def finish(self) -> PageIndex:
        """Write what is left; the index of all."""
        if self._buffer.tell():
            self._flush()
        return self.index


class PackReader:
    """Reads the pack that `index` belongs to; every chunk is checked before it is unpacked."""

    def __init__(self, file: BinaryIO, index: PageIndex) -> None:
        self._file = file
        self._index = index
        self._left = index.own_contents

    def chunks(self, wanted: set[int] | None = None) -> Iterator[tuple[int, bytes]]:
        """(number, pages) of each chunk, or of those wanted. ConfigError for one that is damaged."""
        offset = 0
        for number, size_bytes in enumerate(self._index.chunk_bytes):
            pages = min(CHUNK_PAGES, self._left - number * CHUNK_PAGES)
            require(pages > 0, "the pack of memory has chunks without pages")
            if wanted is None or number in wanted:
                yield number, self._read(number, offset, size_bytes, pages * PAGE_BYTES)
            offset += size_bytes

    def _read(self, number: int, offset: int, size_bytes: int, content_bytes: int) -> bytes:
        what = f"chunk {number} of the memory"
        require(size_bytes <= 2 * CHUNK_BYTES, f"{what} is too long")
        self._file.seek(offset)
        frame = self._file.read(size_bytes)
        require(len(frame) == size_bytes, f"{what} is cut off")
        require(digest_of(frame) == self._index.chunk_digests[number], f"{what} has a wrong checksum")
        return decompress(frame, content_bytes, what)
