# SPDX-License-Identifier: Apache-2.0
"""What the user is told of connections that the network's policy refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innkeeper.network.refusals import Refusal


class RefusalNotice:
    """Tells of the first refusal only: a guest that looks around would fill the user's terminal."""

    def __init__(self, on_warning: Callable[[str], None]) -> None:
        self._on_warning = on_warning
        self._has_told = False

    def __call__(self, refusal: Refusal) -> None:
        if self._has_told:
            return
        self._has_told = True
        where = f"{refusal.names[0] if refusal.names else refusal.address} {refusal.protocol}"
        port = f" port {refusal.port}" if refusal.port else ""
        self._on_warning(f"the guest may not reach {where}{port}: {refusal.reason} (--allow opens it)")
