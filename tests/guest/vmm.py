# SPDX-License-Identifier: Apache-2.0
"""A VMM process, and a plain client of its control socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from innkeeper.api.frames import (
    FrameKind,
    decode_exit,
    decode_failure,
    encode_data,
    encode_frame,
)
from innkeeper.api.messages import decode_answer, encode_request
from innkeeper.api.vmm_protocol import CONFIG_FILE, ENDED_FILE, VMM_MODULE, EndedRecord, VmmConfig, VmStatus
from innkeeper.errors import InnkeeperError

WAIT_S = 120.0


class Client:
    """One connection. A call that the VMM refuses raises its error."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(path)
        self.file: BinaryIO = self.socket.makefile("rb")
        self._number = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self.socket.sendall(encode_request(self._number, method, params))
        number, answer = decode_answer(self.file.readline())
        assert number == self._number
        if isinstance(answer, InnkeeperError):
            raise answer
        return answer

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def frame(self) -> tuple[FrameKind, bytes] | None:
        """The next frame, None at the end."""
        head = self.file.read(5)
        if len(head) < 5:
            return None
        return FrameKind(head[0]), self.file.read(int.from_bytes(head[1:], "big"))

    def until(self, kind: FrameKind, wanted: bytes) -> bytes:
        """Frames until what is in those of this kind holds `wanted`."""
        seen = b""
        while wanted not in seen:
            frame = self.frame()
            assert frame is not None, f"the stream ended after {seen!r}"
            if frame[0] is kind:
                seen += frame[1]
        return seen

    def result(self) -> tuple[int, bytes, bytes]:
        """Status, standard output and error of a command. Raises the error that ended it."""
        out, err = bytearray(), bytearray()
        while frame := self.frame():
            kind, payload = frame
            if kind is FrameKind.STDOUT:
                out += payload
            elif kind is FrameKind.STDERR:
                err += payload
            elif kind is FrameKind.EXIT:
                return decode_exit(payload), bytes(out), bytes(err)
            elif kind is FrameKind.ERROR:
                raise decode_failure(payload)
        raise AssertionError(f"the stream ended after {bytes(out)!r} {bytes(err)!r}")


class Vmm:
    """A VMM process in `folder`, or a fork that answers there (`process` None)."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None, config: VmmConfig) -> None:
        self.folder, self.process, self.config = folder, process, config
        self.control = Client(self._reached())

    def _reached(self) -> str:
        """The path of the control socket, once somebody listens there."""
        path = self.config.control_socket
        deadline = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
                return path
            assert self.process is None or self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.005)

    def log(self) -> str:
        path = self.folder / "vmm.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def connect(self) -> Client:
        return Client(self.config.control_socket)

    def status(self) -> VmStatus:
        return VmStatus.from_json(self.control.call("status"))

    def wait_ready(self) -> VmStatus:
        deadline = time.monotonic() + WAIT_S
        while not (status := self.status()).ready:
            assert time.monotonic() < deadline, status
            time.sleep(0.005)
        return status

    def run(self, *argv: str, stdin: bytes = b"", **params: Any) -> tuple[int, bytes, bytes]:
        """Run a command in the guest: status, standard output, standard error."""
        with self.connect() as client:
            client.call("exec", argv=argv, **params)

            def feed() -> None:
                # A command that has ended takes no more.
                with contextlib.suppress(OSError):
                    client.send(encode_data(FrameKind.STDIN, stdin) + encode_frame(FrameKind.STDIN))

            feeder = threading.Thread(target=feed)
            feeder.start()
            try:
                return client.result()
            finally:
                feeder.join()

    def shell(self, script: str) -> str:
        """What a script prints; it must end well."""
        status, out, err = self.run("sh", "-c", script)
        assert status == 0, err
        return out.decode()

    def ended(self) -> EndedRecord:
        """How it ended, once its process, of a fork its socket, is gone."""
        if self.process is not None:
            self.process.wait(WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while Path(self.config.control_socket).exists():
            assert time.monotonic() < deadline, "the socket is still there"
            time.sleep(0.005)
        return EndedRecord.from_json(json.loads((self.folder / ENDED_FILE).read_text("utf-8")))

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError, InnkeeperError):
            self.control.call("stop", force=True)
        self.control.close()
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
            self.process.wait()


def config_of(folder: Path, number: int, **fields: Any) -> VmmConfig:
    """A configuration of VM `number` whose folder is `folder`; nothing in two of them is the same."""
    return VmmConfig(
        **{
            "id": f"{number:012x}",
            "name": f"vm{number}",
            "control_socket": str(folder / "vmm.sock"),
            "console_log": str(folder / "console.log"),
            "generation": f"{number + 1:032x}",
            "memory_bytes": 256 << 20,
            "mac_addresses": (f"02:00:00:00:00:{number:02x}",),
            "networks": ("none",),
            **fields,
        }
    )


def start_vmm(folder: Path, number: int, **fields: Any) -> Vmm:
    """Start a VMM as the hypervisor does."""
    config = config_of(folder, number, **fields)
    (folder / CONFIG_FILE).write_text(json.dumps(config.to_json()), "utf-8")
    with open(folder / "vmm.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", VMM_MODULE, os.fspath(folder / CONFIG_FILE)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        return Vmm(folder, process, config)
    except BaseException:
        process.kill()
        process.wait()
        raise
