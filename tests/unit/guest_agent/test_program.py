# SPDX-License-Identifier: Apache-2.0
"""The agent as a program: its file, and that it does not bring its functions into the engines."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from elftools.elf.elffile import ELFFile

from innkeeper.guest_agent import layout
from innkeeper.guest_agent.program import build


@pytest.fixture(scope="module")
def program() -> bytes:
    return build()


def test_the_file(program: bytes) -> None:
    elf = ELFFile(io.BytesIO(program))
    segments = list(elf.iter_segments())
    assert (elf["e_machine"], elf["e_type"], elf.elfclass) == ("EM_RISCV", "ET_EXEC", 64)
    assert [segment["p_flags"] for segment in segments] == [5, 4, 6], "nothing is both written and executed"
    assert segments[0]["p_vaddr"] <= elf["e_entry"] < segments[0]["p_vaddr"] + segments[0]["p_filesz"]
    for segment in segments:
        assert segment["p_offset"] % 4096 == segment["p_vaddr"] % 4096
        assert segment["p_offset"] + segment["p_filesz"] <= len(program)
    assert b"/dev/ptmx\0" in segments[1].data()
    assert len(program) < 32 << 10


def test_it_is_the_same_each_time(program: bytes) -> None:
    assert build() == program


def test_its_parts_do_not_overlap() -> None:
    starts = [
        layout.AGENT_AT, layout.SESSIONS, layout.POLL_ENTRIES, layout.SMALL, layout.CHILD_WORDS,
        layout.STACK_TOP, layout.INPUT + 1, layout.OUTPUT, layout.ARGUMENTS, layout.VARIABLES,
        layout.CHILD_TEXTS, layout.FILE_TEXT, layout.RINGS, layout.DATA + layout.DATA_BYTES,
    ]  # fmt: skip
    assert starts == sorted(starts)
    assert layout.SESSIONS_END <= layout.POLL_ENTRIES
    assert layout.FILE_TEXT + layout.FILE_TEXT_BYTES <= layout.RINGS


def test_engines_do_not_compile_it() -> None:
    code = (
        "import innkeeper.guest_agent.loop; from innkeeper.ir.native import NATIVE, INTRINSIC;"
        "print(sorted(n for n, f in (NATIVE | INTRINSIC).items() if 'guest_agent' in f.__module__))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
