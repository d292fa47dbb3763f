# SPDX-License-Identifier: Apache-2.0
"""What the engine calls by name of what is compiled ahead of time.

Apart from `build`, which loads every definition and is needed once for each version.
"""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what is being done."""

CALLED_FROM_PYTHON = (
    "run_hart", "guest_written", "ask_hart", "forget_all", "jit_translation_changed", "ram_cas64",
    "jit_translations_flush", "jit_code_flush", "jit_fp_collect", "jit_fp_configure", "jit_phys_cas64",
    "jit_take_ipi", "emit", "take_sample", "install_region", "has_region",
    "hold_code", "release_code", "drop_held_code",
)  # fmt: skip
