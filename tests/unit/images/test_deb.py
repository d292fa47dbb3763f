# SPDX-License-Identifier: Apache-2.0
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.errors import HostError
from innkeeper.images.deb import normal_path, open_member
from innkeeper.images.dpkg import read_control, trigger_records
from innkeeper.images.progress import SILENT
from innkeeper.images.rootfs import merged, write_root
from tests.unit.images.fake_archive import ar_of, deb_of, tar_of

CONTROL = "Package: hello\nVersion: 1\nArchitecture: riscv64\nMulti-Arch: same"
COMPRESSIONS = {
    "xz": lzma.compress,
    "gz": gzip.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def _names(path: Path) -> list[str]:
    with open_member(path, "data") as tar:
        return [normal_path(member.name) for member in tar]


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_every_compression_of_deb5_is_read(tmp_path: Path, suffix: str) -> None:
    package = tmp_path / "a.deb"
    package.write_bytes(ar_of({f"data.tar.{suffix}": COMPRESSIONS[suffix](tar_of({"a": b"1", "b/": b""}))}))
    assert _names(package) == ["a", "b"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 500), st.binary(min_size=1, max_size=6), st.integers(1, 600))
def test_a_damaged_package_is_a_host_error(tmp_path: Path, position: int, noise: bytes, length: int) -> None:
    data = bytearray(deb_of(CONTROL, {"a": b"1" * 100}))
    data[position : position + len(noise)] = noise
    package = tmp_path / "a.deb"
    package.write_bytes(bytes(data[:length]))
    try:
        _names(package)
    except HostError as error:
        assert error.remedy


def test_paths_that_leave_the_root_are_refused() -> None:
    assert normal_path("./usr//bin/./x") == "usr/bin/x"
    with pytest.raises(HostError, match="leaves the root"):
        normal_path("./a/../../etc/passwd")


def test_usr_merge() -> None:
    assert [merged(path) for path in ("bin/sh", "lib/x.so", "lib", "etc/a", "libx/y")] == [
        "usr/bin/sh", "usr/lib/x.so", "lib", "etc/a", "libx/y",
    ]  # fmt: skip


def _root(tmp_path: Path, *packages: bytes, left_out: tuple[str, ...] = ()) -> dict[str, tarfile.TarInfo]:
    paths = []
    for number, data in enumerate(packages):
        paths.append(tmp_path / f"{number}.deb")
        paths[-1].write_bytes(data)
    buffer = io.BytesIO()
    write_root(buffer, paths, left_out, {"etc/hostname": "x\n"}, SILENT.task("", None, "steps"))
    (tmp_path / "root.tar").write_bytes(buffer.getvalue())
    with tarfile.open(tmp_path / "root.tar") as tar:
        return {member.name: member for member in tar}


def _text(tmp_path: Path, name: str) -> str:
    with tarfile.open(tmp_path / "root.tar") as tar:
        stream = tar.extractfile(name)
        assert stream is not None
        return stream.read().decode()


def test_a_root_is_merged_and_filtered(tmp_path: Path) -> None:
    files = {"bin/": b"", "bin/a": b"1", "lib/": b"", "usr/share/man/a": b"m",
             "usr/share/doc/a/copyright": b"c",
             "usr/share/doc/a/README": b"r", "usr/bin/l": b"-> ../../bin/a"}  # fmt: skip
    members = _root(
        tmp_path,
        deb_of(CONTROL, files),
        left_out=("/usr/share/man/*", "/usr/share/doc/*", "!/usr/share/doc/*/copyright"),
    )
    assert {"usr/bin/a", "usr/bin/l", "usr/share/doc/a/copyright", "etc/hostname"} <= set(members)
    assert not {"bin/a", "bin", "lib", "usr/share/man/a", "usr/share/doc/a/README"} & set(members)
    assert members["usr/bin/l"].linkname == "../../bin/a"
    assert members["usr/bin/a"].uid == 0


def test_dpkg_finds_its_records(tmp_path: Path) -> None:
    scripts = {
        "postinst": b"#!/bin/sh\n",
        "conffiles": b"/etc/a.conf\n",
        "triggers": b"interest-noawait ldconfig\n",
    }
    members = _root(tmp_path, deb_of(CONTROL, {"etc/a.conf": b"hello"}, scripts))
    status = _text(tmp_path, "var/lib/dpkg/status")
    assert status.startswith("Package: hello\nStatus: install ok unpacked\nVersion: 1\n")
    assert status.endswith("Conffiles:\n /etc/a.conf 5d41402abc4b2a76b9719d911017c592\n")
    assert _text(tmp_path, "var/lib/dpkg/info/hello:riscv64.list") == "/.\n/etc/a.conf\n"
    assert members["var/lib/dpkg/info/hello:riscv64.postinst"].mode == 0o755
    assert "var/lib/dpkg/info/hello:riscv64.control" not in members
    assert _text(tmp_path, "var/lib/dpkg/triggers/ldconfig") == "hello:riscv64/noawait\n"


def test_file_triggers(tmp_path: Path) -> None:
    package = tmp_path / "a.deb"
    package.write_bytes(
        deb_of(CONTROL.replace("same", "no"), {}, {"triggers": b"# x\ninterest /usr/share/icons\n"})
    )
    assert trigger_records([read_control(package)])["File"] == b"/usr/share/icons hello\n"
