# SPDX-License-Identifier: Apache-2.0
"""One instruction of a region: its operands are numbers, guest registers are slots that LLVM promotes.

Where it cannot go on it leaves to the baseline tier, which does it again.
"""

from __future__ import annotations

from typing import Protocol

from innkeeper.codegen.lower import Emitter
from innkeeper.codegen.region_source import Site
from innkeeper.codegen.stencil_ir import InstructionBuilder
from innkeeper.ir.value import Expr, Value
from innkeeper.spec.riscv import PAGE_BYTES

LONGEST_ACCESS_BYTES = 8
INVARIANT = "!invariant.load !4"
KINDS = {"f": "double"}
"""What the slots of registers hold, by their letter, where it is not i64: so that LLVM keeps it in a register
that can compute with it. Loads and stores of it move bits, whatever they are."""


class Region(Protocol):
    """What an instruction needs of the region that it is in."""

    out: Emitter

    def register(self, letter: str, number: int) -> str:
        """The slot of a guest register."""

    def write(self, letter: str, number: int, value: str) -> None:
        """Give a guest register a value."""

    def side(self, offset: int, unpaid: int) -> str:
        """The label of an exit to the baseline tier at `offset`; so many instructions are given back."""

    def page_cache(self, site: Site, tag: int) -> str | None:
        """The prefix of the slots for the page that a base register led to last; None outside of loops."""

    def go_to(self, offset: int) -> None:
        """Go on at a direct target."""

    def branch(self, site: Site, taken: str) -> None:
        """Go on at the target of a branch or behind it."""

    def leave_to(self, target: str) -> None:
        """Leave to a computed address."""

    def return_to(self, target: str) -> None:
        """A return: to one of the calls of this region, if it is that, else it leaves."""


class SiteBuilder(InstructionBuilder):
    """Lowers one instruction in its place: operands are numbers, registers are slots that LLVM promotes."""

    def __init__(self, region: Region, site: Site, unpaid: int, skipped: str | None = None) -> None:
        super().__init__(site.trace, site.decoded.instruction.operands, region.out)
        self.region = region
        self.site = site
        self.unpaid = unpaid
        """Instructions of the block from this one on: paid for, and given back where it leaves here."""
        self.skipped = skipped
        """A condition under which it is not executed: then what it writes stays as it is."""
        self.side: str | None = None

    def define_leaves(self, node: Value) -> None:
        if not isinstance(node, Expr) or id(node) in self.out.known:
            return
        if node.op in ("operand", "number"):
            self.out.define(node, str(self.site.decoded.operands[str(node.attr)]))
        elif node.op in ("pc", "next_pc"):
            offset = self.site.offset if node.op == "pc" else self.site.end
            self.out.define(node, self.out.emit(f"add i64 %page, {offset}"))
        for argument in node.args:
            self.define_leaves(argument)

    def is_direct(self, target: Value) -> bool:
        return self.site.target is not None

    def register(self, kind: str, operand: object) -> str:
        return self.region.register("f" if kind == "F" else "x", self.site.decoded.operands[str(operand)])

    def do_read_x(self, effect: Expr) -> None:
        if self.site.decoded.operands[str(effect.attr)] == 0:
            self.out.define(effect, "0")
        else:
            self.out.define(effect, self.out.emit(f"load i64, ptr {self.register('X', effect.attr)}"))

    def do_read_f(self, effect: Expr) -> None:
        kind = KINDS.get("f", "i64")
        value = self.out.emit(f"load {kind}, ptr {self.register('F', effect.attr)}")
        self.out.define(effect, self.out.emit(f"bitcast {kind} {value} to i64"))

    def do_write_x(self, effect: Expr) -> bool:
        if self.site.decoded.operands[str(effect.attr)] != 0:
            self.write("x", effect)
        return False

    def do_write_f(self, effect: Expr) -> None:
        self.write("f", effect)

    def write(self, letter: str, effect: Expr) -> None:
        """Write a register, unless the instruction is skipped."""
        number = self.site.decoded.operands[str(effect.attr)]
        value = self.out.value(effect.args[0])
        if self.skipped is not None:
            before = self.out.emit(f"load i64, ptr {self.region.register(letter, number)}")
            value = self.out.emit(f"select i1 {self.skipped}, i64 {before}, i64 {value}")
        self.region.write(letter, number, value)

    def load_unchanging(self, kind: str, pointer: str) -> str:
        return self.out.emit(f"load {kind}, ptr {pointer}, {INVARIANT}")

    def host_pointer(self, effect: Expr, size_bytes: int, tag: int, aligned: bool) -> str:
        """In a loop, the page that the same base register led to last comes before the TLB.

        A page is known by its address, how far it is from there to where it is on the host, and how much of
        it accesses may begin in: 0 while none is known, else all but the last bytes.
        """
        cache = None if aligned else self.region.page_cache(self.site, tag)
        if cache is None:
            return super().host_pointer(effect, size_bytes, tag, aligned)
        out, address = self.out, self.value(effect.args[0])
        inside = out.emit(f"sub i64 {address}, {out.emit(f'load i64, ptr {cache}.page')}")
        near = out.emit(f"icmp ult i64 {inside}, {out.emit(f'load i64, ptr {cache}.room')}")
        other, ready = out.label("other"), out.label("ready")
        out.do(f"br i1 {near}, label %{ready}, label %{other}, !prof !2")
        self.look_up_page(effect, size_bytes, tag, cache, (other, ready))
        out.lines.append(f"{ready}:")
        host = out.emit(f"add i64 {address}, {out.emit(f'load i64, ptr {cache}.delta')}")
        return out.emit(f"inttoptr i64 {host} to ptr")

    def look_up_page(
        self, effect: Expr, size_bytes: int, tag: int, cache: str, labels: tuple[str, str]
    ) -> None:
        """Off the usual path: find the page in the TLB and remember it in `cache`."""
        out, address = self.out, self.value(effect.args[0])
        usual, out.lines = out.lines, [f"{labels[0]}:"]
        host = out.emit(f"ptrtoint ptr {super().host_pointer(effect, size_bytes, tag, False)} to i64")
        out.do(f"store i64 {out.emit(f'and i64 {address}, {-PAGE_BYTES}')}, ptr {cache}.page")
        out.do(f"store i64 {out.emit(f'sub i64 {host}, {address}')}, ptr {cache}.delta")
        out.do(f"store i64 {PAGE_BYTES - LONGEST_ACCESS_BYTES + 1}, ptr {cache}.room")
        out.do(f"br label %{labels[1]}")
        out.rare += out.lines
        out.lines = usual

    def leave_unless(self, condition: str, address: str) -> None:
        if self.side is None:
            self.side = self.region.side(self.site.offset, self.unpaid)
        hit = self.out.label("hit")
        self.out.do(f"br i1 {condition}, label %{hit}, label %{self.side}, !prof !2")
        self.out.lines.append(f"{hit}:")

    def do_fence(self, effect: Expr) -> None:
        """LLVM, which sees both sides of it, must keep the order that the host keeps by itself."""
        self.out.do('fence syncscope("singlethread") acq_rel')
        super().do_fence(effect)

    def do_jump(self, effect: Expr) -> bool:
        target = self.site.target
        if target is not None:
            self.region.go_to(target)
        elif self.site.is_return:
            self.region.return_to(self.out.value(effect.args[0]))
        else:
            self.region.leave_to(self.out.value(effect.args[0]))
        return True

    def do_branch(self, effect: Expr) -> bool:
        self.region.branch(self.site, self.out.value(effect.args[0]))
        return True
