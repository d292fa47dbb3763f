# SPDX-License-Identifier: Apache-2.0
"""How the host resolves names: its name servers, search domains and hosts file, read again when they change.

Spec: resolv.conf(5), hosts(5).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from pathlib import Path

from innkeeper.network.policy import plain_name
from innkeeper.spec.internet import PORT_DNS

_FILE_BYTES_MAX = 1 << 20
_SERVERS_MAX = 3
_SEARCH_MAX = 6


class _File:
    """The lines of a file, without comments."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None

    def changed(self) -> list[list[str]] | None:
        """The words of each line if the file is another than at the last call, else None."""
        try:
            stat = os.stat(self._path)
            stamp = stat.st_mtime_ns, stat.st_ino
        except OSError:
            stamp = (0, 0)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        text = ""
        with contextlib.suppress(OSError), self._path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_FILE_BYTES_MAX)
        lines = (line.partition("#")[0].split() for line in text.splitlines() if not line.startswith(";"))
        return [words for words in lines if words]


class HostResolver:
    """Reads the files at the paths given, which need not exist. All name servers are asked at `port`."""

    def __init__(
        self,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        hosts: Path = Path("/etc/hosts"),
        port: int = PORT_DNS,
    ) -> None:
        self._port = port
        self._resolv_conf, self._hosts = _File(resolv_conf), _File(hosts)
        self._servers: tuple[str, ...] = ()
        self._search: tuple[str, ...] = ()
        self._names: dict[str, tuple[bytes, ...]] = {}

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """Addresses and ports of the name servers, the first to be asked first."""
        self._read_resolv_conf()
        return tuple((server, self._port) for server in self._servers)

    @property
    def search(self) -> tuple[str, ...]:
        """Domains to complete short names with."""
        self._read_resolv_conf()
        return self._search

    def addresses(self, name: str) -> tuple[bytes, ...]:
        """Packed addresses of the plain `name` in the hosts file, without those of the host's loopback."""
        lines = self._hosts.changed()
        if lines is not None:
            self._names = _parse_hosts(lines)
        return self._names.get(name, ())

    def _read_resolv_conf(self) -> None:
        lines = self._resolv_conf.changed()
        if lines is None:
            return
        servers, search = [], list[str]()
        for words in lines:
            if words[0] == "nameserver" and len(words) > 1 and _is_address(words[1]):
                servers.append(words[1])
            elif words[0] in ("search", "domain"):
                search = [plain_name(word) for word in words[1:]]
        self._servers = tuple(servers[:_SERVERS_MAX]) or ("127.0.0.1",)
        self._search = tuple(name for name in search[:_SEARCH_MAX] if name and name.isascii())


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _parse_hosts(lines: list[list[str]]) -> dict[str, tuple[bytes, ...]]:
    names: dict[str, tuple[bytes, ...]] = {}
    for words in lines:
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(words[0])
            # What is the host's loopback to the host would be the guest's own to the guest.
            if address.is_loopback:
                continue
            for word in words[1:]:
                name = plain_name(word)
                names[name] = (*names.get(name, ()), address.packed)
    return names
