# SPDX-License-Identifier: Apache-2.0
"""What a guest may reach: rules, names, and what is closed without a rule."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import ConfigError
from innkeeper.machine.clock import VirtualClock
from innkeeper.network.egress import Destination, Egress, is_own_address
from innkeeper.network.limits import NS_PER_S, Limits
from innkeeper.network.names import LearnedNames
from innkeeper.network.policy import Policy, Target
from innkeeper.network.refusals import Refusal, RefusalLog
from innkeeper.network.subnet import Subnet
from tests.unit.network.packets import GATEWAY, GATEWAY6, packed

CLOSED4 = (
    "127.0.0.1 127.255.0.1 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 "
    "100.64.0.1 224.0.0.1 255.255.255.255 240.0.0.1 198.18.0.1 192.0.0.1"
)
CLOSED6 = (
    ":: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 fe80::1 fc00::1 fd12::1 fec0::1 ff02::1 2002:7f00:1:: "
    "2001::1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe"
)
CLOSED = (CLOSED4 + " " + CLOSED6).split(" ")
OPEN = "8.8.8.8 172.15.0.1 172.32.0.1 100.63.0.1 1.1.1.1 2606:4700::1 64:ff9b::808:808".split(" ")  # noqa: SIM905


def refusal(
    policy: Policy, address: str, port: int = 80, names: tuple[str, ...] = (), **more: Any
) -> str | None:
    protocol = more.pop("protocol", "tcp")
    more.setdefault("is_own", False)
    return policy.refusal(protocol, ipaddress.ip_address(address), port, names, **more)


@pytest.mark.parametrize("address", CLOSED)
def test_closed_by_default(address: str) -> None:
    assert refusal(Policy(), address)
    assert refusal(Policy.parse("list", allow=["*"]), address)


@pytest.mark.parametrize("address", OPEN)
def test_internet_is_open_by_default(address: str) -> None:
    assert refusal(Policy(), address) is None
    assert refusal(Policy.parse("deny"), address)
    assert refusal(Policy(), address, is_own=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:10.0.0.1", "224.0.0.1", "2002:a00:1::"])
def test_no_rule_opens_what_is_nobodys(address: str) -> None:
    policy = Policy.parse(allow=["*", "private", "host", "0.0.0.0/0", "::/0"])
    assert refusal(policy, address)


def test_named_ranges_are_open() -> None:
    policy = Policy.parse("list", allow=["192.168.7.0/24:443", "tcp:10.1.2.3:80-90,8080", "fd00:1::/32"])
    assert refusal(policy, "192.168.7.9", 443) is None
    assert refusal(policy, "192.168.7.9", 80)
    assert refusal(policy, "192.168.8.9", 443)
    assert refusal(policy, "10.1.2.3", 85) is None
    assert refusal(policy, "10.1.2.3", 8080) is None
    assert refusal(policy, "10.1.2.3", 85, protocol="udp")
    assert refusal(policy, "fd00:1::9", 1) is None
    assert refusal(Policy.parse(allow=["private"]), "192.168.7.9") is None


def test_own_address_can_be_opened_by_name_of_the_address_only() -> None:
    assert refusal(Policy.parse(allow=["192.0.2.7"]), "192.0.2.7", is_own=True) is None
    assert refusal(Policy.parse(allow=["*"]), "192.0.2.7", is_own=True)


def test_deny_goes_before_allow() -> None:
    policy = Policy.parse(allow=["8.8.0.0/16"], deny=["8.8.8.8:53", "bad.example"])
    assert refusal(policy, "8.8.8.8", 53)
    assert refusal(policy, "8.8.8.8", 54) is None
    assert refusal(policy, "8.8.8.8", 54, ("good.example", "bad.example"))
    assert refusal(Policy.parse(deny=["*:25"]), "8.8.8.8", 25)


def test_names() -> None:
    policy = Policy.parse("list", allow=["*.example.org:80,443", "example.com"])
    assert refusal(policy, "8.8.8.8", 80, ("www.example.org",)) is None
    assert refusal(policy, "8.8.8.8", 22, ("www.example.org",))
    assert refusal(policy, "8.8.8.8", 80, ("example.org",))
    assert refusal(policy, "8.8.8.8", 80, ("notexample.org",))
    assert refusal(policy, "8.8.8.8", 22, ("example.com",)) is None
    assert refusal(policy, "8.8.8.8", 22)


def test_a_name_does_not_open_private_ranges() -> None:
    """Who owns a name could have it point at the host's network."""
    policy = Policy.parse("list", allow=["example.com"])
    for address in ("192.168.1.1", "127.0.0.1", "169.254.169.254"):
        assert refusal(policy, address, 80, ("example.com",))
    assert refusal(policy, "192.0.2.7", 80, ("example.com",), is_own=True)


def test_questions_are_messages_too() -> None:
    listed = Policy.parse("list", allow=["*.example.org:80", "10.0.0.0/8"])
    assert listed.may_resolve("www.example.org")
    assert not listed.may_resolve("secret.evil.example")
    assert not Policy.parse("deny").may_resolve("www.example.org")
    assert Policy().may_resolve("anything")
    assert not Policy.parse(deny=["*.evil.example"]).may_resolve("x.evil.example")
    assert Policy.parse(deny=["mail.example:25"]).may_resolve("mail.example")


def test_host_is_asked_for_by_name() -> None:
    assert Policy().host_refusal("tcp", 80)
    assert Policy.parse(allow=["*", "127.0.0.0/8"]).host_refusal("tcp", 80)
    policy = Policy.parse("deny", allow=["host:8000-8010"], deny=["host:8005"])
    assert policy.host_refusal("tcp", 8000) is None
    assert policy.host_refusal("tcp", 8005) and policy.host_refusal("tcp", 80)


@pytest.mark.parametrize(
    "text",
    ["", ":80", "a:0", "a:70000", "a:9-3", "a:x", "1.2.3", "1.2.3.4/40", "a b", "*.*.x", "icmp:a:7", "a..b",
     "[::1", "-a", "a:80,", "x" * 64, "tcp:", "http://x"],
)  # fmt: skip
def test_bad_rules_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Target.parse(text)
    assert raised.value.remedy


@given(st.text(max_size=30))
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        Target.parse(text)


def test_bad_default() -> None:
    with pytest.raises(ConfigError):
        Policy.parse("maybe")


def test_ports_of_ipv6_addresses_stand_behind_brackets() -> None:
    assert Target.parse("[2001:db8::1]:443").ports == ((443, 443),)
    assert Target.parse("2001:db8::1").ports == ()
    assert Target.parse("UDP:Example.COM.:53") == Target(None, "example.com", ((53, 53),), "udp")


def test_names_are_learned_for_their_time() -> None:
    clock = VirtualClock()
    names = LearnedNames(clock, 3)
    names.learn("a.example", packed("8.8.8.8"), 300)
    names.learn("b.example", packed("8.8.8.8"), 1)
    assert set(names.of(packed("8.8.8.8"))) == {"a.example", "b.example"}
    clock.advance_ns(61 * NS_PER_S)
    assert names.of(packed("8.8.8.8")) == ("a.example",)
    clock.advance_ns(240 * NS_PER_S)
    assert names.of(packed("8.8.8.8")) == ()


def test_learned_names_are_bounded() -> None:
    names = LearnedNames(VirtualClock(), 3)
    for number in range(100):
        names.learn(f"{number}.example", packed("8.8.8.8"), 60)
        names.learn("x.example", packed(f"8.8.9.{number}"), 60)
    assert len(names) == 3
    assert len(names.of(packed("8.8.9.99"))) == 1
    assert 1 <= len(names.of(packed("8.8.8.8"))) <= 16


def egress(policy: Policy, own: str = "") -> Egress:
    return Egress(policy, Subnet(), VirtualClock(), Limits(), is_own=lambda address, family: address == own)


def test_gateway_is_the_hosts_loopback() -> None:
    closed = egress(Policy())
    assert closed.decide("tcp", packed(GATEWAY), 80) is None
    assert closed.decide("udp", packed(GATEWAY6), 80) is None
    opened = egress(Policy.parse(allow=["host:80"]))
    destination = opened.decide("tcp", packed(GATEWAY), 80)
    assert destination is not None and destination.host_address == "127.0.0.1" and destination.is_host
    destination = opened.decide("tcp", packed(GATEWAY6), 80)
    assert destination is not None and destination.host_address == "::1"
    assert opened.decide("tcp", packed(GATEWAY), 81) is None


def test_refusals_say_what_was_asked() -> None:
    heard: list[Refusal] = []
    closed = Egress(Policy(), Subnet(), VirtualClock(), Limits(), heard.append, is_own=lambda *_: True)
    closed.names.learn("me.example", packed("192.0.2.7"), 60)
    assert closed.decide("udp", packed("192.0.2.7"), 53) is None
    assert heard == list(closed.refusals.entries)
    assert (heard[0].protocol, heard[0].address, heard[0].port) == ("udp", "192.0.2.7", 53)
    assert (heard[0].names, heard[0].reason) == (("me.example",), "an address of the host")


def test_a_flow_keeps_the_names_it_was_opened_with() -> None:
    subject = egress(Policy.parse("list", allow=["example.com"]))
    subject.names.learn("example.com", packed("8.8.8.8"), 60)
    destination = subject.decide("tcp", packed("8.8.8.8"), 80)
    assert isinstance(destination, Destination)
    subject.policy = Policy.parse("list", allow=["example.com:80"])
    subject.names = LearnedNames(VirtualClock(), 1)
    assert subject.still_allowed(destination)
    subject.policy = Policy.parse("list", allow=["example.com:443"])
    assert not subject.still_allowed(destination)


def test_the_kernel_knows_its_own_addresses() -> None:
    assert is_own_address("127.0.0.1", socket.AF_INET)
    assert not is_own_address("192.0.2.254", socket.AF_INET)


def test_refusal_log_is_bounded_and_tells_little() -> None:
    clock, heard = VirtualClock(), list[Refusal]()
    log = RefusalLog(clock, 10, heard.append)
    for number in range(1000):
        log.add("tcp", "192.168.1.1", number, (), "no")
    assert (len(log.entries), log.total, len(heard)) == (10, 1000, 50)
    clock.advance_ns(NS_PER_S)
    for _ in range(100):
        log.add("tcp", "192.168.1.1", 7, (), "no")
    assert len(heard) == 51
