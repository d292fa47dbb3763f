# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from innkeeper.engines.jit.artifact import cache_folder
from innkeeper.errors import ConfigError
from innkeeper.images import cache_directory
from innkeeper.images.mirror import PUBLIC_MIRROR, apt_mirrors, mirrors

LIST = """\
# deb http://commented.example/debian trixie main
deb-src http://sources.example/debian trixie main
deb [arch=amd64 signed-by=/k.gpg] https://one.example/debian/ trixie main
deb http://one.example/debian-security trixie-security main
deb cdrom:[Debian]/ trixie main
"""
SOURCES = """\
Types: deb
URIs: http://off.example/debian
Suites: trixie
Enabled: no

Types: deb deb-src
# a comment
URIs: http://two.example/pub/debian
 http://three.example/debian
Suites: trixie
"""


def _apt(folder: Path) -> Path:
    (folder / "sources.list.d").mkdir()
    (folder / "sources.list").write_text(LIST)
    (folder / "sources.list.d/debian.sources").write_text(SOURCES)
    return folder


def test_both_formats_are_read(tmp_path: Path) -> None:
    assert apt_mirrors(_apt(tmp_path)) == [
        "http://two.example/pub/debian",
        "http://three.example/debian",
        "https://one.example/debian",
    ]


def test_the_setting_excludes_everything_else(tmp_path: Path) -> None:
    assert mirrors({"INNKEEPER_MIRROR": "http://mine.example/d/"}, _apt(tmp_path)) == [
        "http://mine.example/d"
    ]


def test_without_a_setting_the_hosts_then_the_public_one(tmp_path: Path) -> None:
    assert mirrors({}, _apt(tmp_path)) == ["http://two.example/pub/debian", PUBLIC_MIRROR]
    assert mirrors({}, tmp_path / "none") == [PUBLIC_MIRROR]


@pytest.mark.parametrize("setting", ["mirror", "ftp://a.example/debian", "http://", "http://[::1"])
def test_a_wrong_setting_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match="INNKEEPER_MIRROR"):
        mirrors({"INNKEEPER_MIRROR": setting}, tmp_path)


def test_a_relative_cache_folder_is_ignored_by_images_and_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for base in ("relative", "", "."):
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        assert cache_directory() == Path("/home/someone/.cache/innkeeper")
        assert cache_folder() == cache_directory() / "engine"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == cache_directory() / "engine" == Path("/cache/innkeeper/engine")
