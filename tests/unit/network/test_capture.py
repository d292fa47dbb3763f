# SPDX-License-Identifier: Apache-2.0
"""Captures: read back by hand, by tshark where that is installed, and what happens when a disk is full."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from innkeeper.devices.virtio.net_frame import Frame, Offloads
from innkeeper.errors import HostError
from innkeeper.machine.clock import VirtualClock
from innkeeper.network.capture import CapturedNet, CaptureFile

TSHARK = shutil.which("tshark")
WALL_NS = 1_700_000_000_123_456_789
ARP = bytes.fromhex(
    "ffffffffffff5254001234560806000108000604000152540012345600000000"  # who has 10.0.2.2
    "0000000000000a0002020000"
)


class Port:
    mtu_bytes = 1500
    offloads = Offloads(checksum=True)

    def __init__(self) -> None:
        self.room = True

    def receive(self, frame: Frame) -> bool:
        return self.room


class Backend:
    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.ready = 0

    def attach(self, port) -> None:
        self.port = port

    def send(self, frames) -> None:
        self.sent += frames

    def receive_ready(self) -> None:
        self.ready += 1


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each block; both its lengths have to agree."""
    found = []
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0 and struct.unpack_from("<I", data, size - 4) == (size,)
        found.append((kind, data[8 : size - 4]))
        data = data[size:]
    return found


def captured(path: Path) -> None:
    """Write one frame each way on two interfaces."""
    clock = VirtualClock(5, WALL_NS)
    capture = CaptureFile(path, clock, pytest.fail)
    port, backend = Port(), Backend()
    CapturedNet(Backend(), capture, "eth0")
    net = CapturedNet(backend, capture, "eth1")
    net.attach(port)
    net.send([Frame(ARP)])
    clock.advance_ns(1000)
    assert backend.port.receive(Frame(bytearray(ARP[:41]), 1, 1448))
    port.room = False
    assert not backend.port.receive(Frame(ARP))
    net.receive_ready()
    assert backend.sent == [Frame(ARP)] and backend.ready == 1
    assert backend.port.offloads == Port.offloads and backend.port.mtu_bytes == 1500
    capture.close()
    capture.close()
    capture.add_frame(0, ARP, to_guest=True)


def test_frames_directions_and_times(tmp_path):
    captured(tmp_path / "file.pcapng")
    assert (tmp_path / "file.pcapng").stat().st_mode & 0o777 == 0o600
    section, first, second, sent, received = blocks((tmp_path / "file.pcapng").read_bytes())
    assert section[0] == 0x0A0D0D0A and struct.unpack_from("<IHH", section[1]) == (0x1A2B3C4D, 1, 0)
    assert (first[0], second[0]) == (1, 1) and b"eth1" in second[1]
    for (kind, body), time_ns, data, direction in (
        (sent, WALL_NS, ARP, 2),
        (received, WALL_NS + 1000, ARP[:41], 1),
    ):
        interface, high, low, captured_bytes, frame_bytes = struct.unpack_from("<IIIII", body)
        assert (kind, interface, high << 32 | low) == (6, 1, time_ns)
        assert captured_bytes == frame_bytes == len(data) and body[20 : 20 + len(data)] == data
        assert struct.unpack_from("<HHI", body, 20 + (len(data) + 3) // 4 * 4) == (2, 4, direction)


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
def test_tshark_reads_it(tmp_path):
    assert TSHARK is not None
    captured(tmp_path / "file.pcapng")
    fields = [
        "-T",
        "fields",
        "-e",
        "frame.time_epoch",
        "-e",
        "frame.interface_name",
        "-e",
        "arp.dst.proto_ipv4",
    ]
    command = [TSHARK, "-r", str(tmp_path / "file.pcapng"), *fields]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].split("\t") == ["1700000000.123456789", "eth1", "10.0.2.2"] and len(lines) == 2


def test_a_full_disk_ends_the_capture_and_nothing_else():
    told: list[str] = []
    capture = CaptureFile(Path("/dev/full"), VirtualClock(), told.append)
    net = CapturedNet(Backend(), capture, "eth0")
    for _ in range(10000):
        net.send([Frame(ARP)])
    capture.flush()
    capture.close()
    assert len(told) == 1 and "No space left" in told[0]


def test_a_capture_ends_at_its_limit(tmp_path):
    told: list[str] = []
    capture = CaptureFile(tmp_path / "file", VirtualClock(), told.append, bytes_max=1000)
    net = CapturedNet(Backend(), capture, "eth0")
    for _ in range(100):
        net.send([Frame(ARP)])
    assert len(told) == 1 and (tmp_path / "file").stat().st_size <= 1000
    assert len(blocks((tmp_path / "file").read_bytes())) > 5


def test_a_file_that_cannot_be_made(tmp_path):
    with pytest.raises(HostError, match="cannot write the capture"):
        CaptureFile(tmp_path / "none" / "file", VirtualClock(), pytest.fail)
