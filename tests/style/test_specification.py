# SPDX-License-Identifier: Apache-2.0
"""Every number that SPECIFICATION.md promises names what shows it, and that exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.style.commands import check_command
from tests.style.specification import Promise, read_promises

ROOT = Path(__file__).parents[2]
PROMISES = read_promises((ROOT / "SPECIFICATION.md").read_text("utf-8"))


def test_something_is_promised() -> None:
    assert len([promise for promise in PROMISES if promise.has_number]) >= 5


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"line {promise.line_number}")
def test_number_is_shown(promise: Promise) -> None:
    if promise.has_number:
        assert promise.proofs, (
            f"line {promise.line_number} says a number and nothing that shows it: {promise.text}"
        )
    for proof in promise.proofs:
        kind, _, what = proof.partition(": ")
        if kind == "test":
            _check_test(what)
        elif kind == "benchmark" and what.startswith("benchmarks/"):
            assert (ROOT / what).exists(), f"there is no {what}"
        elif kind == "benchmark":
            check_command(what)
        else:
            assert proof == "pending", f"line {promise.line_number}: {proof}"


def _check_test(node: str) -> None:
    name, _, function = node.partition("::")
    assert (ROOT / name).exists(), f"there is no {name}"
    if function:
        tree = ast.parse((ROOT / name).read_text("utf-8"))
        defined = {item.name for item in ast.walk(tree) if isinstance(item, ast.FunctionDef)}
        assert function in defined, f"{name} has no {function}"


@pytest.mark.parametrize(
    ("text", "has_number", "proofs"),
    [
        ("- Boots in 3 s. [pending]", True, ("pending",)),
        (
            "- Boots in\n  3 s. [test: a.py::b; benchmark: inn bench]",
            True,
            ("test: a.py::b", "benchmark: inn bench"),
        ),
        ("- Boots in 3 s.", True, ()),
        ("- Boots in 3 s [pending] on a good day.", True, ()),
        ("- Runs riscv64 on x86-64 with `--cpus 2`, see [page 3](x).", False, ()),
    ],
)
def test_reading(text: str, has_number: bool, proofs: tuple[str, ...]) -> None:
    (promise,) = read_promises(f"# Title 1\n\nProse with 5 in it.\n\n{text}\n\nMore.\n")
    assert (promise.has_number, promise.proofs) == (has_number, proofs)
