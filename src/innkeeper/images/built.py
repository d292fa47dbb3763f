# SPDX-License-Identifier: Apache-2.0
"""What an image that is built consists of, and how it is known again.

Apart from `build`, which loads what downloads and unpacks packages: who boots an image needs none of that.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from innkeeper.errors import ConfigError
from innkeeper.images.cache import storing
from innkeeper.images.definition import DiskContents
from innkeeper.images.runner import GuestRunner

KERNEL_FILE = "Image"
INITRD_FILE = "initrd.cpio"
DISK_FILE = "root.ext4"


@dataclass(frozen=True)
class BaseFiles:
    """What a disk image boots through."""

    kernel: Path
    initrd: Path
    append: str


def root_settings(contents: DiskContents, apt_sources: str) -> dict[str, str]:
    """Text files of the root that no package ships: path to contents. `apt_sources`: see `sources`."""
    excludes = "".join(
        f"path-{'include' if pattern.startswith('!') else 'exclude'} {pattern.removeprefix('!')}\n"
        for pattern in contents.left_out
    )
    autologin = (
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud %I $TERM\n"
    )
    return {
        "etc/hostname": "innkeeper\n",
        "etc/hosts": "127.0.0.1 localhost innkeeper\n::1 localhost ip6-localhost ip6-loopback\n",
        "etc/fstab": "/dev/vda / ext4 noatime 0 1\n",
        "etc/apt/sources.list.d/debian.sources": apt_sources,
        "etc/apt/apt.conf.d/90innkeeper": 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n',
        "etc/dpkg/dpkg.cfg.d/innkeeper": excludes,
        "etc/systemd/system/serial-getty@.service.d/autologin.conf": autologin,
        "etc/environment": "LANG=C.UTF-8\n",
    }


def fingerprint(path: Path, digest: Callable[[Path], str | None] | None) -> dict[str, object]:
    """What a manifest remembers of a file: length, time of last change and, if asked for, its digest."""
    with storing(path.parent):
        status = path.stat()
    return {
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": digest(path) if digest is not None else None,
    }


def read_manifest(path: Path) -> dict[str, object] | None:
    """The manifest at `path`, None if there is none or it is damaged."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def require_runner(runner: GuestRunner | None, name: str) -> GuestRunner:
    """`runner`, or a ConfigError if there is none."""
    if runner is None:
        raise ConfigError(f"image {name} has to be built in a guest", f"run `inn images pull {name}` first")
    return runner
