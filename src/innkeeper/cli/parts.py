# SPDX-License-Identifier: Apache-2.0
"""What the commands work with: the machine and the images.

The real ones are imported when they are first asked for. Tests hand in other `Parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from innkeeper.cli.doctor import Check
    from innkeeper.cli.progress import ProgressDisplay
    from innkeeper.client.sync import Client

ByteSink = Callable[[bytes], None]


@dataclass(frozen=True)
class GuestOptions:
    """What `inn run` was asked for: the arguments of `innkeeper.Machine`, where they are explained."""

    image: str | None = None
    """None: the default image."""
    cpus: int = 1
    memory_bytes: int = 512 << 20
    disks: Sequence[str] = ()
    """`FILE` or `FILE,ro`."""
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    firmware: Path | None = None
    engine: str = "auto"
    net: Sequence[str] = ("user",)
    name: str = ""
    ports: Sequence[str] = ()
    """`[HOST_ADDR:]HOST_PORT:GUEST_PORT[/udp]`."""
    egress: str = "allow"
    """allow, deny or list: what the guest may reach beside what `allow` and `deny` name."""
    allow: Sequence[str] = ()
    deny: Sequence[str] = ()
    capture: Path | None = None
    cold: bool = False
    timeout_s: float | None = None


class CommandResult(Protocol):
    """How the guest's command ended."""

    @property
    def returncode(self) -> int: ...

    @property
    def timed_out(self) -> bool: ...


class GuestMachine(Protocol):
    """One VM that is not yet started: what the command uses of `innkeeper.Machine`."""

    def __enter__(self) -> GuestMachine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def run(
        self, cmd: Sequence[str], *, stdin: int | None, stdout: ByteSink, stderr: ByteSink
    ) -> CommandResult: ...

    def run_console(self, input_fd: int, output_fd: int) -> int: ...


@dataclass(frozen=True)
class ImageRow:
    """An image of the catalog, and what of it is in the cache (None: nothing)."""

    name: str
    summary: str
    version: str | None
    size_bytes: int | None


def make_machine(options: GuestOptions, progress: ProgressDisplay) -> GuestMachine:
    """The VM that `options` describe. ConfigError if there can be no such VM."""
    from innkeeper.cli.failures import say
    from innkeeper.vmm import Machine

    policy = None
    if options.allow or options.deny or options.egress != "allow":
        from innkeeper.network.policy import Policy

        policy = Policy.parse(options.egress, options.allow, options.deny)
    return Machine(
        **({} if options.image is None else {"image": options.image}),
        cpus=options.cpus,
        memory_bytes=options.memory_bytes,
        disks=options.disks,
        kernel=options.kernel,
        initrd=options.initrd,
        append=options.append,
        firmware=options.firmware,
        engine=options.engine,
        net=options.net,
        name=options.name,
        ports=options.ports,
        policy=policy,
        capture=options.capture,
        cold=options.cold,
        timeout_s=options.timeout_s,
        progress=progress.report,
        on_warning=say,
    )


def list_images() -> list[ImageRow]:
    """Every image of the catalog, in the catalog's order."""
    from innkeeper import images

    installed = {image.name: image for image in images.installed()}
    rows = []
    for definition in images.catalog():
        here = installed.get(definition.name)
        version, size_bytes = (here.version, here.size_bytes) if here else (None, None)
        rows.append(ImageRow(definition.name, definition.summary, version, size_bytes))
    return rows


def pull_image(name: str, progress: ProgressDisplay) -> None:
    """Build `name` in the cache, unless it is there."""
    from innkeeper import images
    from innkeeper.vmm import GuestJobRunner

    images.ensure(name, progress, GuestJobRunner(progress=progress.report))


def remove_image(name: str) -> None:
    """Take `name` out of the cache."""
    from innkeeper import images

    images.remove(name)


def host_checks() -> Sequence[Callable[[], Check]]:
    """What `inn doctor` looks at, in order."""
    from innkeeper.cli.checks import CHECKS

    return CHECKS


class BenchReport(Protocol):
    """What was measured."""

    def table(self) -> str: ...

    def rows(self) -> list[dict[str, object]]: ...


@runtime_checkable
class DrawableReport(BenchReport, Protocol):
    """Speeds that can be drawn too."""

    def svg(self) -> str: ...


@dataclass(frozen=True)
class BenchRequest:
    """What `inn bench` is asked for. `only`: workloads, empty for all; `repeats` None: as many as usual.

    `code_caches`: with which state of the code cache, empty for the user's own as it is.
    """

    against: str | None = None
    only: tuple[str, ...] = ()
    repeats: int | None = None
    profile: bool = False
    code_caches: tuple[Literal["cold", "warm"], ...] = ()
    what: str = "engine"
    """The engine, or the network."""


def measure(request: BenchRequest, progress: ProgressDisplay) -> BenchReport:
    """Measure the engine, and a peer too, or profile it. HostError if that is not installed."""
    from innkeeper import bench

    only = list(request.only) or None
    if request.what == "network":
        return bench.measure_user_network(
            against=request.against, progress=progress.report, repeats=request.repeats, only=only
        )
    if request.profile:
        return bench.measure_profile(progress=progress.report, only=only)
    return bench.measure(
        against=request.against,
        progress=progress.report,
        repeats=request.repeats,
        only=only,
        code_caches=request.code_caches,
    )


def connect() -> Client:
    """The hypervisor's client; the hypervisor is started if it does not run."""
    from innkeeper import client

    return client.connect()


@dataclass(frozen=True)
class Parts:
    """The things above, replaceable."""

    machine: Callable[[GuestOptions, ProgressDisplay], GuestMachine] = field(default=make_machine)
    list_images: Callable[[], list[ImageRow]] = field(default=list_images)
    pull_image: Callable[[str, ProgressDisplay], None] = field(default=pull_image)
    remove_image: Callable[[str], None] = field(default=remove_image)
    checks: Callable[[], Sequence[Callable[[], Check]]] = field(default=host_checks)
    measure: Callable[[BenchRequest, ProgressDisplay], BenchReport] = field(default=measure)
    connect: Callable[[], Client] = field(default=connect)
