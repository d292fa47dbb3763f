# SPDX-License-Identifier: Apache-2.0
"""Where the apt of an image finds Debian: the archive that the image was built from.

apt fails where an index disagrees with its release, or a release has expired, though everything else is in
order. A mirror or a cache in the middle of an update has one name of a release whole (`stable`, say) and the
other not, so what the guest is told is what was found whole.
"""

from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urlsplit

from innkeeper.errors import HostError
from innkeeper.images.archive import Archive
from innkeeper.images.definition import ArchiveChoice
from innkeeper.images.download import Downloads, NotOnMirror
from innkeeper.images.release import unverified_release

_SECURITY_ARCHIVE = "http://security.debian.org/debian-security"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_OUT_OF_STEP = "# Out of date or not whole when this image was built. Remove the next line to use it.\n"


class WallClock(Protocol):
    """What says whether a release has expired."""

    def wall_ns(self) -> int: ...


def apt_sources(downloads: Downloads, built_from: Archive, choice: ArchiveChoice, clock: WallClock) -> str:
    """The text of `debian.sources` for an image with packages of `built_from`.

    Updates and security fixes come by the first of their names that is in order; where none is, they are
    there and not enabled.
    Source: sources.list(5), "DEB822-STYLE FORMAT".
    """
    names = list(dict.fromkeys([built_from.suite, *choice.suites]))
    suites = [f"{name}-updates" for name in names]
    text = _paragraph(built_from.mirror, built_from.suite, True)
    with suppress(NotOnMirror):
        suite = _first_in_order(downloads, built_from.mirror, suites, choice, clock)
        text += "\n" + _paragraph(built_from.mirror, suite or f"{choice.codename}-updates", suite is not None)
    return text + "\n" + _security(downloads, built_from.mirror, names, choice, clock)


def _security(
    downloads: Downloads, mirror: str, names: list[str], choice: ArchiveChoice, clock: WallClock
) -> str:
    """Most mirrors have no security fixes beside them; those come from their own archive."""
    wanted = f"{choice.codename}-security"
    if not urlsplit(mirror).path:
        return _paragraph(_SECURITY_ARCHIVE, wanted, True)
    address = f"{mirror}-security"
    try:
        suite = _first_in_order(downloads, address, [f"{name}-security" for name in names], choice, clock)
    except NotOnMirror:
        return _paragraph(_SECURITY_ARCHIVE, wanted, True)
    return _paragraph(address, suite or wanted, suite is not None)


def _paragraph(address: str, suite: str, enabled: bool) -> str:
    off = "" if enabled else f"{_OUT_OF_STEP}Enabled: no\n"
    return f"Types: deb\n{off}URIs: {address}\nSuites: {suite}\nComponents: main\nSigned-By: {_KEYRING}\n"


def _first_in_order(
    downloads: Downloads, address: str, suites: list[str], choice: ArchiveChoice, clock: WallClock
) -> str | None:
    """The first of `suites` that has not expired and whose index agrees. NotOnMirror: none is there."""
    absent: NotOnMirror | None = None
    found = False
    for suite in suites:
        try:
            # The guest's apt looks at the signature each time; here it would only say the same.
            release = unverified_release(downloads.small_file(f"{address}/dists/{suite}/InRelease"))
        except NotOnMirror as error:
            absent = error
            continue
        except HostError:
            found = True
            continue
        found = True
        if not release.codename.startswith(choice.codename) or _has_expired(release.valid_until, clock):
            continue
        try:
            Archive(downloads, address, suite, release, choice.architecture).index("main")
        except HostError:
            continue
        return suite
    if absent is not None and not found:
        raise absent
    return None


def _has_expired(valid_until: str, clock: WallClock) -> bool:
    if not valid_until:
        return False
    try:
        return parsedate_to_datetime(valid_until).timestamp() * 1e9 <= clock.wall_ns()
    except (ValueError, OverflowError):
        return True
