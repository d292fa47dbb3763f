# SPDX-License-Identifier: Apache-2.0
"""The way from a mirror into the cache, with everything that can go wrong on it."""

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pysequoia import Tsk

from innkeeper.errors import HostError
from innkeeper.images import SILENT
from innkeeper.images.archive import Archive, open_archive
from innkeeper.images.cache import replacing, write_file
from innkeeper.images.download import DigestMismatch, Downloads, NotOnMirror, Wanted
from innkeeper.images.release import debian_keyring, verify_release
from tests.unit.images.fake_archive import FakeArchive, serving

PACKAGE = "Package: hello\nVersion: 1.0\nArchitecture: riscv64"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeArchive]:
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    archive = FakeArchive()
    archive.add(PACKAGE, {"usr/bin/hello": b"hello"})
    archive.publish()
    with serving(archive):
        yield archive


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Downloads]:
    with Downloads(tmp_path / "cache", SILENT, {}) as made:
        yield made


def _open(downloads: Downloads, mirror: FakeArchive, suites: tuple[str, ...] = ("trixie",)) -> Archive:
    return open_archive(downloads, [mirror.address], suites, "trixie", "riscv64", mirror.keyring)


def _wanted(mirror: FakeArchive) -> tuple[str, Wanted]:
    [path] = [path for path in mirror.files if path.startswith("pool/")]
    data = mirror.files[path]
    return path, Wanted(f"{mirror.address}/{path}", hashlib.sha256(data).hexdigest(), len(data))


def test_a_package_is_fetched_once(mirror: FakeArchive, downloads: Downloads) -> None:
    archive = _open(downloads, mirror)
    package = archive.index("main").newest("hello")
    assert package is not None
    [path] = archive.fetch("x", [package])
    assert path.read_bytes() == mirror.files[package.path]
    before = len(mirror.requests)
    assert archive.fetch("x", [package]) == [path]
    assert len(mirror.requests) == before


def test_a_signature_by_another_key_is_refused(mirror: FakeArchive, downloads: Downloads) -> None:
    mirror.publish(signer=Tsk.generate(user_id="Mallory <m@example.org>"))
    with pytest.raises(HostError, match="signature"):
        _open(downloads, mirror)


def test_debians_own_keys_do_not_accept_the_fake(mirror: FakeArchive, downloads: Downloads) -> None:
    with pytest.raises(HostError, match="signature"):
        open_archive(downloads, [mirror.address], ["trixie"], "trixie", "riscv64", debian_keyring())


@pytest.mark.parametrize(
    "change", [(b"Version: 13.0", b"Version: 13.1"), (b"-----BEGIN PGP SIGNED", b"-----BEGIN")]
)
def test_changed_text_is_refused(
    mirror: FakeArchive, downloads: Downloads, change: tuple[bytes, bytes]
) -> None:
    path = "dists/trixie/InRelease"
    mirror.files[path] = mirror.files[path].replace(*change)
    with pytest.raises(HostError, match="signature"):
        _open(downloads, mirror)


def test_a_bad_signature_is_one_line_with_a_backtrace_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUST_BACKTRACE", "1")
    for signed in (b"<html>log in first</html>", b""):
        with pytest.raises(HostError) as caught:
            verify_release(signed, debian_keyring(), "http://mirror/InRelease")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("status", [407, 500, 503])
def test_a_server_that_refuses_is_told_by_its_status(
    mirror: FakeArchive, downloads: Downloads, status: int
) -> None:
    mirror.refuse = status
    with pytest.raises(HostError, match=rf"cannot fetch .*: HTTP {status} [A-Z]\w+"):
        _open(downloads, mirror)


def test_text_outside_the_signature_is_not_believed(mirror: FakeArchive, downloads: Downloads) -> None:
    path = "dists/trixie/InRelease"
    forged = f"SHA256:\n {'0' * 64} 1 main/binary-riscv64/Packages.xz\n\n".encode()
    mirror.files[path] = forged + mirror.files[path]
    try:
        assert "0" * 64 not in {item.sha256 for item in _open(downloads, mirror).release.listed.values()}
    except HostError as error:
        assert "signature" in error.message


def test_another_release_under_this_name_is_refused(mirror: FakeArchive, downloads: Downloads) -> None:
    mirror.publish(codename="bookworm")
    with pytest.raises(HostError, match="trixie"):
        _open(downloads, mirror)


def test_an_index_that_does_not_match_falls_back_to_the_other_name(
    mirror: FakeArchive, downloads: Downloads
) -> None:
    mirror.publish(suite="stable")
    mirror.files["dists/trixie/main/binary-riscv64/Packages.xz"] += b"!"
    with pytest.raises(DigestMismatch):
        _open(downloads, mirror)
    assert _open(downloads, mirror, ("trixie", "stable")).index("main").newest("hello") is not None


def test_a_file_with_another_digest_is_refused_and_not_kept(
    mirror: FakeArchive, downloads: Downloads, tmp_path: Path
) -> None:
    path, wanted = _wanted(mirror)
    mirror.files[path] = bytes(len(mirror.files[path]))
    with pytest.raises(DigestMismatch, match="SHA-256"):
        downloads.files("x", [wanted])
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_is_refused(mirror: FakeArchive, downloads: Downloads, change: int) -> None:
    path, wanted = _wanted(mirror)
    mirror.files[path] = mirror.files[path][:-1] if change < 0 else mirror.files[path] + b"x"
    with pytest.raises(DigestMismatch):
        downloads.files("x", [wanted])


def test_a_broken_transfer_goes_on_where_it_stopped(mirror: FakeArchive, downloads: Downloads) -> None:
    path, wanted = _wanted(mirror)
    mirror.cut_short[path] = 100
    [fetched] = downloads.files("x", [wanted])
    assert fetched.read_bytes() == mirror.files[path]
    ranges = [asked for requested, asked in mirror.requests if requested == path]
    assert ranges[0] is None
    assert ranges[-1] is not None


def test_a_half_file_of_a_killed_process_is_completed(
    mirror: FakeArchive, downloads: Downloads, tmp_path: Path
) -> None:
    path, wanted = _wanted(mirror)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{wanted.sha256}.part").write_bytes(mirror.files[path][:50])
    downloads.files("x", [wanted])
    assert mirror.requests[-1] == (path, "bytes=50-")


def test_a_half_file_with_wrong_bytes_is_fetched_anew(
    mirror: FakeArchive, downloads: Downloads, tmp_path: Path
) -> None:
    path, wanted = _wanted(mirror)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{wanted.sha256}.part").write_bytes(b"x" * 50)
    [fetched] = downloads.files("x", [wanted])
    assert fetched.read_bytes() == mirror.files[path]


def test_a_damaged_cached_file_is_fetched_again(mirror: FakeArchive, downloads: Downloads) -> None:
    path, wanted = _wanted(mirror)
    [fetched] = downloads.files("x", [wanted])
    fetched.write_bytes(b"x" * wanted.size_bytes)
    [again] = downloads.files("x", [wanted])
    assert again.read_bytes() == mirror.files[path]


def test_a_missing_file_is_named(mirror: FakeArchive, downloads: Downloads) -> None:
    with pytest.raises(NotOnMirror, match="pool/none"):
        downloads.files("x", [Wanted(f"{mirror.address}/pool/none", "0" * 64, 1)])


def test_an_unreachable_mirror_is_one_line_with_a_remedy(downloads: Downloads) -> None:
    with pytest.raises(HostError, match="cannot fetch") as caught:
        open_archive(downloads, ["http://127.0.0.1:9/debian"], ["trixie"], "trixie", "riscv64", [])
    assert "INNKEEPER_MIRROR" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_the_next_mirror_is_tried(mirror: FakeArchive, downloads: Downloads) -> None:
    archive = open_archive(
        downloads, ["http://127.0.0.1:9", mirror.address], ["trixie"], "trixie", "riscv64", mirror.keyring
    )
    assert archive.release.version == "13.0"


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_file(target, b"old")
    with pytest.raises(HostError, match="no room left") as caught, replacing(target) as stream:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "XDG_CACHE_HOME" in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"


def test_a_full_disk_during_a_download(
    mirror: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, wanted = _wanted(mirror)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("innkeeper.images.download.os.fsync", full)
    with (
        Downloads(tmp_path / "cache", SILENT, {}) as downloads,
        pytest.raises(HostError, match="no room left"),
    ):
        downloads.files("x", [wanted])
    assert not (tmp_path / "cache" / wanted.sha256).exists()


def test_the_shipped_keys_are_trixies() -> None:
    names = [str(user) for cert in debian_keyring() for user in cert.user_ids]
    assert len(names) == 2
    assert all("13/trixie" in name for name in names)
