# SPDX-License-Identifier: Apache-2.0
"""The benchmark itself: boot each side in turn, let the guest time its workloads, gather the results.

Every boot of a side runs each workload some rounds; sides alternate, so a host that slows down slows both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from innkeeper.bench.report import Report
from innkeeper.bench.results import SideResults
from innkeeper.bench.side import GuestRun, Side, Sides
from innkeeper.bench.workloads import GUEST_PATH, all_workloads, compile_program, select, workload_archive
from innkeeper.errors import ConfigError, GuestError
from innkeeper.images import BootFiles, join_initrd

BOOTS_EACH_SIDE = 5
REPEATS = 5
BOOT_IMAGE = "small"
"""The image whose boot is timed."""
CPUS = 1
MEMORY_BYTES = 1 << 30
BOOT_TIMEOUT_S = 120.0
WORKLOAD_TIMEOUT_S = 60.0

ReportProgress = Callable[[str, int, int], None]
"""Title, how much is done, of how much."""


@dataclass(frozen=True)
class Session:
    """One image with the arguments of the guest's program: workload names, or `name=command`."""

    image: str
    boot: BootFiles
    workloads: Sequence[str]
    count_boot: bool

    def guest_run(self, archive: bytes, rounds: int) -> GuestRun:
        """The run of one boot."""
        return GuestRun(
            image=self.image,
            kernel=self.boot.kernel,
            initrd=join_initrd(self.boot.initrd.read_bytes(), archive),
            append=self.boot.append,
            root_disk=self.boot.root_disk,
            command=(GUEST_PATH[self.image], str(rounds), *self.workloads),
            cpus=CPUS,
            memory_bytes=MEMORY_BYTES,
            timeout_s=BOOT_TIMEOUT_S + WORKLOAD_TIMEOUT_S * rounds * len(self.workloads),
        )


def run_sessions(
    sides: Sequence[Side], sessions: Sequence[Session], rounds: Sequence[int], report: ReportProgress
) -> list[SideResults]:
    """Run every session on every side, alternating: a boot of each side for each of `rounds`.

    `rounds` says how often a boot runs each workload.
    """
    results = [SideResults(side.name, side.version, side.code_cache) for side in sides]
    archive = workload_archive(compile_program())
    each = [len(session.workloads) + session.count_boot for session in sessions]
    total = len(sides) * sum(each) * sum(rounds)
    done = 0
    title = "Measuring"
    for session, amount in zip(sessions, each, strict=True):
        for number, count in enumerate(rounds):
            guest = session.guest_run(archive, count)
            for side, result in zip(sides, results, strict=True):
                title = f"Measuring {side.version}, {session.image}, boot {number + 1} of {len(rounds)}"
                report(title, done, total)
                _run_once(side, guest, result, session)
                done += amount * count
    report(title, total, total)
    return results


def _run_once(side: Side, guest: GuestRun, result: SideResults, session: Session) -> None:
    result.ended = False
    side.run(guest, lambda line: result.take(line, count_boot=session.count_boot))
    if not result.ended:
        raise GuestError(f"the guest in {side.version} powered off before its workloads had ended")


def plan(
    only: list[str] | None, boot_files: Callable[[str], BootFiles | None]
) -> tuple[list[Session], list[str]]:
    """The sessions to run and notes about what is left out. ConfigError if nothing is left."""
    sessions, notes = [], []
    wanted = select(only)
    for image in GUEST_PATH:
        workloads = [workload for workload in wanted if workload.image == image]
        boot = boot_files(image) if workloads else None
        if boot is not None:
            arguments = [workload.argument for workload in workloads]
            sessions.append(Session(image, boot, arguments, count_boot=image == BOOT_IMAGE))
        elif workloads:
            names = ", ".join(workload.name for workload in workloads)
            notes.append(f"Not measured: {names} (run `inn images pull {image}` first).")
    if not sessions:
        raise ConfigError("there is nothing to measure", "; ".join(notes) or "leave out --only")
    return sessions, notes


def rounds_of_boots(repeats: int, sides: Sequence[Side]) -> list[int]:
    """How often each boot runs each workload, `repeats` times in all. ConfigError if that is less than once.

    With an empty code cache only the first run of a boot is a cold one: then each has a boot of its own.
    """
    if repeats < 1:
        raise ConfigError(f"{repeats} repeats are too few", "give 1 or more")
    is_cold = any(side.code_cache == "cold" for side in sides)
    boots = repeats if is_cold else min(BOOTS_EACH_SIDE, repeats)
    return [repeats // boots + (number < repeats % boots) for number in range(boots)]


def run_bench(
    sides: Sides,
    sessions: Sequence[Session],
    *,
    repeats: int = REPEATS,
    notes: Sequence[str] = (),
    report: ReportProgress = lambda title, done, total: None,
) -> Report:
    """Run `sessions` on every side; each workload `repeats` (>= 1) times on each."""
    there = sides.all()
    rounds = rounds_of_boots(repeats, there)
    results = iter(run_sessions(there, sessions, rounds, report))
    ours = next(results)
    result = Report(
        ours,
        next(results) if sides.peer else None,
        tuple(notes),
        cold=next(results) if sides.cold else None,
        native=next(results) if sides.native else None,
        kinds={workload.name: workload.kind for workload in all_workloads()},
    )
    wrong = result.wrong
    if wrong:
        result = replace(result, notes=[*notes, f"WRONG RESULTS: checksums differ in {', '.join(wrong)}."])
    return result
