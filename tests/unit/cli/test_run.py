# SPDX-License-Identifier: Apache-2.0
"""`inn run`: what it asks of the machine, and what it makes of the answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innkeeper.cli.parts import GuestOptions
from innkeeper.errors import ConfigError, GuestError
from tests.unit.cli.fakes import FakeHost, FakeMachine, FakeResult


def test_streams_and_status_are_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    output = [("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\xff\n")]
    host = FakeHost(FakeMachine(output, FakeResult(7)))
    assert host.run("run", "--", "sh", "-c", "exit 7") == 7
    out, err = capfd.readouterr()
    assert out.encode(errors="surrogateescape") == "one\nthree\ufffd\n".encode()
    assert err == "two\n"
    assert host.machine.command == ["sh", "-c", "exit 7"]
    assert host.machine.stdin == 0
    assert host.machine.is_closed


def test_bytes_pass_unchanged(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    data = bytes(range(256)) * 300
    assert FakeHost(FakeMachine([("stdout", data)])).run("run", "--", "x") == 0
    assert capfdbinary.readouterr().out == data


def test_defaults() -> None:
    host = FakeHost()
    host.run("run", "--", "true")
    assert host.machine.options == GuestOptions()


def test_every_option_reaches_the_machine() -> None:
    host = FakeHost()
    text = (
        "run debian --cpus 2 --memory 1.5GiB --disk a.img --disk b.img,ro --kernel K --initrd I"
        " --append console=ttyS0 --firmware F --engine reference --timeout 2.5 -- ls -- -l"
    )
    assert host.run(*text.split()) == 0
    assert host.machine.options == GuestOptions(
        image="debian",
        cpus=2,
        memory_bytes=3 << 29,
        disks=("a.img", "b.img,ro"),
        kernel=Path("K"),
        initrd=Path("I"),
        append="console=ttyS0",
        firmware=Path("F"),
        engine="reference",
        timeout_s=2.5,
    )
    assert host.machine.command == ["ls", "--", "-l"]


def test_timeout(capfd: pytest.CaptureFixture[str]) -> None:
    host = FakeHost(FakeMachine([("stdout", b"so far\n")], FakeResult(124, timed_out=True)))
    assert host.run("run", "--timeout", "5", "--", "sleep", "60") == 124
    out, err = capfd.readouterr()
    assert out == "so far\n"
    assert err == "inn: the command did not end within 5 s (give it more with --timeout)\n"


def test_a_command_may_end_with_124_itself(capfd: pytest.CaptureFixture[str]) -> None:
    assert FakeHost(FakeMachine(result=FakeResult(124))).run("run", "--", "x") == 124
    assert capfd.readouterr().err == ""


def test_without_a_command_the_terminal_is_attached() -> None:
    host = FakeHost(FakeMachine(console_status=0))
    assert host.run("run") == 0
    assert host.machine.console == (0, 1)
    assert host.machine.command is None
    assert host.machine.is_closed


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (GuestError("the guest's kernel panicked"), 2),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (ValueError("who thought of this"), 70),
    ],
)
def test_the_machine_is_closed_after_failures(failure: BaseException, status: int) -> None:
    host = FakeHost(FakeMachine(raises=failure))
    saved = os.dup(1)
    try:
        assert host.run("run", "--", "x") == status
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    assert host.machine.is_closed


def test_refused_arguments_come_from_the_machine(capfd: pytest.CaptureFixture[str]) -> None:
    host = FakeHost(raises=ConfigError("there is no image 'x'", "inn images lists them"))
    assert host.run("run", "x") == 2
    assert capfd.readouterr().err == "inn: there is no image 'x' (inn images lists them)\n"
