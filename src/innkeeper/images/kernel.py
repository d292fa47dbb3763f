# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernel, and the few of its modules that a virtual machine needs, taken from its packages."""

import gzip
import io
import lzma
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import zstandard
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from innkeeper.errors import ConfigError, HostError
from innkeeper.images.archive import Archive
from innkeeper.images.deb import normal_path, open_member
from innkeeper.images.definition import KernelSource
from innkeeper.images.download import DigestMismatch, NotOnMirror
from innkeeper.images.packages import Package, PackageIndex
from innkeeper.images.progress import SILENT, Progress, ProgressTask, reporting
from innkeeper.images.version import DebianVersion

_KERNEL = re.compile(r"boot/vmlinu[xz]-[^/]+")
_MODULE = re.compile(r"(?:usr/)?lib/modules/[^/]+/kernel/(?:.*/)?([^/]+)\.ko(\.xz|\.zst)?")
_BUILTIN = re.compile(r"(?:usr/)?lib/modules/[^/]+/modules\.builtin")
_IMAGE_MAGIC_OFFSET = 0x38
_IMAGE_MAGIC = b"RSC\x05"
_IMAGE_LIMIT_BYTES = 256 << 20


@dataclass(frozen=True)
class Module:
    """One kernel module, decompressed. Names have `_` for `-`; `soft` are to be loaded before it too."""

    name: str
    data: bytes
    needs: tuple[str, ...]
    soft: tuple[str, ...]
    aliases: tuple[str, ...]


@dataclass
class Kernel:
    """`image` is an uncompressed Linux `Image`; `modules` are what was asked for and what that needs."""

    release: str
    image: bytes
    modules: dict[str, Module] = field(default_factory=dict)

    def loading_order(self, names: Iterable[str]) -> list[Module]:
        """Modules to load for `names`, each after what it needs. Names that are built in are left out."""
        order: dict[str, Module] = {}

        def visit(name: str) -> None:
            module = self.modules.get(name.replace("-", "_"))
            if module is not None and module.name not in order:
                for needed in (*module.soft, *module.needs):
                    visit(needed)
                order[module.name] = module

        for name in names:
            visit(name)
        return list(order.values())


def _module_information(name: str, data: bytes) -> Module:
    """Read the `.modinfo` section of a module. Source: Linux include/linux/module.h, MODULE_INFO."""
    try:
        section = ELFFile(io.BytesIO(data)).get_section_by_name(".modinfo")
        text = section.data().decode("utf-8", "replace") if section is not None else ""
    except (ELFError, ValueError) as error:
        raise HostError(
            f"kernel module {name} is damaged: {error}", "try again with another mirror"
        ) from error
    values: dict[str, list[str]] = {}
    for item in text.split("\0"):
        key, equals, value = item.partition("=")
        if equals:
            values.setdefault(key, []).append(value)
    needs = [
        word.replace("-", "_") for value in values.get("depends", []) for word in value.split(",") if word
    ]
    soft = [
        word.replace("-", "_")
        for value in values.get("softdep", [])
        if value.startswith("pre:")
        for word in value.removeprefix("pre:").split(" post:")[0].split()
    ]
    return Module(name, data, tuple(needs), tuple(soft), tuple(values.get("alias", ())))


def _uncompressed(data: bytes, suffix: str | None) -> bytes:
    if suffix == ".xz":
        return lzma.decompress(data)
    if suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    return data


def check_image(data: bytes, what: str) -> bytes:
    """Return a Linux `Image`, unpacked if it is gzip. Raises HostError if it is not one for RISC-V.

    Source: Linux Documentation/arch/riscv/boot-image-header.rst.
    """
    if data[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(data)) as stream:
            data = stream.read(_IMAGE_LIMIT_BYTES)
    if data[_IMAGE_MAGIC_OFFSET : _IMAGE_MAGIC_OFFSET + 4] != _IMAGE_MAGIC:
        raise HostError(
            f"{what} is not an uncompressed RISC-V kernel image", "set INNKEEPER_MIRROR to another mirror"
        )
    return data


class _Contents:
    """What is of interest in the kernel packages, read in one pass per package."""

    def __init__(self) -> None:
        self.image = b""
        self.builtin: set[str] = set()
        self.modules: dict[str, tuple[bytes, str | None]] = {}

    def read(self, path: Path, task: ProgressTask) -> None:
        left = path.stat().st_size

        def advance(size_bytes: int) -> None:
            nonlocal left
            left -= size_bytes
            task.advance(size_bytes)

        self._read(path, advance)
        task.advance(left)

    def _read(self, path: Path, advance: Callable[[int], None]) -> None:
        with open_member(path, "data", advance) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                name = normal_path(member.name)
                stream = tar.extractfile(member)
                if stream is None:
                    continue
                if _KERNEL.fullmatch(name):
                    self.image = check_image(stream.read(), name)
                elif _BUILTIN.fullmatch(name):
                    self.builtin = {
                        line.rpartition("/")[2].removesuffix(".ko").replace("-", "_")
                        for line in stream.read().decode("utf-8", "replace").splitlines()
                    }
                elif module := _MODULE.fullmatch(name):
                    self.modules[module[1].replace("-", "_")] = (stream.read(), module[2])

    def module(self, name: str) -> Module | None:
        """Module `name`, None if it is built in. Raises ConfigError if the packages do not have it."""
        if name in self.modules:
            data, suffix = self.modules[name]
            return _module_information(name, _uncompressed(data, suffix))
        if name in self.builtin:
            return None
        raise ConfigError(
            f"the kernel's packages have no module {name}", "report it: the catalog names a wrong set"
        )


def read_kernel(
    release: str, packages: Sequence[Path], wanted: Iterable[str], progress: Progress = SILENT
) -> Kernel:
    """Take the kernel and the modules `wanted`, with what they need, from package files.

    Raises ConfigError if a module is neither in them nor built in, HostError if a file is damaged.
    """
    contents = _Contents()
    size_bytes = sum(path.stat().st_size for path in packages)
    with reporting(progress, "unpack the kernel", size_bytes, "bytes") as task:
        for path in packages:
            contents.read(path, task)
    if not contents.image:
        raise ConfigError("the kernel's packages hold no kernel", "set INNKEEPER_MIRROR to another mirror")
    kernel = Kernel(release, contents.image)
    pending = [name.replace("-", "_") for name in wanted]
    while pending:
        name = pending.pop()
        if name in kernel.modules:
            continue
        module = contents.module(name)
        if module is not None:
            module = replace(module, soft=tuple(_soft_providers(module, contents)))
            kernel.modules[name] = module
            pending += [*module.needs, *module.soft]
    return kernel


def _soft_providers(module: Module, contents: _Contents) -> list[str]:
    """Modules for soft dependencies; for an alias such as `crypto_crc32c` its generic module serves."""
    names = [name for soft in module.soft for name in (soft, f"{soft.removeprefix('crypto_')}_generic")]
    return [name for name in names if name in contents.modules]


def _newest_release(index: PackageIndex, pattern: str) -> tuple[str, Package] | None:
    """The release and the package with the highest version, of those whose names match `pattern`."""
    compiled = re.compile(pattern)
    found = [
        (match["release"], package)
        for name in index.names()
        if (match := compiled.fullmatch(name)) and (package := index.newest(name)) is not None
    ]
    return max(found, key=lambda item: DebianVersion(item[1].version), default=None)


def fetch_kernel(archive: Archive, sources: Sequence[KernelSource], wanted: Sequence[str]) -> Kernel:
    """Fetch the kernel from the first of `sources` that the mirror can serve.

    The installer's packages are a tenth of the full one, but partial mirrors leave them out, and caches of
    mirrors have an index of them that is not the one that the release lists. Raises HostError of the last
    source if none can be had.
    """
    failure: HostError | None = None
    for source in sources:
        try:
            index = archive.index(source.component)
            newest = _newest_release(index, source.pattern)
            if newest is None:
                raise NotOnMirror(
                    f"the archive has no package {source.pattern}", "set INNKEEPER_MIRROR to another mirror"
                )
            release, package = newest
            companions = [index.newest(name.format(release=release)) for name in source.companions]
            if None in companions:
                raise NotOnMirror(f"the archive lacks a part of kernel {release}", "try again later")
            packages = [package, *(companion for companion in companions if companion is not None)]
            paths = archive.fetch(f"kernel {release}", packages)
            return read_kernel(release, paths, wanted, archive.progress)
        except (NotOnMirror, DigestMismatch) as error:
            failure = error
    raise failure or ConfigError("the catalog names no kernel", "report it")
