# SPDX-License-Identifier: Apache-2.0
"""`inn bench --profile`: where the time of a workload goes, by samples of our own threads.

Each workload has a boot of its own. While it runs, every thread of this process is interrupted after each
`INTERVAL_NS` of its processor time, and where it was is noted. The host's kernel cannot be seen from here:
its share is what the host counts as system time, and its samples stand where the kernel was entered.
"""

from __future__ import annotations

import io
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from innkeeper.bench.results import BOOT, PREFIX
from innkeeper.bench.session import Session
from innkeeper.bench.workloads import compile_program, workload_archive
from innkeeper.engines.engine import Engine, GuestRam
from innkeeper.engines.jit import JitEngine
from innkeeper.engines.jit.symbols import EngineSymbols
from innkeeper.errors import GuestError
from innkeeper.host.executable import DataArea
from innkeeper.host.sampling import ThreadTimers, executable_mappings, system_time_share
from innkeeper.runtime.sampler import SAMPLE_CAPACITY, SAMPLE_COUNT, SAMPLES
from innkeeper.vmm import Machine

INTERVAL_NS = 1_000_000
COVER_INTERVAL_S = 0.01
CAPACITY = 1 << 17
"""Samples kept for one workload; two minutes of one thread."""
PYTHON, LIBRARY = "Python", "C library"


@dataclass
class Profile:
    """What one workload did: samples by part of the engine, and by native function."""

    name: str
    parts: Counter[str] = field(default_factory=Counter)
    functions: Counter[str] = field(default_factory=Counter)
    user_s: float = 0.0
    system_s: float = 0.0
    statistics: dict[str, int] = field(default_factory=dict)
    """The engine's own counters."""

    def share(self, part: str) -> float:
        """Part of all samples, 0 to 1."""
        return self.parts[part] / max(1, self.parts.total())

    @property
    def kernel_share(self) -> float:
        """Part of the processor time that the host's kernel took, 0 to 1."""
        return self.system_s / max(1e-9, self.system_s + self.user_s)


class ProfiledEngine(JitEngine):
    """A jit engine that samples between `begin` and `end`."""

    def __init__(self, ram: GuestRam, profile: Profile) -> None:
        super().__init__(ram)
        self._profile = profile
        self.start_default_optimizer()
        self._symbols = EngineSymbols(self)
        self._timers: ThreadTimers | None = None
        self._block = DataArea((SAMPLES + CAPACITY) * 8)

    def begin(self) -> None:
        """Sample from now on; what was sampled before is forgotten."""
        self.end()
        self._profile.parts.clear()
        self._profile.functions.clear()
        words = self._block.words
        words[SAMPLE_COUNT], words[SAMPLE_CAPACITY] = 0, CAPACITY
        self._profile.user_s, self._profile.system_s = system_time_share()
        self._counted = self.statistics()
        self._timers = ThreadTimers(self.native.address("take_sample"), self._block.address, INTERVAL_NS)
        self._watch = threading.Event()
        threading.Thread(target=self._cover, args=(self._timers, self._watch), daemon=True).start()

    @staticmethod
    def _cover(timers: ThreadTimers, ended: threading.Event) -> None:
        """Threads come later too: those of the harts, when a boot is profiled."""
        while not ended.wait(COVER_INTERVAL_S):
            timers.cover_threads()

    @property
    def sample_count(self) -> int:
        """Samples since `begin`."""
        return self._block.words[SAMPLE_COUNT]

    def end(self) -> None:
        """Sample no more and sort what there is; harmless when repeated."""
        if self._timers is None:
            return
        self._watch.set()
        self._timers.close()
        self._timers = None
        profile, words = self._profile, self._block.words
        user_s, system_s = system_time_share()
        profile.user_s, profile.system_s = user_s - profile.user_s, system_s - profile.system_s
        profile.statistics = {n: v - self._counted[n] for n, v in self.statistics().items()}
        others = executable_mappings()
        for address in words[SAMPLES : SAMPLES + min(words[SAMPLE_COUNT], CAPACITY)]:
            profile.parts[self._symbols.part(address) or _library(address, others)] += 1
            function = self._symbols.function(address)
            if function is not None:
                profile.functions[function] += 1

    def close(self) -> None:
        """Also ends the sampling: the handler goes with the engine."""
        self.end()
        self._block.close()
        super().close()


def _library(address: int, mappings: Sequence[tuple[int, int, str]]) -> str:
    for start, end, name in mappings:
        if start <= address < end:
            return LIBRARY if any(part in name for part in ("libc", "[vdso]", "ld-linux")) else PYTHON
    return PYTHON


class ProfiledMachine(Machine):
    """A machine whose engine is profiled; `engine` is the one of the present boot."""

    profile: Profile
    engine: ProfiledEngine | None = None

    def _engine_factory(self) -> Callable[[GuestRam], Engine]:
        def make(ram: GuestRam) -> Engine:
            self.engine = ProfiledEngine(ram, self.profile)
            if self.profile.name == BOOT:
                self.engine.begin()
            return self.engine

        return make


def profile_command(machine: ProfiledMachine, name: str, command: Sequence[str], timeout_s: float) -> Profile:
    """Run the guest's benchmark program and profile what it does between its start and its end.

    Where `name` is that of the boot, from power-on to the program's start.
    """
    machine.profile = profile = Profile(name)
    rest = b""

    def take(data: bytes) -> None:
        nonlocal rest
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            word = line.decode(errors="replace").strip().removeprefix(PREFIX)
            engine = machine.engine
            if engine is not None and word in ("start", "end"):
                engine.begin() if word == "start" and name != BOOT else engine.end()

    result = machine.run(list(command), stdout=take, timeout_s=timeout_s)
    if result.returncode != 0:
        tail = result.stderr[-300:].decode(errors="replace").strip()
        raise GuestError(f"the workload {name} ended with status {result.returncode}: {tail}")
    return profile


ROUNDS = 2


@dataclass(frozen=True)
class ProfileReport:
    """The profiles of one run, to be printed."""

    profiles: Sequence[Profile]

    def table(self) -> str:
        """See `table`."""
        return table(self.profiles)

    def rows(self) -> list[dict[str, object]]:
        """See `rows`."""
        return rows(self.profiles)


def profile_sessions(sessions: Sequence[Session], report: Callable[[str, int, int], None]) -> ProfileReport:
    """Profile each workload of the sessions, and the boot."""
    archive = workload_archive(compile_program())
    wanted = [(session, name) for session in sessions for name in session.workloads]
    wanted += [(session, BOOT) for session in sessions if session.count_boot]
    profiles = []
    for number, (session, name) in enumerate(wanted):
        label = name.partition("=")[0]
        report(f"Profiling {label}", number, len(wanted))
        chosen = session.workloads[:1] if name == BOOT else [name]
        guest = replace(session, workloads=chosen).guest_run(archive, 1 if name == BOOT else ROUNDS)
        with tempfile.NamedTemporaryFile(prefix="innkeeper-bench-", suffix=".initrd") as initrd:
            initrd.write(guest.initrd)
            initrd.flush()
            machine = ProfiledMachine(
                guest.image, cpus=guest.cpus, memory_bytes=guest.memory_bytes, initrd=initrd.name
            )
            profiles.append(profile_command(machine, label, guest.command, guest.timeout_s))
    report("Profiling", len(wanted), len(wanted))
    return ProfileReport(profiles)


def table(profiles: Sequence[Profile]) -> str:
    """Shares in percent: a line each workload, a column each part, the largest first.

    The last column is not a part: it is the kernel's share of all processor time, in whatever part it was.
    """
    from rich.console import Console
    from rich.table import Table

    total: Counter[str] = Counter()
    for profile in profiles:
        total += Counter({part: round(1e6 * profile.share(part)) for part in profile.parts})
    parts = [part for part, _ in total.most_common()]
    shown = Table(title="Where the time goes, % of the samples", title_justify="left")
    shown.add_column("workload", no_wrap=True)
    for heading in [*parts, "host's kernel"]:
        shown.add_column(heading, justify="right")
    for profile in profiles:
        cells = [f"{100 * profile.share(part):.0f}" for part in parts]
        shown.add_row(profile.name, *cells, f"{100 * profile.kernel_share:.0f}")
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(shown)
    return out.getvalue()


def rows(profiles: Sequence[Profile]) -> list[dict[str, object]]:
    """For `--json`."""
    return [
        {
            "name": profile.name,
            "samples": profile.parts.total(),
            "shares": {part: round(profile.share(part), 4) for part in profile.parts},
            "kernel_share": round(profile.kernel_share, 4),
            "functions": dict(profile.functions.most_common(20)),
            "statistics": profile.statistics,
        }
        for profile in profiles
    ]
