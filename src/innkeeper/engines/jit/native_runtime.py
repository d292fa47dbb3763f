# SPDX-License-Identifier: Apache-2.0
"""The native functions of an engine, as they were linked when its artifact was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from innkeeper.engines.jit.artifact import Artifact
from innkeeper.host.executable import NativeCode, symbol_address

if TYPE_CHECKING:
    from innkeeper.codegen.link import LinkedCode


def stored(linked: LinkedCode) -> Artifact:
    """Linked code as a part of an artifact."""
    functions = [f"{name} {offset} {size}" for name, (offset, size) in linked.functions.items()]
    imports = [f"{offset} {name}" for offset, name in linked.imports.items()]
    pointers = [f"{offset} {value}" for offset, value in linked.pointers.items()]
    names = {"functions": functions, "imports": imports, "pointers": pointers}
    return Artifact(names, {"runtime": bytes(linked.code)})


class NativeRuntime:
    """In memory, and callable until `close`. `functions`: offset and size of each, by name."""

    def __init__(self, artifact: Artifact) -> None:
        rows = (line.split() for line in artifact.names["functions"])
        self.functions = {name: (int(offset), int(size)) for name, offset, size in rows}
        imports = (line.split() for line in artifact.names["imports"])
        pointers = (line.split() for line in artifact.names["pointers"])
        self._code = NativeCode(
            artifact.blobs["runtime"],
            {int(offset): symbol_address(name) for offset, name in imports},
            {int(offset): int(value) for offset, value in pointers},
        )

    def address(self, name: str) -> int:
        """Where a function is."""
        return self._code.address + self.functions[name][0]

    def close(self) -> None:
        """Nothing of it may be running."""
        self._code.close()
