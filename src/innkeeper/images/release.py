# SPDX-License-Identifier: Apache-2.0
"""`InRelease`: the signed table of contents of an archive.

Source: Debian wiki, DebianRepository/Format, "Release files"; RFC 9580 section 7 "Cleartext Signature
Framework".
"""

import re
from dataclasses import dataclass
from importlib.resources import files

from pysequoia import Cert, verify

from innkeeper.errors import HostError
from innkeeper.images.deb822 import parse_paragraph

_DIGEST_LINE = re.compile(r"([0-9a-f]{64})\s+(\d+)\s+(\S+)")


@dataclass(frozen=True)
class Listed:
    """What the release says of one file: its length and digest."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Release:
    """A verified release. `listed` maps paths below `dists/SUITE/` to what they must be."""

    codename: str
    version: str
    date: str
    listed: dict[str, Listed]
    valid_until: str = ""
    """Empty: for ever."""


def debian_keyring() -> list[Cert]:
    """The public keys that sign Debian 13 (trixie), as the debian-archive-keyring package has them."""
    folder = files("innkeeper.images") / "keys"
    names = ("debian-archive-trixie-automatic.gpg", "debian-archive-trixie-stable.gpg")
    return [cert for name in names for cert in Cert.split_bytes((folder / name).read_bytes())]


def verify_release(signed: bytes, keyring: list[Cert], source: str) -> Release:
    """Check the signature of an InRelease file and parse the signed text, and nothing but that.

    `source` is the address for messages. Raises HostError if no key of `keyring` made a valid signature.
    """
    try:
        verified = verify(signed, lambda _identifiers: keyring)
    except Exception as error:  # pysequoia raises bare exceptions for every kind of failure
        # With RUST_BACKTRACE set, what follows the first line is a backtrace.
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise HostError(
            f"the signature of {source} is not a valid one by Debian's archive key: {reason}",
            "the mirror or something on the way is damaged or hostile; set INNKEEPER_MIRROR to another one",
        ) from error
    if not verified.valid_sigs or verified.bytes is None:
        raise HostError(f"{source} carries no valid signature", "set INNKEEPER_MIRROR to another mirror")
    return _parse(verified.bytes.decode("utf-8", "replace"))


def unverified_release(signed: bytes) -> Release:
    """What an InRelease file says, without asking who signed it: to see whether an archive is in order."""
    text = signed.decode("utf-8", "replace").partition("-----BEGIN PGP SIGNATURE")[0]
    return _parse(text.partition("\n\n")[2])


def _parse(text: str) -> Release:
    fields = parse_paragraph(text)
    listed = {
        path: Listed(digest, int(size))
        for digest, size, path in _DIGEST_LINE.findall(fields.get("sha256", ""))
    }
    return Release(
        fields.get("codename", ""),
        fields.get("version", ""),
        fields.get("date", ""),
        listed,
        fields.get("valid-until", ""),
    )
