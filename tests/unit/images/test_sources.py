# SPDX-License-Identifier: Apache-2.0
"""Where the guest's apt is sent: what is in order, by the name by which it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper import images
from innkeeper.images.archive import open_archive
from innkeeper.images.deb822 import paragraphs
from innkeeper.images.definition import definition
from innkeeper.images.download import Downloads
from innkeeper.images.sources import apt_sources
from innkeeper.machine.clock import VirtualClock
from tests.unit.images.fake_archive import FakeArchive, serving

NOW_NS = 1_764_000_000 * 10**9


@pytest.fixture
def mirror() -> Iterator[FakeArchive]:
    with serving(FakeArchive()) as archive:
        yield archive


def _sources(mirror: FakeArchive, folder: Path) -> list[dict[str, str]]:
    choice = definition("debian").archive
    with Downloads(folder, images.SILENT, {}) as downloads:
        archive = open_archive(
            downloads, [mirror.address], choice.suites, choice.codename, choice.architecture, mirror.keyring
        )
        return list(paragraphs(apt_sources(downloads, archive, choice, VirtualClock(0, NOW_NS))))


def _break(mirror: FakeArchive, suite: str) -> None:
    """The release is newer than the index that it names."""
    path = f"dists/{suite}/InRelease"
    mirror.files[path] = re.sub(rb"\n [0-9a-f]{64} ", b"\n " + b"5" * 64 + b" ", mirror.files[path])


def _expire(mirror: FakeArchive, suite: str, until: str) -> None:
    path = f"dists/{suite}/InRelease"
    mirror.files[path] = mirror.files[path].replace(b"Date: today", f"Valid-Until: {until}".encode())


def test_by_the_name_that_is_whole(mirror: FakeArchive, tmp_path: Path) -> None:
    for suite in ("trixie", "stable"):
        mirror.publish(suite)
        mirror.publish(f"{suite}-updates", "trixie-updates")
        _expire(mirror, f"{suite}-updates", "Mon, 30 Nov 2099 08:10:14 UTC")
    mirror.files["dists/trixie/main/binary-riscv64/Packages.xz"] += b"newer"
    _break(mirror, "trixie-updates")
    release, updates, security = _sources(mirror, tmp_path)
    assert (release["uris"], release["suites"]) == (mirror.address, "stable")
    assert (updates["uris"], updates["suites"]) == (mirror.address, "stable-updates")
    assert security["suites"] == "trixie-security" and security["uris"] != mirror.address
    assert not any("enabled" in each for each in (release, updates, security))


@pytest.mark.parametrize("until", ["Mon, 30 Nov 2020 08:10:14 UTC", "no time at all"])
def test_what_is_in_order_by_no_name_is_not_enabled(mirror: FakeArchive, tmp_path: Path, until: str) -> None:
    mirror.publish("trixie")
    mirror.publish("trixie-updates", "trixie-updates")
    mirror.publish("stable-updates", "trixie-updates")
    _break(mirror, "trixie-updates")
    _expire(mirror, "stable-updates", until)
    release, updates, _security = _sources(mirror, tmp_path)
    assert release["suites"] == "trixie" and "enabled" not in release
    assert (updates["suites"], updates["enabled"]) == ("trixie-updates", "no")


def test_a_mirror_without_updates_is_not_asked_for_them(mirror: FakeArchive, tmp_path: Path) -> None:
    mirror.publish("trixie")
    mirror.publish("next-updates", "next-updates")
    assert [each["suites"] for each in _sources(mirror, tmp_path)] == ["trixie", "trixie-security"]
