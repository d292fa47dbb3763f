# SPDX-License-Identifier: Apache-2.0
"""What all tests share: their order, and seeds that can be seen and given again."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# Registers all definitions: what lists them when it is imported gets all of them, whichever test comes first.
import innkeeper.isa.riscv.instructions  # noqa: F401

TESTS = Path(__file__).parent
ORDER = ("test_tiny.py", "style", "unit", "differential", "guest", "performance")
"""What fails fast and is cheap comes first; a broken engine should not first cost a boot."""

FOUND = {Phase.explicit, Phase.reuse, Phase.generate, Phase.target}
settings.register_profile("innkeeper", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("innkeeper"), phases=FOUND)
settings.load_profile("ci" if os.environ.get("CI") else "innkeeper")
"""No deadline: two tests share two CPUs, and the first one compiles the engine's artifacts. A build server
does not look for a smaller example than the one found: that may take longer than a test may."""


def _rank(path: Path) -> int:
    part = path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else ""
    return ORDER.index(part) if part in ORDER else len(ORDER)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.path))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once which test failed, and where: a run that is stopped before its summary tells it, too.

    With several workers, the process that started them hears of every test, and it alone speaks.
    """
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        where = getattr(report.longrepr, "reprcrash", None)
        reason = f"{where.path}:{where.lineno}: {where.message}" if where else report.longreprtext
        test = f"{report.nodeid} ({report.when}, {report.duration:.0f} s)"
        print(f"\nFAILED {test}: {reason[:2000]}", file=sys.stderr)


@pytest.fixture
def seed() -> int:
    """A seed for random tests. It is printed where a test fails; INNKEEPER_SEED gives it again."""
    chosen = int(os.environ.get("INNKEEPER_SEED", "0")) or random.SystemRandom().getrandbits(32) or 1
    print(f"INNKEEPER_SEED={chosen}")
    return chosen


@pytest.fixture
def rng(seed: int) -> random.Random:
    """Random numbers from `seed`."""
    return random.Random(seed)
