# SPDX-License-Identifier: Apache-2.0
"""The jit engine, baseline tier: copy-and-patch.

LLVM compiles a stencil for each instruction once; at run time a native translator copies and patches them
into blocks. Page walks, traps, CSRs and translation are native; MMIO, SBI calls and idling return to
Python.
"""

from innkeeper.engines.jit.engine import JitEngine, ensure_artifacts

__all__ = ["JitEngine", "ensure_artifacts"]
