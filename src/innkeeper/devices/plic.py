# SPDX-License-Identifier: Apache-2.0
"""SiFive PLIC as QEMU's `virt` board has it: two contexts a hart (2*hart = M-mode, 2*hart+1 = S-mode).

Spec: RISC-V Platform-Level Interrupt Controller 1.0.0, section 3 "Memory Map" and what follows it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from innkeeper.devices.ports import InterruptLine
from innkeeper.devices.saved import require

PRIORITY_MAX = 7

_PENDING_BASE = 0x1000
_ENABLE_BASE, _ENABLE_STRIDE = 0x2000, 0x80
_CONTEXT_BASE, _CONTEXT_STRIDE = 0x20_0000, 0x1000
_THRESHOLD, _CLAIM = 0, 4
_WORD = 0xFFFF_FFFF


@dataclass
class PlicState:
    """Bit `n` of a mask is source `n`; source 0 does not exist."""

    priority: list[int]
    enable: list[int]
    threshold: list[int]
    pending: int = 0
    in_service: int = 0
    level: int = 0
    output: list[int] = field(default_factory=list)


class Plic:
    """Routes the level-triggered lines of sources 1..`source_count` to 2 * `hart_count` contexts.

    `set_line(context, level)` is called when the external interrupt of a context changes.
    Registers are 32 bits wide; an access of another size or to a hole reads 0 and writes nothing.
    """

    def __init__(
        self, set_line: Callable[[int, int], None], *, hart_count: int, source_count: int = 95
    ) -> None:
        self._set_line = set_line
        self._context_count = 2 * hart_count
        self._source_count = source_count
        self._sources_mask = (2 << source_count) - 2
        self.state = self._power_on()

    def _power_on(self) -> PlicState:
        contexts = self._context_count
        priority = [0] * (self._source_count + 1)
        return PlicState(priority, [0] * contexts, [0] * contexts, output=[0] * contexts)

    def reset(self) -> None:
        """Clear everything but the levels of the incoming lines, which the devices drive."""
        level, outputs = self.state.level, self.state.output
        self.state = self._power_on()
        self.state.level = self.state.pending = level
        for context, output in enumerate(outputs):
            if output:
                self._set_line(context, 0)

    def restore(self, state: PlicState) -> None:
        """Go on from there; the harts have their lines. ConfigError if it cannot be."""
        contexts, sources = self._context_count, self._sources_mask
        lengths = (len(state.enable), len(state.threshold), len(state.output), len(state.priority))
        require(lengths == (contexts, contexts, contexts, self._source_count + 1), "the PLIC's size")
        masks = [*state.enable, state.pending, state.in_service, state.level]
        require(all(mask & ~sources == 0 for mask in masks), "a PLIC source that does not exist")
        small = all(0 <= value <= PRIORITY_MAX for value in (*state.priority, *state.threshold))
        require(small and set(state.output) <= {0, 1}, "a priority of the PLIC")
        self.state = state

    def line(self, source: int) -> InterruptLine:
        """The line that a device drives as interrupt source `source`."""
        if not 1 <= source <= self._source_count:
            raise ValueError(f"PLIC source {source} is outside 1..{self._source_count}")

        def drive(level: int) -> None:
            self.set_source(source, level)

        return drive

    def set_source(self, source: int, level: int) -> None:
        """Drive the line of one source. A request once forwarded stays pending when the line drops.

        Spec: PLIC 1.0.0 1.2 "Interrupt Gateways".
        """
        state, bit = self.state, 1 << source
        if bool(state.level & bit) == bool(level):
            return
        if not level:
            state.level &= ~bit
            return
        state.level |= bit
        if not (state.in_service | state.pending) & bit:
            state.pending |= bit
            self._update()

    def read(self, offset: int, size_bytes: int) -> int:
        if size_bytes != 4 or offset & 3:
            return 0
        if offset >= _CONTEXT_BASE:
            return self._read_context(offset)
        if offset >= _ENABLE_BASE:
            context, word = divmod(offset - _ENABLE_BASE, _ENABLE_STRIDE)
            return self.state.enable[context] >> (word * 8) & _WORD if context < self._context_count else 0
        if offset >= _PENDING_BASE:
            return self.state.pending >> ((offset - _PENDING_BASE) * 8) & _WORD
        return self.state.priority[offset >> 2] if offset >> 2 <= self._source_count else 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if size_bytes != 4 or offset & 3:
            return
        if offset >= _CONTEXT_BASE:
            self._write_context(offset, value)
        elif offset >= _ENABLE_BASE:
            context, word = divmod(offset - _ENABLE_BASE, _ENABLE_STRIDE)
            if context < self._context_count:
                shift = word * 8
                kept = self.state.enable[context] & ~(_WORD << shift)
                self.state.enable[context] = (kept | (value & _WORD) << shift) & self._sources_mask
                self._update()
        elif offset < _PENDING_BASE and 1 <= offset >> 2 <= self._source_count:
            self.state.priority[offset >> 2] = value & PRIORITY_MAX
            self._update()

    def _read_context(self, offset: int) -> int:
        context, register = divmod(offset - _CONTEXT_BASE, _CONTEXT_STRIDE)
        if context >= self._context_count:
            return 0
        if register == _THRESHOLD:
            return self.state.threshold[context]
        return self._claim(context) if register == _CLAIM else 0

    def _write_context(self, offset: int, value: int) -> None:
        context, register = divmod(offset - _CONTEXT_BASE, _CONTEXT_STRIDE)
        if context >= self._context_count:
            return
        if register == _THRESHOLD:
            self.state.threshold[context] = value & PRIORITY_MAX
            self._update()
        elif register == _CLAIM:
            self._complete(context, value)

    def _best(self, context: int) -> tuple[int, int]:
        """(priority, source) of the most urgent enabled pending source, or (0, 0).

        Spec: PLIC 1.0.0 section 5 "Interrupt Priorities": ties go to the lowest number.
        """
        candidates = self.state.pending & self.state.enable[context]
        best_priority = best_source = 0
        while candidates:
            source = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            priority = self.state.priority[source]
            if priority > best_priority:
                best_priority, best_source = priority, source
        return best_priority, best_source

    def _claim(self, context: int) -> int:
        """Spec: PLIC 1.0.0 section 9 "Interrupt Claim Process": not affected by the threshold."""
        _, source = self._best(context)
        if source:
            self.state.pending &= ~(1 << source)
            self.state.in_service |= 1 << source
            self._update()
        return source

    def _complete(self, context: int, source: int) -> None:
        """Spec: PLIC 1.0.0 section 10 "Interrupt Completion": ignored if the context has not enabled it."""
        state = self.state
        if not 1 <= source <= self._source_count:
            return
        bit = 1 << source
        if not state.enable[context] & state.in_service & bit:
            return
        state.in_service &= ~bit
        if state.level & bit:
            state.pending |= bit
            self._update()

    def _update(self) -> None:
        state = self.state
        for context in range(self._context_count):
            level = int(self._best(context)[0] > state.threshold[context])
            if level != state.output[context]:
                state.output[context] = level
                self._set_line(context, level)
