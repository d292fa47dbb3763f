# SPDX-License-Identifier: Apache-2.0
"""What compiled code may do with the host: memory by address, atomics, clock, floating-point control.

These exist only compiled: their meaning is the LLVM IR beside them. Addresses are the host's.
"""

from __future__ import annotations

from typing import NoReturn

from innkeeper.codegen import layout as at
from innkeeper.ir.native import Words, intrinsic
from innkeeper.isa.riscv import state


def _compiled_only() -> NoReturn:
    raise TypeError("this function exists only in compiled code")


@intrinsic
def load8(address: int) -> int:
    """The byte at a host address."""
    _compiled_only()


@intrinsic
def load16(address: int) -> int:
    """The 16 bits at a host address, of any alignment."""
    _compiled_only()


@intrinsic
def load32(address: int) -> int:
    """The 32 bits at a host address, of any alignment."""
    _compiled_only()


@intrinsic
def load64(address: int) -> int:
    """The 64 bits at a host address, of any alignment."""
    _compiled_only()


@intrinsic
def store8(address: int, value: int) -> int:
    """Write the low 8 bits of value."""
    _compiled_only()


@intrinsic
def store16(address: int, value: int) -> int:
    """Write the low 16 bits of value, at any alignment."""
    _compiled_only()


@intrinsic
def store32(address: int, value: int) -> int:
    """Write the low 32 bits of value, at any alignment."""
    _compiled_only()


@intrinsic
def store64(address: int, value: int) -> int:
    """Write 64 bits, at any alignment."""
    _compiled_only()


@intrinsic
def atomic_load64(address: int) -> int:
    """An aligned word, as other threads last wrote it."""
    _compiled_only()


@intrinsic
def atomic_store64(address: int, value: int) -> int:
    """Write an aligned word; what was written before is seen before it."""
    _compiled_only()


@intrinsic
def atomic_exchange64(address: int, value: int) -> int:
    """Put value, get what stood there; sequentially consistent."""
    _compiled_only()


@intrinsic
def atomic_add64(address: int, value: int) -> int:
    """Add value, get the sum; sequentially consistent."""
    _compiled_only()


@intrinsic
def atomic_cas64(address: int, old: int, new: int) -> int:
    """1 if `old` stood there and `new` does now."""
    _compiled_only()


@intrinsic
def atomic_or8(address: int, value: int) -> int:
    """Set bits of a byte; sequentially consistent."""
    _compiled_only()


@intrinsic
def atomic_exchange8(address: int, value: int) -> int:
    """Put a byte, get what stood there; sequentially consistent."""
    _compiled_only()


@intrinsic
def copy_bytes(target: int, source: int, count: int) -> int:
    """memcpy."""
    _compiled_only()


@intrinsic
def fill_bytes(target: int, byte: int, count: int) -> int:
    """memset."""
    _compiled_only()


@intrinsic
def spin() -> int:
    """Tell the host CPU that this is a waiting loop."""
    _compiled_only()


@intrinsic
def yield_cpu() -> int:
    """Let the host run another thread, if one waits for this CPU."""
    _compiled_only()


@intrinsic
def monotonic_ns() -> int:
    """The host's monotonic clock."""
    _compiled_only()


@intrinsic
def address_of(h: Words) -> int:
    """The host address of a block of words."""
    _compiled_only()


@intrinsic
def read_mxcsr() -> int:
    """The host's floating-point control and status register."""
    _compiled_only()


@intrinsic
def write_mxcsr(value: int) -> int:
    """Set the host's floating-point control and status register."""
    _compiled_only()


@intrinsic
def enter_code(h: Words, code: int) -> int:
    """Run compiled guest code until it exits; registers come from and go to the hart's words."""
    _compiled_only()


def _load(bits: int) -> str:
    widen = "" if bits == 64 else f"\n  %w = zext i{bits} %v to i64"
    result = "%v" if bits == 64 else "%w"
    return f"""define internal i64 @load{bits}(i64 %a) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  %v = load i{bits}, ptr %p, align 1{widen}
  ret i64 {result}
}}
define internal i64 @store{bits}(i64 %a, i64 %x) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  %v = trunc i64 %x to i{bits}
  store i{bits} %v, ptr %p, align 1
  ret i64 0
}}""".replace("trunc i64 %x to i64", "add i64 %x, 0")


INTRINSIC_IR = (
    "\n".join(_load(bits) for bits in (8, 16, 32, 64))
    + f"""
define internal i64 @atomic_load64(i64 %a) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  %v = load atomic i64, ptr %p seq_cst, align 8
  ret i64 %v
}}
define internal i64 @atomic_store64(i64 %a, i64 %x) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  store atomic i64 %x, ptr %p release, align 8
  ret i64 0
}}
define internal i64 @atomic_exchange64(i64 %a, i64 %x) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  %v = atomicrmw xchg ptr %p, i64 %x seq_cst
  ret i64 %v
}}
define internal i64 @atomic_add64(i64 %a, i64 %x) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  %v = atomicrmw add ptr %p, i64 %x seq_cst
  %s = add i64 %v, %x
  ret i64 %s
}}
define internal i64 @atomic_cas64(i64 %a, i64 %old, i64 %new) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  %r = cmpxchg ptr %p, i64 %old, i64 %new seq_cst seq_cst
  %b = extractvalue {{ i64, i1 }} %r, 1
  %v = zext i1 %b to i64
  ret i64 %v
}}
define internal i64 @atomic_or8(i64 %a, i64 %x) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  %b = trunc i64 %x to i8
  %o = atomicrmw or ptr %p, i8 %b seq_cst
  ret i64 0
}}
define internal i64 @atomic_exchange8(i64 %a, i64 %x) alwaysinline {{
  %p = inttoptr i64 %a to ptr
  %b = trunc i64 %x to i8
  %o = atomicrmw xchg ptr %p, i8 %b seq_cst
  %v = zext i8 %o to i64
  ret i64 %v
}}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define internal i64 @copy_bytes(i64 %t, i64 %s, i64 %n) alwaysinline {{
  %p = inttoptr i64 %t to ptr
  %q = inttoptr i64 %s to ptr
  call void @llvm.memcpy.p0.p0.i64(ptr %p, ptr %q, i64 %n, i1 false)
  ret i64 0
}}
define internal i64 @fill_bytes(i64 %t, i64 %b, i64 %n) alwaysinline {{
  %p = inttoptr i64 %t to ptr
  %c = trunc i64 %b to i8
  call void @llvm.memset.p0.i64(ptr %p, i8 %c, i64 %n, i1 false)
  ret i64 0
}}
declare void @llvm.x86.sse2.pause()
define internal i64 @spin() alwaysinline {{
  call void @llvm.x86.sse2.pause()
  ret i64 0
}}
declare i32 @sched_yield()
define internal i64 @yield_cpu() {{
  call i32 @sched_yield()
  ret i64 0
}}
declare i32 @clock_gettime(i32, ptr)
define internal i64 @monotonic_ns() {{
  %t = alloca [2 x i64]
  call i32 @clock_gettime(i32 1, ptr %t)
  %s = load i64, ptr %t
  %q = getelementptr i64, ptr %t, i64 1
  %n = load i64, ptr %q
  %m = mul i64 %s, 1000000000
  %r = add i64 %m, %n
  ret i64 %r
}}
define internal i64 @address_of(ptr %h) alwaysinline {{
  %a = ptrtoint ptr %h to i64
  ret i64 %a
}}
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define internal i64 @read_mxcsr() {{
  %t = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %t)
  %v = load i32, ptr %t
  %w = zext i32 %v to i64
  ret i64 %w
}}
define internal i64 @write_mxcsr(i64 %x) {{
  %t = alloca i32
  %v = trunc i64 %x to i32
  store i32 %v, ptr %t
  call void @llvm.x86.sse.ldmxcsr(ptr %t)
  ret i64 0
}}
define internal i64 @enter_code(ptr %h, i64 %code) noinline {{
  %bp = getelementptr i64, ptr %h, i64 {state.BUDGET}
  %pp = getelementptr i64, ptr %h, i64 {at.PAGE}
  %cp = getelementptr i64, ptr %h, i64 {at.DATA_CONTEXT}
  %b = load i64, ptr %bp
  %p = load i64, ptr %pp
  %c = load i64, ptr %cp
  %f = inttoptr i64 %code to ptr
  call preserve_nonecc void %f(i64 %b, ptr %h, i64 %p, i64 %c, i64 0, i64 0)
  ret i64 0
}}
"""
)
"""The intrinsics in LLVM IR."""
