# SPDX-License-Identifier: Apache-2.0
"""Damaged and forged snapshots: the reason is told each time, and the host is unharmed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from innkeeper.errors import ConfigError
from innkeeper.machine import snapshot
from innkeeper.machine.machine import VirtMachine
from innkeeper.machine.snapshot_folder import MANIFEST
from innkeeper.spec.board import PAGE_BYTES
from tests.unit.machine.saved_machine import *  # noqa: F403
from tests.unit.machine.saved_machine import Load, memory_of, put_page


def refused(folder: Path, load: Load) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert caught.value.remedy
    return caught.value.message


@pytest.fixture(params=["snapshot.json", "memory.index", "memory.pack"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_files_that_were_cut_off_are_refused(
    machine: VirtMachine, load: Load, tmp_path: Path, name: str
) -> None:
    snapshot.save(machine, tmp_path / "one")
    path = tmp_path / "one" / name
    size_bytes = path.stat().st_size
    for length in (0, 1, size_bytes // 2, size_bytes - 1):
        shutil.copy(path, tmp_path / "kept")
        os.truncate(path, length)
        assert name in refused(tmp_path / "one", load)
        shutil.copy(tmp_path / "kept", path)
    load(tmp_path / "one")


def test_each_flipped_bit_is_found(machine: VirtMachine, load: Load, tmp_path: Path, name: str) -> None:
    snapshot.save(machine, tmp_path / "one")
    path, choose = tmp_path / "one" / name, random.Random(3)
    whole = path.read_bytes()
    for _ in range(40):
        at, bit = choose.randrange(len(whole)), choose.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            load(tmp_path / "one")
        except ConfigError as error:
            assert error.remedy
        else:
            # White space and the like between what the checksum is of.
            assert name == "snapshot.json"
            assert snapshot.read_info(tmp_path / "one").digest == json.loads(whole)["sha256"]
        (tmp_path / "one" / "memory.raw").unlink(missing_ok=True)
    path.write_bytes(whole)
    assert memory_of(load(tmp_path / "one")) == memory_of(machine)


def test_a_missing_or_exchanged_base_is_refused(machine: VirtMachine, load: Load, tmp_path: Path) -> None:
    snapshot.save(machine, tmp_path / "one")
    put_page(machine, 4001, b"x" * PAGE_BYTES)
    snapshot.save(machine, tmp_path / "two", tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "away")
    assert "no snapshot" in refused(tmp_path / "two", load)
    snapshot.save(machine, tmp_path / "one")
    assert "not what it was" in refused(tmp_path / "two", load)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("format",), "else"),
        (("sha256",), "0" * 64),
        (("body",), []),
    ],
    ids=str,
)
def test_manifests_of_another_kind_are_refused(
    machine: VirtMachine, load: Load, tmp_path: Path, path: tuple[str], value: object
) -> None:
    snapshot.save(machine, tmp_path / "one")
    manifest = tmp_path / "one" / MANIFEST
    whole = json.loads(manifest.read_bytes())
    whole[path[0]] = value
    manifest.write_text(json.dumps(whole))
    refused(tmp_path / "one", load)


def forge(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    """A manifest with a right checksum that somebody has made up."""
    path = folder / MANIFEST
    whole = json.loads(path.read_bytes())
    change(whole["body"])
    canonical = json.dumps(whole["body"], sort_keys=True, separators=(",", ":")).encode()
    path.write_text(json.dumps(whole | {"sha256": hashlib.sha256(canonical).hexdigest()}))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(bases=[["../../etc", "0"]]),
        lambda body: body.update(bases=[["..", "0"]]),
        lambda body: body.update(parent="/"),
        lambda body: body["files"].update({"../x": [0, ""]}),
        lambda body: body["memory"].update(pages=1 << 62),
        lambda body: body["memory"].update(contents=1 << 30),
        lambda body: body["memory"].update(contents=-1),
        lambda body: body["memory"].update(contents="many"),
        lambda body: body["memory"].update(more=1),
        lambda body: body.pop("memory"),
        lambda body: body.update(state=None),
        lambda body: body["state"].pop("machine"),
        lambda body: body["state"].update(slots=[]),
        lambda body: body["state"]["slots"][0].pop("device"),
        lambda body: body["state"]["machine"]["harts"].clear(),
        lambda body: body["state"]["machine"].update(time=-1),
    ],
)
def test_forged_manifests_are_refused(
    machine: VirtMachine, load: Load, tmp_path: Path, change: Callable[[dict[str, object]], None]
) -> None:
    snapshot.save(machine, tmp_path / "one")
    forge(tmp_path / "one", change)
    refused(tmp_path / "one", load)
