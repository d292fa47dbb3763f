# SPDX-License-Identifier: Apache-2.0
"""The switch between VMs: who gets which frame, what a peer cannot do, and what happens when one is slow."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.devices.virtio import net_header
from innkeeper.devices.virtio.net_frame import Frame, Offloads
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.private_networks import LAST_MEMBER, Membership, PrivateNetworks
from innkeeper.network import switch_peer
from innkeeper.network.switch import ADDRESSES_PER_PEER, AGE_NS, Switch
from innkeeper.network.switch_peer import FRAMES_BURST, Greeting
from tests.unit.network.loop import VirtualLoop

BROADCAST = b"\xff" * 6
SERVER_MAC = b"\x52\x55\x0a\x00\x02\x02"


def mac(number: int) -> bytes:
    return b"\x02\0\0\0" + number.to_bytes(2, "big")


def frame(target: bytes, source: bytes, payload: bytes = b"payload") -> Frame:
    return Frame(target + source + b"\x88\xb5" + payload)


class Guest:
    """A guest's port with its switch on a network."""

    mtu_bytes = 1500

    def __init__(self, networks: PrivateNetworks, name: str, loop: VirtualLoop) -> None:
        self.got: list[bytes] = []
        self.room = 1 << 30
        self.offloads = Offloads(checksum=True, tso4=True, tso6=True)
        self.membership: Membership = networks.join("lan")
        self.mac = mac(self.membership.number)
        self.switch = Switch(
            loop,
            Greeting(name, self.membership.address.packed),
            self.membership.listening,
            self.membership.peers,
            own_macs=[SERVER_MAC],
        )
        self.switch.attach(self)

    def receive(self, given: Frame) -> bool:
        if len(self.got) >= self.room:
            return False
        self.got.append(bytes(given.data))
        return True

    def send(self, target: bytes, payload: bytes = b"payload", source: bytes | None = None) -> bytes:
        sent = frame(target, source or self.mac, payload)
        self.switch.send([sent])
        return bytes(sent.data)

    def leave(self) -> None:
        self.switch.close()
        self.membership.leave()


@pytest.fixture
def networks(tmp_path: Path) -> PrivateNetworks:
    networks = PrivateNetworks(tmp_path / "definitions", tmp_path / "sockets")
    networks.create("lan")
    return networks


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop()


def turns(loop: VirtualLoop, count: int = 8) -> None:
    for _ in range(count):
        loop.turn()


def test_frames_go_to_all_until_it_is_known_where_they_belong(networks, loop):
    a, b, c = (Guest(networks, name, loop) for name in "abc")
    turns(loop)
    first = a.send(b.mac)
    turns(loop)
    assert (b.got, c.got, a.got) == ([first], [first], [])
    answer = b.send(a.mac)
    turns(loop)
    assert (a.got, c.got) == ([answer], [first]), "a's place is known"
    again, everybody = a.send(b.mac), a.send(BROADCAST)
    turns(loop)
    assert b.got[1:] == [again, everybody] and c.got[1:] == [everybody]
    loop.clock.advance_ns(AGE_NS + 1)
    lost = a.send(b.mac)
    turns(loop)
    assert c.got[2:] == [lost], "not heard of for too long"


def test_members_introduce_themselves_and_are_gone_when_they_leave(networks, loop):
    a, b = Guest(networks, "web", loop), Guest(networks, "db", loop)
    turns(loop)
    assert a.switch.members == [Greeting("db", b.membership.address.packed)]
    assert b.switch.members == [Greeting("web", a.membership.address.packed)]
    assert str(a.membership.address) == "10.89.0.2" and str(b.membership.address) == "10.89.0.3"
    assert networks.get("lan").members == (2, 3)
    b.leave()
    turns(loop)
    assert a.switch.members == [] and networks.get("lan").members == (2,)
    c = Guest(networks, "", loop)
    assert c.membership.number == 3, "a place that is free is given again"


def test_a_place_of_a_process_that_was_killed_is_given_again(networks, loop):
    a = Guest(networks, "a", loop)
    a.switch.close()
    assert a.membership.path.exists()
    assert networks.join("lan").number == a.membership.number


def test_networks_are_apart(networks, loop, tmp_path):
    networks.create("other")
    a = Guest(networks, "a", loop)
    stranger = networks.join("other")
    assert stranger.peers == () and stranger.network.subnet != a.membership.network.subnet
    b = Guest(networks, "b", loop)
    turns(loop)
    a.send(BROADCAST)
    turns(loop)
    assert len(b.got) == 1
    with pytest.raises(BlockingIOError):
        stranger.listening.accept()


def test_a_peer_cannot_use_our_addresses_nor_fill_our_table(networks, loop):
    a, b = Guest(networks, "a", loop), Guest(networks, "b", loop)
    a.send(BROADCAST)
    turns(loop)
    for forged in (a.mac, SERVER_MAC, b"\x01" + mac(9)[1:]):
        b.send(BROADCAST, source=forged)
    turns(loop)
    assert a.got == [] and a.switch.dropped_frames == 3
    for number in range(ADDRESSES_PER_PEER + 10):
        b.send(BROADCAST, source=mac(1000 + number))
    turns(loop, 20)
    assert len(a.got) == ADDRESSES_PER_PEER + 10 and len(a.switch._addresses) == ADDRESSES_PER_PEER


def test_what_finds_no_buffer_waits_and_the_flood_is_lost_at_its_sender(networks, loop):
    a, b, c = (Guest(networks, name, loop) for name in "abc")
    a.room = 1
    turns(loop)
    for number in range(400):
        b.send(a.mac, number.to_bytes(2, "big") + bytes(20000))
    turns(loop, 20)
    assert len(a.got) == 1 and b.switch._peers[0].dropped_frames > 0
    assert b.switch._peers[0]._queue_bytes <= switch_peer.QUEUE_BYTES_MAX
    neighbour = c.send(a.mac)
    turns(loop)
    a.room = 1 << 30
    a.switch.receive_ready()
    turns(loop, 60)
    numbers = [int.from_bytes(data[14:16], "big") for data in a.got if data != neighbour]
    assert neighbour in a.got and numbers == sorted(numbers) and len(numbers) > 50


def test_a_flood_gets_its_share_of_a_second_and_no_more(networks, loop):
    a, b = Guest(networks, "a", loop), Guest(networks, "b", loop)
    turns(loop)
    for _ in range(3 * FRAMES_BURST // 100):
        for _ in range(100):
            b.send(a.mac)
        turns(loop, 10)
    assert len(a.got) <= FRAMES_BURST
    before = len(a.got)
    loop.advance_ns(10_000_000)
    turns(loop, 40)
    assert before < len(a.got) <= before + switch_peer.FRAMES_PER_S // 50


def test_offloads_are_kept_between_guests_that_have_them_and_undone_for_others(networks, loop):
    a, b, c = (Guest(networks, name, loop) for name in "abc")
    c.offloads = Offloads()
    turns(loop)
    packet = bytearray(14 + 40 + 3000)
    packet[:14] = BROADCAST + a.mac + b"\x08\0"
    packet[14] = 0x45
    packet[46] = 0x50
    a.switch.send([Frame(packet, 1, 1000, 54, 34, 16)])
    turns(loop)
    assert [len(data) for data in b.got] == [3054] and [len(data) for data in c.got] == [1054] * 3


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_nothing_that_a_peer_sends_breaks_us(packets):
    loop = VirtualLoop()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    switch = Switch(loop, Greeting("", bytes(4)), listening, [ours])
    for packet in packets:
        theirs.send(packet)
        if not packet:
            break
        theirs.send(b"\xff" + packet)
        theirs.send(net_header.pack(Frame(b"", 1, 5, 0, 34, 16)) + packet)
    turns(loop)
    assert len(switch._addresses) <= ADDRESSES_PER_PEER
    switch.close()
    theirs.close()


@pytest.mark.parametrize("greeting", [Greeting("web-1", bytes(4)), Greeting("", b"\x0a\x59\0\x07")])
def test_greetings(greeting):
    assert Greeting.decode(greeting.encode()) == greeting
    for wrong in (b"", b"{}", b'{"name": "A b", "address": "1.2.3.4"}', b'{"name": 1, "address": "1.2.3.4"}'):
        assert Greeting.decode(b"\xff" + wrong) is None


def test_names_and_ranges_of_networks(networks, tmp_path):
    assert str(networks.create("second").subnet) == "10.89.1.0/24"
    assert str(networks.create("mine", "192.168.7.0/24").subnet) == "192.168.7.0/24"
    assert [network.name for network in networks.list()] == ["lan", "mine", "second"]
    for name in ("lan", "user", "A", "", "a/b", "../x", "a" * 32):
        with pytest.raises(ConfigError):
            networks.create(name)
    for subnet in ("10.89.1.0/24", "10.0.0.0/8", "8.8.8.0/24", "10.1.1.1/24", "x"):
        with pytest.raises(ConfigError):
            networks.create("new", subnet)
    with pytest.raises(ConfigError, match="inn network create nowhere"):
        networks.join("nowhere")
    member = networks.join("mine")
    with pytest.raises(ConfigError, match="VMs are on"):
        networks.remove("mine")
    member.listening.close()
    networks.remove("mine")
    assert [network.name for network in networks.list()] == ["lan", "second"]
    (tmp_path / "definitions" / "second").write_text("nonsense")
    with pytest.raises(ConfigError):
        networks.join("second")


def test_a_full_network_says_so(networks, monkeypatch):
    monkeypatch.setattr("innkeeper.host.private_networks.LAST_MEMBER", 3)
    assert LAST_MEMBER == 254
    kept = [networks.join("lan"), networks.join("lan")]
    with pytest.raises(HostError, match="full"):
        networks.join("lan")
    for member in kept:
        member.listening.close()
        os.unlink(member.path)
