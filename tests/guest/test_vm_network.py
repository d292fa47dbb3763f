# SPDX-License-Identifier: Apache-2.0
"""Networks, files and logins of VMs that the hypervisor keeps: two real guests and a fork for all tests."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import innkeeper
from innkeeper.api.places import Places
from innkeeper.client.sync import Client, Vm
from innkeeper.errors import ConfigError
from innkeeper.vmm.network import private_networks

pytestmark = pytest.mark.guest
INN = (sys.executable, "-c", "import sys; from innkeeper.cli import main; sys.exit(main())")
READY_S = 120
BIG_BYTES = 20_000_001


@pytest.fixture(scope="module")
def client(places: Places) -> Client:
    private_networks().create("red")
    return innkeeper.connect()


@pytest.fixture(scope="module")
def web(client: Client) -> Vm:
    vm = client.create("small", name="web", network={"adapters": ["user", "red"]})
    vm.wait("ready", READY_S)
    vm.exec(["sh", "-c", "echo hello >/tmp/index.html; httpd -h /tmp"])
    return vm


@pytest.fixture(scope="module")
def other(client: Client) -> Vm:
    vm = client.create("small", name="other", network={"adapters": ["red"]})
    vm.wait("ready", READY_S)
    return vm


def _answers(vm: Vm, host: str) -> bool:
    return vm.exec(["ping", "-c", "1", "-W", "5", host]).returncode == 0


def test_ports_open_and_close_while_it_runs(web: Vm) -> None:
    web.update(network={"add_ports": ["0:80"]})
    (port,) = web.network().ports
    url = f"http://{port.rpartition(':')[0]}/"
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.read() == b"hello\n"
    assert web.refresh().network.ports == [port]
    web.update(network={"remove_ports": [port]})
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=60)
    assert web.network().ports == []


def test_rules_hold_at_once_and_refusals_are_told(web: Vm) -> None:
    assert web.exec(["wget", "-T", "5", "-O-", "http://10.0.2.2:9/"]).returncode != 0
    refused = web.network().refused[-1]
    assert (refused.address, refused.port, refused.reason) == ("10.0.2.2", 9, "the host's loopback")
    assert b"10.0.2.2 tcp port 9" in b"".join(web.logs("vmm"))
    web.update(network={"egress": "list", "deny": ["icmp:*"], "allow": ["host:9"]})
    assert not _answers(web, "198.51.100.1")
    assert web.network().refused[-1].protocol == "icmp"
    with pytest.raises(ConfigError, match="no destination"):
        web.update(network={"allow": ["a_name_:x"]})
    assert web.refresh().network.allow == ["host:9"]
    web.update(network={"egress": "allow", "allow": [], "deny": []})


def test_copies_have_places_of_their_own_on_a_private_network(web: Vm, other: Vm) -> None:
    assert _answers(other, "web") and _answers(web, "other")
    (fork,) = web.fork(1, names=["fork"])
    try:
        fork.wait("ready", READY_S)
        macs = {adapter.mac_address for vm in (web, fork) for adapter in vm.network().adapters}
        assert len(macs) == 4
        for vm in (web, fork):
            seen = vm.exec(["cat", "/sys/class/net/eth0/address", "/sys/class/net/eth1/address"]).stdout
            assert seen.decode().split() == [adapter.mac_address for adapter in vm.network().adapters]
        for one, another in ((fork, "web"), (web, "fork"), (other, "fork"), (other, "web")):
            assert _answers(one, another), (one.name, another)
        assert _answers(fork, "10.0.2.2")
    finally:
        fork.remove(force=True)
    assert _answers(other, "web")


def test_a_capture_has_what_crosses(web: Vm, tmp_path: Path) -> None:
    with web.capture("eth0") as stream:
        outputs = stream.outputs()
        assert next(outputs).data.startswith(b"\x0a\x0d\x0d\x0a")
        web.exec(["ping", "-c", "1", "10.0.2.2"])
        frames = [next(outputs).data for _ in range(2)]
    assert any(web.network().adapters[0].mac_address.replace(":", "") in frame.hex() for frame in frames)
    with pytest.raises(ConfigError, match="no adapter"), web.capture("eth7") as stream:
        next(stream.outputs())


def test_files_and_folders_keep_what_they_are(web: Vm, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(os.urandom(BIG_BYTES))
    os.chmod(source, 0o640)
    os.utime(source, ns=(0, 981_173_106_123_456_789))
    web.put(source, "/tmp/big")
    web.get("/tmp/big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    status = (tmp_path / "back").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o640, 981_173_106_123_456_789)
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    (tree / ("n" * 200)).write_bytes(b"text")
    (tree / "link").symlink_to("/nowhere")
    os.utime(tree / "empty", (1, 1_000_000_000))
    for arguments in ([str(tree), "web:/tmp"], ["web:/tmp/tree", str(tmp_path / "copy")]):
        done = subprocess.run([*INN, "cp", "-r", *arguments], capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
    copy = tmp_path / "copy"
    assert sorted(path.name for path in copy.iterdir()) == sorted(path.name for path in tree.iterdir())
    assert (copy / ("n" * 200)).read_bytes() == b"text"
    assert os.readlink(copy / "link") == "/nowhere"
    assert (copy / "empty").stat().st_mtime == 1_000_000_000


def test_a_login_shell(web: Vm) -> None:
    said = subprocess.run([*INN, "shell", "web"], input=b"id -un; exit 5\n", capture_output=True, timeout=60)
    assert (said.returncode, said.stdout) == (5, b"root\n")
    done = subprocess.run([*INN, "ssh", "web"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "ssh" in done.stderr
