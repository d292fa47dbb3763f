# SPDX-License-Identifier: Apache-2.0
"""Amounts as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.cli.sizes import UNIT_BYTES, format_size, parse_size_bytes, parse_timeout_s
from innkeeper.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("512M", 512 << 20),
        ("2G", 2 << 30),
        ("1.5GiB", 3 << 29),
        ("64MB", 64 << 20),
        ("64mib", 64 << 20),
        ("65536k", 64 << 20),
        ("0.5T", 1 << 39),
        (" 1 G ", 1 << 30),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "512",
        "M",
        "-1M",
        "1e3M",
        "1,5G",
        "0x10M",
        "1.G",
        "0G",
        "0.1K",
        "9" * 30 + "M",
        "\u0661M",
        "1M2",
        "1b",
    ],
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ConfigError) as failure:
        parse_size_bytes(text)
    assert failure.value.remedy


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_size_bytes(text) > 0


@given(st.integers(1, 10**6), st.sampled_from(sorted(UNIT_BYTES)))
def test_units(number: int, unit: str) -> None:
    assert parse_size_bytes(f"{number}{unit}") == number * UNIT_BYTES[unit]


def test_format() -> None:
    assert [format_size(n) for n in (0, 1023, 1024, 1536 << 20, 5 << 40)] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 GiB", "5.0 TiB",
    ]  # fmt: skip


def test_timeouts() -> None:
    assert (parse_timeout_s("30"), parse_timeout_s("0.5")) == (30.0, 0.5)
