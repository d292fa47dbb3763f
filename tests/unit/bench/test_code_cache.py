# SPDX-License-Identifier: Apache-2.0
"""Code caches for measurements: the order of filling and emptying, and that the user's own is left alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from innkeeper.bench import ours
from innkeeper.bench.code_cache import CodeCache
from innkeeper.bench.ours import CachedSide, InnkeeperSide
from innkeeper.bench.side import CodeCacheState, GuestRun, TimedLine


def guest(image: str) -> GuestRun:
    return GuestRun(image, Path("/k"), b"", "", None, ("/bench", "1", "sieve"), 1, 1 << 30, 60)


def boots(
    state: CodeCacheState, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, bool]]:
    """For each boot: the number of the cache, and whether its lines were taken."""
    cache: Any = SimpleNamespace(number=0)
    cache.renew = lambda: setattr(cache, "number", cache.number + 1)
    said: list[tuple[int, bool]] = []

    def run(self: InnkeeperSide, guest: GuestRun, on_line: Any) -> None:
        lines.clear()
        on_line(TimedLine("innkeeper-bench start", 0))
        said.append((cache.number, bool(lines)))

    lines: list[TimedLine] = []
    monkeypatch.setattr(ours.InnkeeperSide, "run", run)
    side = CachedSide(state, cache)
    for image in images:
        side.run(guest(image), lines.append)
    return said


def test_a_cold_boot_has_an_empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    assert boots("cold", ["small", "small"], monkeypatch) == [(1, True), (2, True)]


def test_a_warm_boot_comes_after_one_that_filled_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    assert boots("warm", ["small", "small", "debian"], monkeypatch) == [
        (0, False),
        (0, True),
        (0, True),
        (0, False),
        (0, True),
    ]


def test_each_cache_has_a_folder_and_a_worker_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with CodeCache() as cache, CodeCache() as other:
        first = cache.folder, cache.version
        (tmp_path / "innkeeper").mkdir(mode=0o700)
        socket = tmp_path / "innkeeper" / f"compile-{cache.version}.sock"
        socket.touch()
        cache.renew()
        assert not socket.exists()
        assert cache.folder != first[0] and cache.version != first[1]
        assert other.version not in (first[1], cache.version)
        assert not str(cache.folder).startswith(str(tmp_path / "cache"))
        folder = cache.folder.parent
        assert folder.is_dir()
    assert not folder.exists()
