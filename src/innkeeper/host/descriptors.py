# SPDX-License-Identifier: Apache-2.0
"""How many descriptors this process may have open."""

from __future__ import annotations

import contextlib
import resource

_ENOUGH = 1 << 16
"""No more than this is asked for: some systems have no bound, and programs that count to it."""


def descriptors_allowed() -> int:
    """Raise the limit of open descriptors as far as it goes without rights, and say where it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY:
        return _ENOUGH
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft
