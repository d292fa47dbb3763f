# SPDX-License-Identifier: Apache-2.0
"""Commands in real guests: their output, their input and how they end."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from innkeeper import Machine
from innkeeper.errors import GuestError
from tests.guest import machines

pytestmark = pytest.mark.guest
FIRMWARE = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic")
EVERY_BYTE = bytes(range(1, 256))
MakeMachine = Callable[..., Machine]


@pytest.fixture(params=["prepared", "cold"])
def cold(request: pytest.FixtureRequest) -> bool:
    """Commands are the same in a guest that goes on from a snapshot and in one that boots for them."""
    return bool(request.param == "cold")


@pytest.fixture
def machine(cold: bool) -> MakeMachine:
    return functools.partial(machines.machine, cold=cold)


@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
def test_output_and_status(machine: MakeMachine, cpus: int) -> None:
    with machine(cpus=cpus) as guest:
        result = guest.run("uname -srm; nproc; echo to stderr >&2; exit 7")
        name, count = result.stdout.decode().splitlines()
        assert name.startswith("Linux 6.12") and name.endswith("riscv64") and int(count) == cpus
        assert (result.stderr, result.returncode, result.timed_out) == (b"to stderr\n", 7, False)
        if cpus == 2:
            assert guest.run(["false"]).returncode == 1  # a second boot


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize("file", ["fw_dynamic.bin", "fw_jump.elf"])
def test_firmware(file: str, cpus: int) -> None:
    if not (FIRMWARE / file).exists():
        pytest.skip("Debian's opensbi is not installed")
    result = machines.machine(cpus=cpus, firmware=FIRMWARE / file).run("nproc")
    assert (result.stdout, result.returncode) == (b"%d\n" % cpus, 0)


def test_standard_input_of_any_size(machine: MakeMachine, rng: random.Random) -> None:
    data = rng.randbytes(5_000_000)
    result = machine().run("sha256sum", stdin=data)
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_standard_input_from_a_pipe_and_a_slow_reader(machine: MakeMachine, rng: random.Random) -> None:
    """What comes in goes out again, through a reader on the host that is slower than the guest."""
    data = rng.randbytes(3_000_000)
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    received = bytearray()
    biggest = 0

    def take(part: bytes) -> None:
        nonlocal biggest
        biggest = max(biggest, len(part))
        for _ in range(50):
            hashlib.sha256(data[:65536]).digest()
        received.extend(part)

    result = machine(cpus=2).run(["cat"], stdin=reader, stdout=take)
    thread.join()
    os.close(reader)
    assert result.returncode == 0 and result.stdout == b""
    assert received == data
    assert biggest < 2 << 20


@pytest.mark.parametrize("stdin", [None, b""])
def test_standard_input_at_its_end(machine: MakeMachine, stdin: bytes | None) -> None:
    assert machine().run("cat; echo end", stdin=stdin).stdout == b"end\n"


def test_the_null_device_as_standard_input(machine: MakeMachine) -> None:
    with open(os.devnull, "rb") as null:
        assert machine().run(["cat"], stdin=null.fileno()).returncode == 0


def test_a_command_that_leaves_its_input_alone(machine: MakeMachine) -> None:
    reader, writer = os.pipe()
    try:
        assert machine().run(["true"], stdin=reader).returncode == 0
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("exit 0", 0),
        (["sh", "-c", "exit 1"], 1),
        ("exit 255", 255),
        ("kill -9 $$", 128 + 9),
        (["no-such-program"], 127),
        (["/etc/hosts"], 126),
    ],
)
def test_status(machine: MakeMachine, command: str | list[str], status: int) -> None:
    assert machine().run(command).returncode == status


def test_arguments_environment_and_folder_arrive_as_they_are(machine: MakeMachine) -> None:
    argv = ["printf", "%s|", "a b", "", "$HOME", "'\"\\", "ü\n"]
    assert machine().run(argv).stdout.decode() == "a b||$HOME|'\"\\|ü\n|"
    result = machine().run("echo $GREETING; pwd", env={"GREETING": "hello  there"}, cwd="/tmp")
    assert result.stdout == b"hello there\n/tmp\n"


def test_every_byte_passes_as_an_argument_and_back(machine: MakeMachine) -> None:
    argv = ["printf", "%s", os.fsdecode(EVERY_BYTE)]
    assert machine().run(argv, env={"MARK": "it's"}).stdout == EVERY_BYTE


def test_time_out_keeps_what_was_written(machine: MakeMachine) -> None:
    result = machine().run("echo begun; sleep 1000", timeout_s=10)
    assert (result.returncode, result.timed_out, result.stdout) == (124, True, b"begun\n")


def test_an_error_in_a_callback_ends_the_guest(machine: MakeMachine) -> None:
    def closed(data: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        machine().run(["yes"], stdout=closed)


def test_a_kernel_without_a_root_ends_with_its_reason() -> None:
    with pytest.raises(GuestError, match=r"its kernel panicked .*Unable to mount root"):
        machines.machine(append="rdinit=/none init=/none").run(["true"])
