# SPDX-License-Identifier: Apache-2.0
"""The network benchmark: its course with scripted sides, its server, its table."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from innkeeper.bench import network
from innkeeper.bench.network import MEASUREMENTS, measure_network, select, serving
from innkeeper.bench.side import CodeCacheState, GuestRun, TimedLine
from innkeeper.errors import ConfigError, GuestError
from innkeeper.images import BootFiles


class ScriptedSide:
    """Answers as the guest's program would, each measurement in `time_ns`."""

    code_cache: CodeCacheState = ""

    def __init__(self, name: str, time_ns: int, leaves_out: str = "") -> None:
        self.name = self.version = name
        self._time_ns, self._leaves_out = time_ns, leaves_out
        self.commands: list[list[str]] = []

    def run(self, guest: GuestRun, on_line: Callable[[TimedLine], None]) -> None:
        assert guest.network
        self.commands.append(list(guest.command))
        words = iter(guest.command[3:])
        for kind, streams, amount in zip(words, words, words, strict=True):
            if kind != self._leaves_out:
                on_line(TimedLine("noise", 0))
                on_line(TimedLine(f"result {kind}{streams} {amount} {self._time_ns}", 0))


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BootFiles:
    monkeypatch.setattr(network, "compile_guest_program", lambda: b"\x7fELF")
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"")
    return BootFiles(kernel=tmp_path / "Image", initrd=initrd, append="quiet", root_disk=None)


def test_sides_alternate_and_rates_are_told_in_their_units(boot: BootFiles) -> None:
    ours, peer = ScriptedSide("ours", 10**9), ScriptedSide("peer", 2 * 10**9)
    report = measure_network([ours, peer], boot, repeats=3)
    assert len(ours.commands) == len(peer.commands) == 3
    rows = {row["name"]: row for row in report.rows()}
    assert rows["send1"]["ours"] == pytest.approx((64 << 20) * 8 / 1e6)
    assert rows["http1"]["ours"] == 400 and rows["http1"]["peer"] == 200
    assert all(row["ratio"] == 2 for row in rows.values())
    table = report.table()
    assert "2.00" in table and "requests/s" in table and "ours, peer" in table
    assert "ratio" not in measure_network([ours], boot, repeats=1, only=["udp1"]).table()


def test_a_guest_that_measures_less_than_it_was_asked_for_is_an_error(boot: BootFiles) -> None:
    with pytest.raises(GuestError, match="http1, http8"):
        measure_network([ScriptedSide("ours", 1, leaves_out="http")], boot, repeats=1)


def test_wrong_names_and_repeats(boot: BootFiles) -> None:
    assert select(None) == MEASUREMENTS and [item.name for item in select(["udp1"])] == ["udp1"]
    with pytest.raises(ConfigError, match="nope"):
        select(["nope"])
    with pytest.raises(ConfigError):
        measure_network([], boot, repeats=0)


def test_the_server_takes_gives_serves_and_counts() -> None:
    with serving() as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as taking:
            taking.sendall(bytes(3 << 20))
            taking.shutdown(socket.SHUT_WR)
            assert taking.recv(1) == b"\0"
        with socket.create_connection(("127.0.0.1", port + 1), timeout=10) as giving:
            giving.sendall(struct.pack("<Q", 3_000_001))
            got = 0
            while got < 3_000_001:
                got += len(giving.recv(1 << 20))
            assert got == 3_000_001
        with socket.create_connection(("127.0.0.1", port + 2), timeout=10) as page:
            page.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while data := page.recv(4096):
                answer += data
            assert answer.startswith(b"HTTP/1.0 200") and answer.endswith(b"x" * 1024)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(10)
            datagrams.connect(("127.0.0.1", port + 3))
            for _ in range(3):
                datagrams.send(b"x")
            datagrams.send(b"")
            assert struct.unpack("<Q", datagrams.recv(8)) == (3,)
