# SPDX-License-Identifier: Apache-2.0
"""What lies at a host address of a jit engine: translated code, or which native function."""

from __future__ import annotations

from bisect import bisect_right

from innkeeper.engines.jit.build import load_native_functions
from innkeeper.engines.jit.engine import JitEngine
from innkeeper.ir.native import NATIVE

TRANSLATED, OPTIMISED = "baseline code", "optimised code"
_PARTS = {
    "translator": "translation", "emitter": "translation",
    "lookup": "translation",
    "access": "page walks", "contexts": "page walks",
    "translation": "page walks", "pmp": "page walks",
    "traps": "traps, CSRs", "csrs": "traps, CSRs", "csrs_write": "traps, CSRs",
    "privileged": "traps, CSRs", "counters": "traps, CSRs",
}  # fmt: skip
"""What a module of native functions is for; the rest is `DISPATCH`."""
DISPATCH = "dispatch"


class EngineSymbols:
    """The addresses of one engine; valid until it is closed, and as a record of it afterwards."""

    def __init__(self, engine: JitEngine) -> None:
        self._engine = engine
        self._code = range(engine.code.address, engine.code.address + engine.code.size_bytes)
        load_native_functions()
        native = engine.native
        spans = sorted((native.address(name), size, name) for name, (_, size) in native.functions.items())
        self._starts = [start for start, _, _ in spans]
        self._spans = spans

    def part(self, address: int) -> str | None:
        """What the engine does at `address`, in words for the user; None if that is not the engine's."""
        if address in self._code:
            return OPTIMISED if self._in_region(address) else TRANSLATED
        name = self.function(address)
        if name is None:
            return None
        function = NATIVE.get(name)
        module = function.__module__.rpartition(".")[2] if function is not None else ""
        return _PARTS.get(module, DISPATCH)

    def _in_region(self, address: int) -> bool:
        optimizer = self._engine.optimizer
        return optimizer is not None and any(address in span for span in optimizer.spans)

    def function(self, address: int) -> str | None:
        """The native function at `address`, or None."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start, size, name = self._spans[index]
        return name if address < start + size else None
