# SPDX-License-Identifier: Apache-2.0
"""Bars as text and as a drawing."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from innkeeper.bench.bars import FULL, MARK, bar
from innkeeper.bench.report import Report
from innkeeper.bench.results import Row, SideResults
from innkeeper.bench.svg import LEFT, WIDTH, draw
from innkeeper.errors import ConfigError

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    Row("sieve", "cpu", 1.0, 5, peer_s=4.0, native_s=0.25),
    Row("fork", "os", 2.0, 5, peer_s=1.0),
    Row("boot", "boot", 1.0, 5, peer_s=2.0),
]


def test_a_bar_is_as_long_as_its_value() -> None:
    assert bar(4, 4, 8) == FULL * 8
    assert bar(2, 4, 8) == FULL * 4
    assert bar(1.25, 4, 8) == FULL * 2 + "\u258c"
    assert bar(100, 4, 8) == FULL * 8


def test_a_bar_below_one_shows_where_one_is() -> None:
    assert bar(0.5, 2, 8) == FULL * 2 + "  " + MARK
    assert bar(0, 1, 8) == "\u258f" + " " * 6 + MARK
    assert all(len(bar(value / 100, 3)) <= 24 for value in range(301))


def test_a_drawing_is_xml_with_a_bar_for_each_row() -> None:
    root = ElementTree.fromstring(draw("ours <1> & more", "qemu", ROWS, ["a note <>"]))
    background, *bars = root.iter(f"{SVG}rect")
    widths = [float(each.attrib["width"]) for each in bars]
    assert widths == pytest.approx([4 * widths[2] / 2, 0.5 * widths[2] / 2, widths[2]], abs=0.2)
    assert all(float(each.attrib["x"]) + width < WIDTH for each, width in zip(bars, widths, strict=True))
    assert bars[0].attrib["fill"] != bars[1].attrib["fill"]
    texts = [each.text for each in root.iter(f"{SVG}text")]
    for wanted in ("ours <1> & more", "qemu = 1", "4.00", "4.0 \u00d7 native", "OS-bound", "a note <>"):
        assert wanted in texts
    height = float(background.attrib["height"])
    assert all(float(each.attrib["y"]) < height for each in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("speed", [0.01, 1.0, 3.0, 250.0])
def test_the_axis_fits(speed: float) -> None:
    root = ElementTree.fromstring(draw("t", "qemu", [Row("a", "cpu", 1.0, 1, peer_s=speed)]))
    places = [float(line.attrib["x1"]) for line in root.iter(f"{SVG}line")]
    assert len(places) <= 13 and all(LEFT <= place <= WIDTH for place in places)


def test_without_a_peer_there_is_nothing_to_draw() -> None:
    with pytest.raises(ConfigError, match="--against"):
        Report(SideResults("ours", "ours")).svg()
