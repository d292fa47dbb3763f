# SPDX-License-Identifier: Apache-2.0
"""`Machine`: the public way to have a virtual machine."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper import images
from innkeeper.api.vmm_protocol import ExecParameters
from innkeeper.errors import ConfigError
from innkeeper.host.terminal import is_terminal, on_resize, raw_mode, terminal_size
from innkeeper.images.definition import definition
from innkeeper.machine.boot import BootConfig
from innkeeper.machine.machine import Ending, EngineFactory, MachineConfig
from innkeeper.vmm import session as vm
from innkeeper.vmm.agent_wire import fits_agent
from innkeeper.vmm.arguments import PathLike, checked_timeout, disk_spec
from innkeeper.vmm.command_guest import Command
from innkeeper.vmm.disks import DiskSpec, open_disks
from innkeeper.vmm.engine_choice import ENGINES, ReportProgress, choose_engine
from innkeeper.vmm.image_progress import CallbackProgress
from innkeeper.vmm.job import GuestJobRunner
from innkeeper.vmm.keyboard import connect_keyboard
from innkeeper.vmm.network import GuestNetwork, checked_name, plan_adapters
from innkeeper.vmm.streams import Sink, write_all

if TYPE_CHECKING:
    from innkeeper.network.forwards import Forward
    from innkeeper.network.policy import Policy

DEFAULT_IMAGE = "small"
TIMEOUT_STATUS = 124
"""`returncode` of a command that took too long, as that of timeout(1)."""


@dataclass(frozen=True)
class Result:
    """How a command in the guest ended.

    `stdout` and `stderr` are what it wrote, empty where a callback took it. `returncode` is its status, 128 +
    the signal's number if it was killed, and 124 if `timed_out`: then the machine was stopped.
    """

    stdout: bytes
    stderr: bytes
    returncode: int
    timed_out: bool = False


class Machine:
    """A virtual machine: a Linux guest on its own emulated riscv64 hardware.

    Each `run` and each `run_console` has a guest of its own, which is gone at its end. The root disk of an
    image is under a throw-away overlay: what a guest changes there is gone with it. Disks given as `disks`
    are written to and keep what the guest has flushed.

    Args:
        image: name in the catalog, see `inn images`; built first where it is not in the cache.
        cpus: 1 to 8 harts.
        memory_bytes: RAM, at least 64 MiB; what the guest does not touch is not resident on the host.
        disks: paths, `FILE,ro` strings or `DiskSpec`s; /dev/vda on, behind the image's root disk if there is
            one.
        kernel: riscv64 Image (also compressed) or ELF file instead of the image's. The image is then not
            used, except for its initrd when a command is run and `initrd` is not given.
        initrd: cpio archive instead of the image's.
        append: added to the kernel's command line.
        firmware: M-mode firmware such as OpenSBI's fw_dynamic; without it SBI is answered by the machine.
        engine: "auto", "jit" or "reference".
        net: what the guest's network adapters are connected to: "user" (the internet by way of the host's own
            sockets), the name of a private network, "none", "tap:INTERFACE", "bridge:BRIDGE", or a sequence
            of these for several.
        name: what other VMs on its private networks call it: lower case letters, digits and -.
        ports: ports of the host that lead to the guest on the network "user":
            `[HOST_ADDR:]HOST_PORT:GUEST_PORT[/udp]` strings or `Forward`s; on the host's loopback unless an
            address says otherwise.
        policy: what the guest may reach on the network "user"; by default the internet, and nothing of the
            host and its private networks.
        capture: a pcapng file to which the frames of all adapters are written.
        cold: boot for each command. Else a command runs in a guest that goes on from a snapshot, which the
            first start of its kind has left: of an image with nothing of its own (no kernel, initrd, append,
            firmware or disks) on the network "user" or none.
        timeout_s: seconds until a boot is stopped; None: never. A `timeout_s` of `run` comes first.
        progress: called as `progress(what, done, total)` while an image or the engine is being prepared;
            total 0: unknown.
        on_warning: called as `on_warning(message)`, at once and on a thread of the machine, when something is
            wrong while the guest runs on: a disk that the host cannot write (the guest gets I/O errors; told
            once for each disk of a boot), or a command that has not begun after a minute. By default each
            becomes a `RuntimeWarning` once the boot has ended.

    Raises:
        ConfigError: an argument that cannot be had. Files are looked at when the machine boots.
    """

    def __init__(
        self,
        image: str = DEFAULT_IMAGE,
        *,
        cpus: int = 1,
        memory_bytes: int = 512 << 20,
        disks: Sequence[DiskSpec | PathLike] = (),
        kernel: PathLike | None = None,
        initrd: PathLike | None = None,
        append: str = "",
        firmware: PathLike | None = None,
        engine: str = "auto",
        net: str | Sequence[str] = "user",
        name: str = "",
        ports: Sequence[Forward | str] = (),
        policy: Policy | None = None,
        capture: PathLike | None = None,
        cold: bool = False,
        timeout_s: float | None = None,
        progress: ReportProgress | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        if engine not in ENGINES:
            raise ConfigError(f"there is no engine {engine!r}", f"choose one of {', '.join(ENGINES)}")
        if "\0" in append:
            raise ConfigError("the kernel command line contains a NUL", "check --append")
        MachineConfig(BootConfig(None), cpus, memory_bytes)  # checks the sizes
        self._image = image
        self._cpus = cpus
        self._memory_bytes = memory_bytes
        self._disks = [disk_spec(disk) for disk in disks]
        self._kernel = Path(kernel) if kernel is not None else None
        self._initrd = Path(initrd) if initrd is not None else None
        self._append = append
        self._firmware = Path(firmware) if firmware is not None else None
        self._engine = engine
        self._adapters = plan_adapters(net, ports, policy)
        self._name = checked_name(name)
        self._capture = Path(capture) if capture is not None else None
        self._cold = cold
        self._timeout_s = checked_timeout(timeout_s)
        self._progress = progress
        self._on_warning = on_warning

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing outlives `run` and `run_console`; the class is used like others of its kind."""

    def run(
        self,
        cmd: Sequence[str] | str,
        *,
        stdin: bytes | int | None = None,
        timeout_s: float | None = None,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Result:
        """Start the guest, run one command as root, power off.

        Args:
            cmd: program and arguments, or a string for `sh -c`.
            stdin: bytes, or a descriptor of the host that is read as the command reads; None: at its end.
            timeout_s: seconds for the whole boot.
            stdout, stderr: called with each piece of output instead of collecting it, each on a thread of its
                own. The guest waits while a callback does. What a callback raises stops the machine and is
                raised here.
            env, cwd: environment added to the guest's own, and working directory.

        Raises:
            ConfigError: a wrong argument or file. HostError: the host cannot do it.
            GuestError: the guest ended before the command did.
        """
        timeout_s = self._timeout_s if timeout_s is None else checked_timeout(timeout_s)
        argv = ["sh", "-c", cmd] if isinstance(cmd, str) else list(cmd)
        command = images.command_archive(argv, dict(env or {}), cwd)
        output, errors = bytearray(), bytearray()
        if self._can_be_prepared():
            parameters = ExecParameters(tuple(argv), dict(env or {}), cwd or "")
            if fits_agent(parameters):
                sinks = (output if stdout is None else stdout, errors if stderr is None else stderr)
                status = self._run_prepared(Command(parameters, stdin, *sinks), timeout_s)
                code = TIMEOUT_STATUS if status is None else status
                return Result(bytes(output), bytes(errors), code, timed_out=status is None)
        with self._session(command, stop_at_panic=True) as session:
            session.warn_of_silence()
            for number, sink, collected in ((vm.STDOUT, stdout, output), (vm.STDERR, stderr, errors)):
                if sink is None:
                    session.collect_output(number, collected)
                else:
                    session.connect_output(number, sink)
            session.connect_stdin(stdin)
            ended = session.run(timeout_s)
        if ended.timed_out and ended.status is None and not ended.errors:
            return Result(bytes(output), bytes(errors), TIMEOUT_STATUS, timed_out=True)
        return Result(bytes(output), bytes(errors), vm.require_status(ended))

    def run_console(
        self, input_fd: int, output_fd: int, size: Callable[[], tuple[int, int]] | None = None
    ) -> int:
        """Boot and attach the guest's console until it powers off or the user types Ctrl-] q.

        The terminal, if `input_fd` is one, is in raw mode meanwhile. `size` gives columns and rows; the
        terminal's own by default, followed when its window changes. The end of an input that is no terminal
        is typed as Ctrl-D. Returns 0, the code of a failure that the guest reported, or 124 on time-out.

        Raises as `run` does.
        """
        measure = size or (lambda: terminal_size(output_fd))
        with self._session(None, stop_at_panic=not is_terminal(input_fd)) as session:
            machine = session.machine
            board = machine.board
            session.connect_console(write_all(output_fd))
            connect_keyboard(session, input_fd)
            board.console.resize(*measure())

            def resized() -> None:
                machine.defer(lambda: board.console.resize(*measure()))

            with raw_mode(input_fd), on_resize(resized):
                ended = session.run(self._timeout_s)
        if ended.timed_out:
            return TIMEOUT_STATUS
        vm.require_power_off(ended)
        return (ended.outcome.code & 0xFF or 1) if ended.outcome.ending is Ending.FAILED else 0

    @contextlib.contextmanager
    def _session(self, command: bytes | None, *, stop_at_panic: bool) -> Iterator[vm.Session]:
        with contextlib.ExitStack() as stack:
            network = GuestNetwork(self._adapters, name=self._name, capture=self._capture)
            stack.callback(network.close)
            boot, root_disk = self._boot_files(command, network)
            disks = open_disks(root_disk, self._disks, stack)
            config = vm.SessionConfig(
                MachineConfig(boot, self._cpus, self._memory_bytes),
                self._engine_factory(),
                disks,
                network,
                power_off_at_exit=all(disk.read_only for disk in self._disks),
                stop_at_panic=stop_at_panic,
                on_warning=stack.enter_context(self._warnings()),
            )
            yield stack.enter_context(vm.Session(config))

    def _can_be_prepared(self) -> bool:
        """Whether the guest has nothing that a snapshot of its image's first start could not have."""
        own = self._kernel or self._initrd or self._append or self._firmware or self._disks
        return not (self._cold or own) and [a.network for a in self._adapters] in ([], ["user"])

    def _run_prepared(self, command: Command, timeout_s: float | None) -> int | None:
        from innkeeper.vmm.command_start import CommandStart, run_command

        with self._warnings() as warn:
            start = CommandStart(
                self._image,
                self._ensure_image(),
                self._cpus,
                self._memory_bytes,
                self._engine,
                self._engine_factory(),
                lambda: GuestNetwork(self._adapters, name=self._name, capture=self._capture),
                self._adapters[0].mac if self._adapters else None,
                warn,
            )
            return run_command(start, command, timeout_s)

    @contextlib.contextmanager
    def _warnings(self) -> Iterator[Callable[[str], None]]:
        """What takes warnings; those that nobody asked for come when the block ends."""
        told: list[str] = []
        try:
            yield self._on_warning or told.append
        finally:
            for message in told:
                warnings.warn(message, RuntimeWarning, stacklevel=_level_of_caller())

    def _engine_factory(self) -> EngineFactory:
        return choose_engine(self._engine, self._progress)

    def _boot_files(self, command: bytes | None, network: GuestNetwork) -> tuple[BootConfig, Path | None]:
        """What is booted, and the image's root disk."""
        kernel, append, root_disk = self._kernel, self._append, None
        initrd: list[Path | bytes] = [self._initrd] if self._initrd else []
        if kernel is None or (command is not None and not initrd):
            files = self._ensure_image()
            initrd = initrd or [files.initrd]
            if kernel is None:
                kernel, root_disk = files.kernel, files.root_disk
            append = " ".join(filter(None, (files.append, network.kernel_words(), self._append)))
        if command is not None:
            initrd.append(command)
        return BootConfig(kernel, tuple(initrd), append, self._firmware), root_disk

    def _ensure_image(self) -> images.BootFiles:
        least = definition(self._image).memory_min_bytes
        if self._kernel is None and self._memory_bytes < least:
            raise ConfigError(
                f"image {self._image} does not start in {self._memory_bytes / (1 << 20):g} MiB of memory",
                f"give the guest {least >> 20} MiB or more with --memory",
            )
        progress = CallbackProgress(self._progress) if self._progress else images.SILENT
        return images.ensure(self._image, progress, GuestJobRunner(self._engine, self._progress))


def _level_of_caller() -> int:
    """The `stacklevel` of a warning about who called this package, also by way of contextlib."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(("innkeeper.", "contextlib")):
        frame, level = frame.f_back, level + 1
    return level
