# SPDX-License-Identifier: Apache-2.0
"""The jit engine: one VM's translated code, shared by its harts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.codegen import layout as at
from innkeeper.codegen.toolchain import toolchain_description
from innkeeper.engines.engine import GuestRam
from innkeeper.engines.jit import artifact as store
from innkeeper.engines.jit.artifact import Artifact
from innkeeper.engines.jit.exports import Progress
from innkeeper.engines.jit.native_runtime import NativeRuntime
from innkeeper.engines.jit.vcpu import JitVcpu
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.cpu import cpu_has
from innkeeper.host.executable import CodeArea, DataArea, callable_at
from innkeeper.spec.riscv import PAGE_BYTES

if TYPE_CHECKING:
    from innkeeper.engines.jit.compile_client import CompileClient
    from innkeeper.engines.jit.forking import ForkGuard, LaterOptimizer
    from innkeeper.engines.jit.optimizer import Compile, Optimizer

_TABLES = {
    at.RELOCATIONS: "relocations", at.OPERATIONS: "operations", at.ENTRIES: "entries", at.FIELDS: "fields",
    at.BUCKETS: "buckets", at.CANDIDATES: "candidates", at.NARROW: "narrow", at.STENCILS: "facts",
    at.CODE_BYTES: "code",
}  # fmt: skip


def unsupported_reason() -> str:
    """Why this host cannot have the jit engine, or nothing."""
    machine = os.uname().machine
    if machine != "x86_64":
        return f"the jit engine makes code for x86-64 hosts, and this is {machine}"
    missing = [f for f in ("sse4_1", "fma", "popcnt", "cx16") if not cpu_has(f)]
    return f"the host CPU lacks {', '.join(missing)}" if missing else ""


_ready: dict[Path, tuple[str, Artifact]] = {}
"""By cache folder, the version and the artifacts that this process has: sources and file are read once."""


def ensure_artifacts(progress: Progress = lambda done, total, what: None) -> Artifact:
    """What the engine needs ahead of time, from the cache or built now (some seconds, with progress).

    HostError where this host cannot have the engine; RuntimeWarning where the cache cannot be written.
    """
    reason = unsupported_reason()
    if reason:
        raise HostError(reason, "use --engine reference")
    folder = store.cache_folder()
    if folder not in _ready:
        path = _artifact_path(folder)
        # Sources that change while they are compiled may be compiled half old and half new.
        made = store.obtain(path, lambda: _build(progress), lambda: path == _artifact_path(folder))
        _ready[folder] = (path.stem, made)
    return _ready[folder][1]


def _build(progress: Progress) -> Artifact:
    from innkeeper.engines.jit.build import build  # loads all definitions: a third of the engine's start

    return build(progress)


def engine_version() -> str:
    """What artifacts and regions of this process are known by: a digest of their sources and of the host."""
    ensure_artifacts()
    return _ready[store.cache_folder()][0]


def artifacts_built() -> bool:
    """Whether the cache holds what this host needs."""
    return store.load(_artifact_path(store.cache_folder())) is not None


def _artifact_path(folder: Path) -> Path:
    return folder / f"{store.source_digest(toolchain_description())}.artifact"


@dataclass(frozen=True)
class AreaSizes:
    """Room for translated code; when any of it is full everything is translated again.

    Resident only where used. `site_bytes` is for what compiled code keeps beside it; `code_pages` is how many
    pages of RAM can have code.
    """

    code_bytes: int = 96 << 20
    site_bytes: int = 64 << 20
    code_pages: int = 16384

    def __post_init__(self) -> None:
        enough = self.code_bytes >= 2 * at.BLOCK_CODE_BYTES and self.site_bytes >= at.BLOCK_DATA_BYTES
        if not enough or self.code_pages < 2:
            raise ValueError("there must be room for a block and for an instruction in two pages")


class JitEngine:
    """Implements `innkeeper.engines.engine.Engine` with compiled code."""

    name = "jit"

    def __init__(
        self,
        ram: GuestRam,
        progress: Progress = lambda done, total, what: None,
        sizes: AreaSizes = AreaSizes(),
    ) -> None:
        if (ram.base | ram.size_bytes) % PAGE_BYTES:
            raise ConfigError(
                f"guest RAM of {ram.size_bytes} bytes at {ram.base:#x} is not made of pages",
                f"use a multiple of {PAGE_BYTES} bytes",
            )
        self.ram = ram
        self._sizes = sizes
        self._artifact = ensure_artifacts(progress)
        table = self._artifact.names["table"]
        self.native = NativeRuntime(self._artifact)
        self.code = CodeArea(sizes.code_bytes)
        self._areas: list[DataArea] = []
        self._shared = self._area(at.SHARED_WORDS * 8)
        self.shared = self._shared.words
        self._fill_shared(table)
        self._observer = self._hart_block()
        self.vcpus: list[JitVcpu] = []
        self.optimizer: Optimizer | LaterOptimizer | None = None
        self._compile_client: CompileClient | None = None
        self._ask_hart = self.function("ask_hart", 1, releases_gil=True)
        self._guest_written = self.function("guest_written", 3, releases_gil=True)

    def function(self, name: str, parameters: int, *, releases_gil: bool = False) -> Callable[..., int]:
        """A native function, callable from Python with words."""
        return callable_at(self.native.address(name), parameters, releases_gil=releases_gil)

    def start_sampling(self) -> memoryview:
        """Note from now on where slices end: SAMPLE_ENTRIES addresses of RAM, the oldest overwritten."""
        area = self._area(8 * at.SAMPLE_ENTRIES)
        self.shared[at.SAMPLED] = area.address
        return area.words

    def read_page(self, address: int) -> bytes:
        """The page of RAM at guest-physical `address`, while harts may be writing it."""
        start = address - self.ram.base
        return bytes(self.ram.buffer[start : start + PAGE_BYTES])

    def start_optimizer(
        self,
        compile_region: Compile,
        give_up: Callable[[], None],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """Have hot code compiled by `compile_region`; at the end `give_up` and `close` are called."""
        from innkeeper.engines.jit.optimizer import Optimizer

        self.optimizer = Optimizer(self, compile_region, give_up, close)

    def start_default_optimizer(self, version: str = "", cache_folder: Path | None = None) -> None:
        """The compile worker of this user, started when the first region is wanted, and its cache.

        `version` and `cache_folder`: a worker and a cache apart, for measurements.
        """
        from innkeeper.engines.jit.compile_client import CompileClient

        folder = cache_folder or store.cache_folder().parent / "code"
        client = CompileClient(version or engine_version(), folder)
        self._compile_client = client
        self.start_optimizer(client.compile, client.give_up, client.close)

    def restart_optimizer(self) -> None:
        """In the child of a fork, which has neither its thread nor a connection: once its harts are busy."""
        from innkeeper.engines.jit.forking import LaterOptimizer

        client = self._compile_client
        self.optimizer = None if client is None else LaterOptimizer(self, client)

    @property
    def observer_address(self) -> int:
        """A block of words like a hart's, for native functions that no hart calls."""
        return self._observer.address

    def _area(self, size_bytes: int, *, low: bool = False) -> DataArea:
        area = DataArea((size_bytes + 4095) & ~4095, low=low)
        self._areas.append(area)
        return area

    def _copy(self, data: bytes, *, low: bool = False) -> int:
        area = self._area(max(len(data), 1), low=low)
        area.write(0, data)
        return area.address

    def _fill_shared(self, table: list[str]) -> None:
        e, blobs = self.shared, self._artifact.blobs
        for index, name in _TABLES.items():
            e[index] = self._copy(blobs[name])
        e[at.CONSTANT_BYTES] = self._copy(blobs["constants"], low=True)
        addresses = b"".join(self.native.address(n).to_bytes(8, "little") for n in table)
        e[at.FUNCTION_TABLE] = self._copy(addresses, low=True)
        sites = self._area(self._sizes.site_bytes, low=True)
        e[at.DATA_FIRST] = e[at.DATA_NEXT_FREE] = sites.address
        e[at.DATA_END] = sites.address + self._sizes.site_bytes
        pages = self._area(4 * (self.ram.size_bytes >> 12) + 8)
        e[at.PAGES] = pages.address
        self._pages_with_code = pages.words.cast("B").cast("I")
        e[at.WRITERS] = self._area((self.ram.size_bytes >> 12) + 8).address
        e[at.POOL] = self._area(self._sizes.code_pages * at.CODE_PAGE_WORDS * 8).address
        e[at.POOL_COUNT] = self._sizes.code_pages
        e[at.CROSSING] = self._area(16 * at.CROSSING_ENTRIES).address
        e[at.CODE_WRITE] = self.code.write_offset
        e[at.CODE_END] = self.code.address + self._sizes.code_bytes
        for i, number in enumerate(self._artifact.names["glue"]):
            e[at.GLUE + i] = int(number)
        e[at.CODE_NEXT] = self.code.address
        emit = self.function("emit", 2)
        for i, number in enumerate(self._artifact.names["stubs"]):
            e[at.STUBS + i] = e[at.CODE_NEXT]
            emit(self._shared.address, int(number))
        e[at.CODE_FIRST] = e[at.CODE_NEXT] = (e[at.CODE_NEXT] + 63) & ~63
        self.stub_bytes = e[at.CODE_FIRST] - self.code.address

    def _hart_block(self) -> DataArea:
        """A block of words as native functions expect it, with nothing translated."""
        block = self._area(at.BLOCK_WORDS * 8)
        words = block.words
        words[at.TLB : at.JUMP_CACHES] = memoryview(b"\xff" * 8 * (at.JUMP_CACHES - at.TLB)).cast("Q")
        words[at.MXCSR] = 0x1F80
        words[at.SHARED] = self._shared.address
        words[at.RAM_HOST] = self.ram.host_address
        words[at.RAM_BASE] = self.ram.base
        words[at.RAM_SIZE] = self.ram.size_bytes
        words[at.RAM_DELTA] = (self.ram.host_address - self.ram.base) & (1 << 64) - 1
        return block

    def create_vcpu(self, index: int, *, ecall_exits: bool, instructions_per_tick: int = 0) -> JitVcpu:
        """See `Engine.create_vcpu`."""
        if index != len(self.vcpus) or index >= at.MAX_HARTS:
            raise ConfigError(
                f"hart {index} cannot be made", f"harts are numbered from 0 to {at.MAX_HARTS - 1}"
            )
        block = self._hart_block()
        vcpu = JitVcpu(self, index, block, ecall_exits, instructions_per_tick)
        self.vcpus.append(vcpu)
        self.shared[at.HART_BLOCKS + index] = block.address
        self.shared[at.HARTS] = len(self.vcpus)
        return vcpu

    def remote_fence(self, hart_mask: int, *, instruction: bool) -> None:
        """See `Engine.remote_fence`; code is forgotten together with translations."""
        for vcpu in self.vcpus:
            if hart_mask >> vcpu.index & 1:
                self._ask_hart(vcpu.address)

    def before_fork(self) -> ForkGuard:
        """See `Engine.before_fork`."""
        from innkeeper.engines.jit.forking import ForkGuard

        return ForkGuard(self)

    def memory_written(self, address: int, size_bytes: int) -> None:
        """RAM was written by something else than a hart: code translated from it is dropped.

        Devices write much and seldom code: to look here takes a tenth of a call that gives up the GIL.
        """
        pages, offset = self._pages_with_code, address - self.ram.base
        first, last = offset >> 12, offset + size_bytes - 1 >> 12
        if last - first <= 1 and not pages[first] and not pages[last]:
            return
        self._guest_written(self._observer.address, address, size_bytes)

    def statistics(self) -> dict[str, int]:
        """Counters of the engine, summed over its harts and what others than harts did."""
        blocks = [self._observer.words, *(vcpu.all_words for vcpu in self.vcpus)]
        return {n: sum(b[at.STATISTICS + i] for b in blocks) for i, n in enumerate(at.STATISTIC_NAMES)}

    def close(self) -> None:
        """See `Engine.close`."""
        if self.optimizer is not None:
            self.optimizer.stop()
            self.optimizer = None
        self.native.close()
        self.code.close()
        for area in self._areas:
            area.close()
        self._areas.clear()
