# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for what the command works with, given to `main` instead of the real parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from innkeeper.cli import main
from innkeeper.cli.doctor import Check
from innkeeper.cli.parts import BenchRequest, ByteSink, GuestOptions, ImageRow, Parts
from innkeeper.cli.progress import ProgressDisplay
from innkeeper.client.sync import Client
from innkeeper.errors import HostError


@dataclass(frozen=True)
class FakeResult:
    returncode: int = 0
    timed_out: bool = False


@dataclass
class FakeMachine:
    """A machine whose command writes `output` (stream, bytes) and ends with `result`, or raises."""

    output: Sequence[tuple[str, bytes]] = ()
    result: FakeResult = field(default_factory=FakeResult)
    console_status: int = 0
    raises: BaseException | None = None
    options: GuestOptions | None = None
    command: Sequence[str] | None = None
    stdin: int | None = None
    console: tuple[int, int] | None = None
    is_closed: bool = False

    def __enter__(self) -> FakeMachine:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def run(self, cmd: Sequence[str], *, stdin: int | None, stdout: ByteSink, stderr: ByteSink) -> FakeResult:
        self.command, self.stdin = cmd, stdin
        for stream, data in self.output:
            {"stdout": stdout, "stderr": stderr}[stream](data)
        if self.raises:
            raise self.raises
        return self.result

    def run_console(self, input_fd: int, output_fd: int) -> int:
        self.console = (input_fd, output_fd)
        if self.raises:
            raise self.raises
        return self.console_status


@dataclass(frozen=True)
class FakeReport:
    against: str | None

    def table(self) -> str:
        return f"workload  innkeeper  {self.against}"

    def rows(self) -> list[dict[str, object]]:
        return [{"workload": "boot", "peer": self.against}]

    def svg(self) -> str:
        return "<svg/>"


@dataclass
class FakeHost:
    """All parts together; `run` is `inn` with them."""

    machine: FakeMachine = field(default_factory=FakeMachine)
    images: list[ImageRow] = field(default_factory=list)
    checks: list[Callable[[], Check]] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    raises: BaseException | None = None
    bench_request: BenchRequest | None = None
    client: Client | None = None
    """None: the hypervisor cannot be reached."""

    def run(self, *arguments: str) -> int:
        parts = Parts(
            machine=self._make_machine,
            list_images=self._list_images,
            pull_image=lambda name, progress: self.pulled.append(name),
            remove_image=self.removed.append,
            checks=lambda: self.checks,
            measure=self._measure,
            connect=self._connect,
        )
        return main(arguments, parts)

    def _connect(self) -> Client:
        if self.client is None:
            raise HostError("there is no hypervisor here", "this is a test")
        return self.client

    def _make_machine(self, options: GuestOptions, progress: ProgressDisplay) -> FakeMachine:
        if self.raises:
            raise self.raises
        self.machine.options = options
        return self.machine

    def _measure(self, request: BenchRequest, progress: ProgressDisplay) -> FakeReport:
        self.bench_request = request
        return FakeReport(request.against)

    def _list_images(self) -> list[ImageRow]:
        if self.raises:
            raise self.raises
        return self.images
