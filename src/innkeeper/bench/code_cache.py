# SPDX-License-Identifier: Apache-2.0
"""Code caches of the optimising tier that are only for a measurement: empty at each boot, or filled before.

The user's own is neither read nor written. The worker that compiles is one of the measurement's own, too:
a worker keeps to one cache.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from innkeeper.codegen.toolchain import toolchain_description
from innkeeper.engines.engine import Engine, GuestRam
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.jit.artifact import source_digest
from innkeeper.engines.jit.compile_client import runtime_folder
from innkeeper.vmm import Machine


class CodeCache:
    """A code cache in a temporary folder; a context manager. `renew` puts an empty one in its place."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="innkeeper-bench-", ignore_cleanup_errors=True)
        self._engine_version = source_digest(toolchain_description())
        self._number = 0

    def __enter__(self) -> CodeCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget_worker()
        self._folder.cleanup()

    @property
    def folder(self) -> Path:
        """Where regions are kept now."""
        return Path(self._folder.name) / str(self._number)

    @property
    def version(self) -> str:
        """What the worker and its regions are known by: no other process has it, nor has an earlier cache."""
        return f"{self._engine_version}-{Path(self._folder.name).name}-{self._number}"

    def renew(self) -> None:
        """Begin again with an empty cache and a worker of its own."""
        self._forget_worker()
        self._number += 1

    def start(self, engine: JitEngine) -> None:
        """Have the engine's hot code compiled and kept here."""
        engine.start_default_optimizer(self.version, self.folder)

    def _forget_worker(self) -> None:
        """It ends by itself when nobody is connected for a while; its socket is not needed any more."""
        with contextlib.suppress(OSError):
            for path in runtime_folder().glob(f"compile-{self.version}.*"):
                path.unlink()


class CachedMachine(Machine):
    """A machine with the optimising tier on, and `code_cache` for its code."""

    code_cache: CodeCache

    def _engine_factory(self) -> Callable[[GuestRam], Engine]:
        def make(ram: GuestRam) -> Engine:
            engine = JitEngine(ram)
            self.code_cache.start(engine)
            return engine

        return make
