# SPDX-License-Identifier: Apache-2.0
"""Two guests on a private network reach each other by name; a third on another one reaches neither."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from innkeeper import Machine
from innkeeper.errors import ConfigError
from innkeeper.vmm import Result
from innkeeper.vmm.network import private_networks
from tests.guest.machines import machine

pytestmark = pytest.mark.guest
FILE_BYTES = 8 << 20


class Running:
    """A guest that goes on until its standard input is closed."""

    def __init__(self, guest: Machine, script: str) -> None:
        self.output = bytearray()
        self.said = threading.Event()
        self.result: Result | None = None
        self._stdin, self._done = os.pipe()
        self._thread = threading.Thread(target=self._main, args=(guest, script))
        self._thread.start()

    def _main(self, guest: Machine, script: str) -> None:
        self.result = guest.run(script, stdin=self._stdin, stdout=self._take)
        self.said.set()

    def _take(self, data: bytes) -> None:
        self.output += data
        if b"\n" in data:
            self.said.set()

    def end(self) -> Result:
        os.close(self._done)
        self._thread.join()
        os.close(self._stdin)
        assert self.result is not None
        return self.result


def test_names_streams_and_isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNKEEPER_STATE", str(tmp_path / "s"))
    monkeypatch.setenv("INNKEEPER_RUNTIME", str(tmp_path / "r"))
    for name in ("lan", "other"):
        private_networks().create(name)
    server = Running(
        machine(net="lan", name="web"),
        f"""
        mkdir /tmp/www
        head -c {FILE_BYTES} /dev/urandom >/tmp/www/file
        httpd -h /tmp/www
        sha256sum </tmp/www/file
        read wait
        """,
    )
    try:
        assert server.said.wait(120)
        client = machine(net=["user", "lan"], name="client").run(
            """
            ping -c 1 -W 10 web >/dev/null && echo pinged
            wget -q -O - http://web/file | sha256sum
            ip -4 addr show dev eth1 | grep -o 'inet [0-9.]*'
            ip route | grep -c default
            """
        )
        stranger = machine(net="other").run(
            """
            nslookup web >/dev/null 2>&1 || echo no name
            ping -c 1 -W 2 10.89.0.2 >/dev/null 2>&1 || echo no way
            ip route add 10.89.0.0/24 dev eth0
            ping -c 1 -W 2 10.89.0.2 >/dev/null 2>&1 || echo no way at all
            """
        )
        assert private_networks().get("lan").members == (2,)
    finally:
        ended = server.end()
    digest = bytes(server.output).decode().split()[0]
    assert len(digest) == len(hashlib.sha256().hexdigest()) and ended.stderr == b""
    lines = client.stdout.decode().splitlines()
    assert lines == ["pinged", f"{digest}  -", "inet 10.89.0.3", "1"], client
    assert stranger.stdout == b"no name\nno way\nno way at all\n"
    assert private_networks().get("lan").members == ()


def test_what_is_no_network_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNKEEPER_STATE", str(tmp_path))
    with pytest.raises(ConfigError, match="inn network create nowhere"):
        machine(net="nowhere")
    for wrong in (["user", "user"], ["none", "user"], "tap:", "bridge:", "vde:x", ["tap:a"] * 5, "UPPER"):
        with pytest.raises(ConfigError):
            machine(net=wrong)
    for name in ("A", "-a", "a.b", "a" * 64):
        with pytest.raises(ConfigError):
            machine(name=name)
