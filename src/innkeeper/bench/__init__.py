# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: measure our engine on real workloads, beside a named peer (QEMU) in the same run.

The guest times its workloads with its own monotonic clock; the boot is timed on the host's. Both sides boot
the same kernel, initrd and command line with the same devices, and alternate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from innkeeper.errors import ConfigError

if TYPE_CHECKING:
    from innkeeper import images
    from innkeeper.bench.profile import ProfileReport
    from innkeeper.bench.report import Report
    from innkeeper.bench.side import Side

__all__ = ["measure", "measure_profile"]

PEERS = ("qemu",)


def measure(
    *,
    against: str | None = None,
    progress: Callable[[str, int, int], None] = lambda title, done, total: None,
    repeats: int | None = None,
    only: list[str] | None = None,
    engine: str = "auto",
) -> Report:
    """Measure our engine, and the peer `against` (None or "qemu").

    `repeats`: runs of each workload on each side (default 6, over 3 boots). `only`: names of workloads.
    ConfigError for a name that does not exist; HostError with the remedy if QEMU or the cross compiler is
    missing, or if the image cannot be built.
    """
    from innkeeper.bench.programs import CROSS_COMPILER, require_program
    from innkeeper.bench.session import REPEATS, plan, run_bench

    if against is not None and against not in PEERS:
        raise ConfigError(f"there is no peer {against!r}", f"choose from {', '.join(PEERS)}")
    require_program(CROSS_COMPILER)
    peers: list[Side] = []
    if against == "qemu":
        from innkeeper.bench.qemu import QemuSide

        peers.append(QemuSide())

    sessions, notes = plan(only, _boot_files)
    from innkeeper.bench.ours import InnkeeperSide

    sides = [InnkeeperSide(engine), *peers]
    return run_bench(sides, sessions, repeats=repeats or REPEATS, notes=notes, report=progress)


def measure_profile(
    *,
    progress: Callable[[str, int, int], None] = lambda title, done, total: None,
    only: list[str] | None = None,
) -> ProfileReport:
    """Say where the time of each workload and of the boot goes on the jit engine. Errors as of `measure`."""
    from innkeeper.bench.profile import profile_sessions
    from innkeeper.bench.programs import CROSS_COMPILER, require_program
    from innkeeper.bench.session import plan

    require_program(CROSS_COMPILER)
    sessions, _ = plan(only, _boot_files)
    return profile_sessions(sessions, progress)


def _boot_files(name: str) -> images.BootFiles | None:
    """The files of an image; only the small one is built for a measurement."""
    from innkeeper import images

    if name != "small" and name not in {image.name for image in images.installed()}:
        return None
    return images.ensure(name, images.SILENT, None)
