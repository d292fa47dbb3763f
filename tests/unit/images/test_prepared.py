# SPDX-License-Identifier: Apache-2.0
"""The folder of prepared starts: bounded, private, and gone with its image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innkeeper import images
from innkeeper.errors import HostError
from innkeeper.images import prepared


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "innkeeper"


def make(image: str, key: str, used_s: int, size_bytes: int = 4096) -> Path:
    folder = prepared.prepared_folder(image, key)
    prepared.make_parents(folder)
    folder.mkdir()
    (folder / "memory.pack").write_bytes(os.urandom(size_bytes))
    os.utime(folder, (used_s, used_s))
    return folder


def test_what_was_used_longest_ago_goes_first() -> None:
    folders = [make("small" if i % 2 else "debian", f"k{i}", used_s=1000 + i) for i in range(6)]
    prepared.note_use(folders[0])
    prepared.make_room(limit_count=4)
    assert [folder.exists() for folder in folders] == [True, False, False, False, True, True]


def test_the_room_is_bounded() -> None:
    old, new = make("small", "old", 1, 300_000), make("small", "new", 2, 300_000)
    prepared.make_room(limit_bytes=400_000)
    assert new.exists() and not old.exists()
    assert 300_000 <= prepared.prepared_bytes("small") < 400_000
    prepared.make_room(limit_bytes=200_000)
    assert prepared.prepared_bytes("small") == 0


def test_they_go_with_their_image(cache: Path) -> None:
    (cache / "images" / "small").mkdir(parents=True)
    mine, other = make("small", "a", 1), make("debian", "b", 1)
    images.remove("small")
    assert not mine.exists() and other.exists()


def test_nobody_else_may_read_them(cache: Path) -> None:
    folder = make("small", "a", 1)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder.parent, folder.parent.parent))
    folder.parent.chmod(0o777)
    with pytest.raises(HostError):
        prepared.make_parents(folder)


def test_what_is_gone_is_dropped_without_a_word() -> None:
    prepared.drop(prepared.prepared_folder("small", "none"))
    prepared.drop_all("small")
    prepared.make_room()
    assert prepared.prepared_bytes("small") == 0
