# SPDX-License-Identifier: Apache-2.0
"""What instructions become: integer operations as `evaluate` means them, a stencil for each definition, and
the facts that the translator relies on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.codegen import layout as at
from innkeeper.codegen.lower import Emitter
from innkeeper.codegen.lower_float import DYNAMIC, FLOAT_OPS
from innkeeper.engines.jit.engine import ensure_artifacts
from innkeeper.engines.jit.tables import Operation, operations
from innkeeper.ir.evaluate import EVALUATE
from innkeeper.ir.value import Bits, Expr
from innkeeper.isa.riscv.definition import INSTRUCTIONS
from tests.unit.codegen.linked import linked

ONE_OPERAND = ("clz", "ctz", "popcount", "bswap")
WIDTHS = (32, 64)
RESIZED = [("zext", 32, 64), ("sext", 32, 64), ("trunc", 64, 32), ("zext", 8, 64), ("sext", 16, 64)]
TWO_OPERANDS = [op for op in EVALUATE if op not in (*ONE_OPERAND, "zext", "trunc")]
COMPARISONS = ("eq", "ne", "ult", "slt")


def text_of(name: str, op: str, width: int, result: int) -> str:
    """An LLVM function of two words that applies `op` to their low `width` bits."""
    out = Emitter()
    leaves = []
    for parameter in ("a", "b"):
        leaf = Expr("leaf", width)
        out.define(leaf, out.emit(f"trunc i64 %{parameter} to i{width}") if width < 64 else f"%{parameter}")
        leaves.append(leaf)
    arguments = leaves if op in TWO_OPERANDS else leaves[:1]
    value = out.value(Expr(op, result, arguments))
    whole = value if result == 64 else out.emit(f"zext i{result} {value} to i64")
    body = "\n".join(out.finish())
    return f"define i64 @{name}(i64 %a, i64 %b) {{\n{body}\n  ret i64 {whole}\n}}"


def cases() -> list[tuple[str, str, int, int]]:
    plain = [(op, w, 1 if op in COMPARISONS else w) for w in WIDTHS for op in (*TWO_OPERANDS, *ONE_OPERAND)]
    return [(f"{op}_{width}_{result}", op, width, result) for op, width, result in [*plain, *RESIZED]]


@pytest.fixture(scope="module")
def lowered() -> Iterator[dict[str, Callable[..., int]]]:
    with linked("\n".join(text_of(*case) for case in cases()), 2) as functions:
        yield functions


ENDS = [0, 1, 2, 31, 32, 63, 64, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
WORDS = st.one_of(st.sampled_from(ENDS), st.integers(0, (1 << 64) - 1))


def expected(op: str, width: int, result: int, a: int, b: int) -> int:
    a, b = a & (1 << width) - 1, b & (1 << width) - 1
    if op == "sext":
        return Bits(Bits(a, width).signed, result).value
    value = EVALUATE[op](width, a, b) if op in TWO_OPERANDS else EVALUATE[op](width, a)
    return value & (1 << result) - 1


@settings(max_examples=200)
@given(WORDS, WORDS)
def test_operations_mean_what_evaluate_says(lowered: dict[str, Callable[..., int]], a: int, b: int) -> None:
    for name, op, width, result in cases():
        assert lowered[name](a, b) == expected(op, width, result, a, b), f"{name}({a:#x}, {b:#x})"


def test_division_corners(lowered: dict[str, Callable[..., int]]) -> None:
    """By zero, and the overflow for which the host would trap."""
    for op in ("udiv", "urem", "sdiv", "srem"):
        for width in WIDTHS:
            for a in ENDS:
                for b in (0, 1, (1 << 64) - 1, (1 << width) - 1, 1 << (width - 1)):
                    assert lowered[f"{op}_{width}_{width}"](a, b) == expected(op, width, width, a, b)


def test_what_cannot_be_lowered_is_refused() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        Emitter().value(Expr("nonsense", 64))


@lru_cache(maxsize=1)
def all_operations() -> dict[tuple[str, int | None], Operation]:
    return {(o.definition.name, o.rounding): o for o in operations()}


def needs_a_static_mode(operation: Operation) -> bool:
    """Rounds, in a mode that the instruction names: the host has only one mode at a time. Conversions to
    integers have instructions of their own for all modes but the one to nearest, away from zero on ties."""
    if operation.rounding in (None, DYNAMIC):
        return False
    rounds = [e for e in operation.trace.effects if e.op in FLOAT_OPS]
    if operation.definition.name.startswith("fcvt") and rounds[0].op == "float_to_int":
        return operation.rounding == 4
    return operation.definition.name not in ("fcvt.d.w", "fcvt.d.wu", "fcvt.d.s")


def test_everything_has_a_stencil_but_static_rounding() -> None:
    without = {key for key, o in all_operations().items() if o.ir is None}
    assert without == {key for key, o in all_operations().items() if needs_a_static_mode(o)}
    assert {name for name, _ in all_operations()} == set(INSTRUCTIONS)


@pytest.mark.parametrize(
    ("name", "kind", "size", "extend", "is_float"),
    [
        ("lb", at.KIND_LOAD, 1, at.EXTEND_SIGN, False), ("lbu", at.KIND_LOAD, 1, at.EXTEND_ZERO, False),
        ("lh", at.KIND_LOAD, 2, at.EXTEND_SIGN, False), ("lhu", at.KIND_LOAD, 2, at.EXTEND_ZERO, False),
        ("lw", at.KIND_LOAD, 4, at.EXTEND_SIGN, False), ("lwu", at.KIND_LOAD, 4, at.EXTEND_ZERO, False),
        ("ld", at.KIND_LOAD, 8, at.EXTEND_ZERO, False), ("flw", at.KIND_LOAD, 4, at.EXTEND_BOX, True),
        ("fld", at.KIND_LOAD, 8, at.EXTEND_ZERO, True), ("sb", at.KIND_STORE, 1, at.EXTEND_ZERO, False),
        ("sd", at.KIND_STORE, 8, at.EXTEND_ZERO, False), ("fsw", at.KIND_STORE, 4, at.EXTEND_ZERO, True),
        ("fsd", at.KIND_STORE, 8, at.EXTEND_ZERO, True), ("lr.w", at.KIND_RESERVE, 4, 0, False),
        ("lr.d", at.KIND_RESERVE, 8, 0, False), ("sc.w", at.KIND_ATOMIC, 4, 0, False),
        ("sc.d", at.KIND_ATOMIC, 8, 0, False), ("amoadd.w", at.KIND_ATOMIC, 4, 0, False),
        ("amomaxu.d", at.KIND_ATOMIC, 8, 0, False),
    ],
)  # fmt: skip
def test_facts_of_memory(name: str, kind: int, size: int, extend: int, is_float: bool) -> None:
    operation = all_operations()[name, None]
    memory = operation.info.memory
    assert memory is not None
    assert (memory.kind, memory.size_bytes, memory.extend, memory.is_float) == (kind, size, extend, is_float)
    register = {at.KIND_LOAD: ("rd", "frd"), at.KIND_STORE: ("rs2", "frs2")}.get(kind)
    if register:
        assert operation.definition.operands[memory.register_operand] in register


def test_facts_of_control() -> None:
    control: dict[str, set[str]] = {"jump": set(), "branch": set(), "end": set()}
    for (name, _), operation in all_operations().items():
        if operation.ir is not None and operation.info.control != "next":
            control[operation.info.control].add(name)
    assert control["jump"] == {"jal"}
    assert control["branch"] == {"beq", "bne", "blt", "bge", "bltu", "bgeu"}
    system = {"csrrw", "ecall", "ebreak", "mret", "sret", "wfi", "fence.i", "sfence.vma", "cbo.zero", "jalr"}
    assert system <= control["end"]
    assert not {"add", "ld", "fence", "lr.d", "amoadd.w", "fadd.d"} & control["end"]


def test_facts_of_floating_point() -> None:
    for (name, _), operation in all_operations().items():
        is_float = operation.definition.extension in ("F", "D")
        assert operation.info.uses_float == is_float, name
    quiet = {n for (n, _), o in all_operations().items() if o.info.uses_float and not o.info.writes_float}
    quiet -= {n for (n, _), o in all_operations().items() if o.ir is None}
    assert quiet == {"fsw", "fsd", "fmv.x.w", "fmv.x.d", "fclass.s", "fclass.d"}


def test_a_block_has_room_at_its_worst() -> None:
    """64 copies of the largest stencil, each with all its thunks, fit where `make_room` promised."""
    artifact = ensure_artifacts()
    facts = memoryview(artifact.blobs["facts"]).cast("Q").tolist()
    relocations = memoryview(artifact.blobs["relocations"]).cast("Q").tolist()
    glue = [facts[4 * int(n) + 1] for n in artifact.names["glue"]]
    largest, most = 0, 0
    for i in range(0, len(facts), 4):
        _, size, first, count = facts[i : i + 4]
        rows = [relocations[at.RELOCATION_WORDS * r] >> 32 & 0xFF for r in range(first, first + count)]
        thunks = sum(kind in (at.HOLE_COLD, at.HOLE_TAKEN) for kind in rows)
        most = max(most, thunks)
        largest = max(largest, size + thunks * 2 * max(glue))
    assert at.BLOCK_LIMIT * most + 2 <= at.MAX_THUNKS
    assert (at.BLOCK_LIMIT + 1) * (largest + 2 * max(glue)) <= at.BLOCK_CODE_BYTES
    assert at.BLOCK_LIMIT * (8 * at.SITE_WORDS + 16) + 16 <= at.BLOCK_DATA_BYTES
