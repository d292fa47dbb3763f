# SPDX-License-Identifier: Apache-2.0
"""Processes that the hypervisor starts, finds and waits for."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from innkeeper.errors import HostError
from innkeeper.hypervisor.children import LOG_LIMIT_BYTES, Children, Process, find_process


def test_a_status_is_known_for_children_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        children = Children()
        process = children.start([sys.executable, "-c", "raise SystemExit(5)"], tmp_path / "log")
        assert await children.wait(process) == 5
        assert await children.wait(process) is None
        assert await children.wait(Process(1, 1)) is None, "another process with this pid"

    asyncio.run(scenario())


def test_a_process_is_found_by_its_argument(tmp_path: Path) -> None:
    async def scenario() -> None:
        children = Children()
        word = str(tmp_path / "vmm.json")
        process = children.start([sys.executable, "-c", "input()", word], tmp_path / "log")
        try:
            assert find_process(word, ()) in (process, None)
            assert find_process(word, (process.pid,)) is None
            assert find_process(word + "x", ()) is None
        finally:
            process.kill()
            await children.wait(process)
        assert not process.is_alive() and find_process(word, ()) is None

    asyncio.run(scenario())


def test_logs_are_bounded(tmp_path: Path) -> None:
    async def scenario() -> None:
        children, log = Children(), tmp_path / "log"
        log.write_bytes(b"x" * (LOG_LIMIT_BYTES - 1))
        for number in range(3):
            await children.wait(children.start([sys.executable, "-c", f"print('run {number}')"], log))
        assert log.read_bytes() == b"run 1\nrun 2\n"

    asyncio.run(scenario())


def test_what_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be started"):
        Children().start([str(tmp_path / "nothing")], tmp_path / "log")
