# SPDX-License-Identifier: Apache-2.0
"""The `Packages` index of an archive: which packages there are and what each one needs.

Source: Debian wiki, DebianRepository/Format, "Packages indices".
"""

import re
from dataclasses import dataclass

from innkeeper.errors import HostError
from innkeeper.images.deb822 import parse_paragraph
from innkeeper.images.relation import Relation, parse_relations
from innkeeper.images.version import DebianVersion

_NAME = re.compile(rb"^Package: *(\S+)", re.MULTILINE)
_PROVIDES = re.compile(rb"^Provides: *(.+)$", re.MULTILINE)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Package:
    """One entry of the index. `path` is relative to the archive's root, `depends` includes Pre-Depends."""

    name: str
    version: str
    architecture: str
    path: str
    size_bytes: int
    sha256: str
    depends: tuple[tuple[Relation, ...], ...]
    provides: tuple[Relation, ...]
    priority: str
    essential: bool
    control: str
    """The paragraph as the archive wrote it."""


def _parse_package(text: str) -> Package:
    fields = parse_paragraph(text)
    try:
        path, digest = fields["filename"], fields["sha256"]
        if not _SHA256.fullmatch(digest) or path.startswith("/") or ".." in path.split("/"):
            raise ValueError("bad digest or path")
        depends = parse_relations(", ".join(filter(None, (fields.get("pre-depends"), fields.get("depends")))))
        return Package(
            name=fields["package"],
            version=fields["version"],
            architecture=fields["architecture"],
            path=path,
            size_bytes=int(fields["size"]),
            sha256=digest,
            depends=tuple(tuple(group) for group in depends),
            provides=tuple(group[0] for group in parse_relations(fields.get("provides", ""))),
            priority=fields.get("priority", "optional"),
            essential=fields.get("essential") == "yes",
            control=text,
        )
    except (KeyError, ValueError) as error:
        name = fields.get("package", "?")
        raise HostError(
            f"the archive's entry for package {name} cannot be used: {error}",
            "set INNKEEPER_MIRROR to another mirror",
        ) from error


class PackageIndex:
    """Look-up by name and by what is provided. Entries are parsed when they are asked for: a full index
    has 50 MB and a boot image needs a hundred of its 66,000 packages.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offsets: dict[str, list[int]] = {}
        for match in _NAME.finditer(data):
            self._offsets.setdefault(match[1].decode("ascii", "replace"), []).append(match.start())
        self._providers: dict[str, list[int]] = {}
        for match in _PROVIDES.finditer(data):
            start = data.rfind(b"\n\n", 0, match.start())
            offset = 0 if start < 0 else start + 2
            for provided in match[1].decode("utf-8", "replace").split(","):
                name = provided.split("(")[0].strip().split(":")[0]
                self._providers.setdefault(name, []).append(offset)
        self._parsed: dict[int, Package] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def names(self) -> list[str]:
        """Every package name, in the index's order."""
        return list(self._offsets)

    def _at(self, offset: int) -> Package:
        package = self._parsed.get(offset)
        if package is None:
            start = self._data.rfind(b"\n\n", 0, offset + 1)
            end = self._data.find(b"\n\n", offset)
            text = self._data[0 if start < 0 else start + 2 : len(self._data) if end < 0 else end]
            package = self._parsed[offset] = _parse_package(text.decode("utf-8", "replace"))
        return package

    def versions(self, name: str) -> list[Package]:
        """The packages called `name`, newest first."""
        found = [self._at(offset) for offset in self._offsets.get(name, ())]
        return sorted(found, key=lambda package: DebianVersion(package.version), reverse=True)

    def newest(self, name: str) -> Package | None:
        """The newest package called `name`, or None."""
        return next(iter(self.versions(name)), None)

    def providers(self, name: str) -> list[Package]:
        """The packages whose Provides names `name`, in the index's order."""
        return [self._at(offset) for offset in self._providers.get(name, ())]
