# SPDX-License-Identifier: Apache-2.0
"""How long a guest of 512 MiB stands still for a live snapshot: just booted, and with all its memory written.

    .venv/bin/python benchmarks/snapshots.py [REPEATS]

The pause is what the VMM measures, from the moment when the harts are at rest to the one when they may go on.
Beside it stand the time until the snapshot is durable, and its size.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.guest.vmm import Vmm, start_vmm

REPEATS = 5
MIB = 1 << 20
# Bytes that do not repeat, so that equal pages are not what is measured; some memory is left to the guest.
FILL = (
    "mkdir /fill && mount -t tmpfs -o size=420m none /fill"
    " && dd if=/dev/urandom of=/fill/bytes bs=1M count=370 2>/dev/null && free -m | grep Mem"
)


def measure(vmm: Vmm, folder: Path, what: str, repeats: int) -> None:
    """Take snapshots and print what they took."""
    pauses_ms, whole_s, size_bytes = [], [], 0
    for number in range(repeats):
        target = folder / f"{what.replace(' ', '-')}-{number}"
        begin_s = time.monotonic()
        result = vmm.control.call("snapshot", folder=str(target), parent=None)
        whole_s.append(time.monotonic() - begin_s)
        pauses_ms.append(result["pause_ns"] / 1e6)
        size_bytes = result["stored_bytes"]
        shutil.rmtree(target)
    print(
        f"{what}: pause median {statistics.median(pauses_ms):.1f} ms, longest {max(pauses_ms):.1f} ms;"
        f" durable after {statistics.median(whole_s):.2f} s, {size_bytes / MIB:.0f} MiB"
    )


def main(repeats: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vmm = start_vmm(folder, 1, memory_bytes=512 * MIB)
        vmm.control.socket.settimeout(600)
        try:
            vmm.wait_ready()
            measure(vmm, folder, "just booted", repeats)
            print(vmm.shell(FILL).strip())
            measure(vmm, folder, "all memory written", repeats)
        finally:
            vmm.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS)
