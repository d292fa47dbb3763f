# SPDX-License-Identifier: Apache-2.0
"""Real guests: the stock Debian kernel with the small root, on the jit engine."""

from __future__ import annotations

import pytest

from innkeeper import Machine, Result


def run_in_guest(command: list[str], cpus: int, stdin: bytes | None = None) -> Result:
    with Machine("small", cpus=cpus, timeout_s=120) as machine:
        return machine.run(command, stdin=stdin)


@pytest.mark.parametrize("cpus", [1, 2])
def test_uname(cpus: int) -> None:
    result = run_in_guest(["uname", "-srm"], cpus)
    assert result.returncode == 0
    assert result.stdout.startswith(b"Linux 6.12")
    assert result.stdout.endswith(b" riscv64\n")
    assert result.stderr == b""


@pytest.mark.parametrize("cpus", [1, 2])
def test_status_and_separate_streams(cpus: int) -> None:
    result = run_in_guest(["sh", "-c", "echo out; echo err >&2; exit 7"], cpus)
    assert (result.returncode, result.stdout, result.stderr) == (7, b"out\n", b"err\n")


def test_standard_input_arrives_whole() -> None:
    data = bytes(range(256)) * 1024
    assert run_in_guest(["cat"], 1, stdin=data).stdout == data


def test_all_harts_are_there() -> None:
    assert run_in_guest(["nproc"], 4).stdout == b"4\n"


def test_a_command_that_does_not_end_is_stopped() -> None:
    with Machine("small") as machine:
        result = machine.run(["sleep", "1000"], timeout_s=8)
    assert result.timed_out
    assert result.returncode == 124


def test_untouched_memory_is_not_resident() -> None:
    """8 GiB of RAM for a guest that touches a few hundred megabytes at most."""
    with Machine("small", memory_bytes=8 << 30, timeout_s=120) as machine:
        result = machine.run(["cat", "/proc/meminfo"])
        assert result.returncode == 0
        with open("/proc/self/status") as status:
            resident_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert resident_kib < 2 << 20
