# SPDX-License-Identifier: Apache-2.0
"""What a VM that floods its network leaves to its neighbour.

    .venv/bin/python benchmarks/neighbour.py

A guest reads streams from the host: alone, while another VM computes, and while another VM scans and floods
with all it has: datagrams from 8 processes, echo requests, and connections to ports and hosts without an end.
Two busy VMs share the host's cores in any case, so what counts is the last beside the second: a flood must
cost the neighbour no more than any other work of the same VM would. Also said is what the flooding VMM takes
of memory. It needs the cross compiler of tests/oracle/install.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from innkeeper.bench.network import compile_guest_program

INN = str(Path(sys.executable).with_name("inn"))
STREAM_BYTES, STREAMS, ROUNDS = 64 << 20, 3, 3
BUSY = "cat >/dev/null; echo begun; while :; do :; done"
# The flooding program comes by standard input; PORT takes datagrams and reads none.
FLOOD = """
cat >/tmp/flood && chmod 755 /tmp/flood && echo begun
/tmp/flood 10.0.2.2 $((PORT - 3)) udp 8 2000000000 >/dev/null 2>&1 &
for number in 1 2; do ping -q -i 0.001 -s 1400 10.0.2.2 & done >/dev/null 2>&1
port=1
while :; do
    for host in 1 2 3 4 5 6 7 8; do
        nc -w 1 192.0.2.$host $port </dev/null & nc -w 1 10.0.2.2 $port </dev/null &
    done >/dev/null 2>&1
    port=$((port % 60000 + 1))
done
"""


class Giver:
    """Gives streams to who connects; how fast each has gone."""

    def __init__(self) -> None:
        self.mbit_per_s: list[float] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._main, daemon=True).start()

    def _main(self) -> None:
        chunk = bytes(1 << 20)
        while True:
            client, _ = self._listening.accept()
            with client, contextlib.suppress(OSError):
                begin_s = time.monotonic()
                for _ in range(STREAM_BYTES >> 20):
                    client.sendall(chunk)
                client.shutdown(socket.SHUT_WR)
                client.recv(1)
                self.mbit_per_s.append(STREAM_BYTES * 8e-6 / (time.monotonic() - begin_s))


@contextlib.contextmanager
def neighbour(script: str | None) -> Iterator[subprocess.Popen[bytes] | None]:
    """Another VM that does `script`, until the block is left."""
    if script is None:
        yield None
        return
    drain = socket.socket(type=socket.SOCK_DGRAM)
    drain.bind(("127.0.0.1", 0))
    script = script.replace("PORT", str(drain.getsockname()[1]))
    rules = ["--allow", "host", "--allow", "icmp:host"]
    command = [INN, "run", "--memory", "256M", *rules, "--", "sh", "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with drain, subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(compile_guest_program())
            process.stdin.close()
            if process.stdout.readline() != b"begun\n":
                raise SystemExit("the neighbour did not start")
            yield process
        finally:
            process.kill()


def resident_mib(process: subprocess.Popen[bytes]) -> float:
    """Source: proc_pid_status(5), VmRSS."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def measure(script: str | None) -> tuple[float, float]:
    """Mbit/s of a guest's streams beside a VM that does `script`, and that VM's memory in MiB."""
    giver = Giver()
    reads = f"for number in $(seq {STREAMS}); do nc 10.0.2.2 {giver.port} </dev/null >/dev/null; done"
    with neighbour(script) as process:
        rule = f"host:{giver.port}"
        subprocess.run([INN, "run", "--allow", rule, "--", "sh", "-c", reads], check=True)
        return statistics.median(giver.mbit_per_s), resident_mib(process) if process else 0.0


def main() -> None:
    """Print the table."""
    rates: dict[str, list[float]] = {}
    memory_mib: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, script in (("alone", None), ("computing", BUSY), ("flooding", FLOOD)):
            rate, taken_mib = measure(script)
            rates.setdefault(name, []).append(rate)
            memory_mib[name] = max(memory_mib.get(name, 0), taken_mib)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, median in medians.items():
        print(f"neighbour {name:10}{median:10,.0f} Mbit/s; it takes {memory_mib[name]:,.0f} MiB")
    ratio = medians["flooding"] / medians["computing"]
    print(f"beside a flood {ratio:.2f} times what is had beside a computation (bar: 0.80)")


if __name__ == "__main__":
    main()
