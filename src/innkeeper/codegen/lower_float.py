# SPDX-License-Identifier: Apache-2.0
"""Lowers floating-point effects to the host's IEEE arithmetic.

Rounding is the host's current mode, flags accrue in its sticky flags (MXCSR): LLVM's constrained intrinsics
keep both. What the host does otherwise than RISC-V is done beside: canonical NaNs, saturating conversions,
and the flags of these go to the hart's own FFLAGS word.
"""

from __future__ import annotations

from innkeeper.codegen.lower import Emitter
from innkeeper.ir.value import Expr
from innkeeper.isa.riscv.state import FFLAGS

NX, NV = 1, 16
DYNAMIC = 7
_STRICT = 'metadata !"fpexcept.strict"'
_ROUND = f'metadata !"round.dynamic", {_STRICT}'
_ARITHMETIC = {"fadd", "fsub", "fmul", "fdiv", "fsqrt", "fma"}
_COMPARE = {"feq": ("fcmp", "oeq"), "flt": ("fcmps", "olt"), "fle": ("fcmps", "ole")}
_TO_INTEGRAL = {0: "roundeven", 1: "trunc", 2: "floor", 3: "ceil"}
_TYPE = {32: "float", 64: "double"}
_SUFFIX = {32: "f32", 64: "f64"}
_QUIET_NAN = "0x7FF8000000000000"
"""Canonical in float too: LLVM writes float literals as doubles."""
_CANONICAL = {32: 0x7FC00000, 64: 0x7FF8000000000000}
FLOAT_OPS = frozenset({*_ARITHMETIC, *_COMPARE, "float_to_int", "int_to_float", "float_to_float"})


def supported(effect: Expr) -> bool:
    """Whether the host's arithmetic can do it: the dynamic mode, exact operations, or rounding to
    integers."""
    if effect.op in _COMPARE:
        return True
    if effect.op in _ARITHMETIC:
        return effect.attr == DYNAMIC
    if effect.op == "float_to_float":
        return effect.attr == DYNAMIC or effect.width == 64
    assert isinstance(effect.attr, tuple)
    rounding = effect.attr[1]
    if effect.op == "int_to_float":
        return rounding == DYNAMIC or (effect.width == 64 and effect.args[0].width == 32)
    return rounding == DYNAMIC or rounding in _TO_INTEGRAL


def lower_float(out: Emitter, effect: Expr, hart: str) -> str:
    """Emit `effect`; `hart` is the pointer to the hart's words. Gives the integer value of the result."""
    if effect.op in _COMPARE:
        intrinsic, predicate = _COMPARE[effect.op]
        a, b = (_as_float(out, x) for x in effect.args)
        return _compare(out, intrinsic, predicate, a, b, effect.args[0].width)
    if effect.op in _ARITHMETIC:
        return _arithmetic(out, effect, hart)
    if effect.op == "float_to_float":
        return _convert(out, effect)
    if effect.op == "int_to_float":
        assert isinstance(effect.attr, tuple)
        op = "sitofp" if effect.attr[0] else "uitofp"
        source, kind = effect.args[0], _TYPE[effect.width]
        name = f"@llvm.experimental.constrained.{op}.{_SUFFIX[effect.width]}.i{source.width}"
        result = out.emit(f"call {kind} {name}(i{source.width} {out.value(source)}, {_ROUND}) #1")
        return out.emit(f"bitcast {kind} {result} to i{effect.width}")
    return _to_int(out, effect, hart)


def _as_float(out: Emitter, node: object) -> str:
    from innkeeper.ir.value import Value

    assert isinstance(node, Value)
    return out.emit(f"bitcast i{node.width} {out.value(node)} to {_TYPE[node.width]}")


def _compare(out: Emitter, intrinsic: str, predicate: str, a: str, b: str, width: int) -> str:
    kind = _TYPE[width]
    name = f"@llvm.experimental.constrained.{intrinsic}.{_SUFFIX[width]}"
    return out.emit(f'call i1 {name}({kind} {a}, {kind} {b}, metadata !"{predicate}", {_STRICT}) #1')


def _canonical(out: Emitter, result: str, width: int) -> tuple[str, str]:
    """The result as an integer with NaNs made canonical, and whether it was one."""
    if out.predicts:
        return _canonical_by_branch(out, result, width)
    nan = _compare(out, "fcmp", "uno", result, result, width)
    bits = out.emit(f"bitcast {_TYPE[width]} {result} to i{width}")
    return out.emit(f"select i1 {nan}, i{width} {_CANONICAL[width]}, i{width} {bits}"), nan


def _canonical_by_branch(out: Emitter, result: str, width: int) -> tuple[str, str]:
    """`_canonical`; what follows need not wait for the comparison."""
    kind = _TYPE[width]
    here, canonical, done = out.label("here"), out.label("canonical"), out.label("done")
    out.do(f"br label %{here}")
    out.lines.append(f"{here}:")
    nan = _compare(out, "fcmp", "uno", result, result, width)
    out.do(f"br i1 {nan}, label %{canonical}, label %{done}, !prof !1")
    out.rare += [f"{canonical}:", f"  br label %{done}"]
    out.lines.append(f"{done}:")
    kept = out.emit(f"phi {kind} [ {_QUIET_NAN}, %{canonical} ], [ {result}, %{here} ]")
    return out.emit(f"bitcast {kind} {kept} to i{width}"), nan


def _arithmetic(out: Emitter, effect: Expr, hart: str) -> str:
    width, kind = effect.width, _TYPE[effect.width]
    name = f"@llvm.experimental.constrained.{effect.op.replace('fsqrt', 'sqrt')}.{_SUFFIX[width]}"
    operands = ", ".join(f"{kind} {_as_float(out, a)}" for a in effect.args)
    result, nan = _canonical(out, out.emit(f"call {kind} {name}({operands}, {_ROUND}) #1"), width)
    if effect.op == "fma":
        _invalid_product(out, effect, nan, hart)
    return result


def _invalid_product(out: Emitter, effect: Expr, nan: str, hart: str) -> None:
    """inf * 0 + NaN: the host keeps silent, RISC-V raises NV. Off the usual path."""
    width = effect.width
    magnitude, infinity = (1 << width - 1) - 1, _CANONICAL[width] & ~(1 << (51 if width == 64 else 22))
    check, done = out.label("check"), out.label("done")
    a, b = out.value(effect.args[0]), out.value(effect.args[1])
    out.do(f"br i1 {nan}, label %{check}, label %{done}, !prof !1")
    usual, out.lines = out.lines, [f"{check}:"]
    absolute = [out.emit(f"and i{width} {x}, {magnitude}") for x in (a, b)]
    pair = []
    for first, second in (absolute, absolute[::-1]):
        is_infinite = out.emit(f"icmp eq i{width} {first}, {infinity}")
        is_zero = out.emit(f"icmp eq i{width} {second}, 0")
        pair.append(out.emit(f"and i1 {is_infinite}, {is_zero}"))
    either = out.emit(f"or i1 {pair[0]}, {pair[1]}")
    raise_flags(out, out.emit(f"select i1 {either}, i64 {NV}, i64 0"), hart)
    out.do(f"br label %{done}")
    out.rare += out.lines
    out.lines = [*usual, f"{done}:"]


def _convert(out: Emitter, effect: Expr) -> str:
    source = effect.args[0]
    a, to, frm = _as_float(out, source), _TYPE[effect.width], _TYPE[source.width]
    if effect.width == 64:
        name, tail = "fpext.f64.f32", _STRICT
    else:
        name, tail = "fptrunc.f32.f64", _ROUND
    result = out.emit(f"call {to} @llvm.experimental.constrained.{name}({frm} {a}, {tail}) #1")
    return _canonical(out, result, effect.width)[0]


def _constant(value: int) -> str:
    """A float literal that is exact in float and double."""
    return f"0x{_double_bits(value):016X}"


def _double_bits(value: int) -> int:
    import struct

    bits: int = struct.unpack("<Q", struct.pack("<d", float(value)))[0]
    return bits


def _to_int(out: Emitter, effect: Expr, hart: str) -> str:
    assert isinstance(effect.attr, tuple)
    signed, rounding = effect.attr
    source, width = effect.args[0], effect.width
    kind, suffix = _TYPE[source.width], _SUFFIX[source.width]
    a = _as_float(out, source)
    if rounding == DYNAMIC:
        text = f"@llvm.experimental.constrained.nearbyint.{suffix}({kind} {a}, {_ROUND})"
    else:
        text = f"@llvm.experimental.constrained.{_TO_INTEGRAL[rounding]}.{suffix}({kind} {a}, {_STRICT})"
    whole = out.emit(f"call {kind} {text} #1")
    low, high = (-(1 << width - 1), 1 << width - 1) if signed else (0, 1 << width)
    above = _compare(out, "fcmp", "oge", whole, _constant(low), source.width)
    below = _compare(out, "fcmp", "olt", whole, _constant(high), source.width)
    fits = out.emit(f"and i1 {above}, {below}")
    safe = out.emit(f"select i1 {fits}, {kind} {whole}, {kind} 0.0")
    unsigned_64 = not signed and width == 64
    op = "fptoui" if unsigned_64 else "fptosi"
    wide = out.emit(f"call i64 @llvm.experimental.constrained.{op}.i64.{suffix}({kind} {safe}, {_STRICT}) #1")
    result = wide if width == 64 else out.emit(f"trunc i64 {wide} to i{width}")
    inexact = _compare(out, "fcmp", "une", whole, a, source.width)
    flag = out.emit(f"zext i1 {inexact} to i64")
    raise_flags(out, out.emit(f"select i1 {fits}, i64 {flag}, i64 {NV}"), hart)
    negative = _compare(out, "fcmp", "olt", a, "0.0", source.width)
    least, most = (1 << width - 1, (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    saturated = out.emit(f"select i1 {negative}, i{width} {least}, i{width} {most}")
    return out.emit(f"select i1 {fits}, i{width} {result}, i{width} {saturated}")


def raise_flags(out: Emitter, flags: str, hart: str) -> None:
    """Accrue `flags` in the hart's FFLAGS word."""
    address = out.emit(f"getelementptr i64, ptr {hart}, i64 {FFLAGS}")
    before = out.emit(f"load i64, ptr {address}")
    out.do(f"store i64 {out.emit(f'or i64 {before}, {flags}')}, ptr {address}")
