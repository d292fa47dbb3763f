# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine boots: a catalog of images, built from Debian's verified archive and cached."""

from innkeeper.images.cache import cache_directory
from innkeeper.images.command import command_archive
from innkeeper.images.cpio import join_initrd
from innkeeper.images.definition import ImageDefinition, catalog
from innkeeper.images.progress import SILENT, Progress, ProgressTask
from innkeeper.images.runner import GuestDisk, GuestJob, GuestRunner
from innkeeper.images.store import BootFiles, InstalledImage, ensure, installed, remove

__all__ = [
    "SILENT",
    "BootFiles",
    "GuestDisk",
    "GuestJob",
    "GuestRunner",
    "ImageDefinition",
    "InstalledImage",
    "Progress",
    "ProgressTask",
    "cache_directory",
    "catalog",
    "command_archive",
    "ensure",
    "installed",
    "join_initrd",
    "remove",
]
