# SPDX-License-Identifier: Apache-2.0
"""The guest's DNS server, in front of a name server on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.network import dns_message
from innkeeper.network.host_resolver import HostResolver
from innkeeper.network.limits import Limits
from innkeeper.network.policy import Policy
from tests.unit.network.conftest import Guest
from tests.unit.network.name_server import NameServer, zone
from tests.unit.network.packets import DNS, DNS6, GUEST, GUEST6, packed, udp

ZONE = """
www.example.com. 100 CNAME example.com.
example.com. 300 A 93.184.216.34
example.com. 300 AAAA 2606:2800:220:1::1
private.example.com. 60 A 192.168.1.1
""" + "".join(f"big.example.com. 60 A 93.184.217.{number}\n" for number in range(60))


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    server = NameServer(zone(ZONE))
    yield server
    server.close()


@pytest.fixture
def make_dns_guest(
    make_guest: Callable[..., Guest], name_server: NameServer, tmp_path: Path
) -> Callable[..., Guest]:
    def make(**options: Any) -> Guest:
        (tmp_path / "resolv.conf").write_text("# of a test\nnameserver 127.0.0.1\n")
        (tmp_path / "hosts").write_text("127.0.0.1 localhost\n192.0.2.9 printer.lan printer # upstairs\n")
        resolver = HostResolver(tmp_path / "resolv.conf", tmp_path / "hosts", name_server.port)
        return make_guest(resolver=resolver, **options)

    return make


def question(name: str, kind: str = "A", *, identifier: int = 0x1234, udp_bytes: int = 0) -> bytes:
    record = DNSRecord.question(name, kind)
    record.header.id = identifier
    if udp_bytes:
        record.add_ar(EDNS0(udp_len=udp_bytes))
    return bytes(record.pack())


def resolve(guest: Guest, message: bytes) -> DNSRecord:
    """Ask over UDP and wait for the answer."""
    guest.send(udp(GUEST, 4000, DNS, 53, message))
    (seen,) = guest.wait()
    assert (seen.source, seen.target, seen.ports) == (DNS, GUEST, (53, 4000))
    return DNSRecord.parse(seen.udp_data)


def addresses(record: DNSRecord) -> list[str]:
    return [str(answer.rdata) for answer in record.rr if answer.rtype in (QTYPE.A, QTYPE.AAAA)]


def test_names_of_the_internet(make_dns_guest: Callable[..., Guest], name_server: NameServer) -> None:
    guest = make_dns_guest(random_bytes=lambda size: b"\xab" * size)
    answer = resolve(guest, question("Example.COM"))
    assert addresses(answer) == ["93.184.216.34"]
    assert answer.header.id == 0x1234
    assert name_server.asked == [("Example.COM.", False, 0xABAB)]


def test_over_ipv6(make_dns_guest: Callable[..., Guest]) -> None:
    guest = make_dns_guest()
    guest.send(udp(GUEST6, 4000, DNS6, 53, question("example.com", "AAAA")))
    (seen,) = guest.wait()
    assert seen.source == DNS6
    assert addresses(DNSRecord.parse(seen.udp_data)) == ["2606:2800:220:1::1"]


def test_long_answers_are_cut_for_who_takes_no_more(make_dns_guest: Callable[..., Guest]) -> None:
    guest = make_dns_guest()
    answer = resolve(guest, question("big.example.com"))
    assert answer.header.tc and not answer.rr
    answer = resolve(guest, question("big.example.com", udp_bytes=4096))
    assert not answer.header.tc and len(answer.rr) == 60


def test_siblings_and_the_hosts_file(make_dns_guest: Callable[..., Guest], name_server: NameServer) -> None:
    siblings = {"db": (packed("10.77.0.5"), packed("fd77::5"))}
    guest = make_dns_guest(siblings=siblings)
    assert addresses(resolve(guest, question("db"))) == ["10.77.0.5"]
    assert addresses(resolve(guest, question("DB.", "AAAA"))) == ["fd77::5"]
    answer = resolve(guest, question("db", "MX"))
    assert (answer.header.rcode, answer.rr) == (RCODE.NOERROR, [])
    assert addresses(resolve(guest, question("printer"))) == ["192.0.2.9"]
    siblings["web"] = (packed("10.77.0.6"),)
    assert addresses(resolve(guest, question("web"))) == ["10.77.0.6"]
    assert name_server.asked == []
    resolve(guest, question("localhost"))
    assert len(name_server.asked) == 1, "the host's loopback is not the guest's"


def test_names_are_learned_for_policy(make_dns_guest: Callable[..., Guest]) -> None:
    guest = make_dns_guest(policy=Policy.parse("list", allow=["www.example.com"]))
    resolve(guest, question("www.example.com"))
    egress = guest.net.egress
    assert egress.names.of(packed("93.184.216.34")) == ("www.example.com",)
    assert egress.decide("tcp", packed("93.184.216.34"), 80) is not None
    assert egress.decide("tcp", packed("93.184.216.35"), 80) is None


def test_questions_are_under_policy(make_dns_guest: Callable[..., Guest], name_server: NameServer) -> None:
    guest = make_dns_guest(policy=Policy.parse("list", allow=["*.example.com"]))
    assert resolve(guest, question("x.evil.example")).header.rcode == RCODE.REFUSED
    assert name_server.asked == []
    assert guest.net.refusals[-1].names == ("x.evil.example",)
    assert addresses(resolve(guest, question("private.example.com"))) == ["192.168.1.1"]


@pytest.mark.parametrize("forgery", ["identifier", "question", "no response"])
def test_forged_answers_are_passed_over(
    make_dns_guest: Callable[..., Guest], name_server: NameServer, forgery: str
) -> None:
    """What is not the answer is as if it had not come; the next try gets one."""
    right = zone(ZONE)

    def forged(asked: DNSRecord) -> bytes:
        reply = DNSRecord.parse(right(asked) or b"")
        if forgery == "identifier":
            reply.header.id ^= 1
        elif forgery == "question":
            reply.questions[0].qname = "other.example."
        else:
            reply.header.qr = 0
        name_server.answer = right
        return bytes(reply.pack())

    name_server.answer = forged
    guest = make_dns_guest()
    guest.send(udp(GUEST, 4000, DNS, 53, question("example.com")))
    guest.loop.until(lambda: name_server.answer is right)
    guest.loop.turn(0.05)
    assert guest.port.seen() == []
    guest.loop.advance_s(2)
    (seen,) = guest.wait()
    assert addresses(DNSRecord.parse(seen.udp_data)) == ["93.184.216.34"]


def test_a_silent_server_is_a_failure(make_dns_guest: Callable[..., Guest], name_server: NameServer) -> None:
    name_server.answer = lambda asked: None
    guest = make_dns_guest()
    guest.send(udp(GUEST, 4000, DNS, 53, question("example.com")))
    for _ in range(2):
        guest.loop.turn()
        guest.loop.advance_s(2.1)
    (seen,) = guest.port.seen()
    assert DNSRecord.parse(seen.udp_data).header.rcode == RCODE.SERVFAIL
    assert not guest.loop.readers


def test_questions_under_way_are_bounded(
    make_dns_guest: Callable[..., Guest], name_server: NameServer
) -> None:
    name_server.answer = lambda asked: None
    guest = make_dns_guest(limits=Limits(dns_queries=3))
    for number in range(5):
        guest.send(udp(GUEST, 4000, DNS, 53, question("example.com", identifier=number)))
    codes = {record.header.id: record.header.rcode for record in map(_record, guest.port.seen())}
    assert codes == {3: RCODE.SERVFAIL, 4: RCODE.SERVFAIL}


def _record(seen: Any) -> DNSRecord:
    return DNSRecord.parse(seen.udp_data)


@pytest.mark.parametrize(
    "message", [b"", b"x", b"\0" * 11, question("a.example")[:-2], b"\0\1\1\0\0\2" + b"\0" * 20]
)
def test_no_question(make_dns_guest: Callable[..., Guest], message: bytes) -> None:
    guest = make_dns_guest()
    seen = guest.ask(udp(GUEST, 4000, DNS, 53, message))
    if len(message) < 12:
        assert seen == []
    else:
        assert seen[0].udp_data[:2] == message[:2]
        assert seen[0].udp_data[3] & 15 == RCODE.FORMERR


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_a_question_or_not(data: bytes, has_header: bool) -> None:
    message = b"\0\1\1\0\0\1\0\0\0\0\0\0" + data if has_header else data
    asked = dns_message.parse_question(message)
    if asked is not None:
        assert dns_message.failure_of(asked, 2)[:2] == message[:2]
        dns_message.local_response(asked, (bytes(4), bytes(16)), 5)
    known = dns_message.parse_question(question("a.example"))
    assert known is not None
    dns_message.parse_response(message, 1, known)


def test_addresses_behind_foreign_names_are_not_learned() -> None:
    """An answer may hold what nobody asked for."""
    asked = dns_message.parse_question(question("a.example"))
    assert asked is not None
    reply = DNSRecord.parse(question("a.example")).reply()
    for line in ("b.example 60 A 1.1.1.1", "a.example 60 CNAME c.example", "c.example 50 A 2.2.2.2"):
        reply.add_answer(*zone_records(line))
    answers = dns_message.parse_response(bytes(reply.pack()), 0x1234, asked)
    assert answers is not None and answers.addresses == ((packed("2.2.2.2"), 50),)


def zone_records(line: str) -> list[Any]:
    from dnslib import RR

    return list(RR.fromZone(line))


def test_resolver_reads_files_again_when_they_change(tmp_path: Path) -> None:
    resolv, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    resolver = HostResolver(resolv, hosts)
    assert resolver.servers == (("127.0.0.1", 53),)
    resolv.write_text(
        "nameserver 192.0.2.1\nnameserver bad\n;nameserver 192.0.2.2\nnameserver fd00::1\nsearch A.b. c"
    )
    assert resolver.servers == (("192.0.2.1", 53), ("fd00::1", 53))
    assert resolver.search == ("a.b", "c")
    hosts.write_text("bad line\n192.0.2.5 X x\n::1 y\n")
    assert resolver.addresses("x") == (packed("192.0.2.5"),) * 2
    assert resolver.addresses("y") == ()
