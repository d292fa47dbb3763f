# SPDX-License-Identifier: Apache-2.0
"""What an instruction that the reference engine executes for this one finds around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from innkeeper.engines.reference.ram import RamSurroundings
from innkeeper.host.clock import HostClock

if TYPE_CHECKING:
    from innkeeper.engines.jit.engine import JitEngine
    from innkeeper.engines.jit.vcpu import JitVcpu


class JitSurroundings(RamSurroundings):
    """Implements `Surroundings` and `Memory`: RAM as it is, everything cached through native functions."""

    def __init__(self, engine: JitEngine, vcpu: JitVcpu) -> None:
        super().__init__(engine.ram, vcpu.words, HostClock().now_ns)
        self._address = vcpu.address
        self._engine = engine
        self._changed = engine.function("jit_translation_changed", 1)
        self._flush = engine.function("jit_translations_flush", 5)
        self._code_flush = engine.function("jit_code_flush", 1)
        self._collect = engine.function("jit_fp_collect", 1)
        self._configure = engine.function("jit_fp_configure", 1)
        self._walk_cas64 = engine.function("jit_phys_cas64", 4)
        self._cas64 = engine.function("ram_cas64", 4)

    def translation_changed(self) -> None:
        self._changed(self._address)

    def flush_translations(self, address: int | None, asid: int | None) -> None:
        self._flush(self._address, address or 0, address is not None, asid or 0, asid is not None)

    def flush_code(self) -> None:
        self._code_flush(self._address)

    def collect_flags(self) -> None:
        self._collect(self._address)

    def configure_float(self) -> None:
        self._configure(self._address)

    def write(self, address: int, size_bytes: int, value: int) -> None:
        super().write(address, size_bytes, value)
        self._engine.memory_written(address, size_bytes)

    def cas(self, address: int, size_bytes: int, old: int, new: int) -> bool:
        word_at = address & ~7
        shift, mask = (address - word_at) * 8, (1 << 8 * size_bytes) - 1
        while True:  # until the bytes beside it stand still
            word = self.read(word_at, 8)
            if word >> shift & mask != old:
                return False
            if self._cas64(self._address, word_at, word, word & ~(mask << shift) | new << shift):
                self._engine.memory_written(address, size_bytes)
                return True

    def cas64(self, address: int, old: int, new: int) -> bool:
        return bool(self._walk_cas64(self._address, address, old, new))
