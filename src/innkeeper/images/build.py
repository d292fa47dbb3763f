# SPDX-License-Identifier: Apache-2.0
"""Building images: from the catalog's definition to the files that a machine boots."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from innkeeper.errors import HostError
from innkeeper.host.clock import HostClock
from innkeeper.images.archive import Archive, open_archive
from innkeeper.images.built import DISK_FILE, INITRD_FILE, KERNEL_FILE, BaseFiles, root_settings
from innkeeper.images.cache import replacing, storing, write_file
from innkeeper.images.command import command_archive
from innkeeper.images.cpio import join_initrd
from innkeeper.images.definition import DiskContents, ImageDefinition
from innkeeper.images.download import Downloads
from innkeeper.images.initramfs import BUSYBOX_PACKAGE, build_initramfs, read_busybox
from innkeeper.images.kernel import fetch_kernel
from innkeeper.images.mirror import mirrors
from innkeeper.images.mkfs import builder_archive, builder_packages
from innkeeper.images.progress import Progress, ProgressTask, reporting
from innkeeper.images.release import debian_keyring
from innkeeper.images.resolver import find, resolve
from innkeeper.images.rootfs import write_root
from innkeeper.images.runner import GuestDisk, GuestJob, GuestRunner
from innkeeper.images.sources import apt_sources

_BUILD_STEPS = 6
_OUTPUT_KEPT_BYTES = 2000


@dataclass(frozen=True)
class Builder:
    """Where things are fetched from and to while images are built. The caller holds the cache's lock."""

    downloads: Downloads
    progress: Progress

    def archive(self, definition: ImageDefinition) -> Archive:
        """The archive that `definition` names, on the first mirror that can be used."""
        choice = definition.archive
        return open_archive(
            self.downloads,
            mirrors(os.environ, Path("/etc/apt")),
            choice.suites,
            choice.codename,
            choice.architecture,
            debian_keyring(),
        )

    def initramfs_image(self, definition: ImageDefinition, folder: Path) -> str:
        """Write kernel and initrd of an `initramfs` image into `folder`; return the kernel's release."""
        archive = self.archive(definition)
        wanted = (*definition.early_modules, *definition.modules)
        kernel = fetch_kernel(archive, definition.kernel_sources, wanted)
        [busybox] = archive.fetch("busybox", [find(archive.index("main"), BUSYBOX_PACKAGE)])
        # Loads LLVM, which only who builds an image needs.
        from innkeeper.guest_agent.program import build as build_agent

        initrd = build_initramfs(kernel, read_busybox(busybox), build_agent(), definition.early_modules)
        write_file(folder / KERNEL_FILE, kernel.image)
        write_file(folder / INITRD_FILE, initrd)
        return kernel.release

    def disk_image(
        self,
        definition: ImageDefinition,
        contents: DiskContents,
        base: BaseFiles,
        folder: Path,
        runner: GuestRunner,
    ) -> str:
        """Write the root disk of a `disk` image into `folder`; return Debian's version.

        Raises HostError if the guest that builds it fails; then no disk is left behind.
        """
        archive = self.archive(definition)
        packages = resolve(archive.index("main"), contents.packages, contents.excluded)
        paths = archive.fetch(f"{definition.name}: {len(packages)} packages", packages)
        tools = [
            path for path, package in zip(paths, packages, strict=True) if package.name in builder_packages()
        ]
        sources = apt_sources(self.downloads, archive, definition.archive, HostClock())
        tar_path, disk_path = folder / "root.tar", folder / "root.building"
        try:
            with (
                reporting(self.progress, "unpack packages", len(paths), "steps") as task,
                replacing(tar_path) as stream,
            ):
                settings = root_settings(contents, sources)
                write_root(stream, paths, contents.left_out, settings, task)
                stream.write(bytes(-stream.tell() % 512))
            with storing(folder), disk_path.open("wb") as disk:
                disk.truncate(contents.disk_bytes)
            command = command_archive(["/innkeeper/build-disk"], {}, None)
            job = GuestJob(
                kernel=base.kernel,
                initrd=join_initrd(base.initrd.read_bytes(), builder_archive(tools), command),
                append=base.append,
                disks=(GuestDisk(disk_path, False), GuestDisk(tar_path, True)),
                memory_bytes=contents.build_memory_bytes,
            )
            self._run(job, len(packages), runner)
            with storing(folder):
                with disk_path.open("rb+") as disk:
                    os.fsync(disk.fileno())
                disk_path.chmod(0o444)
                os.replace(disk_path, folder / DISK_FILE)
        finally:
            tar_path.unlink(missing_ok=True)
            disk_path.unlink(missing_ok=True)
        return archive.release.version

    def _run(self, job: GuestJob, packages: int, runner: GuestRunner) -> None:
        with reporting(
            self.progress, "install packages in a guest", packages + _BUILD_STEPS, "steps"
        ) as task:
            output = _BuildOutput(task)
            status = runner.run(job, output.feed)
        if status != 0:
            raise HostError(
                f"installing Debian in the guest failed with status {status}: {output.tail()}",
                "try again; if it fails again, report it with this message",
            )


class _BuildOutput:
    """Follows what the guest prints: one step of progress per step and per package that is set up."""

    def __init__(self, task: ProgressTask) -> None:
        self._task = task
        self._lock = threading.Lock()
        self._line = b""
        self._kept = b""

    def feed(self, data: bytes) -> None:
        """Take what the guest printed; may be called from several threads."""
        with self._lock:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-_OUTPUT_KEPT_BYTES:]
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-_OUTPUT_KEPT_BYTES:]
        for line in lines:
            if line.startswith((b"step ", b"Setting up ")):
                self._task.advance(1)

    def tail(self) -> str:
        """The last lines, on one line and without control characters, for a message."""
        text = self._kept.decode("utf-8", "replace")
        lines = ["".join(c for c in line if c.isprintable()) for line in text.splitlines()[-5:]]
        return " / ".join(line for line in lines if line)
