# SPDX-License-Identifier: Apache-2.0
import pytest

from innkeeper.errors import ConfigError, HostError
from innkeeper.images.packages import PackageIndex
from innkeeper.images.relation import Relation, parse_relations
from innkeeper.images.resolver import resolve


def _index(*packages: str) -> PackageIndex:
    """Packages as `name version; Field: value; …`."""
    entries = []
    for text in packages:
        head, *fields = [part.strip() for part in text.split(";")]
        name, version = head.split()
        lines = [f"Package: {name}", f"Version: {version}", "Architecture: riscv64", *fields]
        entries.append("\n".join([*lines, f"Filename: pool/{name}.deb", "Size: 1", f"SHA256: {'0' * 64}"]))
    return PackageIndex("\n\n".join(entries).encode())


def _names(index: PackageIndex, *wanted: str, excluded: tuple[str, ...] = ()) -> set[str]:
    return {package.name for package in resolve(index, wanted, excluded)}


def test_relations_are_parsed() -> None:
    assert parse_relations("libc6 (>= 2.38), a | b:any (<< 1:2~),\n c [riscv64] <!nocheck>") == [
        [Relation("libc6", ">=", "2.38")],
        [Relation("a"), Relation("b", "<<", "1:2~")],
        [Relation("c")],
    ]
    with pytest.raises(ValueError, match="not a package relation"):
        parse_relations("libc6 (?? 1)")


def test_dependencies_and_pre_dependencies_are_followed_through_cycles() -> None:
    index = _index("a 1; Depends: b", "b 1; Pre-Depends: c", "c 1; Depends: a", "d 1; Recommends: a")
    assert _names(index, "a") == {"a", "b", "c"}
    assert _names(index, "d") == {"d"}


def test_the_first_alternative_unless_another_is_chosen() -> None:
    index = _index("a 1; Depends: x | y", "x 1", "y 1")
    assert _names(index, "a") == {"a", "x"}
    assert _names(index, "y", "a") == {"a", "y"}
    assert _names(index, "a", excluded=("x",)) == {"a"}


def test_virtual_packages_prefer_the_highest_priority() -> None:
    index = _index("a 1; Depends: awk", "gawk 1; Provides: awk", "mawk 1; Provides: awk; Priority: required")
    assert _names(index, "a") == {"a", "mawk"}


def test_versions_bind() -> None:
    index = _index("a 1; Depends: b (>= 2)", "b 1", "b 3~rc1")
    assert {package.version for package in resolve(index, ["a"])} == {"1", "3~rc1"}
    with pytest.raises(ConfigError, match=r"a 1 needs b \(>= 2\)"):
        resolve(_index("a 1; Depends: b (>= 2)", "b 2~"), ["a"])


def test_only_a_versioned_provides_meets_a_versioned_relation() -> None:
    with pytest.raises(ConfigError):
        resolve(_index("a 1; Depends: v (>= 2)", "p 9; Provides: v"), ["a"])
    assert _names(_index("a 1; Depends: v (>= 2)", "p 1; Provides: v (= 2)"), "a") == {"a", "p"}


def test_what_is_missing_is_named_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match="no package nothing") as caught:
        resolve(_index("a 1"), ["nothing"])
    assert "INNKEEPER_MIRROR" in caught.value.remedy


@pytest.mark.parametrize(
    "damage", ["Filename: ../../etc/x", "SHA256: 12", "Size: many", "Depends: ((", "Version"]
)
def test_a_damaged_entry_is_a_host_error(damage: str) -> None:
    field = damage.split(":")[0]
    entry = (
        "Package: a\nVersion: 1\nArchitecture: all\nFilename: pool/a\nSize: 1\nDepends: b\nSHA256: "
        + "0" * 64
    )
    lines = [line for line in entry.splitlines() if not line.startswith(f"{field}:")]
    with pytest.raises(HostError, match="package a"):
        PackageIndex("\n".join([*lines, damage]).encode()).newest("a")
