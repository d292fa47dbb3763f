# SPDX-License-Identifier: Apache-2.0
"""What went through a guest's NAT. Counters only grow, but for those that say "open"."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Statistics:
    """From the guest's side: sent is what the guest sent."""

    sent_frames: int = 0
    sent_bytes: int = 0
    received_frames: int = 0
    received_bytes: int = 0
    tcp_opened: int = 0
    tcp_open: int = 0
    tcp_retransmitted: int = 0
    udp_opened: int = 0
    udp_open: int = 0
    echo_open: int = 0
    dns_queries: int = 0
    refused: int = 0
    """By policy."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Frames and packets that went nowhere, by reason. The reasons are ours: their number is fixed."""
