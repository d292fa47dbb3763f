# SPDX-License-Identifier: Apache-2.0
"""A Debian archive on a mirror: from the signed release down to verified package files."""

import gzip
import lzma
from collections.abc import Sequence
from pathlib import Path

from pysequoia import Cert

from innkeeper.errors import HostError
from innkeeper.images.download import DigestMismatch, Downloads, NotOnMirror, Unreachable, Wanted
from innkeeper.images.packages import Package, PackageIndex
from innkeeper.images.progress import Progress, reporting
from innkeeper.images.release import Release, verify_release

_INDEX_LIMIT_BYTES = 256 << 20


class Archive:
    """One suite of one mirror, for one architecture.

    Its release is verified; indices are loaded when they are first asked for. Obtain with `open_archive`.
    `mirror` is its address, `suite` the name by which the mirror has it whole.
    """

    def __init__(
        self, downloads: Downloads, mirror: str, suite: str, release: Release, architecture: str
    ) -> None:
        self._downloads = downloads
        self.mirror = mirror
        self.suite = suite
        self._architecture = architecture
        self._indices: dict[str, PackageIndex] = {}
        self.release = release

    def index(self, component: str) -> PackageIndex:
        """The packages of `component`, for example `main`. Raises HostError as `Downloads.files`."""
        if component not in self._indices:
            self._indices[component] = self._load_index(component)
        return self._indices[component]

    def _load_index(self, component: str) -> PackageIndex:
        folder = f"{component}/binary-{self._architecture}"
        base = f"{self.mirror}/dists/{self.suite}/{folder}"
        failure: HostError | None = None
        for suffix in (".xz", ".gz"):
            listed = self.release.listed.get(f"{folder}/Packages{suffix}")
            if listed is None:
                continue
            # By digest first: this stays right while a mirror is being updated.
            for address in (f"{base}/by-hash/SHA256/{listed.sha256}", f"{base}/Packages{suffix}"):
                wanted = Wanted(address, listed.sha256, listed.size_bytes)
                try:
                    [path] = self._downloads.files(f"package index {component}", [wanted])
                    with reporting(self._downloads.progress, "unpack the package index", None, "steps"):
                        return PackageIndex(_decompress(path, suffix))
                except (NotOnMirror, DigestMismatch) as error:
                    failure = error
        raise failure or NotOnMirror(
            f"{self.mirror} has no {folder} in {self.suite}",
            "set INNKEEPER_MIRROR to a mirror that carries riscv64",
        )

    @property
    def progress(self) -> Progress:
        """Where work on what was fetched is announced."""
        return self._downloads.progress

    def fetch(self, title: str, packages: Sequence[Package]) -> list[Path]:
        """Have the files of `packages` in the cache, verified. Raises HostError as `Downloads.files`."""
        return self._downloads.files(
            title, [Wanted(f"{self.mirror}/{item.path}", item.sha256, item.size_bytes) for item in packages]
        )


def _decompress(path: Path, suffix: str) -> bytes:
    try:
        with lzma.open(path) if suffix == ".xz" else gzip.open(path) as stream:
            data = stream.read(_INDEX_LIMIT_BYTES + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise HostError(
            f"the package index {path} cannot be unpacked: {error}", "remove it and try again"
        ) from error
    if len(data) > _INDEX_LIMIT_BYTES:
        raise HostError(
            "the package index is larger than any of Debian's", "set INNKEEPER_MIRROR to another mirror"
        )
    return data


def open_archive(
    downloads: Downloads,
    mirrors: Sequence[str],
    suites: Sequence[str],
    codename: str,
    architecture: str,
    keyring: list[Cert],
) -> Archive:
    """Return the first suite of the first mirror that is signed, called `codename` and whose index agrees.

    `suites` are names of the same release (`trixie`, `stable`): a mirror in the middle of an update, or a
    cache before it, often has one of them whole while the other is not. Raises the HostError of the first
    attempt if none is usable.
    """
    failures: list[HostError] = []
    for mirror in mirrors:
        for suite in suites:
            address = f"{mirror}/dists/{suite}/InRelease"
            try:
                release = verify_release(downloads.small_file(address), keyring, address)
                if release.codename != codename:
                    continue
                archive = Archive(downloads, mirror, suite, release, architecture)
                archive.index("main")
                return archive
            except Unreachable as error:
                failures.append(error)
                break  # its other names would only be waited for in vain
            except HostError as error:
                failures.append(error)
    if failures:
        raise failures[0]
    raise HostError(f"no mirror has Debian {codename}", "set INNKEEPER_MIRROR to a mirror that carries it")
