# SPDX-License-Identifier: Apache-2.0
"""mke2fs and the libraries it needs, taken from Debian's packages, for the guest that builds a disk."""

import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from innkeeper.errors import HostError
from innkeeper.images.cpio import Writer
from innkeeper.images.deb import normal_path, open_member

_FOLDER = "innkeeper/mkfs"
_PACKAGES = frozenset({"e2fsprogs", "libext2fs2t64", "libcom-err2", "libblkid1", "libuuid1", "libc6"})


def _programs(packages: Sequence[Path]) -> dict[str, bytes]:
    """mke2fs and all shared libraries in `packages`, by file name; links are followed."""
    found: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for path in packages:
        with open_member(path, "data") as tar:
            for member in tar:
                folder, _, name = normal_path(member.name).rpartition("/")
                if not (
                    name == "mke2fs" or (".so" in name and "/lib" in f"/{folder}" and "gconv" not in folder)
                ):
                    continue
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is not None:
                    found[name] = stream.read()
                elif member.issym():
                    links[name] = member.linkname.rpartition("/")[2]
    found.update({name: found[target] for name, target in links.items() if target in found})
    return found


def _needed(program: bytes) -> tuple[list[str], str | None]:
    """The names of the libraries that an ELF file needs, and its dynamic loader."""
    elf = ELFFile(io.BytesIO(program))
    dynamic = elf.get_section_by_name(".dynamic")
    names = (
        [str(getattr(tag, "needed", "")) for tag in dynamic.iter_tags("DT_NEEDED")]
        if isinstance(dynamic, DynamicSection)
        else []
    )
    loaders = [
        segment.get_interp_name() for segment in elf.iter_segments() if isinstance(segment, InterpSegment)
    ]
    return names, loaders[0].rpartition("/")[2] if loaders else None


def builder_packages() -> frozenset[str]:
    """Packages of the image whose files `builder_archive` needs."""
    return _PACKAGES


def builder_archive(packages: Sequence[Path]) -> bytes:
    """A newc archive with `/innkeeper/build-disk` and mke2fs under `/innkeeper/mkfs`.

    Raises HostError if the packages do not hold mke2fs and every library that it needs.
    """
    available = _programs(packages)
    writer = Writer()
    chosen: set[str] = set()
    pending = ["mke2fs"]
    loader = ""
    while pending:
        name = pending.pop()
        if name in chosen:
            continue
        if name not in available:
            raise HostError(f"Debian's packages lack {name}, which making a disk needs", "use another mirror")
        try:
            needed, interpreter = _needed(available[name])
        except ELFError as error:
            raise HostError(
                f"{name} in Debian's packages is damaged: {error}", "use another mirror"
            ) from error
        chosen.add(name)
        pending += [*needed, *([interpreter] if interpreter else [])]
        loader = interpreter or loader
        writer.file(f"{_FOLDER}/{name}", available[name], 0o755)
    script = f'#!/bin/sh\nexec /{_FOLDER}/{loader} --library-path /{_FOLDER} "$@"\n'
    writer.file(f"{_FOLDER}/run", script.encode(), 0o755)
    writer.file(
        "innkeeper/build-disk", (files("innkeeper.images") / "guest" / "build-disk").read_bytes(), 0o755
    )
    return writer.archive()
