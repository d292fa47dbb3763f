# SPDX-License-Identifier: Apache-2.0
"""Several clients at one console, and its log."""

from __future__ import annotations

from pathlib import Path

from innkeeper.vmm.console_hub import LOG_LIMIT_BYTES, SCROLLBACK_BYTES, ConsoleHub, ConsoleLog


class Client:
    def __init__(self) -> None:
        self.seen = b""
        self.spaces = 0

    def console_output(self, data: bytes) -> None:
        self.seen += data

    def console_space(self) -> None:
        self.spaces += 1


def hub_of(path: Path) -> ConsoleHub:
    return ConsoleHub(lambda data: min(len(data), 3), ConsoleLog(path))


def test_who_sees_what(tmp_path: Path) -> None:
    hub = hub_of(tmp_path / "console.log")
    early, late, blind = Client(), Client(), Client()
    hub.attach(early, history=False)
    hub.output(b"one ")
    hub.attach(late, history=True)
    hub.attach(blind, history=False)
    hub.output(b"two ")
    hub.detach(early)
    hub.detach(early)
    hub.output(b"three")
    assert (early.seen, late.seen, blind.seen) == (b"one two ", b"one two three", b"two three")
    hub.space()
    assert (early.spaces, late.spaces) == (0, 1)
    assert hub.input(b"typed") == 3
    assert (tmp_path / "console.log").read_bytes() == b"one two three"


def test_the_scrollback_is_bounded(tmp_path: Path) -> None:
    hub = hub_of(tmp_path / "console.log")
    for number in range(300):
        hub.output(bytes([number & 0xFF]) * 1000)
    client = Client()
    hub.attach(client, history=True)
    assert len(client.seen) == SCROLLBACK_BYTES
    assert client.seen.endswith(bytes([299 & 0xFF]) * 1000)


def test_the_log_is_bounded_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    for _ in range(2):
        log = ConsoleLog(path)
        for number in range(30):
            log.write(bytes([65 + number]) * 100_000)
        log.close()
    assert path.stat().st_size <= LOG_LIMIT_BYTES
    assert (tmp_path / "console.log.1").stat().st_size <= LOG_LIMIT_BYTES
    assert path.read_bytes().endswith(b"^" * 100_000)


def test_a_log_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "missing" / "console.log")
    log.write(b"lost")
    log.close()


def test_a_fork_has_a_log_and_clients_of_its_own(tmp_path: Path) -> None:
    hub = hub_of(tmp_path / "one.log")
    client, again = Client(), Client()
    hub.attach(client, history=False)
    hub.output(b"before ")
    hub.become(ConsoleLog(tmp_path / "two.log"))
    hub.output(b"after")
    hub.attach(again, history=True)
    assert (client.seen, again.seen) == (b"before ", b"before after")
    assert (tmp_path / "one.log").read_bytes() == b"before "
    assert (tmp_path / "two.log").read_bytes() == b"after"
