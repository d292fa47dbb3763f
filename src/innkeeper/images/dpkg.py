# SPDX-License-Identifier: Apache-2.0
"""dpkg's own records for packages that were unpacked without dpkg, so that it can configure them.

Source: dpkg 1.22 deb-triggers(5), dpkg(1) "FILES", Debian Policy 6.5 and dpkg's lib/dpkg/dbdir.c.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from innkeeper.images.deb import normal_path, open_member
from innkeeper.images.deb822 import parse_paragraph

_NOT_KEPT = frozenset({"control"})


@dataclass
class Unpacked:
    """One package as dpkg will see it: the files of its control archive, and the paths it ships."""

    name: str
    members: dict[str, tuple[bytes, int]]
    paths: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def conffiles(self) -> list[str]:
        """Absolute paths of its configuration files."""
        lines = self.members.get("conffiles", (b"", 0))[0].decode("utf-8", "replace").splitlines()
        return [line.strip() for line in lines if line.startswith("/")]

    @property
    def record_name(self) -> str:
        """How its files in `/var/lib/dpkg/info` start: with the architecture if several may be installed."""
        fields = parse_paragraph(self._control)
        return f"{self.name}:{fields['architecture']}" if fields.get("multi-arch") == "same" else self.name

    @property
    def _control(self) -> str:
        return self.members["control"][0].decode("utf-8", "replace").strip()

    def note_conffile(self, path: str, data: bytes) -> None:
        """Remember the MD5 of a configuration file, by which dpkg tells whether it was changed."""
        self.digests[path] = hashlib.md5(data, usedforsecurity=False).hexdigest()

    def status(self) -> str:
        """Its paragraph in `/var/lib/dpkg/status`."""
        first, _, rest = self._control.partition("\n")
        conffiles = "".join(
            f"\n {path} {self.digests[path]}" for path in self.conffiles if path in self.digests
        )
        return (
            f"{first}\nStatus: install ok unpacked\n{rest}"
            + (f"\nConffiles:{conffiles}" if conffiles else "")
            + "\n"
        )

    def records(self) -> dict[str, tuple[bytes, int]]:
        """Its files below `/var/lib/dpkg/info`: name to contents and permission bits."""
        listed = "".join(f"/{path}\n" for path in [".", *self.paths]).encode()
        kept = {
            f"{self.record_name}.{name}": value
            for name, value in self.members.items()
            if name not in _NOT_KEPT
        }
        return {f"{self.record_name}.list": (listed, 0o644), **kept}


def read_control(path: Path) -> Unpacked:
    """Read the control archive of a package. Raises HostError if it is damaged."""
    members: dict[str, tuple[bytes, int]] = {}
    with open_member(path, "control") as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is not None:
                members[normal_path(member.name)] = (stream.read(), 0o755 if member.mode & 0o111 else 0o644)
    name = parse_paragraph(members.get("control", (b"", 0))[0].decode("utf-8", "replace")).get("package", "")
    return Unpacked(name, members)


def trigger_records(packages: list[Unpacked]) -> dict[str, bytes]:
    """Files below `/var/lib/dpkg/triggers`: who waits for which file (`File`) and which named trigger."""
    records: dict[str, list[str]] = {"File": [], "Unincorp": []}
    for package in packages:
        for line in package.members.get("triggers", (b"", 0))[0].decode("utf-8", "replace").splitlines():
            words = line.split("#")[0].split()
            if len(words) != 2 or not words[0].startswith("interest"):
                continue
            who = package.record_name + ("/noawait" if words[0] == "interest-noawait" else "")
            if words[1].startswith("/"):
                records["File"].append(f"{words[1]} {who}\n")
            else:
                records.setdefault(words[1], []).append(f"{who}\n")
    return {name: "".join(lines).encode() for name, lines in records.items()}
