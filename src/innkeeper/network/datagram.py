# SPDX-License-Identifier: Apache-2.0
"""An IP datagram, whatever its version, as the parts above IP see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Datagram:
    """A whole datagram of the guest. `payload` is only valid during the call it is handed to."""

    source: bytes
    target: bytes
    protocol: int
    payload: memoryview
    hop_limit: int = 64
    identification: int = 0
    dont_fragment: bool = False


@dataclass(slots=True)
class Fragment:
    """A piece of a datagram: its payload from `offset_bytes` on; the last one if not `more`."""

    datagram: Datagram
    offset_bytes: int
    more: bool
