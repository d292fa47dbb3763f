# SPDX-License-Identifier: Apache-2.0
"""`inn bench network`: the guest's user network beside QEMU's, in one run.

The same guest program talks to the same server on the host's loopback, by way of each side's user-mode NAT.
The guest times itself. The server is a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from innkeeper.bench.programs import CROSS_COMPILER, require_program
from innkeeper.bench.side import GuestRun, Side, TimedLine
from innkeeper.errors import ConfigError, GuestError, HostError
from innkeeper.images import BootFiles, join_initrd
from innkeeper.images.cpio import Writer

SOURCE = Path(__file__).with_name("network_sources") / "network.c"
GUEST_PATH = "/innkeeper/network"
HOST_ADDRESS = "10.0.2.2"
"""Where both sides' guests find the host's loopback."""
REPEATS = 5
MEMORY_BYTES = 512 << 20
TIMEOUT_S = 180.0

_MIB = 1 << 20


@dataclass(frozen=True)
class Measurement:
    """What the guest's program does: `amount` bytes, requests or datagrams over `streams` connections."""

    kind: str
    streams: int
    amount: int
    title: str
    unit: str

    @property
    def name(self) -> str:
        """As the guest's program prints it, and `--only` takes it."""
        return f"{self.kind}{self.streams}"

    def rate(self, amount: int, elapsed_ns: int) -> float:
        """In `unit`."""
        scale = 8e3 if self.unit == "Mbit/s" else 1e9
        return amount * scale / max(elapsed_ns, 1)


MEASUREMENTS = (
    Measurement("send", 1, 64 * _MIB, "guest to host, 1 stream", "Mbit/s"),
    Measurement("send", 8, 64 * _MIB, "guest to host, 8 streams", "Mbit/s"),
    Measurement("receive", 1, 64 * _MIB, "host to guest, 1 stream", "Mbit/s"),
    Measurement("receive", 8, 64 * _MIB, "host to guest, 8 streams", "Mbit/s"),
    Measurement("http", 1, 400, "HTTP, one after another", "requests/s"),
    Measurement("http", 8, 800, "HTTP, 8 at a time", "requests/s"),
    Measurement("udp", 1, 10000, "UDP that arrived at the host", "Mbit/s"),
)


@dataclass(frozen=True)
class NetworkReport:
    """Rates of each measurement, by the name of the side; the first side is ours."""

    versions: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    rates: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """By version and measurement."""

    def median(self, version: str, measurement: Measurement) -> float:
        return statistics.median(self.rates[version, measurement.name])

    def rows(self) -> list[dict[str, object]]:
        """One for each measurement, for programs."""
        rows: list[dict[str, object]] = []
        for item in self.measurements:
            medians = [self.median(version, item) for version in self.versions]
            row: dict[str, object] = {"name": item.name, "title": item.title, "unit": item.unit}
            row["ours"] = medians[0]
            if len(medians) > 1:
                row |= {"peer": medians[1], "ratio": medians[0] / medians[1] if medians[1] else None}
            rows.append(row)
        return rows

    def table(self) -> str:
        """For people."""
        lines = [
            f"{'':32}{'':>11}{'Innkeeper':>12}" + (f"{'QEMU':>12}{'ratio':>8}" if self.versions[1:] else "")
        ]
        for item in self.measurements:
            medians = [self.median(version, item) for version in self.versions]
            line = f"{item.title:32}{item.unit:>11}" + "".join(f"{median:12,.0f}" for median in medians)
            if len(medians) > 1:
                line += f"{medians[0] / medians[1]:8.2f}" if medians[1] else f"{'-':>8}"
            lines.append(line)
        boots = len(next(iter(self.rates.values())))
        lines += ["", f"Medians of {boots} boots each; more is better. {', '.join(self.versions)}."]
        return "\n".join(lines)


def select(only: Sequence[str] | None) -> tuple[Measurement, ...]:
    """The measurements with these names, all if there are none. ConfigError for one that does not exist."""
    known = {item.name: item for item in MEASUREMENTS}
    for name in only or ():
        if name not in known:
            raise ConfigError(f"there is no measurement {name!r}", f"choose from {', '.join(known)}")
    return tuple(item for item in MEASUREMENTS if not only or item.name in only)


def measure_network(
    sides: Sequence[Side],
    boot: BootFiles,
    *,
    repeats: int = REPEATS,
    only: Sequence[str] | None = None,
    report: Callable[[str, int, int], None] = lambda title, done, total: None,
) -> NetworkReport:
    """Boot each of `sides` `repeats` times, alternating, and measure in each boot.

    HostError if the cross compiler is missing, GuestError if a guest does not end its measurements.
    """
    if repeats < 1:
        raise ConfigError(f"{repeats} repeats are too few", "give 1 or more")
    measurements = select(only)
    result = NetworkReport(tuple(side.version for side in sides), measurements)
    initrd = join_initrd(boot.initrd.read_bytes(), _archive(compile_guest_program()))
    total = repeats * len(sides) * len(measurements)
    done = 0
    with serving() as port:
        command = [GUEST_PATH, HOST_ADDRESS, str(port)]
        for item in measurements:
            command += [item.kind, str(item.streams), str(item.amount)]
        guest = GuestRun(
            "small", boot.kernel, initrd, boot.append, None, command, 1, MEMORY_BYTES, TIMEOUT_S, network=True
        )
        for number in range(repeats):
            for side in sides:
                report(f"Measuring {side.version}, boot {number + 1} of {repeats}", done, total)
                _run_once(side, guest, result)
                done += len(measurements)
    report("Measuring", total, total)
    return result


def _run_once(side: Side, guest: GuestRun, result: NetworkReport) -> None:
    known = {item.name: item for item in result.measurements}
    got: set[str] = set()

    def take(line: TimedLine) -> None:
        words = line.text.split()
        if len(words) == 4 and words[0] == "result" and words[1] in known:
            rate = known[words[1]].rate(int(words[2]), int(words[3]))
            result.rates.setdefault((side.version, words[1]), []).append(rate)
            got.add(words[1])

    side.run(guest, take)
    if missing := known.keys() - got:
        raise GuestError(f"the guest in {side.version} did not measure {', '.join(sorted(missing))}")


@contextmanager
def serving() -> Iterator[int]:
    """The benchmark's server, at four ports from the given one on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "innkeeper.bench.network_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise HostError("the benchmark's server did not start", "see the message above")
        yield int(line)
    finally:
        process.kill()
        process.wait()


def compile_guest_program() -> bytes:
    """The guest's program, a static riscv64 ELF. HostError if the cross compiler is missing or fails."""
    compiler = require_program(CROSS_COMPILER)
    with tempfile.TemporaryDirectory(prefix="innkeeper-bench-") as folder:
        output = Path(folder) / "network"
        arguments = [str(compiler.path), "-O2", "-static", "-s", "-Wall", "-o", str(output), str(SOURCE)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HostError(f"{CROSS_COMPILER} failed: {done.stderr.strip()[-300:]}")
        return output.read_bytes()


def _archive(program: bytes) -> bytes:
    writer = Writer()
    writer.file(GUEST_PATH.lstrip("/"), program, 0o755)
    return writer.archive()
