# SPDX-License-Identifier: Apache-2.0
"""Stencils that no instruction defines: block entries, jumps between blocks, and the stubs that leave
compiled code.

A stub saves what compiled code holds in registers, calls a native function, and goes on where that says.
"""

from __future__ import annotations

from innkeeper.codegen import layout as at
from innkeeper.codegen.layout import COUNT_OPERAND, TARGET_OPERAND
from innkeeper.codegen.lower import Emitter
from innkeeper.codegen.stencil_ir import function, hole, look_up, tail
from innkeeper.isa.riscv import state


def glue_ir() -> dict[str, str]:
    """The LLVM function of each glue stencil and, as `stub_NAME`, of each stub."""
    functions = {
        "entry": _entry(),
        "goto_slot": _goto_slot(refund=False),
        "goto_slot_refund": _goto_slot(refund=True),
        "goto_page": _goto_page(refund=False),
        "goto_page_refund": _goto_page(refund=True),
        "thunk_chain": [tail("@STUB.chain", a=hole("RAW", TARGET_OPERAND), s=hole("SLOT"))],
        "thunk_memory": [tail("@STUB.memory", a="%a", s=hole("SITE"))],
        "thunk_budget": [tail("@STUB.budget", a=hole("RAW", TARGET_OPERAND), s=hole("RAW", COUNT_OPERAND))],
        "thunk_fp": [tail("@STUB.fp", a=hole("RAW", TARGET_OPERAND), s=hole("RAW", COUNT_OPERAND))],
        "fp_check": _fp_check(),
        "fp_dirty": _fp_dirty(),
        "step": _leave("leave_for_step"),
        "illegal": _leave("take_illegal"),
    }
    texts = {name: function(name, body) for name, body in functions.items()}
    for name in at.STUB_NAMES:
        texts[f"stub_{name}"] = function(f"stub_{name}", _exit() if name == "exit" else _stub(name))
    return texts


def _word(out: Emitter, index: int) -> str:
    return out.emit(f"getelementptr i64, ptr %hart, i64 {index}")


def _entry() -> list[str]:
    out = Emitter()
    left = out.emit(f"sub i64 %budget, {hole('BUDGET')}")
    short = out.emit(f"icmp slt i64 {left}, 0")
    out.do(f"br i1 {short}, label %cold, label %go, !prof !1")
    out.lines.append("go:")
    out.do(tail("@NEXT.0", budget=left))
    out.lines.append("cold:")
    out.do(tail("@COLD.0", budget=left))
    return out.finish()


def _refund(out: Emitter, refund: bool) -> str:
    return out.emit(f"add i64 %budget, {hole('RAW', COUNT_OPERAND)}") if refund else "%budget"


def _goto_slot(refund: bool) -> list[str]:
    out = Emitter()
    target = out.emit("load ptr, ptr @SLOT.0")
    out.do(tail(target, budget=_refund(out, refund)))
    return out.finish()


def _goto_page(refund: bool) -> list[str]:
    out = Emitter()
    target = out.emit(f"add i64 %page, {hole('RAW', TARGET_OPERAND)}")
    look_up(out, target, budget=_refund(out, refund))
    return out.finish()


def _fp_check() -> list[str]:
    out = Emitter()
    usable = out.emit(f"load i64, ptr {_word(out, at.FP_USABLE)}")
    off = out.emit(f"icmp eq i64 {usable}, 0")
    out.do(f"br i1 {off}, label %cold, label %go, !prof !1")
    out.lines.append("go:")
    out.do(tail("@NEXT.0"))
    out.lines.append("cold:")
    out.do(tail("@COLD.0"))
    return out.finish()


def _fp_dirty() -> list[str]:
    out = Emitter()
    out.do(f"store i64 1, ptr {_word(out, state.FS_DIRTY)}")
    out.do(tail("@NEXT.0"))
    return out.finish()


def _leave(native: str) -> list[str]:
    """Call a native function with the instruction's pc in its word, as a system instruction does."""
    out = Emitter()
    pc = out.emit(f"add i64 %page, {hole('RAW', TARGET_OPERAND)}")
    out.do(f"store i64 {pc}, ptr {_word(out, state.PC)}")
    out.do(f"store i64 {out.emit('add i64 %budget, 1')}, ptr {_word(out, state.BUDGET)}")
    target = out.emit(f"load ptr, ptr @TABLE.{native}")
    outcome = out.emit(f"call i64 {target}(ptr %hart)")
    out.do(tail("@STUB.system", a=outcome))
    return out.finish()


def _stub(name: str) -> list[str]:
    out = Emitter()
    if name != "system":  # its words are stored before the call
        out.do(f"store i64 %budget, ptr {_word(out, state.BUDGET)}")
        out.do(f"store i64 %page, ptr {_word(out, at.PAGE)}")
    target = out.emit(f"load ptr, ptr @TABLE.after_{name}")
    code = out.emit(f"call i64 {target}(ptr %hart, i64 %a, i64 %s)")
    budget = out.emit(f"load i64, ptr {_word(out, state.BUDGET)}")
    page = out.emit(f"load i64, ptr {_word(out, at.PAGE)}")
    context = out.emit(f"load i64, ptr {_word(out, at.DATA_CONTEXT)}")
    pointer = out.emit(f"inttoptr i64 {code} to ptr")
    arguments = f"i64 {budget}, ptr %hart, i64 {page}, i64 {context}, i64 poison, i64 poison"
    out.do(f"musttail call preserve_nonecc void {pointer}({arguments})")
    out.do("ret void")
    return out.finish()


def _exit() -> list[str]:
    """Back to `enter_code`; every word is already in its place."""
    return ["  ret void"]
