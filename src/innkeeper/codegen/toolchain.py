# SPDX-License-Identifier: Apache-2.0
"""What machine code depends on apart from its source. Does not load LLVM, which takes long."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import llvmlite

from innkeeper.host.cpu import cpu_description


@lru_cache(maxsize=1)
def toolchain_description() -> str:
    """Architecture, CPU, its features, and the LLVM that makes code for it, by its version and its file."""
    file = ""
    with suppress(OSError):
        status = os.stat(Path(llvmlite.__file__).with_name("binding") / "libllvmlite.so")
        file = f"{status.st_size} {status.st_mtime_ns}"
    return f"{cpu_description()} llvmlite {llvmlite.__version__} {file}"
