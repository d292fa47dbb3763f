# SPDX-License-Identifier: Apache-2.0
"""Where the hypervisor answers, and starting it where nobody does."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from innkeeper.api.places import Places
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.private import is_private, private_folder

START_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 10.0
_POLL_S = 0.02
_REQUEST = b"%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_ANSWER_LIMIT_BYTES = 1 << 16
LOG_LIMIT_BYTES = 1 << 20
HYPERVISOR_COMMAND = (sys.executable, "-m", "innkeeper.hypervisor")


@dataclass(frozen=True)
class Endpoint:
    """A unix socket `path`, or a `host` and `port` that are spoken to with TLS and a token."""

    path: Path | None
    host: str = "localhost"
    port: int = 0
    token: str | None = None
    certificate: Path | None = None

    def tls(self) -> ssl.SSLContext:
        """The context for TCP: `certificate`, or the host's own authorities, is trusted."""
        try:
            return ssl.create_default_context(cafile=self.certificate)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"cannot use the certificate {self.certificate}: {error}", "give a PEM file"
            ) from error

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def unreachable(self, error: object) -> HostError:
        """The error for a hypervisor that does not answer."""
        if self.path is not None:
            return HostError(
                f"the hypervisor does not answer at {self.path}: {error}", "inn hypervisor run starts it"
            )
        return HostError(
            f"the hypervisor at {self.host}:{self.port} does not answer: {error}", "check the address"
        )


def endpoint_of(
    url: str | None, token: str | None, certificate: str | Path | None, places: Places
) -> Endpoint:
    """The endpoint of `https://HOST:PORT` or `unix:PATH`; None: the user's own."""
    if url is None:
        return Endpoint(places.socket)
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path:
        return Endpoint(Path(parts.path))
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "https" or not parts.hostname or port is None:
        raise ConfigError(f"'{url}' is no address of a hypervisor", "write https://HOST:PORT or unix:PATH")
    if not token:
        raise ConfigError("a hypervisor on TCP wants a token", "give the one in its token file")
    return Endpoint(None, parts.hostname, port, token, None if certificate is None else Path(certificate))


def ensure_running(places: Places, command: Sequence[str] = HYPERVISOR_COMMAND) -> None:
    """Start the user's hypervisor unless it answers. HostError, with what it said, if it cannot be started.

    Several processes may do so at once: of theirs one stays, and all of them are served by it. One of an
    older version is replaced, and its VMs go on; a newer one serves older clients.
    """
    version = _running_version(places.socket)
    if version is not None and not is_older(version, _own_version()):
        return
    if version is not None:
        _end(places.socket, version)
    try:
        private_folder(places.state)
        log = os.open(places.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        remedy = "set INNKEEPER_STATE to a folder of your own"
        raise HostError(f"cannot write to {places.state}: {error.strerror or error}", remedy) from error
    reading, writing = os.pipe()
    try:
        if os.fstat(log).st_size > LOG_LIMIT_BYTES:
            os.truncate(log, 0)
        child = subprocess.Popen(
            [*command, "--ready-fd", str(writing)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd="/", start_new_session=True, pass_fds=[writing],
        )  # fmt: skip
        child.returncode = 0  # it outlives us: nobody waits for it
        os.close(writing)
        writing = -1
        said = _first_words(reading)
    except OSError as error:
        raise HostError(f"the hypervisor cannot be started: {error}", "see inn doctor") from error
    finally:
        os.close(log)
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if said != "ready" and _running_version(places.socket) is None:
        raise HostError(f"the hypervisor did not start: {said or 'it ended'}", f"see {places.log}")


def _first_words(descriptor: int) -> str:
    """What the new hypervisor says once it knows; empty if it ends without."""
    readable, _, _ = select.select([descriptor], [], [], START_TIMEOUT_S)
    return os.read(descriptor, 4096).decode("utf-8", "replace").strip() if readable else "it takes too long"


def _own_version() -> str:
    from innkeeper import __version__

    return __version__


def is_older(version: str, than: str) -> bool:
    """Whether one version comes before another; no, where one of them is not made of numbers."""
    try:
        one, other = ([int(part) for part in each.split(".")] for each in (version, than))
    except ValueError:
        return False
    return one < other


def _running_version(path: Path) -> str | None:
    """The version of the hypervisor that answers there, None if none does; one about to end does not.

    HostError if others can write there.
    """
    answer = _ask(path, b"GET /v1/info")
    if not answer:
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer.partition(b"\r\n\r\n")[2])["version"])
    return ""


def _end(path: Path, version: str) -> None:
    """End the hypervisor there; its VMs run on, and the next one adopts them."""
    _ask(path, b"POST /v1/stop")
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while _running_version(path) is not None:
        if time.monotonic() > deadline_s:
            raise HostError(f"the hypervisor of version {version} does not end", "inn hypervisor stop")
        time.sleep(_POLL_S)


def _ask(path: Path, request: bytes) -> bytes:
    """What is answered to a request; empty if nobody does. HostError if others can write there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        if not is_private(path.parent.stat()):
            raise HostError(f"others can write to {path.parent}", f"chmod 700 {path.parent}")
        probe.settimeout(ANSWER_TIMEOUT_S)
        probe.connect(str(path))
        probe.sendall(_REQUEST % request)
        answer = b""
        while len(answer) < _ANSWER_LIMIT_BYTES and (piece := probe.recv(4096)):
            answer += piece
        return answer
    return b""
