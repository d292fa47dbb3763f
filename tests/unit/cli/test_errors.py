# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong: one line on stderr that says what, nothing on stdout, and the right status."""

from __future__ import annotations

import errno
import os
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.cli.doctor import Check
from innkeeper.errors import GuestError, HostError, InnkeeperError
from tests.unit.cli.fakes import FakeHost

WRONG = {
    "frob": "no such command 'frob'",
    "--frob": "no such option: --frob",
    "run --frob": "no such option: --frob",
    "run --cpus": "requires an argument",
    "run --cpus two": "--cpus takes a whole number",
    "run --cpus 10000000000": "--cpus takes a whole number",
    "run --cpus -1": "--cpus takes a whole number",
    "run --memory 512": "512M, 2G or 1.5GiB",
    "run --memory lots": "512M, 2G or 1.5GiB",
    "run --memory 0M": "at least 64M",
    "run --timeout 0": "seconds above 0",
    "run --timeout soon": "seconds above 0",
    "run --timeout nan": "seconds above 0",
    "run --timeout inf": "seconds above 0",
    "run --timeout -1": "seconds above 0",
    "run --timeout 1e300": "seconds above 0",
    "run debian ls": "inn run debian -- ls",
    "run --": "no command stands after --",
    "images frob": "no such command 'frob'",
    "images pull": "missing argument",
    "images rm": "missing argument",
    "images --json ls": "inn images ls --json",
    "doctor -- x": "only inn run, inn exec and inn ssh take a command",
    "doctor now": "unexpected extra argument",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_arguments(arguments: str, capfd: pytest.CaptureFixture[str]) -> None:
    host = FakeHost()
    assert host.run(*arguments.split()) == 2
    _check_one_line(capfd, WRONG[arguments])
    assert host.machine.options is None, "no machine is made for wrong arguments"


@pytest.mark.parametrize(
    ("failure", "status", "text"),
    [
        (
            HostError("the mirror does not answer", "set INNKEEPER_MIRROR"),
            2,
            "does not answer (set INNKEEPER_MIRROR)",
        ),
        (GuestError("two\nlines\x1b[2J"), 2, "two lines\ufffd[2J"),
        (InnkeeperError("no remedy"), 2, "inn: no remedy"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/x"),
            2,
            "No space left on device: /cache/x (free",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "d.img"),
            2,
            "Permission denied: d.img (check the perm",
        ),
        (MemoryError(), 2, "not enough memory"),
        (KeyError("x"), 70, "INNKEEPER_DEBUG=1"),
        (OSError(errno.EIO, "Input/output error"), 70, "INNKEEPER_DEBUG=1"),
    ],
)
def test_failures(failure: Exception, status: int, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost(raises=failure).run("images") == status
    _check_one_line(capfd, text)


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INNKEEPER_DEBUG", "1")
    assert FakeHost(raises=KeyError("x")).run("images") == 70
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("inn: unexpected KeyError")


WORDS = st.one_of(
    st.sampled_from(
        ["run", "images", "doctor", "ls", "rm", "pull", "--", "--cpus", "--memory", "--json", "--disk", "-h"]
    ),
    st.text(max_size=8),
)


@given(st.lists(WORDS, max_size=6))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_arguments_are_a_defect(capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    capfd.readouterr()
    status = FakeHost().run(*arguments)
    err = capfd.readouterr().err
    assert status in (0, 2), err
    assert err.count("\n") <= (1 if status else len(arguments)), err


def _check_one_line(capfd: pytest.CaptureFixture[str], text: str) -> None:
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("inn: ") and err.count("\n") == 1 and err.endswith("\n"), err
    assert text in err


def test_warnings_are_lines_too(capfd: pytest.CaptureFixture[str]) -> None:
    def look() -> Check:
        warnings.warn("using the slow engine", RuntimeWarning, stacklevel=2)
        return Check("engine", "ok", "reference")

    assert FakeHost(checks=[look]).run("doctor") == 0
    assert capfd.readouterr().err == "inn: using the slow engine\n"
