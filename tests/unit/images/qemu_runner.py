# SPDX-License-Identifier: Apache-2.0
"""Runs guest jobs under QEMU, a machine nobody here wrote, to prove the images by themselves."""

import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from innkeeper.errors import GuestError
from innkeeper.images import GuestJob

PROGRAM = "qemu-system-riscv64"
_PORTS = ("stdin", "stdout", "stderr", "control")
_LAST_BUS = 7


@dataclass
class QemuRunner:
    """Satisfies `GuestRunner`. `output` has what arrived on each port in the last run."""

    stdin: bytes = b""
    cpus: int = 1
    timeout_s: float = 900
    output: dict[str, bytes] = field(default_factory=dict)

    def run(self, job: GuestJob, on_output: Callable[[bytes], None]) -> int:
        """See `GuestRunner.run`. Standard input stays open after `stdin` has been sent."""
        self.output = dict.fromkeys(_PORTS, b"")
        with tempfile.TemporaryDirectory() as folder:
            initrd = Path(folder, "initrd")
            initrd.write_bytes(job.initrd)
            ports = [_Port(name, Path(folder, name)) for name in _PORTS]
            command = self._command(job, initrd, ports)
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
                threads = [threading.Thread(target=self._serve, args=(port, on_output)) for port in ports]
                for thread in threads:
                    thread.start()
                try:
                    process.wait(self.timeout_s)
                finally:
                    process.kill()
                    for port in ports:
                        port.listener.close()
                for thread in threads:
                    thread.join()
        last = self.output["control"].decode().split("\n")[-2:-1]
        if not last or not last[0].startswith("exit "):
            raise GuestError("the guest ended without saying how")
        return int(last[0].removeprefix("exit "))

    def _command(self, job: GuestJob, initrd: Path, ports: list["_Port"]) -> list[str]:
        words = [
            *(PROGRAM, "-M", "virt", "-smp", str(self.cpus), "-m", str(job.memory_bytes >> 20), "-no-reboot"),
            *("-kernel", str(job.kernel), "-initrd", str(initrd), "-append", job.append, "-display", "none"),
            *("-serial", "null", "-global", "virtio-mmio.force-legacy=false", "-chardev", "null,id=console"),
            *("-device", "virtio-serial-device,max_ports=8,bus=virtio-mmio-bus.0"),
            *("-device", "virtconsole,chardev=console,nr=0"),
        ]
        for number, port in enumerate(ports, 1):
            words += ["-chardev", f"socket,id={port.name},path={port.path}"]
            words += ["-device", f"virtserialport,nr={number},chardev={port.name},name=innkeeper.{port.name}"]
        for number, disk in enumerate(job.disks):
            access = "on" if disk.read_only else "off"
            # Linux finds QEMU's buses from the last to the first.
            words += [
                "-drive",
                f"file={disk.path},format=raw,if=none,id=disk{number},cache=unsafe,readonly={access}",
            ]
            words += [
                "-device",
                f"virtio-blk-device,drive=disk{number},bus=virtio-mmio-bus.{_LAST_BUS - number}",
            ]
        return words

    def _serve(self, port: "_Port", on_output: Callable[[bytes], None]) -> None:
        try:
            connection, _ = port.listener.accept()
        except OSError:
            return
        with connection:
            if port.name == "stdin":
                connection.sendall(self.stdin)
            try:
                while data := connection.recv(1 << 16):
                    self.output[port.name] += data
                    if port.name in ("stdout", "stderr"):
                        on_output(data)
            except OSError:
                pass


class _Port:
    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
