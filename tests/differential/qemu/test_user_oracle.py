# SPDX-License-Identifier: Apache-2.0
"""The oracle itself: it must carry state exactly, or its verdicts are worth nothing."""

from __future__ import annotations

import random

import pytest

from tests.differential.qemu.case import CODE_ADDRESS, PAGE_BYTES, SCRATCH_ADDRESS, Case, Ending, differences
from tests.differential.qemu.user import UserOracle

MASK = (1 << 64) - 1


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def random_registers(seed: int) -> tuple[list[int], list[int]]:
    source = random.Random(seed)
    return [0] + [source.getrandbits(64) for _ in range(31)], [source.getrandbits(64) for _ in range(32)]


def test_empty_case_changes_nothing(user_oracle: UserOracle) -> None:
    cases = []
    for seed in range(200):
        x, f = random_registers(seed)
        memory = random.Random(seed).randbytes(8192)
        cases.append(Case(b"", x, f, seed % 160, memory, code_offset=2 * seed))
    for case, outcome in zip(cases, user_oracle.run(cases), strict=True):
        assert outcome.ending is Ending.END
        assert outcome.pc == CODE_ADDRESS + case.code_offset
        assert (outcome.x, outcome.f, outcome.fcsr, outcome.memory) == (
            case.x,
            case.f,
            case.fcsr,
            case.memory,
        )


def test_store_across_pages_and_result(user_oracle: UserOracle) -> None:
    x, f = random_registers(1)
    x[10] = SCRATCH_ADDRESS + PAGE_BYTES - 3
    # add x1, x2, x3; sd x1, 0(x10), itself across the two code pages
    case = Case(words(0x003100B3, 0x00153023), x, f, code_offset=PAGE_BYTES - 6)
    (outcome,) = user_oracle.run([case])
    total = (x[2] + x[3]) & MASK
    assert outcome.x[1] == total
    assert outcome.memory[PAGE_BYTES - 3 : PAGE_BYTES + 5] == total.to_bytes(8, "little")
    assert outcome.memory.count(0) >= 8192 - 8


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        (0xFFFFFFFF, Ending.ILLEGAL),
        (0x00000000, Ending.ILLEGAL),
        (0x10002573, Ending.ILLEGAL),  # csrr a0, sstatus
        (0x00053083, Ending.SEGV),  # ld ra, 0(a0)
        (0x00A532AF, Ending.SEGV),  # amoadd.d t0, a0, (a0)
        (0x00050067, Ending.SEGV),  # jr a0
        (0x0000006F, Ending.TIMEOUT),  # j .
        (0x00100073, Ending.BREAKPOINT),
    ],
)
def test_endings(user_oracle: UserOracle, word: int, ending: Ending) -> None:
    x = [0] * 32
    x[10] = 0x1234_5678_9000
    cases = [Case(words(word), x), Case(words(0x00100093))]
    trapped, after = user_oracle.run(cases)
    assert trapped.ending is ending
    assert trapped.pc == (x[10] if word == 0x00050067 else CODE_ADDRESS)
    if ending is Ending.SEGV:
        assert trapped.address == x[10]
    assert (after.ending, after.x[1]) == (Ending.END, 1)


def test_differences_names_what_differs(user_oracle: UserOracle) -> None:
    one, two = user_oracle.run([Case(words(0x00100093)), Case(words(0x00200093))])
    assert differences(one, one) == []
    assert differences(one, two) == ["x1: expected 0x0000000000000001, got 0x0000000000000002"]


def test_ecall_is_refused() -> None:
    with pytest.raises(ValueError, match="ecall"):
        Case(words(0x00000073))
