# SPDX-License-Identifier: Apache-2.0
"""QEMU as the peer: the same machine, files and ports as ours, executed by TCG."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from innkeeper.bench.programs import QEMU_SYSTEM, require_program
from innkeeper.bench.side import CodeCacheState, GuestRun, LineSplitter, TimedLine
from innkeeper.errors import HostError
from innkeeper.host.clock import HostClock
from innkeeper.images import command_archive, join_initrd
from innkeeper.spec import board
from innkeeper.vmm.network import Adapter, GuestNetwork

ERROR_TAIL_BYTES = 2000
PORTS = (("stdin", 2), ("stdout", 3), ("stderr", 4), ("control", 1))
"""Our machine's named ports, with the numbers they get here. The guest hears of them in this order and looks
for them in the numbers' order until it sees control: so control comes last and is looked at first."""

_NETWORK = ("-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net")
"""Its addresses are those of our user network."""


def cpu_argument(*, privileged: bool = True, also: Sequence[str] = ()) -> str:
    """QEMU's `-cpu`: a bare core with exactly the extensions that our board names, and `also`."""
    names = [name for name in board.EXTENSIONS if name != "i" and (privileged or not name.startswith("s"))]
    names += ["s", "u", "mmu", "pmp", "sv39", "sv48", "sv57"] if privileged else []
    return ",".join([board.BASE_ISA, *(f"{name}=on" for name in (*names, *also))])


class QemuSide:
    """Runs guests in `qemu-system-riscv64`. HostError with the remedy if it is not installed."""

    name = "qemu"
    code_cache: CodeCacheState = ""

    def __init__(self) -> None:
        program = require_program(QEMU_SYSTEM)
        self.version = f"QEMU {program.version} (TCG)"
        self._path = program.path
        self._clock = HostClock()

    def run(self, guest: GuestRun, on_line: Callable[[TimedLine], None]) -> None:
        """See `innkeeper.bench.side.Side`. Output goes through the same virtio port as in our machine."""
        with tempfile.TemporaryDirectory(prefix="innkeeper-bench-") as name:
            folder = Path(name)
            initrd = folder / "initrd"
            command = command_archive(guest.command, {}, None)
            initrd.write_bytes(join_initrd(guest.initrd, command))
            start_ns = self._clock.now_ns()
            process = subprocess.Popen(
                self._arguments(guest, folder, initrd),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            watchdog = threading.Timer(guest.timeout_s, process.kill)
            watchdog.start()
            try:
                assert process.stdout is not None and process.stderr is not None
                lines = LineSplitter(self._clock, start_ns, on_line)
                while data := os.read(process.stdout.fileno(), 65536):
                    lines.feed(data)
                error = process.stderr.read()
                status = process.wait()
            finally:
                watchdog.cancel()
                process.kill()
                process.wait()
            if status != 0:
                tail = error[-ERROR_TAIL_BYTES:] or (folder / "console").read_bytes()[-ERROR_TAIL_BYTES:]
                raise HostError(f"QEMU ended with status {status}: {tail.decode(errors='replace').strip()}")

    def _arguments(self, guest: GuestRun, folder: Path, initrd: Path) -> list[str]:
        append = guest.append
        if guest.network:
            append += f" {GuestNetwork([Adapter()]).kernel_words()}"
        arguments = [
            *(str(self._path), "-M", "virt", "-cpu", cpu_argument(), "-accel", "tcg", "-no-reboot"),
            *("-smp", str(guest.cpus), "-m", f"{guest.memory_bytes >> 20}M"),
            *("-kernel", str(guest.kernel), "-initrd", str(initrd), "-append", append),
            *("-display", "none", "-monitor", "none", "-serial", f"file:{folder / 'serial'}"),
            *("-global", "virtio-mmio.force-legacy=false"),
            *("-device", "virtio-serial-device,max_ports=5"),
            *("-chardev", f"file,id=console,path={folder / 'console'}"),
            *("-device", "virtconsole,chardev=console,nr=0"),
            *("-object", "rng-builtin,id=entropy", "-device", "virtio-rng-device,rng=entropy"),
        ]
        arguments += _NETWORK if guest.network else ["-nic", "none"]
        for port, number in PORTS:
            # Not "stdio", which closes the port for the guest when QEMU's standard input ends.
            path = "/dev/stdout" if port == "stdout" else str(folder / port)
            arguments += ["-chardev", f"file,path={path},id={port}"]
            arguments += ["-device", f"virtserialport,chardev={port},name=innkeeper.{port},nr={number}"]
        if guest.root_disk is not None:
            drive = f"if=none,id=root,file={guest.root_disk},format=raw,snapshot=on"
            arguments += ["-drive", drive, "-device", "virtio-blk-device,drive=root"]
        return arguments
