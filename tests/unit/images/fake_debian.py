# SPDX-License-Identifier: Apache-2.0
"""The packages that the catalog's images need, as small as can be."""

import lzma
import struct

from tests.unit.images.fake_archive import FakeArchive

RELEASE = "6.12.1+deb13-riscv64"
IMAGE = bytes(0x38) + b"RSC\x05" + bytes(100)
APPLETS = sorted([*(f"applet{number}" for number in range(20)), "mount", "sh", "[", "[["])
BUSYBOX = b"\x7fELF code \0\x01" + b"".join(name.encode() + b"\0" for name in APPLETS) + b"\0rest"
_MODULES = {
    "drivers/virtio/virtio_mmio": "",
    "drivers/block/virtio_blk": "",
    "drivers/net/virtio_net": "depends=net_failover",
    "drivers/net/net_failover": "depends=failover",
    "net/core/failover": "",
    "drivers/char/hw_random/virtio-rng": "",
    "fs/ext4/ext4": "depends=jbd2\0softdep=pre: crypto_crc32c\0alias=fs-ext4",
    "fs/jbd2/jbd2": "",
    "crypto/crc32c_generic": "alias=crypto-crc32c",
}


def elf_of(information: str) -> bytes:
    """A 64-bit RISC-V ELF file with nothing but a `.modinfo` section."""
    names = b"\0.modinfo\0.shstrtab\0"
    contents = information.encode() + b"\0"
    header_bytes, section_bytes = 64, 64
    names_at = header_bytes + len(contents)
    table_at = names_at + len(names)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = ident + struct.pack(
        "<HHIQQQIHHHHHH", 1, 243, 1, 0, 0, table_at, 0, header_bytes, 0, 0, section_bytes, 3, 2
    )
    sections = [
        bytes(section_bytes),
        struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, header_bytes, len(contents), 0, 0, 1, 0),
        struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, names_at, len(names), 0, 0, 1, 0),
    ]
    return head + contents + names + b"".join(sections)


def kernel_files(prefix: str) -> dict[str, bytes]:
    """What a kernel package ships; `prefix` is where its modules are (`lib` or `usr/lib`)."""
    folder = f"{prefix}/modules/{RELEASE}"
    modules = {
        f"{folder}/kernel/{path}.ko.xz": lzma.compress(elf_of(text)) for path, text in _MODULES.items()
    }
    return {
        f"boot/vmlinux-{RELEASE}": IMAGE,
        f"{folder}/modules.builtin": b"kernel/lib/crc16.ko\n",
        **modules,
    }


def _control(name: str, **fields: str) -> str:
    lines = {"Package": name, "Version": "1.0", "Architecture": "riscv64", **fields}
    return "\n".join(f"{key.replace('_', '-')}: {value}" for key, value in lines.items())


def add_small(archive: FakeArchive, installer: bool = True) -> None:
    """Add what image `small` needs, the kernel as the installer's packages or as the full one."""
    if installer:
        archive.add(_control(f"kernel-image-{RELEASE}-di"), kernel_files("lib"), "main/debian-installer")
        for name in ("scsi", "nic", "ext4"):
            archive.add(_control(f"{name}-modules-{RELEASE}-di"), {"x/": b""}, "main/debian-installer")
    archive.add(_control(f"linux-image-{RELEASE}"), kernel_files("usr/lib"))
    archive.add(_control("busybox-static"), {"usr/bin/busybox": BUSYBOX})


def add_debian(archive: FakeArchive, names: tuple[str, ...]) -> None:
    """Add packages called `names`, each with a program, a manual page and a configuration file."""
    for name in names:
        files = {
            "bin/": b"",
            f"bin/{name}": name.encode(),
            f"usr/share/man/man1/{name}.1.gz": b"manual",
            f"usr/share/doc/{name}/copyright": b"free",
        }
        if name == "e2fsprogs":
            files["usr/sbin/mke2fs"] = elf_of("")
        archive.add(_control(name), files)
