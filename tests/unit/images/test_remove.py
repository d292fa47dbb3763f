# SPDX-License-Identifier: Apache-2.0
"""Taking an image out of the cache, also from two processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from innkeeper import images
from innkeeper.errors import ConfigError

REMOVE = "import sys; from innkeeper.cli import main; sys.exit(main(['images', 'rm', 'small']))"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "innkeeper" / "images" / "small"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_what_is_not_there_is_told(folder: Path) -> None:
    images.remove("small")
    assert not folder.exists()
    for name in ("small", "debian", "none"):
        with pytest.raises(ConfigError) as caught:
            images.remove(name)
        assert caught.value.remedy


def test_of_two_processes_one_removes_it_and_the_other_says_so(folder: Path) -> None:
    """Both have seen the image before either may remove it: a builder holds the lock."""
    lock = FileLock(folder.parents[1] / "lock")
    with lock:
        commands = [
            subprocess.Popen([sys.executable, "-c", REMOVE], stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        with pytest.raises(subprocess.TimeoutExpired):
            commands[0].wait(1.5)
        assert (folder / "manifest.json").exists()
    said = [command.communicate(timeout=60)[1] for command in commands]
    assert sorted(command.returncode for command in commands) == [0, 2]
    assert sorted(said) == [
        "inn: image small is not in the cache (inn images lists what is)\n",
        "inn: small is no longer in the cache\n",
    ]
