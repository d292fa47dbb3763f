# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: what is asked for, and the two ways to print it."""

from __future__ import annotations

import json
from pathlib import Path

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
    assert host.run("bench", "--warm", "--cold") == 0
    assert host.bench_request == BenchRequest(code_caches=("cold", "warm"))


def test_the_drawing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "speeds.svg"
    assert FakeHost().run("bench", "--against", "qemu", "--svg", str(file)) == 0
    assert file.read_text() == "<svg/>"


def test_what_cannot_be_drawn_is_refused_before_it_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    host = FakeHost()
    assert host.run("bench", "--svg", str(tmp_path / "x.svg")) == 2
    assert "--against" in capfd.readouterr().err
    for place in (tmp_path / "missing" / "x.svg", tmp_path):
        assert host.run("bench", "--against", "qemu", "--svg", str(place)) == 2
        error = capfd.readouterr().err
        assert "cannot be written" in error and error.count("\n") == 1
    assert host.bench_request is None


def test_a_profile_has_its_own_cache(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost().run("bench", "--profile", "--cold") == 2
    assert "--cold" in capfd.readouterr().err


def test_a_profile_has_no_peer(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost().run("bench", "--profile", "--against", "qemu") == 2
    assert "--against" in capfd.readouterr().err


def test_the_network_is_measured_instead() -> None:
    host = FakeHost()
    assert host.run("bench", "network", "--against", "qemu", "--only", "http1") == 0
    assert host.bench_request == BenchRequest("qemu", ("http1",), what="network")
    for wrong in (("nothing",), ("network", "--profile"), ("network", "--warm")):
        assert host.run("bench", *wrong) == 2
