# SPDX-License-Identifier: Apache-2.0
"""Memory of guests: from the least to all that the host has, and paid for only where it is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innkeeper import Machine
from innkeeper.isa.riscv.assembler import assemble
from innkeeper.machine.machine import VirtMachine
from innkeeper.spec import board
from tests.guest.machines import TIMEOUT_S, machine
from tests.unit.machine.conftest import linux_image

pytestmark = pytest.mark.guest
HOST_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
PROGRAM = """
    auipc t0, 0
    ld t0, 52(t0)
    sd t0, 0(t0)
    ld t1, 0(t0)
    lui t2, 0x100
    lui t3, 5
    addi t3, t3, 0x555
    beq t0, t1, done
    lui t3, 3
    addi t3, t3, 0x333
done:
    sw t3, 0(t2)
forever:
    jal zero, forever
    addi zero, zero, 0
"""
"""Writes to the address behind it, reads it back, and powers off or reports failure to the test device."""


@pytest.mark.parametrize("memory_bytes", [64 << 20, HOST_BYTES & -4096], ids=["64 MiB", "the host's"])
def test_all_memory_can_be_used(tmp_path: Path, memory_bytes: int) -> None:
    """Its last word, by a kernel of a few instructions: Linux itself needs more than 64 MiB."""
    last = board.RAM_BASE + memory_bytes - 8
    image = linux_image(assemble(PROGRAM) + last.to_bytes(8, "little"))
    kernel = tmp_path / "Image"
    kernel.write_bytes(assemble("jal zero, 64") + image[4:])
    null = os.open(os.devnull, os.O_RDWR)
    try:
        guest = Machine(kernel=kernel, memory_bytes=memory_bytes, timeout_s=TIMEOUT_S)
        assert guest.run_console(null, null) == 0
    finally:
        os.close(null)


def test_untouched_memory_is_not_resident(monkeypatch: pytest.MonkeyPatch) -> None:
    resident: list[int] = []
    close = VirtMachine.close

    def measured(self: VirtMachine) -> None:
        resident.append(self.memory.resident_bytes())
        close(self)

    monkeypatch.setattr(VirtMachine, "close", measured)
    assert machine(memory_bytes=8 << 30).run(["true"]).returncode == 0
    # The kernel describes each page in 64 bytes, which is 128 MiB of 8 GiB.
    assert 0 < resident[0] < 512 << 20
