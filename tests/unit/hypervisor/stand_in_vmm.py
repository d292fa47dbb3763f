# SPDX-License-Identifier: Apache-2.0
"""A process that speaks the VMM's protocol and has no machine: for tests that need hundreds.

The kernel command line says how it behaves: `fail=REASON` ends before it answers, `dumb` ends without a word,
`deaf` ignores a clean stop, `silent` never becomes ready. tests/guest has the real VMM.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from innkeeper.api.frames import FrameKind, FrameReader, encode_data, encode_exit, encode_frame
from innkeeper.api.messages import (
    LineReader,
    Request,
    decode_request,
    encode_error,
    encode_line,
    encode_result,
)
from innkeeper.api.vmm_protocol import ENDED_FILE, EndedRecord, Ending, VmmConfig, VmStatus
from innkeeper.errors import ConfigError, HostError, InnkeeperError
from innkeeper.host.processes import process_start_ticks

STREAMS = ("console", "exec", "events", "capture")


class StandIn:
    """One VM that is only a state."""

    def __init__(self, config: VmmConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.state: Any = "running"
        self.changed = threading.Condition()
        self.events: list[dict[str, Any]] = []
        self.words = dict(word.partition("=")[::2] for word in config.append.split())
        self.ready = "silent" not in self.words
        self.ports = list(config.ports)
        self.files: dict[str, tuple[bytes, int, int]] = {}

    def serve(self) -> None:
        path = Path(self.config.control_socket)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(64)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self.talk, args=(connection, listener), daemon=True).start()

    def talk(self, connection: socket.socket, listener: socket.socket) -> None:
        lines = LineReader()
        try:
            while data := connection.recv(65536):
                for line in lines.feed(data):
                    request = decode_request(line)
                    op = request.params.get("op")
                    if request.method in STREAMS or (request.method == "files" and op != "status"):
                        try:
                            answer = self.do_files(dict(request.params)) if op == "read" else {}
                        except ConfigError as error:
                            connection.sendall(encode_error(request.id, error))
                            return
                        connection.sendall(encode_result(request.id, answer))
                        getattr(self, f"stream_{request.method}")(connection, request, lines.rest())
                        return
                    self.answer(connection, listener, request)
        except OSError:
            pass
        finally:
            connection.close()

    def answer(self, connection: socket.socket, listener: socket.socket, request: Request) -> None:
        try:
            if request.method == "fork":
                result = self.fork(listener, request)
            else:
                result = getattr(self, f"do_{request.method}")(dict(request.params)) or {}
        except InnkeeperError as error:
            connection.sendall(encode_error(request.id, error))
            return
        connection.sendall(encode_result(request.id, result))
        if request.method == "stop" and (request.params.get("force") or "deaf" not in self.words):
            self.end("stopped", "stopped by request")

    def tell(self, event: str, **data: Any) -> None:
        with self.changed:
            self.events.append({"event": event, **data})
            self.changed.notify_all()

    def end(self, ending: Ending, reason: str) -> None:
        ticks = process_start_ticks(os.getpid()) or 0
        record = EndedRecord(ending, reason, 0, self.config.generation, os.getpid(), ticks)
        scratch = self.folder / "ended.new"
        scratch.write_text(json.dumps(record.to_json()))
        scratch.rename(self.folder / ENDED_FILE)
        os._exit(0)

    def do_status(self, params: dict[str, Any]) -> dict[str, Any]:
        return VmStatus(
            id=self.config.id, state=self.state, ready=self.ready, pid=os.getpid(),
            process_start_ticks=process_start_ticks(os.getpid()) or 0, generation=self.config.generation,
            started_ns=0, now_ns=1, cpus=self.config.cpus, memory_bytes=self.config.memory_bytes,
            instructions=7, resident_bytes=1 << 20,
        ).to_json()  # fmt: skip

    def do_pause(self, params: dict[str, Any]) -> None:
        self.state = "paused"
        self.tell("paused")

    def do_resume(self, params: dict[str, Any]) -> None:
        self.state = "running"
        self.tell("running")

    def do_stop(self, params: dict[str, Any]) -> None:
        pass

    def do_resize(self, params: dict[str, Any]) -> None:
        raise ConfigError("this guest cannot be resized while it runs", "stop it first")

    def do_network(self, params: dict[str, Any]) -> dict[str, Any]:
        adapters = [
            {
                "name": f"eth{i}", "network": name, "mac_address": self.config.mac_addresses[i],
                "sent_frames": 1, "sent_bytes": 60, "received_frames": 2, "received_bytes": 120,
                "dropped_frames": 0,
            }
            for i, name in enumerate(self.config.networks)
        ]  # fmt: skip
        refused = {
            "time_ns": 1, "protocol": "tcp", "address": "10.0.0.1", "port": 80, "names": [], "reason": "\x1b",
        }  # fmt: skip
        return {"adapters": adapters, "ports": self.ports, "refused": [refused], "refused_total": 1}

    def do_set_network(self, params: dict[str, Any]) -> dict[str, Any]:
        """A port 0 becomes 5000; 1 is in use."""
        if any(":1:" in port for port in params["add_ports"]):
            raise HostError("port 1 is in use", "choose another port")
        added = [port.replace(":0:", ":5000:") for port in params["add_ports"]]
        self.ports = [port for port in self.ports if port not in params["remove_ports"]] + added
        return {"added": added}

    def do_files(self, params: dict[str, Any]) -> dict[str, Any]:
        if params["path"] not in self.files:
            raise ConfigError("the guest could not open it", "check the path")
        data, mode, modified_ns = self.files[params["path"]]
        return {
            "mode": mode | 0o100000, "links": 1, "uid": 0, "gid": 0, "size_bytes": len(data),
            "modified_ns": modified_ns,
        }  # fmt: skip

    def stream_files(self, connection: socket.socket, request: Request, rest: bytes) -> None:
        """Files that are only in memory."""
        path = request.params["path"]
        if request.params["op"] == "read":
            connection.sendall(encode_data(FrameKind.STDOUT, self.files[path][0]) + encode_exit(0))
            return
        frames, data, content = FrameReader(), rest, b""
        while True:
            for kind, payload in frames.feed(data):
                if kind == FrameKind.STDIN and not payload:
                    params = request.params
                    self.files[path] = content, params["mode"], params["modified_ns"] or 0
                    connection.sendall(encode_exit(0))
                    return
                content += payload
            data = connection.recv(65536)
            if not data:
                return

    def stream_capture(self, connection: socket.socket, request: Request, rest: bytes) -> None:
        connection.sendall(
            encode_data(FrameKind.STDOUT, b"section") + encode_data(FrameKind.STDOUT, b"frame")
        )

    def do_snapshot(self, params: dict[str, Any]) -> dict[str, Any]:
        if "full" in self.words:
            raise HostError("no room left on the disk", "free some space")
        folder = Path(params["folder"])
        folder.mkdir()
        (folder / "snapshot.json").write_text(json.dumps({"parent": params["parent"]}))
        (folder / "memory.pack").write_bytes(os.urandom(100_000) + bytes(200_000))
        return {"pause_ns": 5_000_000}

    def do_crash(self, params: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fork(self, listener: socket.socket, request: Request) -> dict[str, Any]:
        pids = []
        for data in request.params["configs"]:
            config = VmmConfig.from_json(data)
            reading, writing = os.pipe()
            if os.fork() == 0:
                try:
                    listener.close()
                    os.setsid()
                    if os.fork() == 0:
                        os.write(writing, os.getpid().to_bytes(8, "little"))
                        folder = Path(config.console_log).parent
                        StandIn(config, folder).serve()
                finally:
                    os._exit(0)
            os.close(writing)
            pids.append(int.from_bytes(os.read(reading, 8), "little"))
            os.close(reading)
            os.wait()
        return {"pids": pids}

    def stream_events(self, connection: socket.socket, request: Request, rest: bytes) -> None:
        position = len(self.events)
        while True:
            with self.changed:
                while position >= len(self.events):
                    self.changed.wait()
                events = self.events[position:]
            position += len(events)
            for event in events:
                connection.sendall(encode_line(event))

    def stream_console(self, connection: socket.socket, request: Request, rest: bytes) -> None:
        """Says hello, and says again what it is told."""
        connection.sendall(encode_data(FrameKind.STDOUT, b"login: "))
        frames = FrameReader()
        data = rest
        while True:
            for kind, payload in frames.feed(data):
                if kind == FrameKind.STDIN:
                    connection.sendall(encode_frame(FrameKind.STDOUT, payload))
            data = connection.recv(65536)
            if not data:
                return

    def stream_exec(self, connection: socket.socket, request: Request, rest: bytes) -> None:
        """`cat` gives its input back and its length on stderr; `exit N` ends so; others say their request."""
        argv = request.params["argv"]
        if argv[0] == "exit":
            connection.sendall(encode_exit(int(argv[1])))
            return
        if argv[0] != "cat":
            said = json.dumps(dict(request.params), sort_keys=True).encode()
            connection.sendall(encode_data(FrameKind.STDOUT, said) + encode_exit(0))
            return
        frames, data, total = FrameReader(), rest, 0
        while True:
            for kind, payload in frames.feed(data):
                if kind == FrameKind.SIGNAL:
                    connection.sendall(encode_exit(128 + payload[0]))
                    return
                if kind == FrameKind.WINDOW:
                    connection.sendall(encode_data(FrameKind.STDERR, payload))
                if kind == FrameKind.STDIN and not payload:
                    said = str(total).encode()
                    connection.sendall(encode_data(FrameKind.STDERR, said) + encode_exit(0))
                    return
                if kind == FrameKind.STDIN:
                    total += len(payload)
                    connection.sendall(encode_data(FrameKind.STDOUT, payload))
            data = connection.recv(65536)
            if not data:
                return


def main() -> None:
    path = Path(sys.argv[1])
    vm = StandIn(VmmConfig.read(path), path.parent)
    Path(vm.config.console_log).write_bytes(b"boot\n")
    print(f"stand-in for {vm.config.name}", flush=True)
    if vm.config.restore_from and "restored" not in vm.words:
        (path.parent / "restored").write_text(vm.config.restore_from)
    if "fail" in vm.words:
        vm.end("failed", vm.words["fail"].replace("_", " "))
    if "dumb" in vm.words:
        raise SystemExit("this VMM gives up")
    signal.signal(signal.SIGTERM, lambda *_: vm.end("stopped", "told to end"))
    vm.serve()


if __name__ == "__main__":
    main()
