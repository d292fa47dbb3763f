# SPDX-License-Identifier: Apache-2.0
"""The LLVM function of one stencil, from the trace of an instruction.

A stencil takes the budget, the hart, the page that code runs in and the data context in registers, and ends
in a tail call to what follows. What differs between two copies is a hole: a symbol whose address is the
operand. Hole symbols are named `KIND.index` and become relocations of the object file.
"""

from __future__ import annotations

from dataclasses import dataclass

from innkeeper.codegen import layout as at
from innkeeper.codegen.lower import Emitter
from innkeeper.codegen.lower_float import FLOAT_OPS, lower_float, raise_flags, supported
from innkeeper.ir.value import Expr, Value
from innkeeper.isa.riscv import state
from innkeeper.isa.riscv.trace import MAY_TRAP, Trace

PARAMETERS = "i64 %budget, ptr %hart, i64 %page, i64 %ctx, i64 %a, i64 %s"
TYPES = "i64, ptr, i64, i64, i64, i64"
SIGNED_OPERANDS = frozenset({"imm"})
WRITES_FLOAT = FLOAT_OPS | {"write_f", "raise_flags"}
"""Effects after which the state of floating point is dirty."""
_ORDER = "acq_rel"


@dataclass(frozen=True)
class Memory:
    """The one memory access of an instruction, as its slow path needs to know it."""

    kind: int
    size_bytes: int
    extend: int
    register_operand: int
    is_float: bool


@dataclass(frozen=True)
class StencilInfo:
    """What the translator must know of a stencil besides its code. `control`: next, jump, branch, end."""

    control: str = "next"
    memory: Memory | None = None
    uses_float: bool = False
    writes_float: bool = False


class Unsupported(Exception):
    """No stencil for this instruction: the reference engine executes it."""


def hole(kind: str, index: int = 0) -> str:
    """A hole as an i64 constant."""
    return f"ptrtoint (ptr @{kind}.{index} to i64)"


def tail(
    target: str, a: str = "poison", s: str = "poison", budget: str = "%budget", page: str = "%page"
) -> str:
    """The tail call that ends a stencil, with its return."""
    args = f"i64 {budget}, ptr %hart, i64 {page}, i64 %ctx, i64 {a}, i64 {s}"
    return f"musttail call preserve_nonecc void {target}({args})\n  ret void"


def function(name: str, body: list[str]) -> str:
    """A whole stencil function in a section of its own."""
    text = "\n".join(body)
    return f'define preserve_nonecc void @{name}({PARAMETERS}) #0 section ".text.{name}" {{\n{text}\n}}'


def stencil_ir(name: str, trace: Trace, operands: tuple[str, ...]) -> tuple[str, StencilInfo]:
    """The LLVM function `name` for a traced instruction with these operands, and its facts."""
    builder = InstructionBuilder(trace, operands, Emitter())
    builder.build()
    return function(name, builder.out.finish()), builder.info()


def check_supported(trace: Trace, operands: tuple[str, ...]) -> None:
    """Raises Unsupported where there is no compiled form of the instruction."""
    InstructionBuilder(trace, operands, Emitter()).info()


class InstructionBuilder:
    """Lowers the effects of one traced instruction, in order.

    Here operands are holes and guest registers words of the hart; a subclass has them otherwise.
    """

    def __init__(self, trace: Trace, operands: tuple[str, ...], out: Emitter) -> None:
        self.trace = trace
        self.operands = operands
        self.out = out
        self.accesses = [e for e in trace.effects if e.op in MAY_TRAP]
        if len(self.accesses) > 1:
            raise Unsupported(f"{trace.name} accesses memory more than once")
        self.floats = [e for e in trace.effects if e.op in FLOAT_OPS]
        if not all(supported(e) for e in self.floats):
            raise Unsupported(f"{trace.name}: rounding mode")

    def info(self) -> StencilInfo:
        control = self.trace.control
        kind = "next"
        if control is not None:
            kind = "branch" if control.op == "branch" else "end"
            if control.op == "jump" and self.is_direct(control.args[0]):
                kind = "jump"
        touched = {e.op for e in self.trace.effects}
        return StencilInfo(
            control=kind,
            memory=self.memory() if self.accesses else None,
            uses_float=bool(touched & (WRITES_FLOAT | {"read_f"})),
            writes_float=bool(touched & WRITES_FLOAT),
        )

    # Leaves.

    def operand(self, name: object) -> int:
        return self.operands.index(str(name))

    def define_leaves(self, node: Value) -> None:
        """Give every leaf under `node` its hole."""
        if not isinstance(node, Expr) or id(node) in self.out.known:
            return
        pc_imm = self.pc_plus_immediate(node)
        if pc_imm is not None:
            self.out.define(node, self.out.emit(f"add i64 %page, {hole('PCIMM', pc_imm)}"))
        elif node.op in ("operand", "number"):
            kind = "RAW" if node.attr in SIGNED_OPERANDS else "URAW"
            self.out.define(node, hole(kind, self.operand(node.attr)))
        elif node.op in ("pc", "next_pc"):
            kind = "PC" if node.op == "pc" else "NEXTPC"
            self.out.define(node, self.out.emit(f"add i64 %page, {hole(kind)}"))
        for argument in node.args:
            if pc_imm is None:
                self.define_leaves(argument)

    def pc_plus_immediate(self, node: Expr) -> int | None:
        """The immediate's operand index where node is pc + immediate."""
        if node.op != "add":
            return None
        first, second = node.args
        if (
            isinstance(first, Expr)
            and first.op == "pc"
            and isinstance(second, Expr)
            and second.op == "operand"
        ):
            return self.operand(second.attr)
        return None

    def is_direct(self, target: Value) -> bool:
        return isinstance(target, Expr) and self.pc_plus_immediate(target) is not None

    def value(self, node: Value) -> str:
        self.define_leaves(node)
        return self.out.value(node)

    # Effects, in order.

    def build(self) -> None:
        """The whole stencil."""
        if not self.build_inside():
            self.out.do(tail("@NEXT.0"))

    def build_inside(self) -> bool:
        """The effects; whether the last one goes elsewhere."""
        ended = False
        for effect in self.trace.effects:
            for argument in effect.args:
                if isinstance(argument, Expr) and argument.op == "system":
                    continue
                if effect.op not in ("jump", "branch") or not self.is_direct(argument):
                    self.value(argument)
            if effect.op in FLOAT_OPS:
                self.out.define(effect, lower_float(self.out, effect, "%hart"))
            else:
                ended = bool(getattr(self, f"do_{effect.op}")(effect)) or ended
        return ended

    def word(self, index: int) -> str:
        return self.out.emit(f"getelementptr i64, ptr %hart, i64 {index}")

    def load_word(self, index: int) -> str:
        return self.out.emit(f"load i64, ptr {self.word(index)}")

    def store_word(self, index: int, value: str) -> None:
        self.out.do(f"store i64 {value}, ptr {self.word(index)}")

    def load_unchanging(self, kind: str, pointer: str) -> str:
        """Load a word that no compiled code changes."""
        return self.out.emit(f"load {kind}, ptr {pointer}")

    def register(self, kind: str, operand: object) -> str:
        return self.out.emit(f"getelementptr i8, ptr %hart, i64 {hole(kind, self.operand(operand))}")

    def do_read_x(self, effect: Expr) -> None:
        # LLVM folds a plain load into the operation and then needs 10 bytes for the immediate; an atomic one
        # it leaves alone, and the immediate becomes the operand.
        pointer = self.register("X", effect.attr)
        atomic = "imm" in self.operands
        text = f"load atomic i64, ptr {pointer} unordered, align 8" if atomic else f"load i64, ptr {pointer}"
        self.out.define(effect, self.out.emit(text))

    def do_read_f(self, effect: Expr) -> None:
        self.out.define(effect, self.out.emit(f"load i64, ptr {self.register('F', effect.attr)}"))

    def do_write_x(self, effect: Expr) -> bool:
        source = effect.args[0]
        if isinstance(source, Expr) and source.op == "system":
            return False  # written by do_system
        self.out.do(f"store i64 {self.out.value(effect.args[0])}, ptr {self.register('XD', effect.attr)}")
        return False

    def do_write_f(self, effect: Expr) -> None:
        self.out.do(f"store i64 {self.out.value(effect.args[0])}, ptr {self.register('F', effect.attr)}")

    def do_raise_flags(self, effect: Expr) -> None:
        raise_flags(self.out, self.out.value(effect.args[0]), "%hart")

    def do_fence(self, effect: Expr) -> None:
        """Only a store before a load needs the host's fence; which sets are meant is a constant of the
        copy."""
        before, after = (self.out.value(a) for a in effect.args)
        strong, done = self.out.label("strong"), self.out.label("done")
        writes = self.out.emit(f"and i64 {before}, 1")
        reads = self.out.emit(f"and i64 {self.out.emit(f'lshr i64 {after}, 1')}, 1")
        both = self.out.emit(f"icmp ne i64 {self.out.emit(f'and i64 {writes}, {reads}')}, 0")
        self.out.do(f"br i1 {both}, label %{strong}, label %{done}")
        self.out.lines.append(f"{done}:")
        self.out.rare += [f"{strong}:", "  fence seq_cst", f"  br label %{done}"]

    # Memory.

    def memory(self) -> Memory:
        effect = self.accesses[0]
        kinds = {"load": at.KIND_LOAD, "store": at.KIND_STORE, "load_reserved": at.KIND_RESERVE}
        kind = kinds.get(effect.op, at.KIND_ATOMIC)
        width = effect.args[1].width if effect.op in ("store", "store_conditional") else effect.width
        if kind == at.KIND_LOAD:
            return self.loaded(effect, width)
        if kind == at.KIND_STORE:
            register, is_float = self.stored(effect.args[1])
            return Memory(kind, width // 8, at.EXTEND_ZERO, register, is_float)
        return Memory(kind, width // 8, at.EXTEND_ZERO, 0, False)

    def loaded(self, effect: Expr, width: int) -> Memory:
        """How the destination gets the loaded bits: the slow path does the same."""
        write = next(e for e in self.trace.effects if e.op in ("write_x", "write_f"))
        source, extend = write.args[0], at.EXTEND_ZERO
        if isinstance(source, Expr) and source is not effect:
            if source.op == "sext" and source.args[0] is effect:
                extend = at.EXTEND_SIGN
            elif write.op == "write_f":
                extend = at.EXTEND_BOX
            elif not (source.op == "zext" and source.args[0] is effect):
                raise Unsupported(f"{self.trace.name}: a load whose result is computed with")
        return Memory(at.KIND_LOAD, width // 8, extend, self.operand(write.attr), write.op == "write_f")

    def stored(self, value: Value) -> tuple[int, bool]:
        while isinstance(value, Expr) and value.op == "trunc":
            value = value.args[0]
        if not isinstance(value, Expr) or value.op not in ("read_x", "read_f"):
            raise Unsupported(f"{self.trace.name}: a store of a computed value")
        return self.operand(value.attr), value.op == "read_f"

    def host_pointer(self, effect: Expr, size_bytes: int, tag: int, aligned: bool) -> str:
        """Look the address up in the software TLB; a miss leaves through COLD."""
        out, address = self.out, self.value(effect.args[0])
        if aligned and size_bytes > 1:
            low = out.emit(f"and i64 {address}, {size_bytes - 1}")
            self.leave_unless(out.emit(f"icmp eq i64 {low}, 0"), address)
        last = out.emit(f"add i64 {address}, {size_bytes - 1}") if size_bytes > 1 else address
        wanted = out.emit(f"or i64 {out.emit(f'and i64 {last}, -4096')}, %ctx")
        entry_bytes = at.TLB_ENTRY_WORDS * 8
        shift = 12 - (entry_bytes.bit_length() - 1)
        shifted = out.emit(f"lshr i64 {address}, {shift}")
        offset = out.emit(f"and i64 {shifted}, {(at.TLB_ENTRIES - 1) * entry_bytes}")
        entry = out.emit(f"getelementptr i8, ptr {self.word(at.TLB)}, i64 {offset}")
        have = self.load_unchanging("i64", out.emit(f"getelementptr i64, ptr {entry}, i64 {tag}"))
        self.leave_unless(out.emit(f"icmp eq i64 {have}, {wanted}"), address)
        addend_at = out.emit(f"getelementptr i64, ptr {entry}, i64 {at.TLB_ADDEND}")
        host = out.emit(f"add i64 {address}, {self.load_unchanging('i64', addend_at)}")
        return out.emit(f"inttoptr i64 {host} to ptr")

    def leave_unless(self, condition: str, address: str) -> None:
        hit, miss = self.out.label("hit"), self.out.label("miss")
        self.out.do(f"br i1 {condition}, label %{hit}, label %{miss}, !prof !2")
        self.out.rare += [f"{miss}:", "  " + tail("@COLD.0", a=address)]
        self.out.lines.append(f"{hit}:")

    def do_load(self, effect: Expr) -> None:
        pointer = self.host_pointer(effect, effect.width // 8, at.TLB_READ, aligned=False)
        self.out.define(effect, self.out.emit(f"load i{effect.width}, ptr {pointer}, align 1"))

    def do_store(self, effect: Expr) -> None:
        value = effect.args[1]
        pointer = self.host_pointer(effect, value.width // 8, at.TLB_WRITE, aligned=False)
        self.out.do(f"store i{value.width} {self.value(value)}, ptr {pointer}, align 1")

    def do_amo(self, effect: Expr) -> None:
        names = {"swap": "xchg", "minu": "umin", "maxu": "umax"}
        operation = names.get(str(effect.attr), str(effect.attr))
        width = effect.width
        pointer = self.host_pointer(effect, width // 8, at.TLB_WRITE, aligned=True)
        value = self.value(effect.args[1])
        text = f"atomicrmw {operation} ptr {pointer}, i{width} {value} {_ORDER}"
        self.out.define(effect, self.out.emit(text))

    def physical(self, pointer: str) -> str:
        host = self.out.emit(f"ptrtoint ptr {pointer} to i64")
        return self.out.emit(f"sub i64 {host}, {self.load_word(at.RAM_DELTA)}")

    def do_load_reserved(self, effect: Expr) -> None:
        width = effect.width
        pointer = self.host_pointer(effect, width // 8, at.TLB_READ, aligned=True)
        value = self.out.emit(f"load atomic i{width}, ptr {pointer} acquire, align {width // 8}")
        self.store_word(state.RESERVATION, self.physical(pointer))
        kept = value if width == 64 else self.out.emit(f"zext i{width} {value} to i64")
        self.store_word(state.RESERVED_VALUE, kept)
        self.out.define(effect, value)

    def do_store_conditional(self, effect: Expr) -> None:
        out, value = self.out, effect.args[1]
        width = value.width
        pointer = self.host_pointer(effect, width // 8, at.TLB_WRITE, aligned=True)
        held = out.emit(f"icmp eq i64 {self.load_word(state.RESERVATION)}, {self.physical(pointer)}")
        expected = self.load_word(state.RESERVED_VALUE)
        if width < 64:
            expected = out.emit(f"trunc i64 {expected} to i{width}")
        new = self.value(value)
        self.store_word(state.RESERVATION, str(state.NO_RESERVATION))
        start, swap, done = out.label("start"), out.label("swap"), out.label("done")
        out.do(f"br label %{start}")
        out.lines.append(f"{start}:")
        out.do(f"br i1 {held}, label %{swap}, label %{done}")
        out.lines.append(f"{swap}:")
        pair = out.emit(f"cmpxchg ptr {pointer}, i{width} {expected}, i{width} {new} acq_rel monotonic")
        failed = out.emit(f"xor i1 {out.emit(f'extractvalue {{ i{width}, i1 }} {pair}, 1')}, true")
        failed_word = out.emit(f"zext i1 {failed} to i64")
        out.do(f"br label %{done}")
        out.lines.append(f"{done}:")
        out.define(effect, out.emit(f"phi i64 [ 1, %{start} ], [ {failed_word}, %{swap} ]"))

    # Control.

    def do_jump(self, effect: Expr) -> bool:
        if self.is_direct(effect.args[0]):
            return False  # the translator appends the jump
        look_up(self.out, self.out.value(effect.args[0]))
        return True

    def do_branch(self, effect: Expr) -> bool:
        taken, other = self.out.label("taken"), self.out.label("other")
        self.out.do(f"br i1 {self.out.value(effect.args[0])}, label %{taken}, label %{other}, !prof !1")
        self.out.lines.append(f"{other}:")
        self.out.do(tail("@NEXT.0"))
        self.out.lines.append(f"{taken}:")
        self.out.do(tail("@TAKEN.0"))
        return True

    def do_system(self, effect: Expr) -> bool:
        out = self.out
        self.store_word(state.PC, out.emit(f"add i64 %page, {hole('PC')}"))
        # The block has paid for this instruction; `retired` does not count it yet.
        self.store_word(state.BUDGET, out.emit("add i64 %budget, 1"))
        target = out.emit(f"load ptr, ptr @TABLE.{effect.attr}")
        arguments = "".join(f", i64 {out.value(a)}" for a in effect.args)
        outcome = out.emit(f"call i64 {target}(ptr %hart{arguments})")
        write = next((e for e in self.trace.effects if e.op == "write_x" and e.args[0] is effect), None)
        if write is not None:
            done, failed = out.label("done"), out.label("failed")
            bad = out.emit(f"icmp ne i64 {outcome}, {state.OUTCOME_NEXT}")
            out.do(f"br i1 {bad}, label %{failed}, label %{done}")
            out.lines.append(f"{done}:")
            out.do(f"store i64 {self.load_word(state.RESULT)}, ptr {self.register('XD', write.attr)}")
            out.do(f"br label %{failed}")
            out.lines.append(f"{failed}:")
        out.do(tail("@STUB.system", a=outcome))
        return True


def look_up(out: Emitter, target: str, budget: str = "%budget") -> None:
    """Go on at the virtual address `target` through the jump cache; a miss leaves to the lookup stub."""
    cache_at = out.emit(f"getelementptr i64, ptr %hart, i64 {at.JUMP_CACHE}")
    cache = out.emit(f"load ptr, ptr {cache_at}")
    low = out.emit(f"shl i64 {target}, {4 - at.JUMP_LOW_SHIFT}")
    high = out.emit(f"lshr i64 {target}, {at.JUMP_HIGH_SHIFT - 4}")
    offset = out.emit(f"and i64 {out.emit(f'xor i64 {low}, {high}')}, {(at.JUMP_ENTRIES - 1) * 16}")
    entry = out.emit(f"getelementptr i8, ptr {cache}, i64 {offset}")
    same = out.emit(f"icmp eq i64 {out.emit(f'load i64, ptr {entry}')}, {target}")
    hit, miss = out.label("hit"), out.label("miss")
    out.do(f"br i1 {same}, label %{hit}, label %{miss}, !prof !2")
    out.rare += [f"{miss}:", "  " + tail("@STUB.lookup", a=target, budget=budget)]
    out.lines.append(f"{hit}:")
    code = out.emit(f"load ptr, ptr {out.emit(f'getelementptr i64, ptr {entry}, i64 1')}")
    out.do(tail(code, budget=budget, page=out.emit(f"and i64 {target}, -4096")))
