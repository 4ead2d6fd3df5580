"""Charts: what is in them, that both formats agree, and that series differ without colours."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tformer_cli.chart import Chart, Line, Polygon, Series, Text, _parts, _ticks, chart_png, chart_svg, layout

CHART = Chart(
    "BLEU & <chrF>", ["1-5", "6-9", "10-20"], [Series("a", [30.0, 25.0, 20.0]), Series("b", [28.0, 26.0, 24.0])],
    "words", "BLEU", connected=True,
)  # fmt: skip
POINTS = Chart("all", ["all"], [Series("a", [30.0], [(28.0, 33.0)]), Series("b", [20.0], [(19.0, 21.0)])])


def test_svg_is_xml_with_all_texts():
    root = ElementTree.fromstring(chart_svg(CHART))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"BLEU & <chrF>", "1-5", "6-9", "10-20", "a", "b", "words", "BLEU"} <= set(texts)
    shapes = [element.tag.partition("}")[2] for element in root]
    assert shapes.count("circle") == 4 and shapes.count("polygon") == 4  # three values and the legend


def test_series_differ_in_shape_and_dashes():
    drawing = layout(Chart("x", ["1", "2"], [Series(str(n), [float(n), 1.0]) for n in range(5)], connected=True))
    corners = {len(shape.corners) for shape in drawing.shapes if isinstance(shape, Polygon)}
    dashes = {shape.dashes for shape in drawing.shapes if isinstance(shape, Line) and shape.width > 1}
    assert corners == {2, 4, 3, 12} and len(dashes) == 4


def test_values_are_at_their_heights():
    drawing = layout(CHART)
    marks = [shape.corners for shape in drawing.shapes if isinstance(shape, Polygon) and len(shape.corners) == 2][1:]
    heights = [(top + bottom) / 2 for (_, top), (_, bottom) in marks]
    lines = {shape.text: shape.place[1] for shape in drawing.shapes if isinstance(shape, Text) and shape.text.isdigit()}
    assert heights == pytest.approx([lines["30"], (lines["30"] + lines["20"]) / 2, lines["20"]])
    assert heights[0] < heights[1] < heights[2] < drawing.height


def test_error_bars_and_the_sheet_enclose_everything():
    for chart in (CHART, POINTS):
        drawing = layout(chart)
        for shape in drawing.shapes:
            for x, y in (
                shape.corners if isinstance(shape, Polygon) else [shape.place] if isinstance(shape, Text) else
                [shape.begin, shape.end]
            ):  # fmt: skip
                assert 0 <= x <= drawing.width and 0 <= y <= drawing.height
    bars = [shape for shape in layout(POINTS).shapes if isinstance(shape, Line) and shape.begin[0] == shape.end[0]]
    assert len(bars) == 2
    assert abs(bars[0].begin[1] - bars[0].end[1]) == pytest.approx(2.5 * abs(bars[1].begin[1] - bars[1].end[1]))


def test_png_has_the_colours_at_the_places_of_the_svg():
    drawing = layout(CHART)
    pixels = np.asarray(Image.open(io.BytesIO(chart_png(CHART))))
    assert pixels.shape == (drawing.height, drawing.width, 3)
    for shape in drawing.shapes:
        if isinstance(shape, Polygon):
            x, y = np.mean(shape.corners, axis=0)
            assert "#" + "".join(f"{value:02X}" for value in pixels[round(y), round(x)]) == shape.colour


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 100.0], [0, 20, 40, 60, 80, 100]),
        ([27.1, 27.9], [27.0, 27.2, 27.4, 27.6, 27.8, 28.0]),
        ([5.0], [5.0, 5.01, 5.02, 5.03, 5.04, 5.05]),
        ([-0.2, 0.9], [-0.5, 0, 0.5, 1.0]),
    ],
)
def test_ticks_are_round_and_enclose_all_values(values, expected):
    ticks = _ticks([Series("a", values)])
    assert ticks[0] <= min(values) and ticks[-1] >= max(values) and 2 <= len(ticks) <= 8
    if len(values) > 1:
        assert ticks == pytest.approx(expected)


def test_dashes_cover_the_line():
    parts = list(_parts((0, 0), (10, 0), (4, 2)))
    assert parts == [((0, 0), (4, 0)), ((6, 0), (10, 0))]
    assert list(_parts((0, 0), (0, 3), ())) == [((0, 0), (0, 3))]
