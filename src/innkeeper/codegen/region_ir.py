# SPDX-License-Identifier: Apache-2.0
"""The LLVM function of a region: several blocks of a page with guest registers as SSA values.

It has a stencil's parameters and is entered like a block. Registers are loaded once; what is written goes to
the hart's words too, so that the region can be left anywhere without more code: to other code, where the
budget does not last, and where an access has to take the slow path. There the baseline tier does the same
instruction again, so the region has no slow paths. Only what innermost loops write is stored where they are
left. (Storing all registers at each exit instead made the code of a page with many accesses twice as long,
and LLVM's time too.)

What may be kept over a whole region: the software TLB, FP_USABLE and the RAM's place change only in native
functions, which are never called from here.
"""

from __future__ import annotations

from innkeeper.codegen import layout as at
from innkeeper.codegen.lower import Emitter
from innkeeper.codegen.region_code import STUBS
from innkeeper.codegen.region_flow import Flow
from innkeeper.codegen.region_loops import Loop, inner_loops
from innkeeper.codegen.region_shape import Block, Shape
from innkeeper.codegen.region_site import KINDS, SiteBuilder
from innkeeper.codegen.region_source import FLOAT_STATE, Site
from innkeeper.codegen.stencil_ir import PARAMETERS, look_up, tail
from innkeeper.isa.riscv import state

METADATA = """
attributes #0 = { nounwind strictfp "no-builtins" }
attributes #1 = { strictfp }
!1 = !{!"branch_weights", i32 1, i32 2000}
!2 = !{!"branch_weights", i32 2000, i32 1}
!4 = !{}
"""

_WORDS = {"x": state.X, "f": state.F, FLOAT_STATE[0]: state.FS_DIRTY}
"""Where registers are in the hart's words, by their letter."""


class RegionBuilder:
    """Builds `region` and an `entry_OFFSET` function for each entry."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.flow = Flow(shape)
        self.out = Emitter()
        self.out.predicts = True
        self.sides: list[tuple[str, int, int, Loop | None]] = []
        """Exits to the baseline tier: label, offset, instructions to give back, the loop that is left."""
        self.loops = inner_loops(self.flow)
        self.edges: list[tuple[str, str, Loop]] = []
        """Ways out of loops: label, where it goes on, the loop."""
        self.exits: dict[int, str] = {}
        """Labels of exits to direct targets outside of the region."""
        self.registers: set[tuple[str, int]] = set()
        self.hammocks: dict[int, Block] = {}
        """What is folded into the branch at an offset."""

        self.looping = self.flow.looping()
        self.block = -1
        """Offset of the block that is being built."""
        self.caches: set[str] = set()

    # What a SiteBuilder asks for.

    def page_cache(self, site: Site, tag: int) -> str | None:
        """The prefix of the slots for the page that a base register led to last; None outside of loops."""
        base = site.decoded.operands.get("rs1", 0)
        if self.block not in self.looping or base == 0:
            return None
        name = f"%page.{tag}.{base}"
        self.caches.add(name)
        return name

    def register(self, letter: str, number: int) -> str:
        """The slot of a guest register."""
        self.registers.add((letter, number))
        return f"%{letter}{number}"

    def label_of(self, offset: int) -> str:
        """Where control goes for a direct target."""
        block, loop = self.shape.blocks.get(offset), self.loops.get(self.block)
        if block is not None and block.sites:
            label = f"block{offset}"
        else:
            label = self.exits.setdefault(offset, f"exit{len(self.exits)}")
        if loop is None or offset in loop.blocks:
            return label
        self.edges.append((self.out.label("leave"), label, loop))
        return self.edges[-1][0]

    def write(self, letter: str, number: int, value: str) -> None:
        """To the slot, and to the hart's word, where exits find it; in an innermost loop that can wait."""
        slot, kind = self.register(letter, number), KINDS.get(letter, "i64")
        kept = value if kind == "i64" else self.out.emit(f"bitcast i64 {value} to {kind}")
        self.out.do(f"store {kind} {kept}, ptr {slot}")
        if self.block not in self.loops:
            self.out.do(f"store i64 {value}, ptr {slot}.at")

    def store_written(self, loop: Loop | None) -> None:
        """Make the hart's words what the registers are that `loop`, which is left, writes."""
        for letter, number in loop.written if loop is not None else ():
            slot, kind = self.register(letter, number), KINDS.get(letter, "i64")
            self.out.do(f"store {kind} {self.out.emit(f'load {kind}, ptr {slot}')}, ptr {slot}.at")

    def side(self, offset: int, unpaid: int) -> str:
        """The label of an exit to the baseline tier at `offset`; so many instructions are given back."""
        self.sides.append((self.out.label("side"), offset, unpaid, self.loops.get(self.block)))
        return self.sides[-1][0]

    def go_to(self, offset: int) -> None:
        """Go on at a direct target."""
        self.out.do(f"br label %{self.label_of(offset)}")

    def branch(self, site: Site, taken: str) -> None:
        """Go on at the target of a branch or behind it; a few instructions between are folded in."""
        assert site.target is not None
        inner = self.hammocks.get(site.offset)
        if inner is None:
            labels = self.label_of(site.target), self.label_of(site.end)
            self.out.do(f"br i1 {taken}, label %{labels[0]}, label %{labels[1]}")
            return
        cost = self.out.emit(f"select i1 {taken}, i64 0, i64 {len(inner.sites)}")
        self.pay(cost)
        for inside in inner.sites:
            self.out.known = {}
            SiteBuilder(self, inside, 0, taken).build_inside()
        self.go_to(site.target)

    def pay(self, cost: object) -> None:
        """Take instructions from the budget."""
        self.out.do(f"store i64 {self.out.emit(f'sub i64 {self.budget()}, {cost}')}, ptr %left")

    def leave_to(self, target: str) -> None:
        """Leave to a computed address."""
        self.store_written(self.loops.get(self.block))
        look_up(self.out, target, budget=self.budget())

    def return_to(self, target: str) -> None:
        """A return: to one of the calls of this region, if it is that, else it leaves."""
        for offset in self.shape.returns:
            here = self.out.emit(f"add i64 %page, {offset}")
            same = self.out.emit(f"icmp eq i64 {here}, {target}")
            other = self.out.label("other")
            self.out.do(f"br i1 {same}, label %{self.label_of(offset)}, label %{other}")
            self.out.lines.append(f"{other}:")
        self.leave_to(target)

    def budget(self) -> str:
        """The budget now."""
        return self.out.emit("load i64, ptr %left")

    # The function.

    def build(self) -> str:
        """LLVM IR of the region and its entries."""
        found = {block.offset: self.flow.hammock(block) for block in self.shape.blocks.values()}
        inside = {inner.offset for inner in found.values() if inner is not None}
        self.hammocks = {
            block.sites[-1].offset: inner
            for block in self.shape.blocks.values()
            if (inner := found[block.offset]) is not None and block.offset not in inside
        }
        folded = {inner.offset for inner in self.hammocks.values()}
        for block in self.shape.blocks.values():
            if block.sites and block.offset not in folded:
                self.build_block(block)
        self.build_exits()
        head = self.head()
        body = self.out.finish()
        text = "\n".join([*head, *body])
        region = f"define internal preserve_nonecc void @region({PARAMETERS}) #0 {{\n{text}\n}}"
        entries = [
            f"define preserve_nonecc void @entry_{offset}({PARAMETERS}) #0 {{\n"
            f"  {tail('@region', a=str(number), s='0')}\n}}"
            for number, offset in enumerate(self.shape.entries)
        ]
        stubs = [f"declare dso_local preserve_nonecc void @STUB.{name}({_TYPES})" for name in STUBS]
        return "\n".join([*stubs, region, *entries, METADATA])

    def head(self) -> list[str]:
        """A slot for each register; each entry loads those that may be read from there on."""
        lines = [f"  {name} = alloca i64" for name in ("%left", "%side.offset", "%side.unpaid")]
        lines.append("  store i64 %budget, ptr %left")
        for letter, number in sorted(self.registers):
            name, index = f"%{letter}{number}", _WORDS[letter] + number
            lines.append(f"  {name} = alloca {KINDS.get(letter, 'i64')}")
            lines.append(f"  {name}.at = getelementptr i64, ptr %hart, i64 {index}")
        for name in sorted(self.caches):
            lines += [f"  {name}.{part} = alloca i64" for part in ("page", "delta", "room")]
            lines += [f"  store i64 0, ptr {name}.{part}" for part in ("page", "delta", "room")]
        cases = " ".join(f"i64 {n}, label %enter{o}" for n, o in enumerate(self.shape.entries))
        lines.append(f"  switch i64 %a, label %enter{self.shape.entries[0]} [ {cases} ]")
        live = self.flow.live_registers({block: loop.written for block, loop in self.loops.items()})
        for offset in self.shape.entries:
            lines.append(f"enter{offset}:")
            if offset not in self.flow.checked:
                lines += [
                    f"  %short.{offset} = icmp slt i64 %budget, {self.flow.cost(offset)}",
                    f"  br i1 %short.{offset}, label %early{offset}, label %lasts{offset}, !prof !1",
                    f"early{offset}:",
                    f"  %pc.{offset} = add i64 %page, {offset}",
                    "  " + tail("@STUB.side", a=f"%pc.{offset}", s="0"),
                    f"lasts{offset}:",
                ]
            for letter, number in sorted(live[offset] & self.registers):
                value, kind = f"%{letter}{number}.{offset}", KINDS.get(letter, "i64")
                lines.append(f"  {value} = load {kind}, ptr %{letter}{number}.at")
                lines.append(f"  store {kind} {value}, ptr %{letter}{number}")
            lines.append(f"  br label %block{offset}")
        return lines

    def build_block(self, block: Block) -> None:
        out = self.out
        self.block = block.offset
        out.lines.append(f"block{block.offset}:")
        if block.offset in self.flow.checked:
            short = out.emit(f"icmp slt i64 {self.budget()}, {self.flow.cost(block.offset)}")
            lasts, ends = out.label("pays"), self.side(block.offset, 0)
            out.do(f"br i1 {short}, label %{ends}, label %{lasts}, !prof !1")
            out.lines.append(f"{lasts}:")
        self.pay(len(block.sites))
        seen_float = dirty = False
        for number, site in enumerate(block.sites):
            out.known = {}
            builder = SiteBuilder(self, site, len(block.sites) - number)
            info = builder.info()
            if info.uses_float and not seen_float:
                seen_float = True
                self.check_float(builder)
            if builder.build_inside():
                return
            if info.writes_float and not dirty:  # not before it: it may trap instead
                dirty = True
                self.write(*FLOAT_STATE, "1")
        self.go_to(block.end)

    def check_float(self, builder: SiteBuilder) -> None:
        """Floating point may be off, or its mode one that the host does not have."""
        usable = builder.load_unchanging("i64", builder.word(at.FP_USABLE))
        builder.leave_unless(self.out.emit(f"icmp ne i64 {usable}, 0"), "0")

    def build_exits(self) -> None:
        out = self.out
        self.block = -1
        for label, onward, left in self.edges:
            out.lines.append(f"{label}:")
            self.store_written(left)
            out.do(f"br label %{onward}")
        self.build_sides()
        for offset, label in self.exits.items():
            out.lines.append(f"{label}:")
            self.leave_to(out.emit(f"add i64 %page, {offset}"))

    def build_sides(self) -> None:
        """Exits to the baseline tier: those of a loop meet, so that what it writes is stored in one place."""
        out = self.out
        together: dict[Loop | None, str] = {}
        for label, offset, unpaid, loop in self.sides:
            out.lines.append(f"{label}:")
            out.do(f"store i64 {offset}, ptr %side.offset")
            out.do(f"store i64 {unpaid}, ptr %side.unpaid")
            out.do(f"br label %{together.setdefault(loop, f'together{len(together)}')}")
        for loop, label in together.items():
            out.lines.append(f"{label}:")
            self.store_written(loop)
            given_back = out.emit("load i64, ptr %side.unpaid")
            budget = out.emit(f"add i64 {self.budget()}, {given_back}")
            pc = out.emit(f"add i64 %page, {out.emit('load i64, ptr %side.offset')}")
            out.do(tail("@STUB.side", a=pc, s="0", budget=budget))


_TYPES = "i64, ptr, i64, i64, i64, i64"


def region_ir(shape: Shape) -> str:
    """LLVM IR of the region: `entry_OFFSET` for each of its entries."""
    return RegionBuilder(shape).build()
