# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: what is asked for, and the two ways to print it."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.fakes import FakeHost


def test_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost().run("bench", "--against", "qemu") == 0
    assert capfd.readouterr().out == "workload  innkeeper  qemu\n"


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost().run("bench", "--json") == 0
    assert json.loads(capfd.readouterr().out) == [{"workload": "boot", "peer": None}]
