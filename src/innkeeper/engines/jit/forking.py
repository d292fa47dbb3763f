# SPDX-License-Identifier: Apache-2.0
"""A jit engine over a fork(2): parent and child share the code that is translated, and part from there on.

Translated code lies in memory that both processes see. What was published is never written, so it stays
shared; both sides continue behind it, the child in memory of its own. When all code is thrown away each side
begins again behind what is shared.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from innkeeper.codegen import layout as at

if TYPE_CHECKING:
    from innkeeper.engines.jit.compile_client import CompileClient
    from innkeeper.engines.jit.engine import JitEngine

_PAGE_BYTES = 4096
_BUSY_SAMPLES = 16
"""Samples after which a child is busy: some million instructions."""
_LEAST_ROOM = 4
"""A part of one in so many has to be left behind the shared code, or it is thrown away before the fork."""


class LaterOptimizer:
    """In place of a forked child's optimizer until its harts have run for a while: an idle child has none."""

    spans: tuple[range, ...] = ()

    def __init__(self, engine: JitEngine, client: CompileClient) -> None:
        """`client` is the parent's, with its connection."""
        client.abandon()
        self._engine = engine
        self._client = client
        self._seen = engine.shared[at.SAMPLE_NEXT]
        self._lock = Lock()

    def poll(self) -> None:
        """A hart has run for a while. From any thread."""
        if self._engine.shared[at.SAMPLE_NEXT] - self._seen >= _BUSY_SAMPLES:
            with self._lock:
                if self._engine.optimizer is self:
                    self._engine.start_default_optimizer(self._client.version, self._client.cache_folder)

    def stop(self) -> None:
        """There is nothing to stop."""


class ForkGuard:
    """Around one fork: made before it while no hart runs, `finish` called on both sides."""

    def __init__(self, engine: JitEngine) -> None:
        self._engine = engine
        self._call("hold_code", releases_gil=True)
        try:
            if self._room_bytes() < max(engine.code.size_bytes // _LEAST_ROOM, 2 * at.BLOCK_CODE_BYTES):
                self._renew()
            self._shared_bytes = self._used_bytes()
            engine.code.freeze(self._shared_bytes)
            words = engine.shared
            words[at.CODE_FIRST] = words[at.CODE_NEXT] = engine.code.address + self._shared_bytes
        except BaseException:
            self._call("release_code")
            raise

    def finish(self, *, is_child: bool) -> None:
        """Let code be translated again."""
        try:
            if is_child:
                self._engine.code.separate(self._shared_bytes)
                self._engine.restart_optimizer()
        finally:
            self._call("release_code")

    def _call(self, name: str, *, releases_gil: bool = False) -> None:
        self._engine.function(name, 1, releases_gil=releases_gil)(self._engine.observer_address)

    def _used_bytes(self) -> int:
        used = self._engine.shared[at.CODE_NEXT] - self._engine.code.address
        return (used + _PAGE_BYTES - 1) & -_PAGE_BYTES

    def _room_bytes(self) -> int:
        return self._engine.code.size_bytes - self._used_bytes()

    def _renew(self) -> None:
        """Throw all code away and begin in new memory: too much of the old is shared with other processes."""
        engine = self._engine
        engine.shared[at.CODE_FIRST] = engine.code.address + engine.stub_bytes
        self._call("drop_held_code")
        engine.code.separate(0, engine.code.read(engine.stub_bytes))
