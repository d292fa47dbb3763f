# SPDX-License-Identifier: Apache-2.0
"""Fetching files from a mirror into the cache, several at a time, each against its SHA-256."""

import contextlib
import functools
import hashlib
import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx

from innkeeper.errors import ConfigError, HostError
from innkeeper.images.cache import sha256_of, storing
from innkeeper.images.parallel import Stopped, in_parallel
from innkeeper.images.progress import Progress, ProgressTask, reporting

_PARALLEL = 4
_ATTEMPTS = 3
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_SMALL_FILE_BYTES = 4 << 20
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_OTHER_MIRROR = "check the network and the proxy variables, or set INNKEEPER_MIRROR to another mirror"


class NotOnMirror(HostError):
    """The mirror answers, and says that it does not have the file."""


class Unreachable(HostError):
    """Nothing that speaks HTTP answers, or it stops midway."""


class DigestMismatch(HostError):
    """The mirror served something else than what the signed release lists."""


@dataclass(frozen=True)
class Wanted:
    """One file to fetch: `url` and what its bytes must be."""

    url: str
    sha256: str
    size_bytes: int


def _certificate_check(environment: Mapping[str, str]) -> ssl.SSLContext | bool:
    """What HTTPS certificates are checked against: the user's CA variables, else httpx's default."""
    name = next((variable for variable in _CA_VARIABLES if environment.get(variable)), None)
    if name is None:
        return True
    try:
        return ssl.create_default_context(cafile=environment[name])
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{name} names a file of certificates that cannot be used: {environment[name]} ({error})",
            f"correct {name} or unset it",
        ) from error


class Downloads:
    """Downloads into `folder`, content-addressed: a file is named by its SHA-256, so it is fetched once.

    Honours the proxy variables (through httpx) and SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE.
    The caller holds the cache's lock. Use as a context manager.
    """

    def __init__(self, folder: Path, progress: Progress, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self.progress = progress
        try:
            self._client = httpx.Client(
                follow_redirects=True,
                timeout=_TIMEOUT,
                verify=_certificate_check(environment),
                headers={"Accept-Encoding": "identity", "User-Agent": "innkeeper"},
            )
        except (ValueError, httpx.InvalidURL, ImportError) as error:
            raise ConfigError(
                f"the proxy settings cannot be used: {error}", "correct http_proxy and https_proxy"
            ) from error

    def __enter__(self) -> "Downloads":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def small_file(self, url: str) -> bytes:
        """Return a file of at most 4 MiB, unchecked and not cached: for what carries its own signature."""
        for attempt in range(_ATTEMPTS):
            try:
                with (
                    reporting(self.progress, f"ask {url.partition('/dists/')[0]}", None, "steps"),
                    self._client.stream("GET", url) as response,
                ):
                    _check_status(response, url)
                    data = b""
                    for block in response.iter_raw():
                        data += block
                        if len(data) > _SMALL_FILE_BYTES:
                            raise HostError(f"{url} is far larger than it should be", _OTHER_MIRROR)
                    return data
            except httpx.HTTPError as error:
                if attempt == _ATTEMPTS - 1 or isinstance(error, httpx.TimeoutException):
                    raise _unreachable(url, error) from error
        raise AssertionError("unreachable")

    def files(self, title: str, wanted: Sequence[Wanted]) -> list[Path]:
        """Have all of `wanted` in the cache and return their paths, in order.

        Every cached file is checked again; a damaged one is fetched anew. Raises HostError: NotOnMirror,
        DigestMismatch, mirror unreachable, disk full.
        """
        total = sum(item.size_bytes for item in wanted)
        with reporting(self.progress, title, total, "bytes") as task:
            return in_parallel(
                [functools.partial(self._file, item, task) for item in wanted], threads=_PARALLEL
            )

    def _file(self, wanted: Wanted, task: ProgressTask, stopped: Stopped) -> Path:
        path = self._folder / wanted.sha256
        if path.exists():
            if sha256_of(path) == wanted.sha256:
                task.advance(wanted.size_bytes)
                return path
            with storing(self._folder):
                path.unlink(missing_ok=True)
        partial = self._folder / f"{wanted.sha256}.part"
        with storing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        counted = _Counted(task, stopped)
        try:
            self._fetch_persistently(wanted, partial, counted)
        except Unreachable:
            _remove(partial, only_if_empty=True)  # the next attempt goes on where this one stopped
            raise
        except HostError:
            _remove(partial)
            raise
        with storing(self._folder):
            os.replace(partial, path)
        return path

    def _fetch_persistently(self, wanted: Wanted, partial: Path, counted: "_Counted") -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._fetch(wanted, partial, counted)
                return
            except httpx.HTTPError as error:
                if attempt == _ATTEMPTS - 1:
                    raise _unreachable(wanted.url, error) from error
            except DigestMismatch:
                if attempt == _ATTEMPTS - 1:
                    raise
                _remove(partial)
                counted.restart(0)

    def _fetch(self, wanted: Wanted, partial: Path, counted: "_Counted") -> None:
        """Fetch `wanted` into `partial`, going on where an earlier attempt stopped."""
        with storing(self._folder), partial.open("ab+") as stream:
            stream.seek(0)
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            have = stream.tell()
            if have < wanted.size_bytes:
                headers = {"Range": f"bytes={have}-"} if have else {}
                with self._client.stream("GET", wanted.url, headers=headers) as response:
                    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                        raise _mismatch(wanted)
                    _check_status(response, wanted.url)
                    if response.status_code != httpx.codes.PARTIAL_CONTENT:
                        stream.truncate(0)
                        digest, have = hashlib.sha256(), 0
                    counted.restart(have)
                    for block in response.iter_raw():
                        have += len(block)
                        if have > wanted.size_bytes:
                            raise _mismatch(wanted)
                        stream.write(block)
                        digest.update(block)
                        counted.add(len(block))
            if have != wanted.size_bytes or digest.hexdigest() != wanted.sha256:
                raise _mismatch(wanted)
            stream.flush()
            os.fsync(stream.fileno())


class _Counted:
    """What one file has contributed to a shared task, so that a restart can take it back.

    Here a download also notices that nobody waits for it any more.
    """

    def __init__(self, task: ProgressTask, stopped: Stopped) -> None:
        self._task = task
        self._stopped = stopped
        self._amount = 0

    def add(self, amount: int) -> None:
        self._stopped.check()
        self._amount += amount
        self._task.advance(amount)

    def restart(self, amount: int) -> None:
        self.add(amount - self._amount)


def _remove(partial: Path, *, only_if_empty: bool = False) -> None:
    with contextlib.suppress(OSError):
        if not only_if_empty or partial.stat().st_size == 0:
            partial.unlink()


def _check_status(response: httpx.Response, url: str) -> None:
    if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE, httpx.codes.FORBIDDEN):
        raise NotOnMirror(
            f"the mirror does not have {url} (HTTP {response.status_code})",
            "set INNKEEPER_MIRROR to a complete mirror of Debian",
        )
    if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        response.raise_for_status()
        raise HostError(f"the mirror answered HTTP {response.status_code} for {url}", _OTHER_MIRROR)


def _mismatch(wanted: Wanted) -> DigestMismatch:
    return DigestMismatch(
        f"{wanted.url} is not what the signed release lists (its length or SHA-256 differs)",
        "the mirror is damaged or being updated: try again later or set INNKEEPER_MIRROR to another one",
    )


def _unreachable(url: str, error: Exception) -> Unreachable:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, httpx.HTTPStatusError):
        reason = f"HTTP {error.response.status_code} {error.response.reason_phrase}".rstrip()
    return Unreachable(f"cannot fetch {url}: {reason}", _OTHER_MIRROR)
