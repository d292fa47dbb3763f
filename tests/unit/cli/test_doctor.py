# SPDX-License-Identifier: Apache-2.0
"""`inn doctor`: how checks are shown, and that the real ones answer on this host."""

from __future__ import annotations

import json

import pytest

from innkeeper.cli.checks import CHECKS, mirror
from innkeeper.cli.doctor import Check
from tests.unit.cli.fakes import FakeHost

OK = Check("python", "ok", "CPython 3.11")
NOTE = Check("qemu", "note", "no qemu-system-riscv64", "only inn bench uses it", "install it")
MISSING = Check("mirror", "missing", "none answers", "no route", "set INNKEEPER_MIRROR")


def test_all_well(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost(checks=[lambda: OK, lambda: NOTE]).run("doctor") == 0
    assert capfd.readouterr().out.splitlines() == [
        "ok       python           CPython 3.11",
        "note     qemu             no qemu-system-riscv64",
        "                          cause: only inn bench uses it",
        "                          remedy: install it",
        "",
        "Guests can run here: inn run",
    ]


def test_something_is_missing(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost(checks=[lambda: MISSING, lambda: OK]).run("doctor") == 2
    assert capfd.readouterr().out.splitlines()[-1] == "Guests cannot run here yet: mirror."


def test_a_check_that_fails_does_not_hide_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    def cache() -> Check:
        raise PermissionError("the folder is locked")

    assert FakeHost(checks=[cache, lambda: OK]).run("doctor") == 2
    out = capfd.readouterr().out
    assert "missing  cache            could not be looked at" in out
    assert "the folder is locked" in out and "CPython 3.11" in out


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost(checks=[lambda: OK, lambda: MISSING]).run("doctor", "--json") == 2
    assert json.loads(capfd.readouterr().out)[1] == {
        "name": "mirror",
        "state": "missing",
        "found": "none answers",
        "cause": "no route",
        "remedy": "set INNKEEPER_MIRROR",
    }


@pytest.mark.parametrize(
    "check", [check for check in CHECKS if check is not mirror], ids=lambda check: check.__name__
)
def test_real_checks_answer(check: object) -> None:
    made = check()  # type: ignore[operator]
    assert made.found
    if made.state != "ok":
        assert made.cause


def test_a_wrong_mirror_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNKEEPER_MIRROR", "ftp://x")
    made = mirror()
    assert made.state == "missing" and made.remedy
