# SPDX-License-Identifier: Apache-2.0
"""What `inn doctor` looks at. Each function makes one check and raises nothing for what it finds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from innkeeper.cli.doctor import Check, State
from innkeeper.cli.sizes import format_size
from innkeeper.errors import InnkeeperError

MEMORY_MIN_BYTES = 1 << 30
"""A default guest of 512 MiB and what its VMM needs besides."""
CACHE_MIN_BYTES = 2 << 30
"""The `debian` image, its download and the engine's artifacts."""
DEPENDENCIES = (
    *("typer", "rich", "pyelftools", "zstandard", "arpy", "pysequoia", "httpx", "filelock"),
    *("annotated-types", "fastapi", "pydantic", "uvicorn", "websockets"),
)
KVM_DEVICE = Path("/dev/kvm")


def python() -> Check:
    """The interpreter; innkeeper's own `requires-python` has been met by installing it."""
    version = f"{platform.python_implementation()} {platform.python_version()}"
    absent = [name for name in DEPENDENCIES if not _version_of(name)]
    if absent:
        cause = f"not installed: {', '.join(absent)}"
        remedy = "install innkeeper again: pip install --force-reinstall innkeeper"
        return Check("python", "missing", version, cause, remedy)
    return Check("python", "ok", f"{version}, {sys.executable}")


def processor() -> Check:
    """Architecture and number of CPUs this process may use."""
    machine = platform.machine() or "unknown"
    return Check("cpu", "ok", f"{machine}, {len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")


def memory() -> Check:
    """What the host can give without swapping."""
    available_bytes = _available_memory_bytes()
    found = f"{format_size(available_bytes)} available"
    if available_bytes >= MEMORY_MIN_BYTES:
        return Check("memory", "ok", found)
    cause = f"a guest of the default size wants {format_size(MEMORY_MIN_BYTES)}"
    return Check("memory", "note", found, cause, "give guests less, such as --memory 128M")


def cache() -> Check:
    """The folder where images and the engine's artifacts are kept."""
    from innkeeper import images

    folder = images.cache_directory()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    remedy = "point XDG_CACHE_HOME to a folder that can be written"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        state = _without_building()
        return Check("cache", state, str(folder), f"{there} cannot be written", remedy)
    free_bytes = shutil.disk_usage(there).free
    kept = ", ".join(image.name for image in images.installed()) or "none"
    found = f"{folder}, {format_size(free_bytes)} free, images in it: {kept}"
    if free_bytes >= CACHE_MIN_BYTES:
        return Check("cache", "ok", found)
    cause = f"images and artifacts can take {format_size(CACHE_MIN_BYTES)}"
    return Check("cache", "note", found, cause, f"free some space, or {remedy}")


def llvm() -> Check:
    """llvmlite, with which the jit engine generates code."""
    version = _version_of("llvmlite")
    if version and importlib.util.find_spec("llvmlite"):
        return Check("llvmlite", "ok", version)
    cause = "the jit engine needs it; there is no wheel for every platform"
    remedy = "pip install llvmlite; until then --engine reference runs guests, slowly"
    return Check("llvmlite", "note", "not installed", cause, remedy)


def engine() -> Check:
    """What `--engine auto` chooses, and whether what it needs ahead of time is in the cache."""
    slow = "reference, which is very slow"
    try:
        from innkeeper.engines.jit.engine import artifacts_built, unsupported_reason
    except ImportError as error:
        remedy = "pip install --force-reinstall innkeeper"
        return Check("engine", "note", slow, f"the jit engine cannot be loaded: {error}", remedy)
    reason = unsupported_reason()
    if reason:
        return Check("engine", "note", slow, reason, "use a host with such a CPU for speed")
    built = "built" if artifacts_built() else "not built yet: the first inn run does it, in some seconds"
    return Check("engine", "ok", f"jit, its artifacts are {built}")


def kvm() -> Check:
    """Whether the host's virtualisation would be used. It is not yet, whatever is there."""
    if not KVM_DEVICE.exists():
        return Check("kvm", "note", f"no {KVM_DEVICE}", "not needed: guests run on Innkeeper's own engine")
    access = "may be opened" if os.access(KVM_DEVICE, os.R_OK | os.W_OK) else "may not be opened by this user"
    cause = f"KVM runs guests of the host's own architecture, {platform.machine()}; these guests are riscv64"
    return Check("kvm", "note", f"{KVM_DEVICE} is there and {access}; not chosen", cause, "none is needed")


def mirror() -> Check:
    """The mirror that images would be built from, and whether it answers."""
    from innkeeper.images.mirror import SETTING, mirrors

    remedy = f"set {SETTING} to a mirror that answers; the usual proxy variables are honoured"
    try:
        candidates = mirrors(os.environ, Path("/etc/apt"))
    except InnkeeperError as error:
        return Check("mirror", "missing", "none", error.message, error.remedy)
    causes: list[str] = []
    for address in candidates:
        try:
            cause = _ask_mirror(address)
        except InnkeeperError as error:
            return Check("mirror", "missing", "cannot be asked", error.message, error.remedy)
        if not cause:
            return Check("mirror", "ok", f"{address} answers", "; ".join(causes))
        causes.append(cause)
    return Check("mirror", _without_building(), "none answers", "; ".join(causes), remedy)


def qemu() -> Check:
    """The peer of `inn bench --against qemu`."""
    from innkeeper.bench.programs import QEMU_SYSTEM

    return _program("qemu", QEMU_SYSTEM, "only inn bench --against qemu and the tests use it")


def cross_compiler() -> Check:
    """What compiles the benchmark's workloads and the tests' programs."""
    from innkeeper.bench.programs import CROSS_COMPILER

    return _program("cross compiler", CROSS_COMPILER, "only inn bench and the tests use it")


CHECKS: Sequence[Callable[[], Check]] = (
    python, processor, memory, cache, llvm, engine, kvm, mirror, qemu, cross_compiler,
)  # fmt: skip
"""In the order in which they are printed."""


def _program(name: str, program_name: str, use: str) -> Check:
    from innkeeper.bench.programs import PACKAGE_OF, find_program

    program = find_program(program_name)
    if program is not None:
        return Check(name, "ok", f"{program.path} {program.version}")
    return Check(name, "note", f"no {program_name}", use, f"install Debian's {PACKAGE_OF[program_name]}")


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _available_memory_bytes() -> int:
    """MemAvailable of proc_meminfo(5); the free pages where there is no such file."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii", "replace").splitlines():
            key, _, value = line.partition(":")
            if key == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _ask_mirror(address: str) -> str:
    """Empty if `address` has the signed release that images are built from, else why it is not to be had.

    Asks through the client that downloads images, hence with the user's proxy and certificates.
    """
    from innkeeper import images
    from innkeeper.images.download import Downloads

    suites = dict.fromkeys(suite for image in images.catalog() for suite in image.archive.suites)
    cause = "the catalog names no release"
    with tempfile.TemporaryDirectory() as folder, Downloads(Path(folder), images.SILENT) as downloads:
        for suite in suites:
            try:
                downloads.small_file(f"{address}/dists/{suite}/InRelease")
            except InnkeeperError as error:
                cause = error.message
            else:
                return ""
    return cause


def _without_building() -> State:
    """What it means that no image can be built: nothing, once there are images."""
    from innkeeper import images

    return "note" if images.installed() else "missing"
