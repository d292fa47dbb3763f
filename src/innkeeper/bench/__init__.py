# SPDX-License-Identifier: Apache-2.0
"""`inn bench`: measure our engine on real workloads, beside a named peer (QEMU) in the same run.

The guest times its workloads with its own monotonic clock; the boot is timed on the host's. Both sides boot
the same kernel, initrd and command line with the same devices, and alternate. The bare host runs the same
sources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from innkeeper.bench.side import Sides
from innkeeper.errors import ConfigError, HostError

if TYPE_CHECKING:
    from innkeeper import images
    from innkeeper.bench.network import NetworkReport
    from innkeeper.bench.profile import ProfileReport
    from innkeeper.bench.report import Report
    from innkeeper.bench.side import Side

__all__ = ["measure", "measure_profile", "measure_user_network"]

PEERS = ("qemu",)


def measure(
    *,
    against: str | None = None,
    progress: Callable[[str, int, int], None] = lambda title, done, total: None,
    repeats: int | None = None,
    only: list[str] | None = None,
    engine: str = "auto",
    code_caches: Sequence[Literal["cold", "warm"]] = (),
) -> Report:
    """Measure our engine, the peer `against` (None or "qemu"), and the bare host where it has a C compiler.

    `repeats`: runs of each workload on each side (default 5, each in a boot of its own). `only`: names of
    workloads. `code_caches`: with an empty code cache ("cold"), with a filled one ("warm"), or both; else
    with the user's as it is, and `engine`. ConfigError for a name that does not exist; HostError with the
    remedy if QEMU or the cross compiler is missing, or if the image cannot be built.
    """
    from innkeeper.bench.programs import CROSS_COMPILER, require_program
    from innkeeper.bench.session import REPEATS, plan, rounds_of_boots, run_bench

    require_program(CROSS_COMPILER)
    repeats = REPEATS if repeats is None else repeats
    rounds_of_boots(repeats, ())
    peer = _peer(against)
    sessions, notes = plan(only, _boot_files)
    native, why_not = _native_side()
    with ExitStack() as stack:
        ours, cold = _our_sides(engine, code_caches, stack)
        sides = Sides(ours, peer, cold, native)
        return run_bench(sides, sessions, repeats=repeats, notes=[*notes, *why_not], report=progress)


def measure_user_network(
    *,
    against: str | None = None,
    progress: Callable[[str, int, int], None] = lambda title, done, total: None,
    repeats: int | None = None,
    only: list[str] | None = None,
) -> NetworkReport:
    """Measure the user network between guest and host, of the peer too. Errors as of `measure`."""
    from innkeeper.bench.network import REPEATS, measure_network, select
    from innkeeper.bench.ours import InnkeeperSide

    select(only)
    sides: list[Side] = [InnkeeperSide()]
    if peer := _peer(against):
        sides.append(peer)
    boot = _boot_files("small")
    assert boot is not None, "the small image is built where it is missing"
    repeats = REPEATS if repeats is None else repeats
    return measure_network(sides, boot, repeats=repeats, only=only, report=progress)


def _peer(against: str | None) -> Side | None:
    if against is None:
        return None
    if against not in PEERS:
        raise ConfigError(f"there is no peer {against!r}", f"choose from {', '.join(PEERS)}")
    from innkeeper.bench.qemu import QemuSide

    return QemuSide()


def _our_sides(
    engine: str, code_caches: Sequence[Literal["cold", "warm"]], stack: ExitStack
) -> tuple[Side, Side | None]:
    """Our side, and that with an empty code cache where it comes beside one with a filled cache."""
    from innkeeper.bench.ours import CachedSide, InnkeeperSide

    if not code_caches:
        return InnkeeperSide(engine), None
    from innkeeper.bench.code_cache import CodeCache
    from innkeeper.engines.jit import ensure_artifacts

    ensure_artifacts()
    made = {state: CachedSide(state, stack.enter_context(CodeCache())) for state in code_caches}
    if "warm" in made:
        return made["warm"], made.get("cold")
    return made["cold"], None


def _native_side() -> tuple[Side | None, list[str]]:
    """The bare host; without a compiler there is none, and a note says why."""
    from innkeeper.bench.native import NativeSide

    try:
        return NativeSide(), []
    except HostError as error:
        return None, [f"Not measured on the host itself: {error}."]


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
