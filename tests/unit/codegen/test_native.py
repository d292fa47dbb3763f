# SPDX-License-Identifier: Apache-2.0
"""The compiler of the native subset: compiled functions do what Python does; what is outside is refused."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.codegen.native import SubsetError, compile_functions
from innkeeper.host.executable import DataArea
from innkeeper.ir.native import M64
from tests.unit.codegen.linked import linked
from tests.unit.codegen.subset_functions import CALLED, TESTED

WORDS = st.one_of(
    st.integers(0, 20),
    st.sampled_from([M64, M64 - 1, 1 << 63, (1 << 63) - 1, 1 << 32, (1 << 32) - 1]),
    st.integers(0, M64),
)
ATTRIBUTES = "\nattributes #0 = { nounwind }\n"
Compiled = Callable[..., int]


@pytest.fixture(scope="module")
def compiled() -> Iterator[dict[str, Compiled]]:
    names = [function.__name__ for function in TESTED]
    ir = compile_functions([*TESTED, *CALLED], {}, names) + ATTRIBUTES
    with linked(ir, 4) as functions:
        yield functions


@pytest.fixture(scope="module")
def area() -> Iterator[DataArea]:
    made = DataArea(4096)
    yield made
    made.close()


def as_it_stands(function: Callable[..., Any], words: list[int], operands: tuple[int, ...]) -> int:
    """Python's result: a bool is a word, and no result is 0."""
    return int(function(words, *operands) or 0)


@settings(max_examples=100)
@given(st.lists(WORDS, min_size=8, max_size=8), WORDS, WORDS, WORDS)
@pytest.mark.parametrize("function", TESTED, ids=lambda f: f.__name__)
def test_compiled_as_interpreted(
    compiled: dict[str, Compiled],
    area: DataArea,
    function: Callable[..., int],
    words: list[int],
    a: int,
    b: int,
    c: int,
) -> None:
    block = area.words
    for i, value in enumerate(words):
        block[i] = value
    result = compiled[function.__name__](area.address, a, b, c)
    python = list(words)
    assert result == as_it_stands(function, python, (a, b, c))
    assert list(block[:8]) == [int(w) for w in python]


OUTSIDE = {
    "two targets": "x = y = a",
    "tuple target": "x, y = a, b",
    "annotated": "x: int = a",
    "attribute target": "h.x = a",
    "words assigned": "h = a",
    "words in place": "h += a",
    "words as loop variable": "for h in range(a):\n    pass",
    "words as a word": "return h",
    "words as an argument": "return g(h)",
    "index of a word": "return a[0]",
    "index of a local": "x = h\nreturn x[0]",
    "slice": "return h[0:1]",
    "negative constant": "return -1",
    "unary plus": "return +a",
    "negative word": "return -a",
    "float": "return 1.5",
    "string": "x = 'text'\nreturn a",
    "none": "return None",
    "constant too large": "return a & (18446744073709551616)",
    "global too large": "return a & TOO_LARGE",
    "negative global": "return a & NEGATIVE",
    "other global": "return a + TEXT",
    "unknown name": "return a + missing",
    "name set later": "x = y\ny = a\nreturn x",
    "true division": "return a / b",
    "power": "return a ** b",
    "matrix product": "return a @ b",
    "power in place": "a **= 2",
    "is": "return a is b",
    "in": "return a in b",
    "is in a chain": "return a < b is a",
    "list": "return [a]",
    "dict": "return {a: b}",
    "set": "return {a}",
    "tuple": "return (a, b)",
    "comprehension": "return [i for i in range(a)]",
    "f-string": "return f'{a}'",
    "lambda": "return (lambda: a)()",
    "walrus": "return (x := a)",
    "await": "await a",
    "yield": "yield a",
    "while else": "while a:\n    a -= 1\nelse:\n    return 1",
    "for else": "for i in range(a):\n    pass\nelse:\n    return 1",
    "for in a list": "for i in h:\n    pass",
    "range with a step": "for i in range(0, a, 2):\n    pass",
    "range of nothing": "for i in range():\n    pass",
    "range with a keyword": "for i in range(a, step=1):\n    pass",
    "loop over pairs": "for i, j in range(a):\n    pass",
    "try": "try:\n    pass\nfinally:\n    pass",
    "raise": "raise ValueError",
    "assert": "assert a",
    "with": "with a:\n    pass",
    "match": "match a:\n    case 1:\n        return 2",
    "delete": "del a",
    "import": "import os",
    "global": "global TEXT\nTEXT = a",
    "inner function": "def inner() -> int:\n    return 1\nreturn a",
    "class": "class C:\n    pass\nreturn a",
    "keyword argument": "return g(x=a)",
    "star argument": "return g(*a)",
    "too few arguments": "return g()",
    "too many arguments": "return g(a, b)",
    "unknown function": "return missing(a)",
    "builtin": "return min(a, b)",
    "method": "return a.bit_length()",
    "attribute of a word": "return a.real",
    "attribute of no module": "return missing.X",
}
MODULE = """
from __future__ import annotations
from innkeeper.ir.native import Words
TEXT = "text"
TOO_LARGE = 1 << 64
NEGATIVE = -1
def g(x: int) -> int:
    return x
{head} f(h: Words, a: int, b: int):
{body}
"""


def module_of(path: Path, body: str, head: str) -> Any:
    path.write_text(MODULE.format(body=textwrap.indent(body, "    "), head=head))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", OUTSIDE)
def test_outside_the_subset(kind: str, tmp_path: Path) -> None:
    head = "async def" if kind == "await" else "def"
    name = "outside_" + "".join(c if c.isalnum() else "_" for c in kind)
    module = module_of(tmp_path / f"{name}.py", OUTSIDE[kind], head)
    with pytest.raises(SubsetError) as raised:
        compile_functions([module.f], {}, [])
    assert "f" in str(raised.value)


def test_the_error_says_where(tmp_path: Path) -> None:
    module = module_of(tmp_path / "outside.py", "x = a\nx = a / b\nreturn x", "def")
    with pytest.raises(SubsetError, match=r"outside\.f, line 3: Div"):
        compile_functions([module.f], {}, [])


def test_intrinsics_are_renamed_and_exports_visible(tmp_path: Path) -> None:
    module = module_of(tmp_path / "renamed.py", "return g(a)", "def")
    ir = compile_functions([module.f, module.g], {"g": "other"}, ["f"])
    assert "call i64 @other(" in ir
    assert "define i64 @f(" in ir
    assert "define internal i64 @g(" in ir
