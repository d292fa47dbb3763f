# SPDX-License-Identifier: Apache-2.0
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.images.version import DebianVersion, satisfies

# In order, from Debian Policy 5.6.12 and dpkg's own tests.
ORDERED = [
    "0~~",
    "0~",
    "0",
    "0+a",
    "1~rc1-1",
    "1-0",
    "1-1~bpo12+1",
    "1-1",
    "1-1+b2",
    "1-1+b10",
    "1.2-1",
    "1.10-1",
    "1:0~1",
    "1:0",
]
UPSTREAM = st.from_regex(r"\A[0-9][A-Za-z0-9.+~]{0,6}\Z")
VERSIONS = st.builds(
    lambda epoch, upstream, revision: epoch + upstream + revision,
    st.sampled_from(["", "0:", "1:", "10:"]),
    UPSTREAM,
    st.one_of(st.just(""), st.from_regex(r"\A-[A-Za-z0-9.+~]{1,5}\Z")),
)


def test_known_order_is_kept() -> None:
    assert sorted(reversed(ORDERED), key=DebianVersion) == ORDERED


def test_absent_parts_count_as_zero() -> None:
    assert DebianVersion("1.0") == DebianVersion("0:1.0-0")
    assert hash(DebianVersion("1.0")) == hash(DebianVersion("1.0-0"))


@pytest.mark.parametrize(
    ("operator", "results"),
    [("<<", (True, False, False)), ("<=", (True, True, False)), ("=", (False, True, False)),
     (">=", (False, True, True)), (">>", (False, False, True))],
)  # fmt: skip
def test_operators(operator: str, results: tuple[bool, ...]) -> None:
    assert tuple(satisfies(version, operator, "2-1") for version in ("1-1", "2-1", "10-1")) == results


def test_unknown_operator_is_refused() -> None:
    with pytest.raises(ValueError, match="!="):
        satisfies("1", "!=", "2")


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_is_total(a: str, b: str, c: str) -> None:
    x, y, z = sorted(map(DebianVersion, (a, b, c)))
    assert x <= y <= z
    assert x <= z
    assert [x < y, x == y, x > y].count(True) == 1


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is the oracle")
@settings(max_examples=120, deadline=None)
@given(VERSIONS, VERSIONS)
def test_agrees_with_dpkg(a: str, b: str) -> None:
    for operator, ours in (
        ("lt", DebianVersion(a) < DebianVersion(b)),
        ("eq", DebianVersion(a) == DebianVersion(b)),
    ):
        theirs = subprocess.run(["dpkg", "--compare-versions", a, operator, b], capture_output=True)
        assert (theirs.returncode == 0) == ours, (a, operator, b)
