# SPDX-License-Identifier: Apache-2.0
"""How a VM ended, from what its VMM left behind; and whether it is started again."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path

from innkeeper.api.models import RestartPolicy
from innkeeper.api.vmm_protocol import ENDED_FILE, LOG_FILE, EndedRecord
from innkeeper.errors import ConfigError
from innkeeper.host.private import read_private
from innkeeper.hypervisor.children import Process

RECORD_LIMIT_BYTES = 1 << 16
DELAY_FIRST_S, DELAY_LAST_S = 1.0, 60.0
STEADY_NS = 600_000_000_000
"""A VM that ran so long begins its count of restarts anew."""


@dataclass(frozen=True)
class End:
    """`crashed`: it did not end by being asked to, from inside or outside. `reason` is for the user."""

    crashed: bool
    reason: str


def end_of(folder: Path, process: Process, exit_status: int | None) -> End:
    """How the VMM `process` of the VM in `folder` ended. `exit_status` None: nobody knows it."""
    record = _read_record(folder, process)
    if record is not None:
        return End(record.ending in ("failed", "crashed"), record.reason)
    if exit_status is not None and exit_status < 0:
        return End(True, f"its VMM was killed by signal {-exit_status} ({signal.strsignal(-exit_status)})")
    said = _last_line(folder / LOG_FILE)
    if exit_status:
        return End(True, f"its VMM ended with status {exit_status}{f': {said}' if said else ''}")
    return End(True, "its VMM ended without a word; it may have been killed")


def _read_record(folder: Path, process: Process) -> EndedRecord | None:
    try:
        record = EndedRecord.from_json(json.loads(read_private(folder / ENDED_FILE, RECORD_LIMIT_BYTES)))
    except (OSError, ValueError, ConfigError):
        return None
    same = (record.pid, record.process_start_ticks) == (process.pid, process.start_ticks)
    return record if same else None


def _last_line(path: Path) -> str:
    """The last line of a log, up to 300 characters."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300].removeprefix("inn: ") if lines else ""


def restart_delay_s(policy: RestartPolicy, end: End, restarts: int) -> float | None:
    """After what time a VM that ended by itself is started again; None: it is not.

    `restarts` counts those in a row: each waits twice as long as the one before, up to a minute.
    """
    if policy == "never" or (policy == "on-failure" and not end.crashed):
        return None
    return float(min(DELAY_FIRST_S * 2 ** min(restarts, 16), DELAY_LAST_S))
