"""Charts: what is in them, that both formats agree, and that series differ without colours."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from tformer_cli.draw import Chart, Series, draw, layout, svg
from tformer_cli.draw.axes import inner_ticks, labels, ticks
from tformer_cli.draw.drawing import COLOURS, Circle, Line, Polygon, Text
from tformer_cli.draw.raster import visible_parts

CHART = Chart(
    "BLEU & <chrF>", ["1-5", "6-9", "10-20"], [Series("a", [30.0, 25.0, 20.0]), Series("b", [28.0, 26.0, 24.0])],
    "words", "BLEU", connected=True,
)  # fmt: skip
POINTS = Chart("all", ["all"], [Series("a", [30.0], [(28.0, 33.0)]), Series("b", [20.0], [(19.0, 21.0)])])


def test_svg_is_xml_with_all_texts():
    root = ElementTree.fromstring(svg(CHART))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"BLEU & <chrF>", "1-5", "6-9", "10-20", "a", "b", "words", "BLEU"} <= set(texts)
    shapes = [element.tag.partition("}")[2] for element in root]
    assert root.get("role") == "img" and root.get("aria-label") == "BLEU & <chrF>" and shapes[0] == "title"
    assert shapes.count("circle") == 4 and shapes.count("polygon") == 4  # three values and the legend


def test_series_differ_in_shape_and_dashes():
    drawing = layout(Chart("x", ["1", "2"], [Series(str(n), [float(n), 1.0]) for n in range(5)], connected=True))
    corners = {len(shape.corners) for shape in drawing.shapes if isinstance(shape, Polygon)}
    dashes = {shape.dashes for shape in drawing.shapes if isinstance(shape, Line) and shape.width > 1}
    assert corners == {4, 3, 12} and len(dashes) == 4
    assert sum(isinstance(shape, Circle) for shape in drawing.shapes) == 3  # the first series and its legend


def test_values_are_at_their_heights():
    drawing = layout(CHART)
    heights = [shape.centre[1] for shape in drawing.shapes if isinstance(shape, Circle)][1:]
    lines = {shape.text: shape.place[1] for shape in drawing.shapes if isinstance(shape, Text) and shape.text.isdigit()}
    assert heights == pytest.approx([lines["30"], (lines["30"] + lines["20"]) / 2, lines["20"]])
    assert heights[0] < heights[1] < heights[2] < drawing.height


def test_error_bars_and_the_sheet_enclose_everything():
    for chart in (CHART, POINTS):
        drawing = layout(chart)
        for shape in drawing.shapes:
            for x, y in (
                shape.corners if isinstance(shape, Polygon) else [shape.place] if isinstance(shape, Text) else
                shape.points if isinstance(shape, Line) else [shape.centre]
            ):  # fmt: skip
                assert 0 <= x <= drawing.width and 0 <= y <= drawing.height
    lines = [shape.points for shape in layout(POINTS).shapes if isinstance(shape, Line)]
    bars = [points for points in lines if points[0][0] == points[1][0]]
    lengths = [abs(begin[1] - end[1]) for begin, end in bars]
    assert len(bars) == 2
    assert lengths[0] == pytest.approx(2.5 * lengths[1])


def test_png_has_the_colours_at_the_places_of_the_svg():
    drawing, pixels = layout(CHART), draw(CHART)
    root = ElementTree.fromstring(svg(CHART))
    assert pixels.shape == (int(root.get("height")), int(root.get("width")), 3) == (drawing.height, drawing.width, 3)
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    polygons = root.findall("{http://www.w3.org/2000/svg}polygon")
    places = [(float(circle.get("cx")), float(circle.get("cy")), circle.get("fill")) for circle in circles]
    for polygon in polygons:
        x, y = np.mean([list(map(float, corner.split(","))) for corner in polygon.get("points").split()], axis=0)
        places.append((x, y, polygon.get("fill")))
    assert len(places) == 8
    for x, y, colour in places:
        assert "#" + "".join(f"{value:02X}" for value in pixels[round(y), round(x)]) == colour


def test_a_value_that_is_missing_is_left_out():
    chart = Chart("x", ["1", "2", "3"], [Series("a", [1.0, float("nan"), 3.0])], connected=True)
    shapes = layout(chart).shapes
    assert sum(isinstance(shape, Circle) for shape in shapes) == 3  # one is the legend's
    assert "nan" not in svg(chart)


def test_the_seventh_colour_is_legible_on_dark_pages():
    chart = Chart("x", ["1"], [Series(str(number), [1.0]) for number in range(7)])
    assert COLOURS[6] == "ink" and 'class="tf-ink" fill="#000000"' in svg(chart)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 100.0], [0, 20, 40, 60, 80, 100]),
        ([27.1, 27.9], [27.0, 27.2, 27.4, 27.6, 27.8, 28.0]),
        ([5.0], [5.0, 5.01, 5.02, 5.03, 5.04, 5.05]),
        ([-0.2, 0.9], [-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_ticks_are_round_and_enclose_all_values(values, expected):
    rounded = ticks(values)
    assert rounded[0] <= min(values) + 1e-9 and rounded[-1] >= max(values) - 1e-9 and 2 <= len(rounded) <= 8
    if len(values) > 1:
        assert rounded == pytest.approx(expected)


def test_a_value_that_is_hardly_beyond_a_tick_needs_no_other():
    assert ticks([-0.3, 60.2]) == pytest.approx([0, 10, 20, 30, 40, 50, 60])
    assert ticks([-2.0, 60.2])[0] < 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (range(1, 13), [2, 4, 6, 8, 10, 12]),
        ([1, 2], [1, 2]),
        ([0.05, 0.95], [0.2, 0.4, 0.6, 0.8]),
        ([0.0, 1000.0], [0, 200, 400, 600, 800, 1000]),
    ],
)
def test_inner_ticks_are_round_and_enclosed(values, expected):
    assert inner_ticks(list(values), 8) == pytest.approx(expected)


def test_labels_of_ticks_have_the_decimals_that_they_need():
    assert labels([0, 0.2, 0.4]) == ["0.0", "0.2", "0.4"]
    assert labels([0, 20_000, 40_000]) == ["0", "20,000", "40,000"]
    assert labels([1e-7, 2e-7]) == ["1e-07", "2e-07"]


@pytest.mark.parametrize("low, high", [(0.0101, 0.0102), (0.01, 0.0101), (-0.0010003, -0.001), (1e-8, 1.01e-8)])
def test_labels_of_ticks_that_are_close_to_each_other_differ(low, high):
    texts = labels(ticks([low, high]))
    assert len(set(texts)) == len(texts) > 2
    np.testing.assert_allclose([float(text) for text in texts], ticks([low, high]), rtol=0, atol=1e-3 * (high - low))


def test_dashes_cover_the_line_and_go_on_behind_its_corners():
    assert list(visible_parts([(0, 0), (10, 0)], (4, 2))) == [[(0, 0), (4, 0)], [(6, 0), (10, 0)]]
    assert list(visible_parts([(0, 0), (0, 3)], ())) == [[(0, 0), (0, 3)]]
    corner = [(0.0, 0.0), (3.0, 0.0), (3.0, 4.0)]
    assert list(visible_parts(corner, (4, 2))) == [[(0, 0), (3, 0), (3, 1)], [(3, 3), (3, 4)]]
