# SPDX-License-Identifier: Apache-2.0
"""Machines for tests with real guests: the `small` image on the engine that `auto` chooses."""

from __future__ import annotations

from innkeeper import Machine

TIMEOUT_S = 240


def machine(**arguments: object) -> Machine:
    """A machine that does not hang a test, and boots."""
    return Machine(**{"timeout_s": TIMEOUT_S, "cold": True, **arguments})  # type: ignore[arg-type]
