# SPDX-License-Identifier: Apache-2.0
"""The artifact file: whole or built anew, built once by many, and no need of a cache that can be written."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from innkeeper.engines.jit import artifact as store
from innkeeper.engines.jit import engine as jit_engine
from innkeeper.engines.jit.artifact import Artifact
from innkeeper.host.memory import GuestMemory

WHOLE = Artifact({"table": ["one", "two"], "none": []}, {"code": bytes(range(256)) * 40, "empty": b""})
OTHER = Artifact({"table": ["other"]}, {"code": b"x"})


class Maker:
    """Makes an artifact and counts how often."""

    def __init__(self, made: Artifact = OTHER) -> None:
        self.made = made
        self.count = 0

    def __call__(self) -> Artifact:
        self.count += 1
        return self.made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "engine" / "digest.artifact"


def obtain(path: Path, make: Maker, is_current: bool = True) -> Artifact:
    return store.obtain(path, make, lambda: is_current)


def test_round_trip(path: Path) -> None:
    make = Maker(WHOLE)
    assert obtain(path, make) == WHOLE
    assert obtain(path, make) == WHOLE
    assert make.count == 1
    assert store.load(path) == WHOLE
    assert oct(path.stat().st_mode & 0o077) == "0o0"


def damaged(data: bytes, rng: random.Random) -> dict[str, bytes]:
    kinds = {"empty": b"", "magic": b"x" + data[1:], "longer": data + b"\0", "zeroes": bytes(len(data))}
    for end in (1, len(store.MAGIC), len(store.MAGIC) + 32, len(store.MAGIC) + 40, len(data) - 1):
        kinds[f"cut at {end}"] = data[:end]
    for _ in range(100):
        bit = rng.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        kinds[f"bit {bit}"] = bytes(changed)
    return kinds


def test_damage_is_never_trusted(path: Path, rng: random.Random) -> None:
    store.save(path, WHOLE)
    for kind, data in damaged(path.read_bytes(), rng).items():
        path.write_bytes(data)
        assert store.load(path) is None, kind
    make = Maker()
    assert obtain(path, make) == OTHER
    assert store.load(path) == OTHER


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_replaced(path: Path) -> None:
    store.save(path, WHOLE)
    path.chmod(0)
    assert obtain(path, Maker()) == OTHER
    assert store.load(path) == OTHER


def test_a_whole_file_with_a_strange_header_is_not_trusted() -> None:
    for header in (
        b"[]",
        b"{}",
        b"\xff",
        b'{"names": {}, "blobs": 5}',
        b'{"names": {}, "blobs": {"a": "b"}}',
    ):
        body = len(header).to_bytes(8, "little") + header
        assert Artifact.from_bytes(store.MAGIC + hashlib.sha256(body).digest() + body) is None


def spoil(kind: str, path: Path) -> Path:
    """A path for which nothing can be kept, in one of several ways."""
    if kind == "directory":
        (path / "inside").mkdir(parents=True)
    elif kind == "file for folder":
        path.parents[1].write_text("")
    elif kind == "no such file system":
        return Path("/proc/self/innkeeper/engine/digest.artifact")
    elif kind == "read-only":
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o500)
    return path


@pytest.mark.parametrize("kind", ["directory", "file for folder", "no such file system", "read-only"])
def test_what_cannot_be_kept_is_used_all_the_same(kind: str, path: Path) -> None:
    if kind == "read-only" and os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    path = spoil(kind, path)
    make = Maker()
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="XDG_CACHE_HOME"):
            assert obtain(path, make) == OTHER
    assert make.count == 2


def test_a_full_disk(path: Path) -> None:
    """Writing fails in the middle: nothing is left, the engine runs, and there is one warning."""
    path.parent.mkdir(parents=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.warns(RuntimeWarning, match="free space") as caught:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            made = obtain(path, Maker(WHOLE))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert made == WHOLE
    assert len(caught) == 1
    assert [p.name for p in path.parent.iterdir() if p.name != "build.lock"] == []


def test_an_artifact_of_sources_that_changed_meanwhile_is_not_kept(path: Path) -> None:
    assert obtain(path, Maker(), is_current=False) == OTHER
    assert store.load(path) is None


def test_others_go_when_not_used_for_long(path: Path) -> None:
    names = [f"{i}.artifact" for i in range(8)]
    for age, name in enumerate(names):
        store.save(path.with_name(name), WHOLE)
        os.utime(path.with_name(name), ns=(age * 10**9, age * 10**9))
    path.with_name(".new-left").write_text("half")
    assert store.load(path.with_name("1.artifact")) is not None  # counts as used now
    obtain(path, Maker())
    left = {p.name for p in path.parent.glob("*")} - {"build.lock", path.name}
    assert left == {"1.artifact", "5.artifact", "6.artifact", "7.artifact"}


BUILDER = """
import sys
from pathlib import Path
from innkeeper.engines.jit import artifact as store
cache, log = Path(sys.argv[1]), Path(sys.argv[2])
def make():
    with log.open("a") as file:
        file.write("made\\n")
    return store.Artifact({"table": ["one"]}, {"code": bytes(1 << 20)})
sys.stdin.read(1)
found = store.obtain(cache, make, lambda: True)
print(len(found.blobs["code"]))
"""


def test_two_processes_build_once(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", BUILDER, str(path), str(log)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == ["1048576\n"] * 2
    assert log.read_text() == "made\n"


def test_the_digest_names_sources_and_host(tmp_path: Path) -> None:
    package = Path(store.__file__).parents[2]
    copied = tmp_path / "innkeeper"
    shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))
    first = store.source_digest("host", copied)
    assert first == store.source_digest("host", package)
    assert first != store.source_digest("other host", copied)
    seen = {first}
    for name in ("isa/riscv/traps.py", "codegen/layout.py", "runtime/code.py", "engines/jit/build.py"):
        with (copied / name).open("a") as file:
            file.write("\n")
        seen.add(store.source_digest("host", copied))
    (copied / "spec/new.py").write_text("")
    seen.add(store.source_digest("host", copied))
    assert len(seen) == 6
    (copied / "vmm/new.py").write_text("")
    assert store.source_digest("host", copied) in seen


def test_the_engine_runs_without_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compiles everything for real: a home that cannot be written does not forbid to run."""
    (tmp_path / "innkeeper").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    steps: list[tuple[int, int]] = []
    with GuestMemory(0x8000_0000, 1 << 16) as ram:
        with pytest.warns(RuntimeWarning, match="XDG_CACHE_HOME"):
            jit_engine.JitEngine(ram, lambda done, total, what: steps.append((done, total))).close()
        assert steps == [(n, 4) for n in range(5)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            jit_engine.JitEngine(ram).close()  # the process has it by now
    assert not jit_engine.artifacts_built()
