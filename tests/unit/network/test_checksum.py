# SPDX-License-Identifier: Apache-2.0
"""The checksum against RFC 1071's own loop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.network.checksum import checksum, ones_sum, pseudo_sum
from tests.unit.network.packets import pseudo, rfc1071


@given(st.binary(max_size=300))
def test_agrees_with_the_loop_over_words(data: bytes) -> None:
    assert checksum(data) == rfc1071(data)


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\xff\xff", b"\xff\xff\0\0", b"\xff\xfe\0\1", b"\xff"])
def test_zero_and_its_twin(data: bytes) -> None:
    assert checksum(data) == rfc1071(data)


@given(st.lists(st.binary(max_size=20).map(lambda part: part * 2), max_size=4), st.binary(max_size=9))
def test_parts_are_as_good_as_the_whole(parts: list[bytes], last: bytes) -> None:
    assert checksum(*parts, last) == rfc1071(b"".join(parts) + last)


@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(0, 65535))
def test_pseudo_headers(address4: object, address6: object, size_bytes: int) -> None:
    for address in (str(address4), str(address6)):
        header = pseudo(address, address, 6, size_bytes)
        packed = header[:4] if "." in address and ":" not in address else header[:16]
        assert pseudo_sum(packed, packed, 6, size_bytes) == ones_sum(header)
