# SPDX-License-Identifier: Apache-2.0
"""Which mirror of Debian's archive to use.

The user's setting, else what the host's own apt uses, else a public mirror of long standing.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from innkeeper.errors import ConfigError
from innkeeper.images.deb822 import paragraphs

SETTING = "INNKEEPER_MIRROR"
PUBLIC_MIRROR = "http://ftp.debian.org/debian"
"""Plain HTTP on purpose: everything is verified against Debian's signature, and proxies can cache it."""


def _is_debian_archive(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https") and bool(parts.netloc) and parts.path.endswith("/debian")


def _one_line_uris(text: str) -> Iterator[str]:
    """URIs of the one-line format. Source: sources.list(5), "One-line-style format"."""
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words or words[0] != "deb":
            continue
        if len(words) > 1 and words[1].startswith("["):
            end = next((i for i, word in enumerate(words) if word.endswith("]")), len(words))
            del words[1 : end + 1]
        if len(words) > 1:
            yield words[1]


def _deb822_uris(text: str) -> Iterator[str]:
    """URIs of the deb822 format. Source: sources.list(5), "deb822-style format"."""
    for fields in paragraphs(text):
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in (
            "no",
            "false",
        ):
            yield from fields.get("uris", "").split()


def apt_mirrors(apt_folder: Path) -> list[str]:
    """Debian archives in the apt sources below `apt_folder` (`/etc/apt`), without security archives."""
    lists = [apt_folder / "sources.list", *sorted((apt_folder / "sources.list.d").glob("*.list"))]
    found: list[str] = []
    for path in [*sorted((apt_folder / "sources.list.d").glob("*.sources")), *lists]:
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        uris = _deb822_uris(text) if path.suffix == ".sources" else _one_line_uris(text)
        found += [uri.rstrip("/") for uri in uris if _is_debian_archive(uri.rstrip("/"))]
    return list(dict.fromkeys(found))


def mirrors(environment: Mapping[str, str], apt_folder: Path) -> list[str]:
    """Mirrors to try in turn. The user's setting excludes every other one.

    Raises ConfigError if the setting is not an HTTP address.
    """
    setting = environment.get(SETTING, "").strip().rstrip("/")
    if setting:
        try:
            parts = urlsplit(setting)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(
                f"{SETTING} is not the address of a mirror: {setting}",
                f"give an http or https address such as {PUBLIC_MIRROR}",
            )
        return [setting]
    return list(dict.fromkeys([*apt_mirrors(apt_folder)[:1], PUBLIC_MIRROR]))
