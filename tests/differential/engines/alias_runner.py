# SPDX-License-Identifier: Apache-2.0
"""A runner whose programs can change their own code."""

from __future__ import annotations

from tests.differential.engines.runner import CODE_PAGES, LEAF, EngineRunner
from tests.differential.engines.self_modifying import ALIAS_ADDRESS
from tests.differential.qemu.case import PAGE_BYTES, Case, Outcome

READ_WRITE_USER = 0xD7


class AliasRunner(EngineRunner):
    """Has the code's pages a second time, readable and writable."""

    def _make_tables(self) -> None:
        super()._make_tables()
        for index, page in enumerate(CODE_PAGES):
            entry = LEAF + 8 * ((ALIAS_ADDRESS >> 12) + index & 511)
            self._write64(entry, page >> 2 | READ_WRITE_USER)

    def run_one(self, case: Case) -> tuple[Outcome, bytes]:
        """The outcome, and the code as it became."""
        (outcome,) = self.run([case])
        return outcome, b"".join(self.ram.read(page, PAGE_BYTES) for page in CODE_PAGES)
