# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's process: `python -m innkeeper.hypervisor`, or `inn hypervisor run`.

One for each user: it holds a lock in the state folder. SIGTERM and SIGINT end it and leave the VMs running.
As process 1 it has nobody to leave them to, and stops them first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.api.places import Places
from innkeeper.api.vmm_protocol import VMM_MODULE
from innkeeper.errors import ConfigError, HostError, InnkeeperError
from innkeeper.host.clock import HostClock
from innkeeper.host.disk_file import try_lock
from innkeeper.hypervisor.folders import make_places
from innkeeper.hypervisor.hypervisor import Hypervisor
from innkeeper.hypervisor.services import Services
from innkeeper.hypervisor.store import Store

if TYPE_CHECKING:
    from innkeeper.hypervisor.http.server import TcpListener

STOP_VMS_S = 60.0
READY = b"ready\n"
"""Written to `--ready-fd` once the socket answers; otherwise one line that says why it will not."""
STATUS_ERROR = 2
LOCK_ATTEMPTS, LOCK_STEP_S = 200, 0.05
"""How long a hypervisor waits for the one before it to end."""


@dataclass(frozen=True)
class Settings:
    """How to run. `listen` is `HOST:PORT` for TCP, which also needs the three files."""

    places: Places
    vmm_command: Sequence[str] = (sys.executable, "-m", VMM_MODULE)
    listen: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    ready_fd: int | None = None


def run(settings: Settings) -> None:
    """Serve until told to end. ConfigError if a hypervisor runs already, HostError if the host is unable."""
    listener = _tcp_listener(settings)
    make_places(settings.places)
    with _only_one(settings.places):
        _raise_limits()
        asyncio.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: TcpListener | None) -> None:
    from innkeeper.hypervisor.http.app import make_app
    from innkeeper.hypervisor.http.server import bind_tcp, bind_unix, tcp_server, unix_server

    places = settings.places
    loop = asyncio.get_running_loop()
    clock = HostClock()
    services = Services(places, Store(places.database, clock), clock, settings.vmm_command)
    is_first = os.getpid() == 1
    if is_first:
        loop.add_signal_handler(signal.SIGCHLD, services.children.reap_all)
    hypervisor = await Hypervisor.open(services)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    app = make_app(hypervisor, ended.set)
    served: list[tuple[socket.socket, asyncio.Task[None]]] = []
    servers = []
    try:
        unix, server = bind_unix(places.socket), unix_server(app)
        servers.append(server)
        served.append((unix, loop.create_task(server.serve([unix]))))
        if listener is not None:
            tcp, server = bind_tcp(listener.host, listener.port), tcp_server(app, listener)
            servers.append(server)
            served.append((tcp, loop.create_task(server.serve([tcp]))))
        _say_ready(settings.ready_fd)
        await ended.wait()
    finally:
        if is_first:
            await hypervisor.stop_all(STOP_VMS_S)
        for server in servers:
            server.stop()
        await asyncio.gather(*(task for _, task in served), return_exceptions=True)
        await hypervisor.close()
        places.socket.unlink(missing_ok=True)


def _tcp_listener(settings: Settings) -> TcpListener | None:
    """The TCP listener that is asked for. ConfigError unless TLS and a token are given, too."""
    from innkeeper.hypervisor.http.server import TcpListener, read_token

    if settings.listen is None:
        if settings.certificate or settings.key or settings.token_file:
            raise ConfigError("there is nothing to protect", "add --listen HOST:PORT")
        return None
    if settings.certificate is None or settings.key is None or settings.token_file is None:
        remedy = "add --certificate, --key and --token-file"
        raise ConfigError("the hypervisor listens on TCP only with TLS and a token", remedy)
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"'{settings.listen}' is no address", "write HOST:PORT, such as 0.0.0.0:7433")
    token = read_token(settings.token_file)
    return TcpListener(host.strip("[]"), int(port), settings.certificate, settings.key, token)


@contextlib.contextmanager
def _only_one(places: Places) -> Iterator[None]:
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(LOCK_ATTEMPTS):
            if try_lock(descriptor, exclusive=True):
                break
            if _answers(places.socket):
                raise ConfigError("a hypervisor runs already", "inn hypervisor status shows it")
            time.sleep(LOCK_STEP_S)  # another one is about to end, or to answer
        else:
            raise HostError("another hypervisor neither ends nor answers", "end it: inn hypervisor status")
        yield
    finally:
        os.close(descriptor)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        return True
    return False


def _raise_limits() -> None:
    """Each VM takes some descriptors, each client too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say_ready(descriptor: int | None) -> None:
    if descriptor is not None:
        with contextlib.suppress(OSError):
            os.write(descriptor, READY)
            os.close(descriptor)


def main(arguments: Sequence[str]) -> int:
    """`python -m innkeeper.hypervisor`: what clients start when there is no hypervisor."""
    parser = argparse.ArgumentParser(prog="python -m innkeeper.hypervisor", allow_abbrev=False)
    parser.add_argument("--ready-fd", type=int)
    given = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        places = Places.of(os.environ, os.geteuid())
        run(Settings(places, ready_fd=given.ready_fd))
    except (InnkeeperError, OSError) as error:
        shown = error if isinstance(error, InnkeeperError) else HostError(f"the hypervisor ended: {error}")
        print(f"inn: {shown}", file=sys.stderr, flush=True)
        if given.ready_fd is not None:
            with contextlib.suppress(OSError):
                os.write(given.ready_fd, str(shown).encode())
        return STATUS_ERROR
    return 0
