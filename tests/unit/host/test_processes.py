# SPDX-License-Identifier: Apache-2.0
"""Processes are named by pid and start time, and their end is seen."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys

from innkeeper.host.processes import (
    boot_id,
    end_process,
    is_process,
    open_process,
    peer_user,
    process_start_ticks,
)


def test_a_process_from_start_to_end() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_start_ticks(child.pid)
    assert started is not None and is_process(child.pid, started)
    assert open_process(child.pid, started + 1) is None
    end_process(child.pid, started + 1)
    descriptor = open_process(child.pid, started)
    assert descriptor is not None
    assert select.select([descriptor], [], [], 0)[0] == []
    end_process(child.pid, started)
    assert select.select([descriptor], [], [], 30)[0] == [descriptor]
    os.close(descriptor)
    assert process_start_ticks(child.pid) is None, "a zombie has ended"
    assert child.wait() == -9
    assert child.stdin is not None
    child.stdin.close()
    end_process(child.pid, started)
    assert open_process(child.pid, started) is None


def test_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_user(one) == os.geteuid()
    with socket.socket(socket.AF_INET) as unconnected:
        assert peer_user(unconnected) in (None, (1 << 32) - 1)


def test_the_boot_has_a_name() -> None:
    assert boot_id() == boot_id()
