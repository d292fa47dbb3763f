# SPDX-License-Identifier: Apache-2.0
"""What a session makes of a kernel that panics, which stands still from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from innkeeper.engines.engine import Exit, ExitReason
from innkeeper.errors import GuestError
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.machine import MachineConfig
from innkeeper.spec import board
from innkeeper.vmm import session as vm
from tests.unit.machine.conftest import linux_image
from tests.unit.machine.scripted import ScriptedEngine, ScriptedVcpu

LAST_WORDS = b"[ 0.1] Kernel panic - not syncing: no init\n[ 0.1] ---[ end Kernel panic - not syncing ]---\n"


def writes_serial(text: bytes) -> Callable[[ScriptedVcpu], Iterator[Exit]]:
    def script(vcpu: ScriptedVcpu) -> Iterator[Exit]:
        for byte in text:
            yield Exit(ExitReason.MMIO_WRITE, board.UART.base, 1, byte)

    return script


@contextmanager
def session(tmp_path: Path, text: bytes, *, stop_at_panic: bool) -> Iterator[vm.Session]:
    kernel = tmp_path / "Image"
    kernel.write_bytes(linux_image())
    machine = MachineConfig(BootConfig(kernel), 1, 64 << 20)
    config = vm.SessionConfig(machine, ScriptedEngine(writes_serial(text)), stop_at_panic=stop_at_panic)
    with vm.Session(config) as made:
        yield made


def test_a_panic_ends_a_command_with_its_reason(tmp_path: Path) -> None:
    with session(tmp_path, LAST_WORDS, stop_at_panic=True) as made:
        ended = made.run(20)
    with pytest.raises(GuestError, match=r"its kernel panicked .*not syncing: no init"):
        vm.require_status(ended)


def test_who_watches_a_panic_decides_when_it_ends(tmp_path: Path) -> None:
    with session(tmp_path, LAST_WORDS + b"!", stop_at_panic=False) as made:
        ended = made.run(0.2)
    assert ended.timed_out and "!" in ended.log
