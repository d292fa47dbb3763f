# SPDX-License-Identifier: Apache-2.0
"""What the pages show exists: commands, options, Python names, files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import innkeeper
from tests.style.commands import check_command, commands, options_of

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SPECIFICATION.md",
    "docs/commands.md",
    "docs/design.md",
    "docs/hypervisor.md",
    "docs/python.md",
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE_COMMAND = re.compile(r"`(inn(?: [^`\[|…]+)?)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return [body for tag, body in FENCE.findall(text) if tag == language]


def _shown_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for body in _blocks(page, "sh"):
            for line in body.splitlines():
                command = line.removeprefix("$ ").partition(" | ")[0]
                if re.match(r"inn\b", command):
                    yield page, command
        for command in INLINE_COMMAND.findall(FENCE.sub("", (ROOT / page).read_text("utf-8"))):
            yield page, command


@pytest.mark.parametrize(("page", "command"), sorted(set(_shown_commands())))
def test_command_exists(page: str, command: str) -> None:
    check_command(command)


def test_readme_shows_how_to_begin() -> None:
    shown = [command for page, command in _shown_commands() if page == "README.md"]
    assert any(re.fullmatch(r"inn run", command) for command in shown)


@pytest.mark.parametrize("name", sorted(name for name in commands() if name))
def test_commands_page_is_complete(name: str) -> None:
    """docs/commands.md has a heading for each command, and under it each of its options."""
    sections = re.split(r"^## ", (ROOT / "docs/commands.md").read_text("utf-8"), flags=re.MULTILINE)
    section = next((part for part in sections if part.startswith(f"`inn {name.split()[0]}")), "")
    assert f"inn {name}" in section, f"docs/commands.md says nothing about inn {name}"
    absent = {option for option in options_of(commands()[name]) if option not in section} - {"--help"}
    assert not absent, f"docs/commands.md does not explain {absent} of inn {name}"


@pytest.mark.parametrize("page", PAGES)
def test_python_is_valid(page: str) -> None:
    for source in _blocks(page, "python"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module == "innkeeper":
                assert {alias.name for alias in node.names} <= set(innkeeper.__all__)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = [
        link
        for link in LINK.findall((ROOT / page).read_text("utf-8"))
        if not ((ROOT / page).parent / link).exists()
    ]
    assert not broken
