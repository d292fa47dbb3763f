# SPDX-License-Identifier: Apache-2.0
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import ConfigError
from innkeeper.images.cpio import Writer, join_initrd, read_entries

NAMES = st.from_regex(r"\A[a-z]{1,3}(/[a-z]{1,3}){0,2}\Z")


def _archive() -> bytes:
    writer = Writer()
    writer.file("etc/odd", b"abc", 0o640)
    writer.file("empty", b"")
    writer.folder("tmp", 0o1777)
    writer.link("bin", "usr/bin")
    writer.character_device("dev/console", 5, 1)
    return writer.archive()


def test_entries_come_back() -> None:
    entries = {entry.path: entry for entry in read_entries(_archive())}
    assert list(entries) == [b"etc", b"etc/odd", b"empty", b"tmp", b"bin", b"dev", b"dev/console"]
    assert entries[b"etc/odd"].data == b"abc"
    assert entries[b"etc/odd"].mode == stat.S_IFREG | 0o640
    assert entries[b"bin"].data == b"usr/bin"
    assert entries[b"dev/console"].device == (5, 1)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert _archive() == _archive()


@given(st.dictionaries(NAMES, st.binary(max_size=9)))
def test_round_trip_of_joined_archives(files: dict[str, bytes]) -> None:
    files = {
        path: data for path, data in files.items() if not any(other.startswith(path + "/") for other in files)
    }
    archives = []
    for path, data in files.items():
        writer = Writer()
        writer.file(path, data)
        archives.append(writer.archive())
    found = [(e.path.decode(), e.data) for e in read_entries(join_initrd(*archives)) if stat.S_ISREG(e.mode)]
    assert dict(found) == files


@pytest.mark.parametrize("path", ["", "/", "../x", "a/../b", "a//b", "a\0b"])
def test_paths_that_leave_the_root_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        Writer().file(path, b"")


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_damage_gives_a_clear_error_or_entries(position: int, noise: bytes) -> None:
    archive = bytearray(_archive())
    archive[position : position + len(noise)] = noise
    try:
        list(read_entries(bytes(archive)))
    except ConfigError as error:
        assert "damaged" in error.message


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is the oracle")
def test_cpio_unpacks_it(tmp_path: Path) -> None:
    writer = Writer()
    writer.file("a/b", b"contents\n", 0o755)
    writer.link("a/link", "b")
    subprocess.run(["cpio", "-i", "--quiet"], input=writer.archive(), cwd=tmp_path, check=True)
    assert (tmp_path / "a/link").read_bytes() == b"contents\n"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o755
