# SPDX-License-Identifier: Apache-2.0
"""Innkeeper: a hypervisor in Python that runs real Linux virtual machines.

`Machine` runs one VM, `Result` is what a command in it answered. `connect` and `connect_async` reach the
hypervisor, which keeps many. All are loaded when first used, so that importing the package (for its errors,
say) costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from innkeeper.client import connect, connect_async
    from innkeeper.vmm import Machine, Result

__version__ = "0.1.0"
__all__ = ["Machine", "Result", "__version__", "connect", "connect_async"]


def __getattr__(name: str) -> Any:
    if name in ("Machine", "Result"):
        from innkeeper import vmm

        return getattr(vmm, name)
    if name in ("connect", "connect_async"):
        from innkeeper import client

        return getattr(client, name)
    raise AttributeError(f"module 'innkeeper' has no attribute {name!r}")
