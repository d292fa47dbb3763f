# SPDX-License-Identifier: Apache-2.0
"""What a second hart brings: two runs of a program, one after the other and at once, on two harts.

    .venv/bin/python benchmarks/harts.py [ROUNDS]

Each round does both, so that a host that slows down slows both. Needs the cross compiler, as `inn bench`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile

from innkeeper import Machine, images
from innkeeper.bench.workloads import GUEST_PATH, compile_program, workload_archive
from innkeeper.vmm.job import GuestJobRunner

WORKLOADS = ("integer_mix", "interpreter", "sha256", "string_records")
ROUNDS = 7
SCRIPT = """
now() {{ read -r seconds _ </proc/uptime; echo $seconds; }}
work() {{ {program} 1 $1 >/dev/null; }}
for name in {names}; do
    work $name & work $name & wait
    for round in $(seq {rounds}); do
        begin=$(now); work $name; work $name
        middle=$(now); work $name & work $name & wait
        echo $name $begin $middle $(now)
    done
done
"""


def measure(rounds: int) -> dict[str, list[float]]:
    """By workload, for each round: how many times faster both are at once than one after the other."""
    files = images.ensure("small", images.SILENT, GuestJobRunner("auto", None))
    archive = workload_archive(compile_program())
    script = SCRIPT.format(program=GUEST_PATH["small"], names=" ".join(WORKLOADS), rounds=rounds)
    with tempfile.NamedTemporaryFile(suffix=".initrd") as initrd:
        initrd.write(images.join_initrd(files.initrd.read_bytes(), archive))
        initrd.flush()
        result = Machine(cpus=2, memory_bytes=1 << 30, initrd=initrd.name, timeout_s=600).run(script)
    found: dict[str, list[float]] = {name: [] for name in WORKLOADS}
    for line in result.stdout.decode().splitlines():
        name, *moments = line.split()
        begin, middle, end = map(float, moments)
        found[name].append((middle - begin) / (end - middle))
    return found


if __name__ == "__main__":
    everything = []
    for name, ratios in measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS).items():
        everything += ratios
        print(f"{name:16} {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"{'median of all':16} {statistics.median(everything):.2f}")
