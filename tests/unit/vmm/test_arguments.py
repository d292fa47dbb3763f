# SPDX-License-Identifier: Apache-2.0
"""Arguments of `Machine` that cannot be had are refused at once, with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from innkeeper.errors import ConfigError
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
