# SPDX-License-Identifier: Apache-2.0
"""`inn images`: the table, the JSON, and what is asked of the cache."""

from __future__ import annotations

import json

import pytest

from innkeeper.cli.parts import ImageRow
from tests.unit.cli.fakes import FakeHost

SMALL = ImageRow("small", "busybox, a shell in a moment", "6.12.1-riscv64", 14_900_000)
DEBIAN = ImageRow("debian", "a minimal Debian with [apt]", None, None)


@pytest.mark.parametrize("arguments", [["images"], ["images", "ls"]])
def test_table(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost(images=[SMALL, DEBIAN]).run(*arguments) == 0
    heading, small, debian = capfd.readouterr().out.splitlines()
    assert heading.split() == ["IMAGE", "CACHED", "SIZE", "WHAT", "IT", "IS"]
    assert small.split(maxsplit=4) == [
        "small",
        "6.12.1-riscv64",
        "14.2",
        "MiB",
        "busybox, a shell in a moment",
    ]
    assert debian.split(maxsplit=3) == ["debian", "no", "-", "a minimal Debian with [apt]"]


def test_table_does_not_break_lines_for_programs(capfd: pytest.CaptureFixture[str]) -> None:
    FakeHost(images=[ImageRow("x" * 60, "word " * 60, None, None)]).run("images")
    assert len(capfd.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("arguments", [["images", "--json"], ["images", "ls", "--json"]])
def test_json(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost(images=[SMALL, DEBIAN]).run(*arguments) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [row["name"] for row in rows] == ["small", "debian"]
    assert rows[0]["size_bytes"] == 14_900_000 and rows[1]["version"] is None


def test_pull_and_rm(capfd: pytest.CaptureFixture[str]) -> None:
    host = FakeHost()
    assert host.run("images", "pull", "debian") == 0
    assert host.run("images", "rm", "debian", "small") == 0
    assert (host.pulled, host.removed) == (["debian"], ["debian", "small"])
    assert capfd.readouterr().out == ""
