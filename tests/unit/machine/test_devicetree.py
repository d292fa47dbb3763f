# SPDX-License-Identifier: Apache-2.0
"""The devicetree: what is written is read back, by a reader of ours and by dtc where it is installed."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import ConfigError
from innkeeper.machine.board_tree import TreeParameters, board_devicetree, board_tree
from innkeeper.machine.devicetree import Node, Value, encode_value, flatten
from innkeeper.spec import board
from tests.unit.machine.fdt_reader import read_fdt

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
CELL = st.integers(0, 2**32 - 1)
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.none(), st.binary(max_size=40), TEXT, CELL, st.lists(TEXT, max_size=4), st.lists(CELL, max_size=6)
)
NAMES = st.from_regex(r"[a-z][a-z0-9,._-]{0,20}(@[0-9a-f]{1,8})?", fullmatch=True)
PROPERTIES = st.dictionaries(st.from_regex(r"[a-z#][a-z0-9,.?_-]{0,30}", fullmatch=True), VALUES, max_size=5)
NODES = st.recursive(
    st.builds(Node, NAMES, PROPERTIES),
    lambda children: st.builds(Node, NAMES, PROPERTIES, st.lists(children, max_size=4)),
    max_leaves=12,
)


def encoded(node: Node) -> Node:
    """The same tree with each value as the bytes it has in the blob."""
    properties: dict[str, Value] = {
        name: encode_value(name, value) for name, value in node.properties.items()
    }
    return Node(node.name, properties, [encoded(child) for child in node.children])


@given(NODES, CELL)
def test_round_trip(tree: Node, boot_hart: int) -> None:
    root = Node("", tree.properties, tree.children)
    assert read_fdt(flatten(root, boot_hart=boot_hart)) == encoded(root)


@pytest.mark.parametrize(
    ("name", "value"),
    [("x", 1 << 32), ("x", -1), ("x", [1 << 32]), ("x", "a\0b"), ("a b", 1), ("", 1), ("y" * 32, 1)],
)
def test_what_the_format_cannot_hold(name: str, value: Value) -> None:
    with pytest.raises(ConfigError):
        flatten(Node("", {name: value}))


def test_a_child_needs_a_name() -> None:
    with pytest.raises(ConfigError):
        flatten(Node("", children=[Node("")]))


def parameters(hart_count: int = 3) -> TreeParameters:
    return TreeParameters(
        hart_count,
        512 << 20,
        append="console=hvc0 quiet",
        initrd=(0x9000_0000, 0x9012_3456),
        rng_seed=bytes(range(64)),
    )


def test_the_board_as_the_kernel_needs_it() -> None:
    root = read_fdt(board_devicetree(parameters()))
    nodes = {node.name: node for node in root.children}
    chosen = nodes["chosen"].properties
    assert chosen["bootargs"] == b"console=hvc0 quiet\0"
    assert chosen["linux,initrd-end"] == (0x9012_3456).to_bytes(8, "big")
    assert chosen["rng-seed"] == bytes(range(64))
    cpus = [node for node in nodes["cpus"].children if node.name.startswith("cpu@")]
    assert [node.properties["reg"] for node in cpus] == [bytes((0, 0, 0, hart)) for hart in range(3)]
    isa = cpus[0].properties["riscv,isa"]
    assert isinstance(isa, bytes) and isa.startswith(b"rv64imafdc_") and b"_svade" not in isa
    extensions = cpus[0].properties["riscv,isa-extensions"]
    assert isinstance(extensions, bytes) and extensions.split(b"\0")[:-1] == [
        name.encode() for name in board.EXTENSIONS
    ]
    devices = {node.name for node in nodes["soc"].children}
    assert {
        "serial@10000000",
        "plic@c000000",
        "clint@2000000",
        "rtc@101000",
        "virtio_mmio@10001000",
    } <= devices


def test_phandles_are_unique_and_every_reference_has_a_target() -> None:
    def walk(node: Node) -> list[Node]:
        return [node, *(found for child in node.children for found in walk(child))]

    nodes = walk(board_tree(parameters(8)))
    handles = [node.properties["phandle"] for node in nodes if "phandle" in node.properties]
    assert len(handles) == len(set(map(str, handles)))
    wanted = [
        node.properties[key]
        for node in nodes
        for key in ("interrupt-parent", "regmap")
        if key in node.properties
    ]
    assert set(map(str, wanted)) <= set(map(str, handles))


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc (Debian: device-tree-compiler) is not installed")
@pytest.mark.parametrize("hart_count", [1, 8])
def test_dtc_has_nothing_to_say(hart_count: int) -> None:
    blob = board_devicetree(parameters(hart_count))
    done = subprocess.run(["dtc", "-I", "dtb", "-O", "dtb", "-"], input=blob, capture_output=True, check=True)
    assert done.stderr == b""
    assert read_fdt(done.stdout) == read_fdt(blob)
