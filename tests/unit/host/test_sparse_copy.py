# SPDX-License-Identifier: Apache-2.0
"""Copies keep content, length and holes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from innkeeper.host.sparse_copy import copy_sparse

MIB = 1 << 20


@pytest.mark.parametrize("with_range", [True, False])
def test_holes_stay_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_range: bool) -> None:
    if not with_range:

        def refuse(*_: object) -> int:
            raise OSError(errno.EXDEV, "other file system")

        monkeypatch.setattr(os, "copy_file_range", refuse)
    source, target = tmp_path / "a", tmp_path / "b"
    with source.open("wb") as file:
        file.write(b"start")
        file.seek(40 * MIB)
        file.write(os.urandom(3 * MIB))
        file.truncate(90 * MIB + 5)
    copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks + 16
    with pytest.raises(FileExistsError):
        copy_sparse(source, target)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    copy_sparse(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b""
