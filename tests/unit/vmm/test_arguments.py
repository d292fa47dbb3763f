# SPDX-License-Identifier: Apache-2.0
"""Arguments of `Machine` that cannot be had are refused at once, with a remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from innkeeper.errors import ConfigError, HostError
from innkeeper.vmm import DiskSpec, Machine


@pytest.mark.parametrize(
    "arguments",
    [
        {"cpus": 0},
        {"cpus": 9},
        {"memory_bytes": 1 << 20},
        {"engine": "warp"},
        {"append": "a\0b"},
        {"disks": ["x,rx"]},
    ],
)
def test_wrong_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Machine(**arguments)
    assert caught.value.remedy


def test_disks(tmp_path: Path) -> None:
    assert DiskSpec.parse("a.img") == DiskSpec(Path("a.img"))
    assert DiskSpec.parse("a.img,ro") == DiskSpec(Path("a.img"), read_only=True)
    odd = tmp_path / "with,ro"
    odd.touch()
    assert DiskSpec.parse(str(odd)) == DiskSpec(odd)
    for text in ("", ",ro", "a,b"):
        with pytest.raises(ConfigError):
            DiskSpec.parse(text)


def test_a_missing_disk_is_told_before_anything_starts(tmp_path: Path) -> None:
    kernel = tmp_path / "Image"
    kernel.write_bytes(b"x")
    machine = Machine(kernel=kernel, initrd=kernel, disks=[tmp_path / "none"], engine="reference")
    with pytest.raises(ConfigError, match="none"):
        machine.run(["true"])


def test_a_damaged_kernel_is_told(tmp_path: Path) -> None:
    kernel = tmp_path / "Image"
    kernel.write_bytes(b"x" * 4096)
    machine = Machine(kernel=kernel, initrd=kernel, engine="reference")
    with pytest.raises(ConfigError, match="not a riscv64 kernel"):
        machine.run(["true"])


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "empty"])
def test_a_kernel_that_is_no_file_is_told_and_does_not_hang(tmp_path: Path, kind: str) -> None:
    kernel = tmp_path / "Image"
    match kind:
        case "pipe":
            os.mkfifo(kernel)
        case "folder":
            kernel.mkdir()
        case "device":
            kernel = Path("/dev/zero")
        case "empty":
            kernel.touch()
    machine = Machine(kernel=kernel, initrd=kernel, engine="reference")
    with pytest.raises(ConfigError, match=r"not a file|directory|empty"):
        machine.run(["true"])


def test_an_image_says_how_much_memory_it_needs() -> None:
    with pytest.raises(ConfigError, match=r"does not start in 64 MiB .*112 MiB or more"):
        Machine(memory_bytes=64 << 20).run(["true"])


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), 1e300])
def test_a_wrong_timeout_is_refused(timeout_s: float) -> None:
    with pytest.raises(ConfigError, match="time-out"):
        Machine(timeout_s=timeout_s)
    with pytest.raises(ConfigError, match="time-out"):
        Machine().run(["true"], timeout_s=timeout_s)


def test_more_memory_than_the_host_has_is_refused(tmp_path: Path) -> None:
    kernel = tmp_path / "Image"
    kernel.write_bytes(b"x" * 4096)
    with pytest.raises(HostError, match="the host has"):
        Machine(kernel=kernel, initrd=kernel, engine="reference", memory_bytes=1 << 46).run(["true"])
