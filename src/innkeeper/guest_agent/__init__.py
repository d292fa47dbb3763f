# SPDX-License-Identifier: Apache-2.0
"""The program that runs in every guest and does there what the VMM asks for.

It is written in the native subset of Python (`innkeeper.ir.native`), compiled by LLVM's RISC-V target to a
static ELF program of a few kilobytes (`program.build`), and needs nothing in the guest but the kernel.
"""

import hashlib
from pathlib import Path


def agent_source_digest() -> bytes:
    """Changes with the functions that the agent is built from."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()
