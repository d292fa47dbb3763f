# SPDX-License-Identifier: Apache-2.0
"""What forks cost: 50 VMs forked from one, in time and in memory, while all of them answer.

    .venv/bin/python benchmarks/forks.py [COUNT]

A hypervisor of its own is started in a temporary folder. One VM of the default image is asked for forks at
once, a while after it has booted: what its kernel puts off until then each fork would do for itself. The time
is from that call to its answer, when all of them run. Then each runs a command, and when they have been idle
for a while the proportional set size (PSS) of their processes is read: what they share is divided by those
who share it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COUNT, SETTLE_S = 50, 10.0
MIB = 1 << 20


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process. Source: proc_pid_smaps(5), smaps_rollup."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise OSError(f"process {pid} has no PSS")


def main(count: int) -> None:
    """Measure and print."""
    import innkeeper

    inn = str(Path(sys.executable).with_name("inn"))
    subprocess.run([inn, "images", "pull", "small"], check=True)  # a VMM that builds it is larger
    with innkeeper.connect() as client:
        vms = []
        try:
            origin = client.create("small", name="origin")
            vms.append(origin)
            origin.wait("ready")
            time.sleep(SETTLE_S)
            origin.exec(["hostname"])  # its code is translated once, for all of them
            begin_s = time.monotonic()
            vms += origin.fork(count)
            running_s = time.monotonic() - begin_s
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda vm: vm.wait("ready"), vms[1:]))
                ready_s = time.monotonic() - begin_s
                names = {out.stdout for out in pool.map(lambda vm: vm.exec(["hostname"]), vms)}
            answered_s = time.monotonic() - begin_s
            assert len(names) == count + 1, "not all of them answered as themselves"
            time.sleep(SETTLE_S)
            sizes = [pss_bytes(vm.refresh().pid or 0) / MIB for vm in vms]
            print(f"{count} forks: {1000 * running_s / count:.1f} ms each from the call to running")
            print(f"all ready after {ready_s:.2f} s, all have answered a command after {answered_s:.2f} s")
            forks = sorted(sizes[1:])
            print(f"PSS of an idle fork: median {statistics.median(forks):.1f} MiB, most {forks[-1]:.1f} MiB")
            print(f"PSS of all {count + 1} VMs: {sum(sizes):.0f} MiB")
        finally:
            for vm in vms:
                vm.remove(force=True)
            client.stop_hypervisor()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INNKEEPER_STATE"], os.environ["INNKEEPER_RUNTIME"] = f"{folder}/state", f"{folder}/run"
        main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)
