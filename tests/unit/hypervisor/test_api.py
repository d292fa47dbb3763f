# SPDX-License-Identifier: Apache-2.0
"""The API of a real hypervisor process, through the clients, over stand-in VMMs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from innkeeper.api.frames import FrameKind
from innkeeper.api.models import ExecRequest
from innkeeper.api.places import Places
from innkeeper.api.problems import ConflictError, NotFoundError
from innkeeper.client.aio import AsyncClient
from innkeeper.client.calls import Call
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.sync import Client
from innkeeper.errors import ConfigError, HostError, InnkeeperError
from tests.unit.hypervisor.conftest import temporary_places
from tests.unit.hypervisor.daemon import start


@pytest.fixture(scope="module")
def shared() -> Iterator[Places]:
    """One hypervisor for all tests of the module."""
    with temporary_places() as places:
        start(places)
        yield places
        Client(Endpoint(places.socket)).stop_hypervisor()


@pytest.fixture
def client(shared: Places) -> Iterator[Client]:
    """Its client; VMs that a test leaves are removed."""
    client = Client(Endpoint(shared.socket))
    yield client
    for vm in client.vms():
        vm.remove(force=True)


def test_a_vm_through_its_life(client: Client) -> None:
    vm = client.create(name="web", labels={"a": "1"}, memory_bytes=1 << 30)
    assert vm.wait("ready").memory_bytes == 1 << 30
    assert [each.name for each in client.vms(["a=1"])] == ["web"] and client.vms(["b"]) == []
    vm.pause()
    assert vm.state == "paused"
    vm.resume()
    pid = vm.info.pid
    vm.restart()
    assert vm.state == "running" and vm.info.pid != pid
    assert vm.update(name="www", restart="always").name == "www"
    vm.stop()
    assert vm.wait("ended").reason == "stopped by request"
    clone = vm.clone("copy")
    assert (clone.state, client.info().vms) == ("stopped", 2)
    vm.remove()
    with pytest.raises(NotFoundError, match="www"):
        client.vm("www")


def test_errors_come_with_their_remedy(client: Client) -> None:
    vm = client.create(name="a")
    with pytest.raises(ConflictError) as caught:
        vm.remove()
    assert "stop it first" in caught.value.remedy
    with pytest.raises(ConfigError, match="cpus"):
        client.create(cpus=99)
    with pytest.raises(ConfigError, match="setting"):
        client.create(colour="red")
    with pytest.raises(HostError, match="no kernel"):
        client.create(append="fail=no_kernel")
    with pytest.raises(HostError, match="a is not paused"):
        vm.wait("paused", timeout_s=0.05)
    running = replace(client.operations()[0], id="x", state="running")
    with pytest.raises(NotFoundError):
        client.finish(running)


def test_forks_and_snapshots(client: Client) -> None:
    vm = client.create(name="a")
    forks = vm.fork(2, names=["f"], labels={"l": "2"})
    assert [each.state for each in forks] == ["running"] * 2 and forks[0].name == "f"
    first = vm.snapshot("one")
    second = vm.snapshot()
    assert [each.id for each in client.snapshots("a")] == [first.id, second.id]
    restored = client.snapshot("one").restore("b")
    assert restored.info.origin == f"snapshot:{first.id}"
    assert first.restore(in_place=True).id == vm.id
    second.remove()
    first.remove()
    assert client.snapshots() == []


def test_events_are_told_and_remembered(client: Client) -> None:
    number = client.past_events()[-1].number if client.past_events() else 0
    vm = client.create(name="a")
    vm.stop(force=True)
    told = []
    for event in client.events(after=number):
        told.append(event)
        if event.kind == "stopped":
            break
    kinds = [event.kind for event in told]
    assert kinds[:2] == ["created", "started"] and [event.number for event in told] == [
        event.number for event in client.past_events(after=number)
    ]


def test_events_come_as_they_happen(client: Client) -> None:
    seen: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        with client.open_stream("events/stream") as stream:
            ready.set()
            for message in stream.messages():
                seen.append(json.loads(message)["kind"])
                if seen[-1] == "removed":
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(30)
    client.create(name="a").remove(force=True)
    thread.join(30)
    assert seen[0] == "created" and seen[-1] == "removed"


def test_exec(client: Client) -> None:
    vm = client.create(name="a")
    data = os.urandom(3_000_000)
    result = vm.exec(["cat"], stdin=data)
    assert result.stdout == data and result.stderr == b"3000000" and result.returncode == 0
    assert vm.exec(["exit", "7"]).returncode == 7
    said = json.loads(vm.exec(["x"], env={"A": "b"}, cwd="/c", user="d", timeout_s=5).stdout)
    assert (said["env"], said["cwd"], said["user"], said["timeout_s"]) == ({"A": "b"}, "/c", "d", 5)
    with vm.open_exec(ExecRequest(argv=["cat"], tty=True)) as stream:
        stream.resize(100, 40)
        stream.send(b"x")
        stream.signal(9)
        outputs = list(stream.outputs())
    assert [(each.kind, each.data) for each in outputs[:2]] == [
        (FrameKind.STDERR, b"\0\x64\0\x28"),
        (FrameKind.STDOUT, b"x"),
    ]
    assert outputs[-1].status == 137
    vm.stop()
    with pytest.raises(ConfigError, match="stopped"):
        vm.exec(["x"])


@pytest.mark.parametrize("first", ["nonsense", "[]", '{"argv": 5}', '{"env": {}}'])
def test_a_wrong_exec_request_is_an_error(client: Client, first: str) -> None:
    client.create(name="a")
    with client.open_stream("vms/a/exec") as stream:
        stream._send(first)
        with pytest.raises(ConfigError, match="wrong"):
            list(stream.outputs())


def test_several_consoles_and_logs(client: Client) -> None:
    vm = client.create(name="a")
    with vm.console() as one, vm.console(history=False) as other:
        for stream in (one, other):
            outputs = stream.outputs()
            assert next(outputs).data == b"login: "
            stream.send(b"root\r")
            assert next(outputs).data == b"root\r"
    assert b"".join(vm.logs()) == b"boot\n"
    assert b"stand-in for a" in b"".join(vm.logs("vmm"))
    assert b"".join(vm.logs(tail_bytes=2)) == b"t\n"
    followed = vm.logs(follow=True)
    assert next(followed) == b"boot\n"
    vm.stop()
    assert list(followed) == []


def test_a_message_that_is_no_frame_ends_the_console(client: Client) -> None:
    client.create(name="a")
    with client.open_stream("vms/a/console") as stream:
        stream._send(b"\x09what")
        with pytest.raises(InnkeeperError, match="frame"):
            list(stream.outputs())


def test_the_asynchronous_client(client: Client, shared: Places) -> None:
    async def scenario() -> None:
        async with AsyncClient(Endpoint(shared.socket)) as there:
            vm = await there.create(name="a")
            assert (await vm.wait("ready")).ready
            result = await vm.exec(["cat"], stdin=b"text" * 100_000)
            assert len(result.stdout) == 400_000
            await asyncio.gather(*(there.vm("a") for _ in range(20)))
            stream = await vm.console()
            async with stream:
                async for output in stream.outputs():
                    assert output.data == b"login: "
                    break
            (fork,) = await vm.fork()
            assert b"".join([part async for part in vm.logs()]) == b"boot\n"
            snapshot = await vm.snapshot()
            assert (await snapshot.restore()).state == "running"
            async for event in there.events(after=0):
                if event.kind == "snapshot":
                    break
            await fork.stop(force=True)
            with pytest.raises(NotFoundError):
                await there.vm("nobody")
            await snapshot.remove()

    asyncio.run(scenario())


def test_requests_are_bounded(client: Client) -> None:
    with pytest.raises(ConfigError, match="too large"):
        client.send(Call("", "POST", "/v1/vms", lambda data: data, body={"append": "x" * (2 << 20)}))
    with pytest.raises(ConfigError, match="append"):
        client.create(append="x" * 5000)


def test_a_client_that_goes_leaves_nothing_behind(client: Client, shared: Places) -> None:
    client.create(name="a")
    for _ in range(20):
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as raw:
            raw.connect(str(shared.socket))
            raw.sendall(b"POST /v1/vms HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        stream = client.open_stream("vms/a/exec")
        stream.send_request(ExecRequest(argv=["cat"]))
        stream._connection.abort()
    assert client.vm("a").exec(["exit", "3"]).returncode == 3


def test_a_killed_hypervisor_is_started_again_and_adopts() -> None:
    with temporary_places() as places:
        client = start(places)
        running, stopped = client.create(name="a"), client.create(name="b", start=False)
        pid = client.info().pid
        os.kill(pid, signal.SIGKILL)
        again = start(places)
        assert again.info().pid != pid
        assert again.vm("a").wait("ready").pid == running.info.pid
        assert again.vm("b").state == stopped.state
        assert again.vm("a").exec(["exit", "0"]).returncode == 0
        again.stop_hypervisor()


def test_a_hypervisor_of_an_older_version_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_places() as places:
        client = start(places)
        vm = client.create(name="a")
        pid = client.info().pid
        for version, is_replaced in (("0.0.9", False), ("9.0.0", True), ("9.0.0+local", False)):
            monkeypatch.setattr("innkeeper.__version__", version)
            pid, before = start(places).info().pid, pid
            assert (pid != before) == is_replaced, version
        assert client.vm("a").wait("ready").pid == vm.info.pid
        client.stop_hypervisor()


def test_the_last_word_of_a_short_command_is_not_lost(client: Client) -> None:
    """The VMM closes behind the exit status while standard input may still be on its way."""
    vm = client.create(name="a")
    for number in range(200):
        assert vm.exec(["exit", str(number % 256)], stdin=b"x" * 200_000).returncode == number % 256
