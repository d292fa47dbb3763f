# SPDX-License-Identifier: Apache-2.0
"""Overlays become raw disks and come back, whatever is underneath."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from innkeeper import images
from innkeeper.images.copy_on_write import CLUSTER_BYTES
from innkeeper.images.overlay import OverlayDisk
from innkeeper.vmm.disk_tool import fill, flatten, main


def test_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here.img", tmp_path / "there.img"
    here.write_bytes(os.urandom(8 * CLUSTER_BYTES))
    there.write_bytes(os.urandom(8 * CLUSTER_BYTES))
    OverlayDisk.create(tmp_path / "a.overlay", here, 10 * CLUSTER_BYTES + 512)
    with OverlayDisk(tmp_path / "a.overlay") as disk:
        disk.writev(3 * CLUSTER_BYTES + 5, [memoryview(b"changed")])
        disk.write_zeroes(5 * CLUSTER_BYTES, CLUSTER_BYTES)
    flatten(tmp_path / "a.overlay", tmp_path / "raw")
    expected = bytearray(here.read_bytes()) + bytes(2 * CLUSTER_BYTES + 512)
    expected[3 * CLUSTER_BYTES + 5 : 3 * CLUSTER_BYTES + 12] = b"changed"
    expected[5 * CLUSTER_BYTES : 6 * CLUSTER_BYTES] = bytes(CLUSTER_BYTES)
    assert (tmp_path / "raw").read_bytes() == expected
    monkeypatch.setattr(images, "ensure", lambda *_: SimpleNamespace(root_disk=there))
    fill(tmp_path / "raw", tmp_path / "b.overlay", "debian")
    with OverlayDisk(tmp_path / "b.overlay", read_only=True) as disk:
        found = bytearray(disk.size_bytes)
        disk.readv(0, [memoryview(found)])
    assert found == expected


def test_failures_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flatten", str(tmp_path / "none"), str(tmp_path / "raw")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["what"]) == 2
