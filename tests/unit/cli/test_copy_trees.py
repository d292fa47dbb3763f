# SPDX-License-Identifier: Apache-2.0
"""Archives that a hostile guest sends for `inn cp -r` write nothing outside their target."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from innkeeper.cli.copy_trees import Tree
from innkeeper.errors import InnkeeperError


def _take(target: Path, *members: tuple[str, bytes, str], content: bytes = b"text") -> Tree:
    """Members: name, type, and where a link leads."""
    raw = io.BytesIO()
    with tarfile.open(mode="w", fileobj=raw, format=tarfile.GNU_FORMAT) as archive:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o6755
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content) if info.size else None)
    raw.seek(0)
    tree = Tree(target, ["top"])
    with tarfile.open(mode="r|", fileobj=raw) as archive:
        for member in archive:
            tree.take(archive, member)
        tree.finish()
    return tree


TOP = ("./top", tarfile.DIRTYPE, "")


def test_what_is_kept(tmp_path: Path) -> None:
    tree = _take(
        tmp_path / "new",
        TOP,
        ("./top/file", tarfile.REGTYPE, ""),
        ("./top/hard", tarfile.LNKTYPE, "./top/file"),
        ("./top/soft", tarfile.SYMTYPE, "/etc/passwd"),
        ("./top/device", tarfile.CHRTYPE, ""),
        ("./top/pipe", tarfile.FIFOTYPE, ""),
    )
    new = tmp_path / "new"
    assert sorted(path.name for path in new.iterdir()) == ["file", "hard", "soft"]
    assert (new / "file").read_bytes() == b"text" and (new / "file").samefile(new / "hard")
    assert (new / "file").stat().st_mode & 0o7777 == 0o755
    assert tree.left_out == 2


@pytest.mark.parametrize("name", ["/top/x", "./top/../x", "../x", "./other/x", "./top/a/../../../x"], ids=str)
def test_names_outside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InnkeeperError, match="outside"):
        _take(tmp_path / "new", TOP, (name, tarfile.REGTYPE, ""))
    assert not (tmp_path / "x").exists()


def test_hard_links_outside_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    with pytest.raises(InnkeeperError, match="outside"):
        _take(tmp_path / "new", TOP, ("./top/x", tarfile.LNKTYPE, "./top/../secret"))


def test_links_lead_nothing_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    new = tmp_path / "new"
    # In one archive links come last: what is below a name that is also a link finds a folder, or nothing.
    with pytest.raises((InnkeeperError, OSError)):
        _take(
            new,
            TOP,
            ("./top/x", tarfile.SYMTYPE, str(outside)),
            ("./top/x/file", tarfile.REGTYPE, ""),
        )
    # One that an earlier copy has left is not followed, nor written through.
    (new / "x").symlink_to(outside)
    (new / "y").symlink_to(outside / "made")
    with pytest.raises(InnkeeperError, match="symbolic link"):
        _take(new, TOP, ("./top/x/file", tarfile.REGTYPE, ""))
    _take(new, TOP, ("./top/y", tarfile.REGTYPE, ""))
    assert list(outside.iterdir()) == [] and (new / "y").read_bytes() == b"text"
    with pytest.raises((InnkeeperError, OSError)):
        _take(new, TOP, ("./top/x", tarfile.DIRTYPE, ""))
    assert (outside.stat().st_mode & 0o7777) != 0o6755
