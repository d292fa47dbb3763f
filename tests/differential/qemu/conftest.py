# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the oracles, made once a session; skipped (failed where CI=true) if they are not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from innkeeper.bench.programs import Program
from tests.differential.qemu.user import UserOracle
from tests.oracle.fixtures import *  # noqa: F403


@pytest.fixture(scope="session")
def user_oracle(qemu_user: Program, cross_compiler: Program) -> Iterator[UserOracle]:
    """QEMU user mode."""
    with UserOracle() as oracle:
        yield oracle
