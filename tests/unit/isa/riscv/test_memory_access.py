# SPDX-License-Identifier: Apache-2.0
"""Loads, stores and atomics: which access they ask for, and what they make of what they get."""

from __future__ import annotations

import pytest

from innkeeper.ir.value import Bits, Expr, Value
from innkeeper.isa.riscv.definition import INSTRUCTIONS
from innkeeper.isa.riscv.trace import Trace, trace


def traced(name: str) -> Trace:
    return trace(INSTRUCTIONS[name])


def is_address(value: Value) -> bool:
    """x[rs1] plus the immediate."""
    if not isinstance(value, Expr) or value.op != "add":
        return False
    register, offset = value.args
    assert isinstance(register, Expr) and isinstance(offset, Expr)
    return (register.op, register.attr, offset.op, offset.attr) == ("read_x", "rs1", "operand", "imm")


@pytest.mark.parametrize(
    ("name", "width", "extension"),
    [
        ("lb", 8, "sext"),
        ("lh", 16, "sext"),
        ("lw", 32, "sext"),
        ("ld", 64, None),
        ("lbu", 8, "zext"),
        ("lhu", 16, "zext"),
        ("lwu", 32, "zext"),
    ],
)
def test_load(name: str, width: int, extension: str | None) -> None:
    recorded = traced(name)
    (load,) = recorded.all("load")
    (write,) = recorded.all("write_x")
    assert load.width == width and is_address(load.args[0])
    value = write.args[0]
    assert isinstance(value, Expr) and value.width == 64
    assert value is load if extension is None else (value.op, value.args) == (extension, (load,))


@pytest.mark.parametrize(("name", "width"), [("sb", 8), ("sh", 16), ("sw", 32), ("sd", 64)])
def test_store(name: str, width: int) -> None:
    recorded = traced(name)
    (store,) = recorded.all("store")
    address, value = store.args
    assert is_address(address) and value.width == width
    assert isinstance(value, Expr)
    source = value if width == 64 else value.args[0]
    assert isinstance(source, Expr) and (source.op, source.attr) == ("read_x", "rs2")
    assert not recorded.all("write_x")


@pytest.mark.parametrize("operation", ["swap", "add", "xor", "and", "or", "min", "max", "minu", "maxu"])
@pytest.mark.parametrize(("letter", "width"), [("w", 32), ("d", 64)])
def test_amo(operation: str, letter: str, width: int) -> None:
    recorded = traced(f"amo{operation}.{letter}")
    (amo,) = recorded.all("amo")
    assert amo.attr == operation and amo.args[1].width == width
    address = amo.args[0]
    assert isinstance(address, Expr) and (address.op, address.attr) == ("read_x", "rs1")
    value = recorded.all("write_x")[0].args[0]
    assert isinstance(value, Expr)
    assert value is amo if width == 64 else (value.op, value.args) == ("sext", (amo,))


@pytest.mark.parametrize(("letter", "width"), [("w", 32), ("d", 64)])
def test_load_reserved_and_store_conditional(letter: str, width: int) -> None:
    (load,) = traced(f"lr.{letter}").all("load_reserved")
    assert load.width == width
    recorded = traced(f"sc.{letter}")
    (store,) = recorded.all("store_conditional")
    assert store.args[1].width == width
    assert recorded.all("write_x")[0].args[0] is store


def test_fence_hands_on_its_sets() -> None:
    (fence,) = traced("fence").all("fence")
    assert [a.attr for a in fence.args if isinstance(a, Expr)] == ["pred", "succ"]


def test_graphs_stay_small() -> None:
    """They become machine code that is copied for every guest instruction."""

    def size(value: Value, seen: set[int]) -> int:
        if isinstance(value, Bits) or id(value) in seen:
            return 0
        seen.add(id(value))
        assert isinstance(value, Expr)
        return 1 + sum(size(a, seen) for a in value.args)

    for name, definition in INSTRUCTIONS.items():
        if definition.extension in ("I", "M", "A", "Zba", "Zbb", "Zbc", "Zbs", "Zicond"):
            seen: set[int] = set()
            nodes = sum(size(e, seen) for e in trace(definition).effects)
            assert nodes <= (120 if definition.extension == "Zbc" else 14), f"{name}: {nodes}"
