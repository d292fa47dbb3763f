# SPDX-License-Identifier: Apache-2.0
"""Which images are ready to boot, and making ready those that are not.

Each image has a folder in the cache with a manifest, written last. The manifest says what the image was
built from (a digest of the definition and of the code that does it) and what its files are; a
folder that does not agree with it is built again.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.errors import ConfigError
from innkeeper.guest_agent import agent_source_digest
from innkeeper.host.tree import remove_tree
from innkeeper.images.built import (
    DISK_FILE,
    INITRD_FILE,
    KERNEL_FILE,
    BaseFiles,
    fingerprint,
    read_manifest,
    require_runner,
    root_settings,
)
from innkeeper.images.cache import cache_directory, locked, sha256_of, storing, write_file
from innkeeper.images.definition import ImageDefinition, catalog, definition
from innkeeper.images.prepared import drop_all, prepared_bytes
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.runner import GuestRunner

if TYPE_CHECKING:
    from innkeeper.images.build import Builder

_MANIFEST = "manifest.json"
_BUILT_BY = {
    "initramfs": ("initramfs.py", "kernel.py", "cpio.py", "guest/init", "guest/session"),
    "disk": ("rootfs.py", "dpkg.py", "sources.py", "guest/build-disk"),
}


@dataclass(frozen=True)
class BootFiles:
    """What a machine boots. `root_disk` is pristine: put an overlay over it, never write to it."""

    kernel: Path
    initrd: Path
    append: str
    root_disk: Path | None


@dataclass(frozen=True)
class InstalledImage:
    """An image in the cache. `size_bytes` is what it takes on the host's disk, with its prepared starts."""

    name: str
    version: str
    size_bytes: int


def _folder(name: str) -> Path:
    return cache_directory() / "images" / name


def _source_digest(image: ImageDefinition) -> str:
    """Digest of what decides how an image is built: a change of any of it makes it be built again."""
    settings = root_settings(image.disk, "") if image.disk is not None else {}
    decisive = {key: value for key, value in asdict(image).items() if key != "memory_min_bytes"}
    digest = hashlib.sha256(json.dumps([decisive, settings], sort_keys=True).encode())
    package = files("innkeeper.images")
    for name in _BUILT_BY[image.kind]:
        digest.update(package.joinpath(name).read_bytes())
    if image.kind == "initramfs":
        digest.update(agent_source_digest())
    return digest.hexdigest()


def _is_ready(image: ImageDefinition) -> bool:
    """Whether the files of `image` are there and are what its manifest says.

    A file whose length or time differs from the manifest's is read and compared by digest.
    """
    folder = _folder(image.name)
    manifest = read_manifest(folder / _MANIFEST)
    if manifest is None or manifest.get("source") != _source_digest(image):
        return False
    listed = manifest.get("files")
    if not isinstance(listed, dict) or set(listed) != set(_file_names(image)):
        return False
    return all(_is_intact(folder / name, remembered) for name, remembered in listed.items())


def _is_intact(path: Path, remembered: object) -> bool:
    if not isinstance(remembered, dict):
        return False
    try:
        status = path.stat()
    except OSError:
        return False
    if status.st_size != remembered.get("bytes"):
        return False
    if status.st_mtime_ns == remembered.get("mtime_ns"):
        return True
    expected = remembered.get("sha256")
    return expected is not None and sha256_of(path) == expected


def _file_names(image: ImageDefinition) -> tuple[str, ...]:
    return (KERNEL_FILE, INITRD_FILE) if image.kind == "initramfs" else (DISK_FILE,)


def _build(image: ImageDefinition, builder: "Builder", runner: GuestRunner | None) -> None:
    folder = _folder(image.name)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MANIFEST).unlink(missing_ok=True)
    if image.disk is None:
        version = builder.initramfs_image(image, folder)
    else:
        base = _boot_files(definition(image.base or "small"))
        files_of_base = BaseFiles(base.kernel, base.initrd, base.append)
        version = builder.disk_image(
            image, image.disk, files_of_base, folder, require_runner(runner, image.name)
        )
    # A disk is 8 GiB of mostly nothing: its length and time of change have to do.
    digest = sha256_of if image.disk is None else None
    remembered = {name: fingerprint(folder / name, digest) for name in _file_names(image)}
    manifest = {"source": _source_digest(image), "version": version, "files": remembered}
    write_file(folder / _MANIFEST, json.dumps(manifest, indent=1).encode())


def _boot_files(image: ImageDefinition) -> BootFiles:
    if image.base is None:
        folder = _folder(image.name)
        return BootFiles(folder / KERNEL_FILE, folder / INITRD_FILE, image.append, None)
    base = _boot_files(definition(image.base))
    return BootFiles(
        base.kernel, base.initrd, f"{base.append} {image.append}", _folder(image.name) / DISK_FILE
    )


def ensure(name: str, progress: Progress, runner: GuestRunner | None) -> BootFiles:
    """Return the files that image `name` boots from, building what is missing, stale or damaged.

    `runner` is needed only where a disk has to be built. Safe with several processes at once. Raises
    ConfigError (unknown image, wrong setting) and HostError (mirror, signature, digest, disk full).
    """
    image = definition(name)
    chain = [definition(image.base), image] if image.base is not None else [image]
    if not all(_is_ready(item) for item in chain):
        if image.disk is not None and not _is_ready(image):
            require_runner(runner, name)
        # Loads what speaks HTTP and reads packages, which takes longer than all else a start needs.
        from innkeeper.images.build import Builder
        from innkeeper.images.download import Downloads

        root = cache_directory()
        with (
            locked(root / "lock", progress),
            Downloads(root / "downloads", progress, os.environ) as downloads,
        ):
            builder = Builder(downloads, progress)
            for item in chain:
                if not _is_ready(item):
                    _build(item, builder, runner)
    return _boot_files(image)


def installed() -> list[InstalledImage]:
    """The images of the catalog that are ready to boot, without what they share with their base."""
    found = []
    for image in catalog():
        if _is_ready(image):
            folder = _folder(image.name)
            manifest = read_manifest(folder / _MANIFEST) or {}
            size = sum((folder / name).stat().st_blocks * 512 for name in _file_names(image))
            size += prepared_bytes(image.name)
            found.append(InstalledImage(image.name, str(manifest.get("version", "")), size))
    return found


def remove(name: str) -> None:
    """Delete image `name` from the cache. Raises ConfigError if it is unknown or not there.

    Waits for a process that builds or removes an image. A guest that runs keeps the disk that it has open.
    """
    image = definition(name)
    folder = _folder(image.name)
    absent = ConfigError(f"image {name} is not in the cache", "inn images lists what is")
    if not folder.exists():
        raise absent
    with locked(cache_directory() / "lock", SILENT), storing(folder):
        (folder / _MANIFEST).unlink(missing_ok=True)
        drop_all(image.name)
        try:
            remove_tree(folder, ignore_errors=False)
        except FileNotFoundError:
            raise absent from None
