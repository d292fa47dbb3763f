# SPDX-License-Identifier: Apache-2.0
"""How much of a core an idle guest takes: at a shell of the `small` image, 1 and 2 harts.

    .venv/bin/python benchmarks/idle.py

The guest sits at its prompt on a pseudo-terminal, as in `inn run`. CPU time is that of the whole process,
host side included, between two moments well after the boot.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

SETTLE_S, MEASURE_S = 5.0, 20.0
PROMPT = b"# "
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process so far. Source: proc_pid_stat(5), fields 14 and 15."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def wait_for_prompt(terminal: int) -> None:
    """Read until the guest's shell asks for a command, answering its question where the cursor is."""
    seen = b""
    while not seen.endswith(PROMPT):
        data = os.read(terminal, 4096)
        if b"\x1b[6n" in data:
            os.write(terminal, b"\x1b[1;1R")
        seen = (seen + data.replace(b"\x1b[6n", b""))[-200:]


def measure(cpus: int) -> float:
    """Share of one core, 0.02 for 2 %."""
    main, guest = pty.openpty()
    command = [str(Path(sys.executable).with_name("inn")), "run", "--cpus", str(cpus)]
    with subprocess.Popen(command, stdin=guest, stdout=guest, stderr=guest) as process:
        try:
            wait_for_prompt(main)
            time.sleep(SETTLE_S)
            begin_s, before_s = time.monotonic(), cpu_s(process.pid)
            time.sleep(MEASURE_S)
            return (cpu_s(process.pid) - before_s) / (time.monotonic() - begin_s)
        finally:
            process.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    for cpus in (1, 2):
        print(f"{cpus} hart(s): {100 * measure(cpus):.2f} % of a core")
