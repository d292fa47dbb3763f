# SPDX-License-Identifier: Apache-2.0
"""The benchmark itself: boot each side in turn, let the guest time its workloads, gather the results.

Every boot of a side runs each workload some rounds; sides alternate, so a host that slows down slows both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from innkeeper.bench.report import Report, SideResults
from innkeeper.bench.side import GuestRun, Side
from innkeeper.bench.workloads import GUEST_PATH, compile_program, select, workload_archive
from innkeeper.errors import ConfigError, GuestError
from innkeeper.images import BootFiles, join_initrd

BOOTS_EACH_SIDE = 3
REPEATS = 6
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
    sides: Sequence[Side], sessions: Sequence[Session], repeats: int, report: ReportProgress
) -> list[SideResults]:
    """Run every session on every side, alternating, `repeats` times each workload in all."""
    boots = min(BOOTS_EACH_SIDE, repeats)
    rounds = [repeats // boots + (number < repeats % boots) for number in range(boots)]
    results = [SideResults(side.name, side.version) for side in sides]
    archive = workload_archive(compile_program())
    total = len(sides) * sum(len(session.workloads) + session.count_boot for session in sessions) * repeats
    done = 0
    title = "Measuring"
    for session in sessions:
        for number in range(boots):
            guest = session.guest_run(archive, rounds[number])
            for side, result in zip(sides, results, strict=True):
                title = f"Measuring {side.version}, {session.image}, boot {number + 1} of {boots}"
                report(title, done, total)
                _run_once(side, guest, result, session)
                done += (len(session.workloads) + session.count_boot) * rounds[number]
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
    compiled, commands = select(only)
    sessions, notes = [], []
    small = boot_files("small")
    if compiled and small is not None:
        sessions.append(Session("small", small, compiled, count_boot=True))
    debian = boot_files("debian") if commands else None
    if debian is not None:
        arguments = [f"{name}={command}" for name, command in commands.items()]
        sessions.append(Session("debian", debian, arguments, count_boot=False))
    elif commands:
        notes.append(f"Not measured: {', '.join(commands)} (run `inn images pull debian` first).")
    if not sessions:
        raise ConfigError("there is nothing to measure", "; ".join(notes) or "leave out --only")
    return sessions, notes


def run_bench(
    sides: Sequence[Side],
    sessions: Sequence[Session],
    *,
    repeats: int = REPEATS,
    notes: Sequence[str] = (),
    report: ReportProgress = lambda title, done, total: None,
) -> Report:
    """Run `sessions` on our side, or ours and a peer's; each workload `repeats` (>= 1) times on each."""
    if repeats < 1:
        raise ConfigError(f"{repeats} repeats are too few", "give 1 or more")
    first, *others = run_sessions(sides, sessions, repeats, report)
    result = Report(first, others[0] if others else None, tuple(notes))
    wrong = result.wrong
    if wrong:
        result = replace(result, notes=[*notes, f"WRONG RESULTS: checksums differ in {', '.join(wrong)}."])
    return result
