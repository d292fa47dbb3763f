# SPDX-License-Identifier: Apache-2.0
"""The command of one run, as a small archive that is appended to the initrd."""

import re
from collections.abc import Mapping, Sequence

from innkeeper.errors import ConfigError
from innkeeper.images.cpio import Writer

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
COMMAND_PATH = "innkeeper/command"


def _to_bytes(text: str | bytes) -> bytes:
    """Bytes of an argument: undecodable ones come back as they were (PEP 383)."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ConfigError(
            "an argument of the command holds a NUL byte", "leave it out: no program can receive it"
        )
    return data


def _quoted(text: str | bytes) -> bytes:
    """`text` as one word of a POSIX shell, exact for every byte but NUL."""
    return b"'" + _to_bytes(text).replace(b"'", b"'\\''") + b"'"


def command_archive(argv: Sequence[str | bytes], env: Mapping[str, str], cwd: str | None) -> bytes:
    """Return a newc archive with `/innkeeper/command`: a shell fragment that becomes the command.

    `env` is added to the guest's default environment, `cwd` is a folder in the guest (None: `/root`).
    Raises ConfigError for an empty `argv`, a NUL byte, or a variable name that a shell cannot hold.
    """
    if not argv or not argv[0]:
        raise ConfigError("there is no command to run", "give one after --")
    lines = []
    if cwd is not None:
        lines.append(b"cd -- " + _quoted(cwd) + b" || exit 127")
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not a name for an environment variable", "use letters, digits and _"
            )
        lines.append(b"export " + name.encode() + b"=" + _quoted(value))
    lines.append(b"exec " + b" ".join(_quoted(word) for word in argv))
    writer = Writer()
    writer.file(COMMAND_PATH, b"\n".join(lines) + b"\n", 0o600)
    return writer.archive()
