# SPDX-License-Identifier: Apache-2.0
"""The commands of VMs that stay, with a real hypervisor over stand-in VMMs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.api.places import Places
from innkeeper.cli.parts import ImageRow
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.sync import Client
from tests.unit.cli.fakes import FakeHost
from tests.unit.hypervisor.conftest import temporary_places
from tests.unit.hypervisor.daemon import start


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    with temporary_places() as places:
        start(places)
        yield places
        Client(Endpoint(places.socket)).stop_hypervisor()


@pytest.fixture
def host(places: Places, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    """`inn` with that hypervisor; VMs and snapshots that a test leaves are removed."""
    monkeypatch.setenv("INNKEEPER_RUNTIME", str(places.runtime))
    monkeypatch.setenv("INNKEEPER_STATE", str(places.state))
    client = Client(Endpoint(places.socket))
    yield FakeHost(client=client)
    for vm in client.vms():
        vm.remove(force=True)
    for snapshot in reversed(client.snapshots()):
        snapshot.remove()


class Shell:
    """Runs `inn` and gives what it printed."""

    def __init__(self, host: FakeHost, capfd: pytest.CaptureFixture[str]) -> None:
        self._host, self._capfd = host, capfd
        self.err = ""

    def __call__(self, *arguments: str, status: int = 0) -> str:
        self._capfd.readouterr()
        found = self._host.run(*arguments)
        out, self.err = self._capfd.readouterr()
        assert found == status, self.err
        return out


def test_networks_of_vms(inn: Shell) -> None:
    inn(
        "launch",
        "--name",
        "web",
        "-p",
        "8080:80",
        "--egress",
        "list",
        "--allow",
        "*.example.org",
        "--net",
        "user",
    )
    inn("launch", "--name", "lone", "--net", "none")
    assert inn("port", "add", "web", "0:22", "127.0.0.2:53:53/udp").split() == [
        "127.0.0.1:5000:22/tcp", "127.0.0.2:53:53/udp",
    ]  # fmt: skip
    assert "in use" in _failed(inn, "port", "add", "web", "1:2")
    assert "given twice" in _failed(inn, "port", "add", "web", "8080:80")
    assert "no port" in _failed(inn, "port", "rm", "web", "81")
    inn("port", "rm", "web", "8080")
    rows = json.loads(inn("port", "ls", "web", "--json"))
    assert [(row["host"], row["guest_port"], row["protocol"]) for row in rows] == [
        ("127.0.0.1:5000", 22, "tcp"), ("127.0.0.2:53", 53, "udp"),
    ]  # fmt: skip
    inn("set", "web", "--egress", "deny", "--allow", "", "--deny", "10.0.0.0/8:22")
    assert "no destination" in _failed(inn, "set", "web", "--allow", "no host")
    assert "network user" in _failed(inn, "port", "add", "lone", "1234:80")
    assert "stop it" in _failed(inn, "set", "lone", "--net", "user")
    info = json.loads(inn("info", "web", "--json"))
    assert info["network"] == {
        "adapters": ["user"], "ports": ["127.0.0.1:5000:22/tcp", "127.0.0.2:53:53/udp"],
        "egress": "deny", "allow": [], "deny": ["10.0.0.0/8:22"],
    }  # fmt: skip
    assert info["network_status"]["adapters"][0]["received_frames"] == 2
    shown = inn("info", "web")
    assert "eth0            user" in shown and "tcp 10.0.0.1:80" in shown and "\x1b" not in shown
    (fork,) = inn("fork", "web").split()
    assert json.loads(inn("info", fork, "--json"))["network"]["ports"] == []
    inn("stop", "web", "lone", "--force")
    inn("set", "lone", "--net", "user", "--net", "other")
    assert json.loads(inn("info", "lone", "--json"))["network"]["adapters"] == ["user", "other"]
    assert "network         user other" in inn("info", "lone")


def _failed(inn: Shell, *arguments: str) -> str:
    inn(*arguments, status=2)
    return inn.err


def test_files_go_there_and_back(inn: Shell, tmp_path: Path) -> None:
    inn("launch", "--name", "web")
    (tmp_path / "file").write_bytes(os.urandom(300_000))
    (tmp_path / "empty").touch()
    os.chmod(tmp_path / "file", 0o741)
    os.utime(tmp_path / "file", ns=(1, 1_000_000_000_000_000_001))
    inn("cp", str(tmp_path / "file"), "web:/a")
    assert json.loads(inn("cp", "--json", "web:/a", str(tmp_path / "back"))) == {"files": 1, "bytes": 300_000}
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    status = (tmp_path / "back").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o741, 1_000_000_000_000_000_001)
    inn("cp", str(tmp_path / "empty"), "web:relative")
    inn("cp", "web:/root/relative", str(tmp_path))
    assert (tmp_path / "relative").read_bytes() == b""
    before = sorted(tmp_path.iterdir())
    assert "path" in _failed(inn, "cp", "web:/missing", str(tmp_path / "new"))
    assert "no file" in _failed(inn, "cp", str(tmp_path / "missing"), "web:/x")
    assert "folder" in _failed(inn, "cp", str(tmp_path), "web:/x")
    assert "one VM" in _failed(inn, "cp", "web:/a", "other:/a")
    assert "source and a target" in _failed(inn, "cp", "web:/a")
    assert sorted(tmp_path.iterdir()) == before
    inn("capture", "web", "-w", str(tmp_path / "frames"))
    assert (tmp_path / "frames").read_bytes() == b"sectionframe"
    assert inn("capture", "web", "-w", "-") == "sectionframe"


@pytest.fixture
def inn(host: FakeHost, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(host, capfd)


def test_a_vm_from_launch_to_rm(inn: Shell) -> None:
    assert inn("launch", "--name", "a", "--label", "x=y", "--memory", "1G") == "a\n"
    assert inn("ls", "-q", "--label", "x") == "a\n" and inn("ls", "-q", "-l", "x=z") == ""
    table = inn("ls").splitlines()
    assert table[0].split() == ["NAME", "STATE", "IMAGE", "CPUS", "MEMORY", "RESIDENT", "AGE", "ID"]
    assert table[1].split()[:4] == ["a", "running", "small", "1"]
    assert json.loads(inn("info", "a", "--json"))["memory_bytes"] == 1 << 30
    assert "labels          x=y" in inn("info", "a")
    for command, state in (
        ("pause", "paused"),
        ("resume", "running"),
        ("stop", "stopped"),
        ("start", "running"),
    ):
        inn(command, "a")
        assert json.loads(inn("ls", "--json"))[0]["state"] == state
    inn("restart", "a")
    inn("wait", "a", "--state", "running")
    inn("set", "a", "--name", "b", "--label", "x", "--label", "n=m", "--restart", "always", "--autostart")
    info = json.loads(inn("info", "b", "--json"))
    assert (info["labels"], info["restart"], info["autostart"]) == ({"n": "m"}, "always", True)
    assert inn("rm", "b", status=2) == "" and "stop it first" in inn.err
    inn("rm", "b", "none", "--force", status=2)
    assert "b is removed" in inn.err and "no VM 'none'" in inn.err and inn.err.count("\n") == 2


def test_copies(inn: Shell) -> None:
    inn("launch", "--name", "a")
    assert inn("fork", "a", "--count", "2", "--name", "f").splitlines()[0] == "f"
    assert inn("snapshot", "a", "--name", "s") == "s\n"
    assert inn("snapshots", "ls", "a").splitlines()[1].split()[:3] == ["s", "a", "-"]
    assert json.loads(inn("snapshots", "--json"))[0]["name"] == "s"
    assert inn("restore", "s", "--name", "r") == "r\n"
    assert inn("restore", "s", "--in-place") == "a\n"
    inn("restore", "s", "--in-place", "--name", "x", status=2)
    inn("stop", "a", "--force")
    assert inn("clone", "a", "--name", "c", "--start") == "c\n"
    inn("snapshots", "rm", "s", "t", status=2)
    assert "s is removed" in inn.err


def test_export_and_import(inn: Shell, tmp_path: Path) -> None:
    inn("launch", "--name", "a", "--no-start")
    inn("export", "a", str(tmp_path / "file"))
    assert inn("import", str(tmp_path / "file"), "--name", "b") == "b\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    inn("import", str(tmp_path / "file"), status=2)
    assert "already" in inn.err
    inn("export", "nobody", str(tmp_path / "other"), status=2)
    inn("import", str(tmp_path / "other"), status=2)
    (tmp_path / "file").write_bytes(b"nonsense")
    inn("import", str(tmp_path / "file"), status=2)
    assert "damaged" in inn.err


def test_exec_and_logs(inn: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    inn("launch", "--name", "a")
    reading, writing = os.pipe()
    os.write(writing, b"text")
    os.close(writing)
    saved = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert inn("exec", "a", "--", "cat") == "text" and inn.err == "4"
        assert inn("exec", "a", "--", "exit", "9", status=9) == ""
        said = json.loads(
            inn("exec", "a", "--env", "A=b", "--cwd", "/c", "--user", "u", "--timeout", "5", "--", "x")
        )
        assert (said["env"], said["cwd"], said["user"], said["tty"]) == ({"A": "b"}, "/c", "u", False)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reading)
    assert inn("logs", "a") == "boot\n"
    assert "stand-in for a" in inn("logs", "a", "--source", "vmm")
    assert "started" in inn("events")
    numbers = [json.loads(line)["number"] for line in inn("events", "--json", "--after", "1").splitlines()]
    assert numbers == sorted(numbers) and numbers[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exec", "a"], "no command stands after --"),
        (["exec", "a", "--env", "x", "--", "y"], "NAME=VALUE"),
        (["launch", "--cpus", "x"], "not a number"),
        (["launch", "--label", "x"], "NAME=VALUE"),
        (["launch", "--append", "fail=no_kernel"], "no kernel"),
        (["launch", "--restart", "perhaps"], "restart"),
        (["launch", "--name", "Not A Name"], "name"),
        (["wait", "a", "--state", "happy"], "no state"),
        (["set", "a"], "no VM"),
        (["logs", "a", "--source", "x"], "no log"),
        (["events", "--after", "x"], "number"),
        (["snapshots", "--json", "rm", "x"], "after the command"),
        (["console", "a"], "no VM"),
        (["ls", "--", "x"], "after --"),
    ],
)
def test_wrong_arguments_are_one_line(inn: Shell, arguments: list[str], message: str) -> None:
    assert inn(*arguments, status=2) == ""
    assert message in inn.err and inn.err.startswith("inn: ") and "Traceback" not in inn.err
    assert [line for line in inn.err.splitlines() if not line.startswith("inn: starting")][1:] == []


def test_the_hypervisor_shows_itself(
    inn: Shell, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(places.state) in inn("hypervisor", "status")
    assert json.loads(inn("hypervisor", "status", "--json"))["runtime_folder"] == str(places.runtime)
    assert "ExecStart=" in inn("hypervisor", "unit") and "KillMode=process" in inn("hypervisor", "unit")
    monkeypatch.setenv("INNKEEPER_RUNTIME", str(tmp_path))
    inn("hypervisor", "status", status=2)
    assert "does not run" in inn.err
    inn("hypervisor", "stop")
    inn("hypervisor", "run", "--certificate", "x", status=2)
    assert "--listen" in inn.err


def test_launch_builds_the_image_where_the_user_sees_it(inn: Shell, host: FakeHost) -> None:
    host.images = [ImageRow("small", "", None, None), ImageRow("debian", "", "13", 1)]
    inn("launch", "debian", "--name", "a")
    inn("launch", "--no-start")
    assert host.pulled == []
    inn("launch")
    assert host.pulled == ["small"]
