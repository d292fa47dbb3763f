# SPDX-License-Identifier: Apache-2.0
"""Commands, consoles and files of a guest in a VMM process: one VM for all tests, in their order."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.api.frames import FrameKind, encode_data, encode_frame, encode_signal, encode_window
from innkeeper.errors import ConfigError, GuestError
from tests.guest.vmm import WAIT_S, Client, Vmm, start_vmm

pytestmark = pytest.mark.guest
BIG_BYTES = 10 << 20


@pytest.fixture(scope="module")
def vmm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vmm]:
    vmm = start_vmm(tmp_path_factory.mktemp("v"), 1, hostname="inn-one")
    try:
        vmm.wait_ready()
        yield vmm
    finally:
        vmm.close()


def wait_for(vmm: Vmm, script: str) -> None:
    """Until a script in the guest ends well."""
    deadline = time.monotonic() + WAIT_S
    while vmm.run("sh", "-c", script)[0] != 0:
        assert time.monotonic() < deadline, script


def test_identity(vmm: Vmm) -> None:
    name, machine_id, generation = vmm.shell(
        "hostname; cat /etc/machine-id /run/innkeeper/generation"
    ).splitlines()
    assert name == "inn-one"
    assert len(machine_id) == 32 and int(machine_id, 16)
    assert generation == vmm.config.generation


def test_streams_are_separate_and_exact(vmm: Vmm) -> None:
    data = os.urandom(BIG_BYTES)
    status, out, err = vmm.run("sh", "-c", "echo first >&2; tee /dev/stderr | sha256sum; exit 3", stdin=data)
    assert status == 3
    assert out.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert err == b"first\n" + data


def test_statuses(vmm: Vmm) -> None:
    assert vmm.run("sh", "-c", "exit 200") == (200, b"", b"")
    assert vmm.run("sh", "-c", "kill -9 $$")[0] == 128 + signal.SIGKILL
    status, out, err = vmm.run("no-such-program")
    assert (status, out) == (127, b"") and b"no-such-program" in err
    assert vmm.run("/etc/passwd")[0] == 126


def test_environment_user_and_folder(vmm: Vmm) -> None:
    status, out, _ = vmm.run(
        "sh", "-c", 'id -u; id -g; pwd; echo "$A|$HOME|$USER"', env={"A": "b c"}, cwd="/tmp"
    )
    assert (status, out) == (0, b"0\n0\n/tmp\nb c|/root|root\n")
    status, out, _ = vmm.run("sh", "-c", "id -u; echo $HOME; cat /proc/1/environ", user="1000")
    assert status == 1 and out == b"1000\n/\n"
    with pytest.raises(ConfigError, match="user"):
        vmm.run("true", user="nobody-knows")
    with pytest.raises(ConfigError, match="directory"):
        vmm.run("true", cwd="/no/such/folder")


def test_many_at_once(vmm: Vmm) -> None:
    results: dict[int, bool] = {}

    def one(number: int) -> None:
        data = os.urandom(150_000 + number)
        status, out, err = vmm.run("sh", "-c", f"echo {number} >&2; cat; exit {number}", stdin=data)
        results[number] = (status, out, err) == (number, data, f"{number}\n".encode())

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(20), True)


def test_a_client_that_does_not_read_holds_up_nobody(vmm: Vmm) -> None:
    with vmm.connect() as lazy:
        lazy.call("exec", argv=["cat", "/dev/zero"])
        assert vmm.run("echo", "still here")[1] == b"still here\n"
        lazy.send(encode_signal(signal.SIGTERM))
        assert lazy.result()[0] == 128 + signal.SIGTERM


def test_time_out(vmm: Vmm) -> None:
    assert vmm.run("sleep", "1000", timeout_s=0.2)[0] == 124


def test_terminal(vmm: Vmm) -> None:
    with vmm.connect() as client:
        script = "stty size; read x; stty size; echo got $x; sleep 1000"
        client.call("exec", argv=["sh", "-c", script], tty=True, columns=132, rows=43)
        client.until(FrameKind.STDOUT, b"43 132")
        client.send(encode_window(100, 30) + encode_data(FrameKind.STDIN, b"word\r"))
        client.until(FrameKind.STDOUT, b"30 100\r\ngot word\r\n")
        client.send(encode_data(FrameKind.STDIN, b"\x03"))
        assert client.result()[0] == 128 + signal.SIGINT


def test_end_of_input_at_a_terminal(vmm: Vmm) -> None:
    assert vmm.run("cat", stdin=b"abc\r", tty=True) == (0, b"abc\r\nabc\r\n", b"")


def test_what_a_command_leaves_behind_does_not_hold_it_up(vmm: Vmm) -> None:
    assert vmm.run("sh", "-c", "sleep 1000 & echo started") == (0, b"started\n", b"")
    wait_for(vmm, "killall sleep")


CLIENT = """
import sys
from pathlib import Path
from tests.guest.vmm import Client
client = Client(sys.argv[1])
script = "trap 'echo > /tmp/hung-up; exit' HUP; echo on; while :; do sleep 0.02; done"
client.call("exec", argv=["sh", "-c", script])
client.frame()
print("on", flush=True)
client.frame()
"""


def test_killed_client(vmm: Vmm) -> None:
    """Its command gets SIGHUP."""
    child = subprocess.Popen(
        [sys.executable, "-c", CLIENT, vmm.config.control_socket],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"on\n"
    child.kill()
    child.wait()
    wait_for(vmm, "test -e /tmp/hung-up")


def test_files(vmm: Vmm) -> None:
    data, modified_ns = os.urandom(3_000_001), 1_234_567_890_123_456_789
    with vmm.connect() as client:
        client.call("files", op="write", path="/tmp/file", mode=0o4751, modified_ns=modified_ns)
        client.send(encode_data(FrameKind.STDIN, data) + encode_frame(FrameKind.STDIN))
        assert client.result()[0] == 0
    with vmm.connect() as client:
        status = client.call("files", op="read", path="/tmp/file")
        assert client.result() == (0, data, b"")
    assert stat.S_ISREG(status["mode"]) and stat.S_IMODE(status["mode"]) == 0o4751
    assert (status["size_bytes"], status["modified_ns"]) == (len(data), modified_ns)
    assert vmm.control.call("files", op="status", path="/tmp/file") == status
    with pytest.raises(ConfigError, match="No such file"):
        vmm.control.call("files", op="status", path="/tmp/missing")
    with vmm.connect() as client, pytest.raises(ConfigError, match="directory"):
        client.call("files", op="write", path="/tmp", mode=0o644, modified_ns=None)
        client.result()


def test_two_clients_at_the_console(vmm: Vmm) -> None:
    with vmm.connect() as one, vmm.connect() as other:
        one.call("console", history=False)
        other.call("console", history=False)
        one.send(encode_data(FrameKind.STDIN, b"echo X$((40+2))X\n"))
        one.until(FrameKind.STDOUT, b"X42X")
        other.until(FrameKind.STDOUT, b"X42X")
        other.send(encode_data(FrameKind.STDIN, b"echo Y$((40+3))Y\n"))
        one.until(FrameKind.STDOUT, b"Y43Y")
    with vmm.connect() as late:
        late.call("console", history=True)
        assert b"X42X" in late.until(FrameKind.STDOUT, b"Y43Y")
    assert b"Y43Y" in (vmm.folder / "console.log").read_bytes()


def test_pause(vmm: Vmm) -> None:
    with vmm.connect() as events:
        events.call("events")
        vmm.control.call("pause")
        assert json.loads(events.file.readline()) == {"event": "paused"}
        before = vmm.status()
        assert before.state == "paused"
        with vmm.connect() as client:
            client.call("exec", argv=["echo", "later"])
            assert vmm.status().instructions == before.instructions
            vmm.control.call("resume")
            assert client.result() == (0, b"later\n", b"")
        assert json.loads(events.file.readline()) == {"event": "running"}


def test_rubbish_on_the_socket_ends_only_its_connection(vmm: Vmm) -> None:
    for rubbish in (
        b"\n",
        b"[" * 100_000 + b"\n",
        b'{"id":1,"method":"status","params":[]}\n',
        b"\xff" * 3_000_000,
    ):
        with vmm.connect() as client:
            threading.Thread(target=_send_quietly, args=(client, rubbish)).start()
            answer = json.loads(client.file.readline())
            assert answer["error"]["kind"] == "config"
    with pytest.raises(ConfigError, match="no method"):
        vmm.control.call("dance")
    assert vmm.status().ready


def _send_quietly(client: Client, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.send(data)


def test_a_killed_agent_comes_back(vmm: Vmm) -> None:
    with vmm.connect() as client:
        client.call("exec", argv=["sh", "-c", "killall -9 innkeeper-agent; sleep 1000"])
        with pytest.raises(GuestError, match="agent"):
            client.result()
    vmm.wait_ready()
    assert vmm.run("echo", "again")[1] == b"again\n"


def test_reboot_and_clean_end(vmm: Vmm) -> None:
    vmm.shell("echo > /tmp/before")
    with vmm.connect() as events:
        events.call("events")
        vmm.control.call("reboot")
        while json.loads(events.file.readline()) != {"event": "ready"}:
            pass
    assert vmm.run("test", "-e", "/tmp/before")[0] == 1
    assert vmm.process is not None
    vmm.process.send_signal(signal.SIGTERM)
    ended = vmm.ended()
    assert (ended.ending, ended.generation) == ("power-off", vmm.config.generation)
    assert vmm.process.returncode == 0
    assert not Path(vmm.config.control_socket).exists()
