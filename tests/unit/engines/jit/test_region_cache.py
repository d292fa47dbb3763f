# SPDX-License-Identifier: Apache-2.0
"""The cache of regions: whole or compiled again, shared by processes, bounded, and only this user's."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.codegen.region_code import RegionCode
from innkeeper.engines.jit.region_cache import RegionCache

PAGE, OTHER = bytes(4096), bytes(4095) + b"\1"
REGION = RegionCode(bytes(range(256)), ((10, 1, -4), (20, 7, -4)), ((0, 0), (64, 16)), 3)
LESS = RegionCode(b"\xc3" * 16, (), ((2, 0),), 1)


@pytest.fixture
def cache(tmp_path: Path) -> RegionCache:
    return RegionCache(tmp_path / "deep" / "code", "version")


def test_round_trip(cache: RegionCache) -> None:
    assert cache.load(PAGE) is None
    cache.save(PAGE, REGION)
    assert cache.load(PAGE) == REGION
    assert cache.load(OTHER) is None
    cache.save(PAGE, LESS)
    assert cache.load(PAGE) == LESS


def test_another_version_has_its_own(tmp_path: Path) -> None:
    RegionCache(tmp_path / "code", "one").save(PAGE, REGION)
    assert RegionCache(tmp_path / "code", "two").load(PAGE) is None


def test_only_the_user_may_enter(cache: RegionCache) -> None:
    before = os.umask(0)
    try:
        cache.save(PAGE, REGION)
    finally:
        os.umask(before)
    path = cache.path(PAGE)
    for made in (path, path.parent, path.parents[1]):
        assert made.stat().st_mode & 0o077 == 0, made


def damaged(data: bytes, rng: random.Random) -> dict[str, bytes]:
    kinds = {"empty": b"", "longer": data + b"\0", "zeroes": bytes(len(data)), "large": bytes(3 << 20)}
    kinds |= {f"cut at {end}": data[:end] for end in (1, 31, 32, 33, len(data) - 1)}
    for body in (b"", b"[]\n", b"{}\nx", b"\xff\n", b"[" * 5000):
        kinds[f"whole, {body[:4]!r}"] = hashlib.sha256(body).digest() + body
    for _ in range(100):
        bit = rng.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        kinds[f"bit {bit}"] = bytes(changed)
    return kinds


def test_what_is_damaged_is_dropped(cache: RegionCache, rng: random.Random) -> None:
    cache.save(PAGE, REGION)
    path = cache.path(PAGE)
    for kind, data in damaged(path.read_bytes(), rng).items():
        path.write_bytes(data)
        assert cache.load(PAGE) is None, kind
        assert not path.exists(), kind
    cache.save(PAGE, REGION)
    assert cache.load(PAGE) == REGION


def test_a_region_of_another_page_is_dropped(cache: RegionCache) -> None:
    """A file that was moved says nothing about the page whose place it has now."""
    cache.save(PAGE, REGION)
    cache.path(OTHER).parent.mkdir(exist_ok=True)
    cache.path(PAGE).rename(cache.path(OTHER))
    assert cache.load(OTHER) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "writable"])
def test_what_others_may_have_made_is_not_read(cache: RegionCache, tmp_path: Path, kind: str) -> None:
    cache.save(PAGE, REGION)
    path = cache.path(PAGE)
    if kind == "writable":
        path.chmod(0o666)
    else:
        path.rename(tmp_path / "moved")
        {"link": lambda: path.symlink_to(tmp_path / "moved"), "pipe": lambda: os.mkfifo(path)}.get(
            kind, path.mkdir
        )()
    assert cache.load(PAGE) is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o703])
def test_a_folder_that_others_may_write_is_not_used(cache: RegionCache, mode: int) -> None:
    cache.save(PAGE, REGION)
    folder = cache.path(PAGE).parents[1]
    folder.chmod(mode)
    assert cache.load(PAGE) is None
    cache.save(OTHER, REGION)
    assert not cache.path(OTHER).exists()
    folder.chmod(0o700)
    assert cache.load(PAGE) == REGION


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder somebody else's")
def test_a_folder_of_somebody_else_is_not_used(cache: RegionCache) -> None:
    cache.save(PAGE, REGION)
    os.chown(cache.path(PAGE).parents[1], 12345, 12345)
    assert cache.load(PAGE) is None


def test_a_folder_that_cannot_be_is_an_empty_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "code", Path("/proc/self/innkeeper")):
        cache = RegionCache(folder, "version")
        cache.save(PAGE, REGION)
        assert cache.load(PAGE) is None


def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    pages = [number.to_bytes(4096, "little") for number in range(8)]
    size = len(REGION.to_bytes()) + 32
    cache = RegionCache(tmp_path / "code", "version", limit_bytes=4 * size)
    for age, page in enumerate(pages):
        cache.save(page, REGION)
        os.utime(cache.path(page), ns=(age * 10**9, age * 10**9))
    left = cache.path(pages[0]).with_name(".new-left")
    left.write_bytes(bytes(size))
    os.utime(left, ns=(0, 0))
    cache.load(pages[0])  # used now
    cache.trim()
    assert [cache.path(page).exists() for page in pages] == [True, *[False] * 4, *[True] * 3]
    assert not left.exists()


WRITER = """
import sys
from pathlib import Path
from innkeeper.codegen.region_code import RegionCode
from innkeeper.engines.jit.region_cache import RegionCache
mine = RegionCode(sys.argv[2].encode() * 50000, (), ((0, 0),), 1)
cache = RegionCache(Path(sys.argv[1]), "version", limit_bytes=200_000)
for turn in range(300):
    page = (turn % 7).to_bytes(4096, "little")
    cache.save(page, mine)
    found = cache.load(page)
    assert found is None or found.code in (b"a" * 50000, b"b" * 50000), "a mixture"
    if turn % 20 == 0:
        cache.trim()
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", WRITER, str(tmp_path / "code")]
    writers = [subprocess.Popen([*arguments, letter]) for letter in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    cache = RegionCache(tmp_path / "code", "version")
    found = [cache.load(number.to_bytes(4096, "little")) for number in range(7)]
    assert any(found)
