# SPDX-License-Identifier: Apache-2.0
"""Bare-metal programs for the `virt` board, QEMU system mode as the oracle of what they must record.

A program (`programs/*.S`, see `programs/framework.h`) prints its signature over the UART and powers off
through the test device. The signature is a list of (identifier, value) pairs of doublewords; the identifier
holds the source line, so `mismatches` names the line whose value differs.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from innkeeper.bench.programs import CROSS_COMPILER, QEMU_SYSTEM, require_program

from .isa import qemu_cpu

PROGRAMS_FOLDER = Path(__file__).with_name("programs")
MEMORY_BYTES = 128 << 20
"""RAM with which every executor runs a program."""
TIMEOUT_S = 20

KINDS = ("value", "mcause", "mepc", "mtval", "mstatus", "scause", "sepc", "stval", "sstatus")
"""What an entry's kind number means; all but the first are recorded by a trap."""

COMPILER_FLAGS = [
    *("-nostdlib", "-static", "-no-pie", "-fno-pic", "-mcmodel=medany", "-mno-relax", "-mabi=lp64d"),
    *("-march=rv64imafdc_zicsr_zifencei_zba_zbb_zbs", "-x", "assembler-with-cpp"),
]


class SystemRunner(Protocol):
    """An executor of ELF files in M-mode on the `virt` board: QEMU, or one of our engines.

    Ours loads the ELF's segments into RAM of MEMORY_BYTES at 0x8000_0000, resets hart 0 to the ELF's entry in
    M-mode, and collects what is written to the UART until the test device powers off.
    """

    name: str

    def run(self, elf: Path) -> bytes:
        """The signature. RuntimeError, with the console's text, if the program does not power off."""


class SystemOracle:
    """`qemu-system-riscv64 -M virt -bios none`. HostError if it is missing."""

    name = "qemu-system"

    def __init__(self) -> None:
        program = require_program(QEMU_SYSTEM)
        self.version = program.version
        self._qemu = program.path

    def run(self, elf: Path) -> bytes:
        """The signature that the program prints. RuntimeError if it does not power off in time."""
        command = [
            *(str(self._qemu), "-M", "virt", "-cpu", qemu_cpu(privileged=True), "-smp", "1"),
            *("-m", f"{MEMORY_BYTES >> 20}M", "-accel", "tcg", "-bios", "none", "-kernel", str(elf)),
            *("-display", "none", "-monitor", "none", "-serial", "stdio"),
        ]
        try:
            completed = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{elf.name} did not power off; console: {error.stdout!r}") from error
        if completed.returncode != 0:
            raise RuntimeError(
                f"{QEMU_SYSTEM} failed on {elf.name}: {completed.stderr.decode(errors='replace')}"
            )
        return parse_console(completed.stdout)


def parse_console(text: bytes) -> bytes:
    """The signature bytes out of what the program printed: lines of one 16-digit hexadecimal doubleword."""
    numbers = re.findall(rb"^([0-9a-f]{16})\r?$", text, re.MULTILINE)
    return struct.pack(f"<{len(numbers)}Q", *(int(number, 16) for number in numbers))


@dataclass(frozen=True)
class Entry:
    """One record of a signature: source line, kind (see KINDS), value."""

    line: int
    kind: str
    value: int


def entries(signature: bytes) -> list[Entry]:
    """The signature's records. ValueError if it is damaged."""
    numbers = struct.unpack(f"<{len(signature) // 8}Q", signature)
    if len(numbers) % 2:
        raise ValueError("the signature ends in the middle of a record")
    records = []
    for identifier, value in zip(numbers[::2], numbers[1::2], strict=True):
        if identifier >> 32 >= len(KINDS):
            raise ValueError(f"not a signature: identifier {identifier:#x}")
        records.append(Entry(identifier & 0xFFFF_FFFF, KINDS[identifier >> 32], value))
    return records


@dataclass(frozen=True)
class SystemProgram:
    """One of `programs/*.S` or a generated one, with the preprocessor definitions it is built with."""

    name: str
    source: Path
    definitions: tuple[str, ...] = ()

    def build(self, folder: Path) -> Path:
        """Assemble and link it into `folder`; gives the ELF. HostError without the cross compiler."""
        elf = folder / f"{self.name}.elf"
        script = PROGRAMS_FOLDER / "program.ld"
        command = [
            *(str(require_program(CROSS_COMPILER).path), *COMPILER_FLAGS, *self.definitions),
            *("-I", str(PROGRAMS_FOLDER)),
            *(
                str(self.source),
                "-T",
                str(script),
                "-o",
                str(elf),
                "-Wl,--build-id=none,--no-warn-rwx-segments",
            ),
        ]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        if completed.returncode != 0:
            raise RuntimeError(f"{self.source.name} does not assemble:\n{completed.stderr}")
        return elf

    def mismatches(self, expected: bytes, actual: bytes, *, limit: int = 10) -> list[str]:
        """Where two signatures differ, one line each with the source line; empty if they agree."""
        source_lines = self.source.read_text().splitlines()

        def describe(entry: Entry | None) -> str:
            return "nothing" if entry is None else f"{entry.kind} {entry.value:#x} (line {entry.line})"

        lines = []
        want, got = entries(expected), entries(actual)
        for index in range(max(len(want), len(got))):
            one = want[index] if index < len(want) else None
            two = got[index] if index < len(got) else None
            if one == two:
                continue
            line = (one or two or Entry(0, "value", 0)).line
            text = source_lines[line - 1].strip() if 0 < line <= len(source_lines) else "(start-up)"
            lines.append(
                f"{self.source.name}:{line}: `{text}`: expected {describe(one)}, got {describe(two)}"
            )
            if one is None or two is None or (one.line, one.kind) != (two.line, two.kind):
                lines.append("(from here on the two took different ways)")
                break
        return lines[:limit]


VARIANTS: dict[str, Sequence[tuple[str, tuple[str, ...]]]] = {
    "translation": (
        ("sv39", ("-DLEVELS=3",)),
        ("sv48", ("-DLEVELS=4",)),
        ("sv57", ("-DLEVELS=5",)),
    ),
}
"""Programs that are built several times."""


def programs() -> list[SystemProgram]:
    """Every program, by name."""
    found = []
    for source in sorted(PROGRAMS_FOLDER.glob("*.S")):
        variants = VARIANTS.get(source.stem, (("", ()),))
        for suffix, definitions in variants:
            name = f"{source.stem}_{suffix}" if suffix else source.stem
            found.append(SystemProgram(name, source, definitions))
    return found
