# SPDX-License-Identifier: Apache-2.0
"""Turns the root overlay of a VM into a raw disk and back, in a process of its own, for exports and imports.

    python -m innkeeper.vmm.disk_tool flatten OVERLAY RAW
    python -m innkeeper.vmm.disk_tool fill RAW OVERLAY IMAGE

`fill` makes an overlay over the image's root disk in which every cluster is given, so that nothing of that
disk shows through, whatever it holds on this host.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from innkeeper import images
from innkeeper.errors import ConfigError, HostError, InnkeeperError
from innkeeper.images.copy_on_write import CLUSTER_BYTES
from innkeeper.images.disk import RawDisk
from innkeeper.images.overlay import OverlayDisk
from innkeeper.vmm.job import GuestJobRunner

_STEP_BYTES = 16 * CLUSTER_BYTES
_ZEROES = bytes(CLUSTER_BYTES)


def flatten(overlay: Path, raw: Path) -> None:
    """Write what the disk `overlay` holds to the new file `raw`, with holes for zeroes."""
    with OverlayDisk(overlay, read_only=True) as disk, raw.open("xb", buffering=0) as file:
        for offset_bytes in range(0, disk.size_bytes, _STEP_BYTES):
            data = bytearray(min(_STEP_BYTES, disk.size_bytes - offset_bytes))
            disk.readv(offset_bytes, [memoryview(data)])
            for start in range(0, len(data), CLUSTER_BYTES):
                cluster = data[start : start + CLUSTER_BYTES]
                if cluster != _ZEROES[: len(cluster)]:
                    os.pwrite(file.fileno(), cluster, offset_bytes + start)
        os.ftruncate(file.fileno(), disk.size_bytes)


def fill(raw: Path, overlay: Path, image: str) -> None:
    """Make the new file `overlay`, over the root disk of `image`, hold what the disk `raw` does."""
    base = images.ensure(image, images.SILENT, GuestJobRunner()).root_disk
    if base is None:
        raise ConfigError(f"the image {image} has no disk", "import it where it has one")
    with RawDisk(raw, read_only=True) as source:
        OverlayDisk.create(overlay, base, source.size_bytes)
        with OverlayDisk(overlay) as disk:
            for offset_bytes in range(0, source.size_bytes, CLUSTER_BYTES):
                data = bytearray(min(CLUSTER_BYTES, source.size_bytes - offset_bytes))
                source.readv(offset_bytes, [memoryview(data)])
                if data == _ZEROES[: len(data)]:
                    disk.write_zeroes(offset_bytes, len(data))
                else:
                    disk.writev(offset_bytes, [memoryview(data)])


def main(arguments: list[str]) -> int:
    """0, or 2 with the reason on stderr."""
    try:
        match arguments:
            case ["flatten", overlay, raw]:
                flatten(Path(overlay), Path(raw))
            case ["fill", raw, overlay, image]:
                fill(Path(raw), Path(overlay), image)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except InnkeeperError as error:
        print(f"inn: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        shown = HostError(f"cannot convert the disk: {error.strerror}", "free some space" if full else "")
        print(f"inn: {shown}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
