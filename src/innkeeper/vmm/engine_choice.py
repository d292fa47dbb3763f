# SPDX-License-Identifier: Apache-2.0
"""Which engine runs the harts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

from innkeeper.engines.engine import Engine, GuestRam
from innkeeper.errors import ConfigError, HostError

ENGINES = ("auto", "jit", "reference")
ReportProgress = Callable[[str, int, int], None]


def choose_engine(name: str, progress: ReportProgress | None = None) -> Callable[[GuestRam], Engine]:
    """What makes the engine called `name`; "auto" is jit where the host can have it, else reference.

    `progress(what, done, total)` hears of a first-time compilation. ConfigError for an unknown name,
    HostError if "jit" cannot be had here.
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine {name!r}", f"choose one of {', '.join(ENGINES)}")
    if name == "reference":
        return _reference
    reason = _why_not_jit()
    if not reason:
        return lambda ram: _jit(ram, progress)
    if name == "jit":
        raise HostError(f"the jit engine cannot run here: {reason}", "use --engine reference")
    warnings.warn(f"using the slow reference engine: {reason}", RuntimeWarning, stacklevel=3)
    return _reference


def _why_not_jit() -> str:
    try:
        from innkeeper.engines.jit.engine import unsupported_reason
    except ImportError as error:
        return f"llvmlite is missing ({error})"
    return unsupported_reason()


def _reference(ram: GuestRam) -> Engine:
    from innkeeper.engines.reference.engine import ReferenceEngine

    return ReferenceEngine(ram)


def _jit(ram: GuestRam, progress: ReportProgress | None) -> Engine:
    from innkeeper.engines.jit.engine import JitEngine

    if progress is None:
        engine = JitEngine(ram)
    else:
        engine = JitEngine(ram, lambda done, total, what: progress(what, done, total))
    if os.environ.get("INNKEEPER_OPTIMIZE", "1") != "0":
        engine.start_default_optimizer()
    return engine
