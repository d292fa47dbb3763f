# SPDX-License-Identifier: Apache-2.0
"""The initramfs that every image boots through: busybox, a few kernel modules and the guest's init."""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from innkeeper.errors import HostError
from innkeeper.images.cpio import Writer
from innkeeper.images.deb import normal_path, open_member
from innkeeper.images.kernel import Kernel

BUSYBOX_PACKAGE = "busybox-static"
_APPLETS = re.compile(rb"(\[\0\[\[\0(?:[a-z0-9_.+-]+\0){20,})")
_FSTAB = """\
proc /proc proc nosuid,nodev,noexec 0 0
sys /sys sysfs nosuid,nodev,noexec 0 0
dev /dev devtmpfs nosuid,mode=0755 0 0
run /run tmpfs nosuid,nodev,mode=0755 0 0
tmp /tmp tmpfs nosuid,nodev,mode=1777 0 0
"""
_FILES = {
    "etc/fstab": _FSTAB,
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\ntty:x:5:\n",
    # What `mount` without -t tries: asking for it by name makes the kernel load the module.
    "etc/filesystems": "ext4\n",
    # Filled by the agent.
    "etc/machine-id": "",
    "etc/hosts": "127.0.0.1 localhost innkeeper\n",
    "etc/profile": "PS1='\\h:\\w\\$ '\n",
}


def read_busybox(package: Path) -> bytes:
    """Return the program of the busybox-static package. Raises HostError if it is not in it."""
    with open_member(package, "data") as tar:
        for member in tar:
            if normal_path(member.name) in ("bin/busybox", "usr/bin/busybox") and member.isfile():
                stream = tar.extractfile(member)
                if stream is not None:
                    return stream.read()
    raise HostError("the busybox package holds no busybox", "set INNKEEPER_MIRROR to another mirror")


def applet_names(busybox: bytes) -> list[str]:
    """Names of the programs inside a busybox: its sorted table of NUL-terminated names.

    Read from the program because a riscv64 one cannot be asked here. Raises HostError if there is none.
    """
    match = _APPLETS.search(busybox)
    names = match[1].decode("ascii").split("\0")[:-1] if match else []
    ordered = [name for number, name in enumerate(names) if number == 0 or name > names[number - 1]]
    if "sh" not in names or "mount" not in names or len(ordered) != len(names):
        raise HostError(
            "busybox has no table of programs that can be read", "report it with the version of the package"
        )
    return names


def _add_modules(writer: Writer, kernel: Kernel, early: Sequence[str]) -> None:
    folder = f"lib/modules/{kernel.release}"
    first = kernel.loading_order(early)
    for number, module in enumerate(first):
        writer.file(f"lib/modules/early/{number}-{module.name}.ko", module.data)
    later = [module for name, module in sorted(kernel.modules.items()) if module not in first]
    dependencies, aliases = [], []
    for module in later:
        writer.file(f"{folder}/{module.name}.ko", module.data)
        # modprobe loads from the end of the list.
        needed = [item for item in kernel.loading_order([module.name]) if item not in first][:-1]
        dependencies.append(f"{module.name}.ko:" + "".join(f" {item.name}.ko" for item in reversed(needed)))
        aliases += [f"alias {alias} {module.name}" for alias in module.aliases]
    writer.file(f"{folder}/modules.dep", "".join(f"{line}\n" for line in dependencies).encode())
    writer.file(f"{folder}/modules.alias", "".join(f"{line}\n" for line in aliases).encode())


def build_initramfs(kernel: Kernel, busybox: bytes, agent: bytes, early_modules: Sequence[str]) -> bytes:
    """Return the archive, uncompressed: it is put into guest memory, so unpacking would only cost time.

    `early_modules` are loaded before anything else, the others when a device or a file system asks for them.
    """
    writer = Writer()
    for folder in ("dev", "proc", "sys", "run", "sysroot", "var/log"):
        writer.folder(folder)
    writer.folder("root", 0o700)
    writer.folder("tmp", 0o1777)
    writer.character_device("dev/console", 5, 1)
    writer.file("bin/busybox", busybox, 0o755)
    for name in applet_names(busybox):
        if name != "busybox":
            writer.link(f"bin/{name}", "busybox")
    for alias in ("sbin", "usr/bin", "usr/sbin"):
        writer.link(alias, "/bin")
    for path, text in _FILES.items():
        writer.file(path, text.encode())
    guest = files("innkeeper.images") / "guest"
    writer.file("init", (guest / "init").read_bytes(), 0o755)
    writer.file("innkeeper/session", (guest / "session").read_bytes())
    # Its name is what /proc/PID/comm says.
    writer.file("innkeeper/innkeeper-agent", agent, 0o755)
    _add_modules(writer, kernel, early_modules)
    return writer.archive()
