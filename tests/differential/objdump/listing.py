# SPDX-License-Identifier: Apache-2.0
"""objdump's opinion on instruction words, and when it agrees with ours."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

EXTENSIONS = ("zba", "zbb", "zbc", "zbs", "zicbom", "zicboz", "zawrs", "zihintpause", "svinval")
YOUNG_EXTENSIONS = ("zicond",)
"""Binutils 2.40 does not know these: they are left out where the assembler refuses them."""
EXACT_CONVERSIONS = ("fcvt.d.s", "fcvt.d.w", "fcvt.d.wu")
"""They never round; older binutils want rm to be 0 and do not show it. The manual allows any valid rm."""
FOREIGN = frozenset({"hinval.gvma", "hinval.vvma", "uret", "hret", "dret", "sfence.vm", "unimp"})
"""Instructions of the hypervisor extension, debug mode and old manuals that objdump shows all the same."""

_LINE = re.compile(r"^\s*([0-9a-f]+):\t[0-9a-f ]+\t(.*)$")
_TOKEN = re.compile(r"-?0x[0-9a-f]+|-?\d+(?![a-z.\w])|[\w.]+|[(),]")


def known_extensions(objdump: Path, folder: Path) -> tuple[str, ...]:
    """Those of our extensions that this binutils knows."""
    young = tuple(e for e in YOUNG_EXTENSIONS if _assemble(objdump, folder, (*EXTENSIONS, e)).returncode == 0)
    return EXTENSIONS + young


def _assemble(objdump: Path, folder: Path, extensions: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """An object with one instruction in .text, and the architecture in its attributes."""
    (folder / "one.s").write_text("nop\n")
    program = objdump.with_name(objdump.name.replace("objdump", "as"))
    command = [program, f"-march=rv64gc_{'_'.join(extensions)}", "one.s", "-o", "one.o"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def disassemble_all(objdump: Path, folder: Path, words: Sequence[int]) -> list[str]:
    """What objdump makes of each word (16 or 32 bits by its low two); word n lies where the listing says."""
    built = _assemble(objdump, folder, known_extensions(objdump, folder))
    assert built.returncode == 0, built.stderr
    code = b"".join(w.to_bytes(4 if w & 3 == 3 else 2, "little") for w in words)
    (folder / "code.bin").write_bytes(code)
    objcopy = objdump.with_name(objdump.name.replace("objdump", "objcopy"))
    command: list[str | Path] = [objcopy, "--update-section", ".text=code.bin", "one.o", "all.o"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    command = [objdump, "-d", "-z", "-M", "no-aliases", "all.o"]
    text = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120).stdout
    lines = [found[2] for line in text.splitlines() if (found := _LINE.match(line))]
    assert len(lines) == len(words), "objdump split the words differently"
    return lines


def addresses(words: Sequence[int]) -> list[int]:
    """Where each word lies in the object."""
    result, here = [], 0
    for word in words:
        result.append(here)
        here += 4 if word & 3 == 3 else 2
    return result


def comparable(text: str) -> tuple[object, ...]:
    """Mnemonic and operands without spacing and comments; numbers as 64 bits, whatever their base.

    A dynamic rounding mode is left out, as objdump leaves it out; it writes addresses as hex digits alone.
    """
    plain = re.sub(r"([0-9a-f]+) <[^>]*>", r"0x\1", text)
    plain = re.sub(r"#.*|, *dyn$", "", plain)
    tokens: list[object] = []
    for token in _TOKEN.findall(plain):
        try:
            tokens.append(int(token, 0) % (1 << 64))
        except ValueError:
            tokens.append(token)
    return tuple(tokens)


def agree(word: int, ours: str, theirs: str) -> bool:
    """Whether both mean the same; where objdump is known to differ, whether ours is what the manual says."""
    mine, other = comparable(ours), comparable(theirs)
    if mine == other:
        return True
    name = mine[0]
    if "unknown" in other or other[0] in FOREIGN:  # unknown: a reserved rounding mode
        return ours.startswith(".4byte")
    if name in ("fence", "fence.i"):  # fields that are reserved, hence ignored
        return other[0] == ".4byte" and word & 0xF00FFF80 != 0
    if name in EXACT_CONVERSIONS:
        return other[0] == ".4byte" or mine[:-2] == other
    if str(name).startswith("csrr"):  # CSRs that no hart of ours has
        return len(mine) == len(other) and sum(a != b for a, b in zip(mine, other, strict=True)) == 1
    return _agree_on_compressed(word, ours, theirs)


def _agree_on_compressed(word: int, ours: str, theirs: str) -> bool:
    mine, other = comparable(ours), comparable(theirs)
    if mine[0] == "c.nop":  # objdump has one name for both
        return other == ("c.addi", "zero", ",", mine[1])
    if mine[0] in ("c.slli", "c.srli", "c.srai") and mine[-1] == 0:  # the names that RV128 gives them
        return other == (f"{mine[0]}64", mine[1])
    if word in (0x0000, 0x6101):  # defined illegal, and reserved
        return ours.startswith(".2byte") and theirs.startswith(("c.unimp", "c.addi16sp"))
    return False
