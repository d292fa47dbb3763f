# SPDX-License-Identifier: Apache-2.0
"""Stencils read from object files: relocations that are understood, those that are not, and the last jump."""

from __future__ import annotations

import pytest

from innkeeper.codegen import layout as at
from innkeeper.codegen.llvm import compile_object
from innkeeper.codegen.stencil import Hole, Stencil, StencilError, read_stencils
from innkeeper.codegen.stencil_ir import function, hole, tail

HEAD = """
@X.3 = external dso_local global i8
@SLOT.0 = external dso_local global i8
@TABLE.two = external dso_local global i8
@strange = external dso_local global i8
@STRANGE.1 = external dso_local global i8
@RAW.1 = extern_weak dso_local global i8, !absolute_symbol !0
@URAW.2 = extern_weak dso_local global i8, !absolute_symbol !1
@CONSTANT = internal constant [4 x i64] [i64 11, i64 22, i64 33, i64 44], section ".rodata.mine", align 32
declare dso_local preserve_nonecc void @NEXT.0(i64, ptr, i64, i64, i64, i64)
declare dso_local preserve_nonecc void @COLD.0(i64, ptr, i64, i64, i64, i64)
declare dso_local preserve_nonecc void @STUB.lookup(i64, ptr, i64, i64, i64, i64)
declare dso_local preserve_nonecc void @STUB.unknown(i64, ptr, i64, i64, i64, i64)
declare double @unknown_function(double)
attributes #0 = { nounwind }
!0 = !{i64 -2147483648, i64 2147483648}
!1 = !{i64 0, i64 2147483648}
!2 = !{!"branch_weights", i32 2000, i32 1}
"""


def read(body: list[str], static: bool = True) -> tuple[Stencil, bytes]:
    """The stencil of a function with this body, and the constants."""
    image = compile_object(HEAD + function("it", body), static=static)
    stencils, constants = read_stencils(image, ["one", "two"])
    return stencils["it"], constants


def kinds(stencil: Stencil) -> list[int]:
    return [h.kind for h in stencil.holes]


def test_the_last_jump_is_dropped() -> None:
    stencil, _ = read([tail("@NEXT.0")])
    assert stencil == Stencil("it", b"", ())


def test_another_jump_to_next_stays() -> None:
    stencil, _ = read([
        "%c = icmp eq i64 %a, 0",
        "br i1 %c, label %x, label %y, !prof !2",
        "x:", tail("@NEXT.0"),
        "y:", tail("@COLD.0", a="%a"),
    ])  # fmt: skip
    assert sorted(kinds(stencil)) == sorted([at.HOLE_COLD, at.HOLE_NEXT]) or kinds(stencil) == [at.HOLE_COLD]
    assert all(h.relative and not h.wide and h.addend == -4 for h in stencil.holes)


def test_operands_become_displacements_and_immediates() -> None:
    stencil, _ = read([
        f"%p = getelementptr i8, ptr %hart, i64 {hole('X', 3)}",
        "%v = load i64, ptr %p",
        f"%w = add i64 %v, {hole('RAW', 1)}",
        "store i64 %w, ptr %p",
        tail("@NEXT.0"),
    ])  # fmt: skip
    assert {(h.kind, h.index) for h in stencil.holes} == {(at.HOLE_X, 3), (at.HOLE_RAW, 1)}
    for found in stencil.holes:
        assert not found.relative and found.addend == 0
        assert stencil.code[found.offset : found.offset + 4] == bytes(4)


def test_slots_tables_stubs_and_constants() -> None:
    stencil, constants = read([
        "%slot = load i64, ptr @SLOT.0",
        "%t = load ptr, ptr @TABLE.two",
        "%i = and i64 %slot, 3",
        "%p = getelementptr i64, ptr @CONSTANT, i64 %i",
        "%c = load i64, ptr %p",
        "%r = call i64 %t(ptr %hart)",
        "%z = add i64 %r, %c",
        tail("@STUB.lookup", a="%z"),
    ])  # fmt: skip
    found = {h.kind: h for h in stencil.holes}
    assert set(found) == {at.HOLE_SLOT, at.HOLE_TABLE, at.HOLE_BYTES, at.HOLE_STUB}
    assert found[at.HOLE_TABLE].index == 1
    assert found[at.HOLE_STUB].index == at.STUB_NAMES.index("lookup")
    start = found[at.HOLE_BYTES].addend
    assert constants[start : start + 32] == b"".join(n.to_bytes(8, "little") for n in (11, 22, 33, 44))


@pytest.mark.parametrize("name", ["strange", "STRANGE.1"])
def test_an_unknown_symbol_is_refused(name: str) -> None:
    with pytest.raises(StencilError, match=name):
        read([f"%v = load i64, ptr @{name}", tail("@NEXT.0", a="%v")])


def test_an_unknown_stub_or_function_is_refused() -> None:
    with pytest.raises((StencilError, ValueError)):
        read([tail("@STUB.unknown")])
    with pytest.raises(StencilError, match="unknown_function"):
        read([
            "%d = bitcast i64 %a to double",
            "%e = call double @unknown_function(double %d)",
            "%f = bitcast double %e to i64",
            tail("@NEXT.0", a="%f"),
        ])  # fmt: skip


def test_position_independent_code_is_refused() -> None:
    """Its relocations go through a table of addresses, which a copy does not have."""
    image = HEAD.replace("@X.3 = external dso_local", "@X.3 = external")
    body = function("it", [f"%v = add i64 %a, {hole('X', 3)}", tail("@NEXT.0", a="%v")])
    with pytest.raises(StencilError, match=r"relocation|GLOBAL_OFFSET_TABLE"):
        read_stencils(compile_object(image + body, static=False), [])


def test_an_operand_that_would_lose_its_sign_is_refused() -> None:
    """A 32-bit immediate that LLVM zero-extends must not hold a signed operand."""
    image = HEAD.replace("!{i64 -2147483648, i64 2147483648}", "!{i64 0, i64 2147483648}")
    for kind, index in (("RAW", 1), ("URAW", 2)):
        body = function(
            "it", [f"store i64 {hole(kind, index)}, ptr %hart", tail("@STUB.lookup", a=hole(kind, index))]
        )
        compiled = compile_object(image + body, static=True)
        if kind == "RAW":
            with pytest.raises(StencilError, match="sign"):
                read_stencils(compiled, [])
        else:
            found = read_stencils(compiled, [])[0]["it"]
            assert at.HOLE_RAW in kinds(found)


def test_a_hole_says_what_it_is() -> None:
    assert Hole(1, at.HOLE_X, 2, 3, False) == Hole(1, at.HOLE_X, 2, 3, False, wide=False)
