# SPDX-License-Identifier: Apache-2.0
"""Budgets and habits of the source, as CONTRIBUTING.md states them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES_SOFT = 300
FILE_LINES_HARD = 600
FUNCTION_LINES_HARD = 80
LONG_FILES = tomllib.loads((ROOT / "tests/style/long_files.toml").read_text("utf-8"))["files"]
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
SCRIPTS = {".ci/run", ".ci/check-python", "tests/oracle/install"}
SOURCE_SUFFIXES = {".py", ".sh", ".c", ".h", ".S", ".s"}
TEXT_SUFFIXES = SOURCE_SUFFIXES | {".md", ".toml"}
EM_DASH = "\u2014"


def _files(suffixes: set[str]) -> Iterator[str]:
    """Names, from the root, of our files with one of `suffixes`."""
    for top in ("src", "tests", "benchmarks", "docs", ".ci"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts:
                yield str(path.relative_to(ROOT))
    for path in sorted(ROOT.glob("*.*")):
        if path.suffix in suffixes:
            yield path.name


PYTHON = list(_files({".py"}))
SOURCES = [*_files(SOURCE_SUFFIXES), *(name for name in sorted(SCRIPTS) if (ROOT / name).exists())]


def _lines(name: str) -> list[str]:
    return (ROOT / name).read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", PYTHON)
def test_length(name: str) -> None:
    count = len(_lines(name))
    assert count <= FILE_LINES_HARD, f"{name} has {count} lines; divide it"
    if count > FILE_LINES_SOFT:
        assert LONG_FILES.get(name), (
            f"{name} has {count} lines; divide it, or give a reason in long_files.toml"
        )


def test_exceptions_are_needed() -> None:
    stale = [n for n in LONG_FILES if not (ROOT / n).exists() or len(_lines(n)) <= FILE_LINES_SOFT]
    assert not stale, f"long_files.toml excuses files that need no excuse: {stale}"


@pytest.mark.parametrize("name", PYTHON)
def test_functions_are_short(name: str) -> None:
    tree = ast.parse("\n".join(_lines(name)))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [
        f"{node.name}: {_body_lines(node)}" for node in functions if _body_lines(node) > FUNCTION_LINES_HARD
    ]
    assert not long, f"{name}: functions of more than {FUNCTION_LINES_HARD} lines: {long}"


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of `function` without its docstring."""
    total = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        total -= (first.end_lineno or 0) - first.lineno + 1
    return total


@pytest.mark.parametrize("name", SOURCES)
def test_licence_is_named(name: str) -> None:
    assert any("SPDX-License-Identifier: Apache-2.0" in line for line in _lines(name)[:3])


def test_names_say_something() -> None:
    vague = [name for name in PYTHON if FORBIDDEN_NAMES & {*Path(name).with_suffix("").parts}]
    assert not vague, f"name the concept: {vague}"


def test_no_em_dash() -> None:
    found = [
        f"{name}:{number}"
        for name in _files(TEXT_SUFFIXES)
        for number, line in enumerate(_lines(name), 1)
        if EM_DASH in line
    ]
    assert not found, f"write plain sentences: {found}"


def test_version_is_stated_once() -> None:
    """pyproject.toml and the package agree, and the change log knows the version."""
    from innkeeper import __version__

    stated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert stated == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_dependencies_have_a_reason() -> None:
    """Every dependency stands in CONTRIBUTING.md's tables."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = [
        text.split(">=")[0] for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])
    ]
    tables = [
        line for line in (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines() if line.startswith("| ")
    ]
    absent = [name for name in names if not any(line.startswith(f"| {name} |") for line in tables)]
    assert not absent, f"CONTRIBUTING.md says nothing about {absent}"
