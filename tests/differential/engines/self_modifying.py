# SPDX-License-Identifier: Apache-2.0
"""Whole programs out of hypothesis: loops, branches, calls, memory, LR/SC, and stores into their own code.

A store into code may hit anything, the middle of an instruction or the loop that it stands in, and is always
followed by fence.i. So a program may do other things than it says, or run on to the end of its budget; what
it does is defined all the same, unless it stores into that fence.i (`unfenced.py`).
"""

from __future__ import annotations

from hypothesis import strategies as st

from innkeeper.isa.riscv.assembler import assemble
from tests.differential.qemu.case import CODE_ADDRESS, PAGE_BYTES, SCRATCH_ADDRESS, Case

ALIAS_ADDRESS = CODE_ADDRESS + 16 * PAGE_BYTES
"""The code's pages once more."""
CODE_BASE, ALIAS_BASE, SCRATCH_BASE, POINTER, VALUE = "x31", "x27", "x30", "x29", "x28"
"""Middles of the code, of its alias and of scratch memory; the last two are free to use."""
LONGEST = 2040
"""Code bytes: all of it is in reach of the middle."""
_DATA = [f"x{i}" for i in range(5, 16)]
_PLAIN = [
    "add {d}, {a}, {b}", "addi {d}, {a}, {n}", "xor {d}, {a}, {b}", "sub {d}, {a}, {b}", "slli {d}, {a}, 3",
    "mul {d}, {a}, {b}", "sltu {d}, {a}, {b}", "addiw {d}, {a}, {n}", "c.addi {d}, 5", "c.mv {d}, {a}",
    "c.add {d}, {b}", "c.nop", "auipc {d}, 1", "divu {d}, {a}, {b}",
]  # fmt: skip
_WORDS = [0x00000463, 0xFE000EE3, 0x0080006F, 0x00100073, 0x0000100F, 0, 0x00008067, 0x0001A001]
"""Branches forth and back, a jump, ebreak, fence.i, none, ret, c.j to itself."""
_STORES = ["sb", "sh", "sw", "sw", "sd", "amoswap.w", "sc.w"]
_ACCESSES = [
    "lb", "lhu", "lw", "ld", "sb", "sh", "sw", "sd", "fld", "fsd", "amoadd.d", "lr.w", "lr.d", "sc.w", "sc.d",
]  # fmt: skip

Program = list[tuple[object, ...]]
"""Statements: what they are, and what belongs to it; blocks have a Program last."""


def _programs() -> st.SearchStrategy[Program]:
    register = st.sampled_from(_DATA)
    text = st.builds(
        lambda form, d, a, b, n: form.format(d=d, a=a, b=b, n=n),
        *(st.sampled_from(_PLAIN), register, register, register, st.integers(-2048, 2047)),
    )
    plain = text.map(lambda line: int.from_bytes(assemble(line), "little"))
    word = st.one_of(plain, plain, st.sampled_from(_WORDS), st.integers(0, (1 << 32) - 1))
    base = st.sampled_from([CODE_BASE, CODE_BASE, ALIAS_BASE])
    where = st.integers(0, LONGEST - 1)
    patch = st.tuples(st.just("patch"), st.sampled_from(_STORES), base, where, word, word)
    offset = st.sampled_from([0, 8, -8, 16, -4, -3, -2, -1, -7, 1, 24, 2040, -2048])
    access = st.tuples(st.just("access"), st.sampled_from(_ACCESSES), register, offset)
    leaf = st.one_of(st.tuples(st.just("plain"), text), patch, patch, access)
    condition = st.sampled_from(["beq", "bne", "bltu"])

    def block(inner: st.SearchStrategy[tuple[object, ...]]) -> st.SearchStrategy[tuple[object, ...]]:
        body = st.lists(inner, min_size=1, max_size=5)
        return st.one_of(
            st.tuples(st.just("loop"), st.integers(1, 6), body),
            st.tuples(st.just("skip"), condition, register, register, body),
            st.tuples(st.just("call"), body),
        )

    return st.lists(st.recursive(leaf, block, max_leaves=10), min_size=1, max_size=8)


class _Writer:
    """Assembler text of a program whose code has `code_bytes` (0: not known yet)."""

    def __init__(self, code_bytes: int) -> None:
        self.lines: list[str] = []
        self._code_bytes = code_bytes
        self._labels = 0

    def write(self, program: Program, depth: int = 0) -> None:
        for kind, *rest in program:
            if kind == "plain":
                self.lines.append(str(rest[0]))
            elif kind == "patch":
                self._patch(*rest)  # type: ignore[arg-type]
            elif kind == "access":
                self._access(*rest)  # type: ignore[arg-type]
            else:
                self._block(str(kind), rest, depth)

    def _patch(self, how: str, base: str, where: int, word: int, second: int) -> None:
        """Store into the code, then fence."""
        value = word | second << 32 if how == "sd" else word
        at = (where % self._code_bytes if self._code_bytes else 0) - self._code_bytes // 2
        atomic = how in ("amoswap.w", "sc.w")
        self.lines += [f"li {VALUE}, {value}", f"addi {POINTER}, {base}, {at & (-4 if atomic else -2)}"]
        if atomic:
            self.lines.append(f"andi {POINTER}, {POINTER}, -4")
        if how == "sc.w":
            self.lines.append(f"lr.w x0, ({POINTER})")
        self.lines.append(f"{how} x0, {VALUE}, ({POINTER})" if atomic else f"{how} {VALUE}, 0({POINTER})")
        self.lines.append("fence.i")

    def _access(self, name: str, register: str, offset: int) -> None:
        if name.startswith(("amo", "lr", "sc")):
            self.lines.append(f"addi {POINTER}, {SCRATCH_BASE}, {offset & -8}")
            value = "" if name.startswith("lr") else f"{register}, "
            self.lines.append(f"{name} {register}, {value}({POINTER})")
        else:
            operand = f"f{register[1:]}" if name[0] == "f" else register
            self.lines.append(f"{name} {operand}, {offset}({SCRATCH_BASE})")

    def _block(self, kind: str, rest: list[object], depth: int) -> None:
        self._labels += 1
        label, counter = f"at{self._labels}", f"x{16 + depth}"
        before = {
            "loop": [f"addi {counter}, x0, {rest[0]}", f"{label}:"],
            "skip": [f"{rest[0]} {rest[1]}, {rest[2 % len(rest)]}, {label}"] if kind == "skip" else [],
            "call": [f"jal x1, {label}", f"jal x0, {label}end", f"{label}:"],
        }
        after = {
            "loop": [f"addi {counter}, {counter}, -1", f"bne {counter}, x0, {label}"],
            "skip": [f"{label}:"],
            "call": ["jalr x0, 0(x1)", f"{label}end:"],
        }
        self.lines += before[kind]
        self.write(rest[-1], depth + 1)  # type: ignore[arg-type]
        self.lines += after[kind]


def _code(program: Program) -> bytes:
    """Stores into code need its size, which does not depend on where they go."""
    code = b""
    for _ in range(2):
        writer = _Writer(len(code))
        writer.write(program)
        code = assemble("\n".join([*writer.lines, "c.nop"]))
    return code


def _case(program: Program, place: int, seeds: list[int], memory: bytes) -> Case | None:
    code = _code(program)
    if len(code) > LONGEST:
        return None
    offset = [0, 2, PAGE_BYTES - (len(code) // 2 & -2), PAGE_BYTES - 2][place]
    middle = offset + len(code) // 2 & -4
    x = [0] * 32
    x[5:16] = seeds
    x[31], x[27], x[30] = CODE_ADDRESS + middle, ALIAS_ADDRESS + middle, SCRATCH_ADDRESS + PAGE_BYTES
    return Case(code, x, memory=memory, code_offset=offset)


CASES: st.SearchStrategy[Case] = st.builds(
    _case,
    _programs(),
    st.integers(0, 3),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=11, max_size=11),
    st.binary(min_size=16, max_size=16).map(lambda pattern: pattern * 512),
).filter(lambda case: case is not None)
