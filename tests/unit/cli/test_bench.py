# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: what is asked for, and the two ways to print it."""

from __future__ import annotations

import json

import pytest

from innkeeper.cli.parts import BenchRequest
from tests.unit.cli.fakes import FakeHost


def test_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost().run("bench", "--against", "qemu") == 0
    assert capfd.readouterr().out == "workload  innkeeper  qemu\n"


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost().run("bench", "--json") == 0
    assert json.loads(capfd.readouterr().out) == [{"workload": "boot", "peer": None}]


def test_what_is_asked_for_arrives() -> None:
    host = FakeHost()
    assert host.run("bench", "--only", "sieve", "--only", "boot", "--repeats", "7") == 0
    assert host.bench_request == BenchRequest(None, ("sieve", "boot"), 7, False)
    assert host.run("bench", "--profile") == 0
    assert host.bench_request == BenchRequest(profile=True)


def test_a_profile_has_no_peer(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost().run("bench", "--profile", "--against", "qemu") == 2
    assert "--against" in capfd.readouterr().err
