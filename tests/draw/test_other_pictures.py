"""Heat maps in a grid, curves, bars and tokens: places against values, and what is left out."""

from __future__ import annotations

import math
import time
from xml.etree import ElementTree

import numpy as np
import pytest

from tformer_cli.draw import (
    Bars,
    Chart,
    Curve,
    Curves,
    Dials,
    Gallery,
    HeatMap,
    HeatMaps,
    Series,
    Spectrogram,
    TokenRow,
    Tokens,
    draw,
    layout,
    svg,
)
from tformer_cli.draw.axes import MARKER_PIXELS, colour_of
from tformer_cli.draw.curves import PLOT_PIXELS
from tformer_cli.draw.drawing import BLUE, ORANGE, SMALL_PIXELS, Circle, Drawing, Line, Pixels, Rectangle, Text
from tformer_cli.draw.lettering import text_width

WORDS = ["the", "cat", "sat"]
PICTURES = [
    HeatMap(np.eye(3), WORDS, WORDS, "title", "row", "column"),
    HeatMaps(np.ones((5, 3, 4)), list("abcde"), WORDS, ["a", "b", "c", "d"], "title", "row", "column"),
    Gallery([np.zeros((4, 9, 3), np.uint8)], ["a"], [True], title="title"),
    Spectrogram(np.eye(9), [(2, "mark")], "caption", 0.01, "title"),
    Chart("title", ["a", "b"], [Series("s", [1.0, 2.0])], "x", "y", connected=True),
    Curves([Curve("s", [0, 1, 2], [1, 3, 2], [(0, 2), (2, 4), (1, 3)])], "title", "x", "y", identity=True),
    Bars(WORDS, [0.5, -0.25, 0.0], "title", "x"),
    Tokens([TokenRow(WORDS, [0.1, 0.5, 1.0], "layer", 1)], "title"),
    Dials(["period 4", "period 8"], ["0", "1", "2"], np.array([[0, 0.25, 0.5], [0, 0.125, 0.25]]), "title", "position"),
]


def texts(drawing: Drawing) -> list[str]:
    return [shape.text for shape in drawing.shapes if isinstance(shape, Text)]


def place_of(drawing: Drawing, text: str) -> tuple[float, float]:
    return next(shape.place for shape in drawing.shapes if isinstance(shape, Text) and shape.text == text)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: type(picture).__name__)
def test_every_kind_is_drawn_within_its_sheet_in_both_formats(picture):
    drawing, pixels = layout(picture), draw(picture)
    root = ElementTree.fromstring(svg(picture))
    assert pixels.shape == (drawing.height, drawing.width, 3) and pixels.dtype == np.uint8
    assert (int(root.get("width")), int(root.get("height"))) == (drawing.width, drawing.height)
    assert (pixels.min(-1) < 128).sum() > 100
    written = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert written == texts(drawing) and written and drawing.description == "title"
    for shape in drawing.shapes:
        if isinstance(shape, Text):
            x, y = shape.place
            assert 0 <= x <= drawing.width and 0 <= y <= drawing.height
        elif isinstance(shape, (Rectangle, Pixels)):
            left, top, right, bottom = shape.box
            assert 0 <= left < right <= drawing.width and 0 <= top < bottom <= drawing.height


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: type(picture).__name__)
def test_the_margin_of_every_kind_is_empty(picture):
    pixels = draw(picture)
    if not isinstance(picture, Spectrogram):  # it begins at the left, as its axis does
        assert (pixels[:, 0] == 255).all()
    assert (pixels[-1] == 255).all() and (pixels[0] == 255).all()


def test_all_heat_maps_of_a_grid_have_one_scale_and_stand_in_order():
    values = np.arange(24.0).reshape(6, 2, 2)
    drawing = layout(HeatMaps(values, [f"head {number}" for number in range(6)]))
    images = [shape for shape in drawing.shapes if isinstance(shape, Pixels)][:6]
    np.testing.assert_array_equal(
        [image.values[..., 3] for image in images], np.round(255 * values / 23).astype(np.uint8)
    )
    places = [image.box[:2] for image in images]
    assert len({x for x, _ in places}) == 3 and len({y for _, y in places}) == 2
    assert places == sorted(places, key=lambda place: (place[1], place[0]))
    for number, (x, y) in enumerate(places):
        title = place_of(drawing, f"head {number}")
        assert title[0] == x and 0 < y - title[1] < 20


def test_names_in_a_grid_are_drawn_at_its_sides_if_they_are_few():
    names, many = [f"n{number}" for number in range(4)], [f"n{number}" for number in range(30)]
    few = texts(layout(HeatMaps(np.ones((4, 4, 4)), rows=names, columns=names, grid_columns=2)))
    assert few.count("n1") == 4  # two rows of the grid, and two columns
    none = texts(layout(HeatMaps(np.ones((4, 30, 30)), rows=many, columns=many)))
    assert "n1" not in none and "There are too many rows and columns to name them here." in none


def test_a_grid_that_is_too_large_is_reduced_and_says_so():
    drawing = layout(HeatMaps(np.ones((300, 900, 900), np.float32)))
    assert sum(isinstance(shape, Pixels) for shape in drawing.shapes) == 257  # and the scale
    assert drawing.width < 1500 and drawing.height < 1500
    notes = " ".join(texts(drawing))
    assert "The first 256 of 300 heat maps are drawn." in notes and "is the mean of" in notes


def test_a_grid_of_heads_is_small_and_quickly_drawn():
    draws = np.random.default_rng(0).normal(size=(8, 30, 30))
    picture = HeatMaps(np.exp(draws) / np.exp(draws).sum(-1, keepdims=True), [f"head {n}" for n in range(8)])
    svg(picture), draw(picture)  # fonts are read once
    seconds = []
    for _ in range(3):
        start = time.process_time()
        size = len(svg(picture))
        draw(picture)
        seconds.append(time.process_time() - start)
    assert size < 60_000 and min(seconds) < 0.2


def test_points_of_curves_are_at_their_values():
    drawing = layout(Curves([Curve("s", [0, 5, 10], [0.0, 0.5, 1.0])], x_title="layer", y_title="pixels"))
    points = [shape.centre for shape in drawing.shapes if isinstance(shape, Circle)][1:]
    x_ticks, y_ticks = [place_of(drawing, text)[0] for text in ("0", "10")], [place_of(drawing, "0.0")[1]]
    assert points[0][0] == pytest.approx(x_ticks[0]) and points[2][0] == pytest.approx(x_ticks[1])
    assert points[0][1] == pytest.approx(y_ticks[0]) and points[2][1] == pytest.approx(place_of(drawing, "1.0")[1])
    assert points[2][0] - points[0][0] == pytest.approx(PLOT_PIXELS / 1.04)  # with 2 % of the range at both ends
    assert points[1] == pytest.approx(np.mean([points[0], points[2]], axis=0))
    (line,) = (shape for shape in drawing.shapes if isinstance(shape, Line) and len(shape.points) == 3)
    assert list(line.points) == points


def test_points_at_a_single_position_stand_in_the_middle_and_a_line_without_markers_is_level():
    drawing = layout(Curves([Curve("s", [1, 1], [2, 3], connected=False), Curve("t", [1], [4], points=False)]))
    (position,) = (shape for shape in drawing.shapes if isinstance(shape, Text) and shape.anchor == "middle")
    circles = [shape.centre[0] for shape in drawing.shapes if isinstance(shape, Circle)][1:]
    assert position.text == "1" and circles == [position.place[0]] * 2
    (line,) = [shape for shape in drawing.shapes if isinstance(shape, Line) and shape.colour == colour_of(1)][1:]
    (left, height), (right, level) = line.points
    assert height == level and left < position.place[0] < right


def test_the_identity_line_meets_equal_values():
    drawing = layout(Curves([Curve("", [0.2, 0.8], [0.2, 0.8], connected=False)], identity=True, x_limits=(0, 1)))
    (dashed,) = (shape for shape in drawing.shapes if isinstance(shape, Line) and shape.dashes)
    (x1, y1), (x2, y2) = dashed.points
    assert (x2 - x1) == pytest.approx(y1 - y2)
    for x, y in (shape.centre for shape in drawing.shapes if isinstance(shape, Circle)):
        assert (x - x1) == pytest.approx(y1 - y)


def test_a_unit_is_equally_long_on_both_axes_of_a_square():
    angles = np.linspace(0, 2 * math.pi, 9)
    drawing = layout(Curves([Curve("", np.cos(angles), np.sin(angles), labels=list("abcdefghi"))], square=True))
    points = np.array([shape.centre for shape in drawing.shapes if isinstance(shape, Circle)])
    centre = points[:-1].mean(0)
    np.testing.assert_allclose(np.hypot(*(points - centre).T), np.hypot(*(points[0] - centre)), rtol=1e-6)
    assert set("abcdefghi") <= set(texts(drawing))


def test_the_picture_has_room_for_labels():
    labels = ["the end of the first sentence", "", "the spring of the watch is broken"]
    drawing = layout(Curves([Curve("", [0, 1, 2], [1, 2, 3], connected=False, labels=labels)]))
    drawn = [shape for shape in drawing.shapes if isinstance(shape, Text) and shape.text[:4] == "the "]
    assert len(drawn) == 2
    assert all(shape.place[0] + text_width(shape.text, small=True) <= drawing.width for shape in drawn)


def test_labels_cover_no_point_and_no_other_label():
    x, y = [0.0, 0.1, 5.0, 5.1, 5.0, 10.0], [1.0, 1.0, 2.0, 2.0, 2.1, 3.0]
    labels = [f"point {number}" for number in range(len(x))]
    drawing = layout(Curves([Curve("", x, y, connected=False, labels=labels)]))
    half = SMALL_PIXELS / 2
    boxes = [(left, down - half, left + text_width(shape.text, small=True), down + half) for shape in drawing.shapes
             if isinstance(shape, Text) and shape.text in labels for left, down in [shape.place]]  # fmt: skip
    points = [(x - MARKER_PIXELS, y - MARKER_PIXELS, x + MARKER_PIXELS, y + MARKER_PIXELS)
              for shape in drawing.shapes if isinstance(shape, Circle) for x, y in [shape.centre]]  # fmt: skip
    assert len(boxes) == 6 and len(points) == 6
    for number, (left, top, right, bottom) in enumerate(boxes):
        for low, high, end, floor in [*boxes[:number], *points]:
            assert right <= low or end <= left or bottom <= high or floor <= top


def test_labels_without_room_are_counted():
    one = Curve("", [0, 1, *[0.5] * 20], [0, 1, *[0.5] * 20], connected=False, labels=["", "", *["the same"] * 20])
    drawing = layout(Curves([one]))
    drawn = texts(drawing).count("the same")
    assert 0 < drawn <= 8 and f"{20 - drawn} labels have no room." in texts(drawing)


def test_the_legend_shows_what_is_drawn():
    x, y = [0, 1, 2], [1, 2, 3]
    curves = [Curve("dots", x, y, connected=False), Curve("both", x, y), Curve("a line", x, y, points=False)]
    key = layout(Curves(curves)).shapes
    names = [number for number, shape in enumerate(key) if isinstance(shape, Text) and shape.text in
             ("dots", "both", "a line")]  # fmt: skip
    parts = [key[before + 1 : number] for before, number in zip([-1, *names], names, strict=False)]
    assert [[isinstance(shape, Line) for shape in part] for part in parts] == [[False], [True, False], [True]]


def test_rows_of_tokens_are_no_wider_than_they_need():
    short = layout(Tokens([TokenRow(WORDS, [0.1, 0.5, 1.0], "layer", 1)], "title"))
    boxes = [shape.box for shape in short.shapes if isinstance(shape, Rectangle)]
    assert short.width < 300 and len({top for _, top, *_ in boxes[: len(WORDS)]}) == 1
    long = layout(Tokens([TokenRow(WORDS * 30, [0.5] * 90)], "title"))
    assert 650 < long.width <= 720
    named = layout(Tokens([TokenRow(WORDS, [0.1, 0.5, 1.0])], "a title that is much longer than its tokens"))
    (title,) = (shape for shape in named.shapes if isinstance(shape, Text) and shape.bold)
    assert title.place[0] + text_width(title.text, bold=True) < named.width


def test_many_points_are_thinned_and_those_that_are_missing_left_out():
    drawing = layout(Curves([Curve("s", np.arange(5000), np.sin(np.arange(5000)), points=False)]))
    (line,) = (shape for shape in drawing.shapes if isinstance(shape, Line) and len(shape.points) > 2)
    assert len(line.points) == 1000 and any("5,000 points" in text for text in texts(drawing))
    drawing = layout(Curves([Curve("s", [0, 1, 2], [1, math.nan, 3], labels=["a", "b", "c"])]))
    assert "b" not in texts(drawing) and "c" in texts(drawing)


def test_bars_are_as_long_as_their_values_on_both_sides_of_zero():
    drawing = layout(Bars(["a", "b", "c"], [0.5, -0.25, 1.0], intervals=[(0.4, 0.6), (-0.3, -0.2), (0.9, 1.1)]))
    bars = [shape for shape in drawing.shapes if isinstance(shape, Rectangle)]
    lengths = [bar.box[2] - bar.box[0] for bar in bars]
    assert [bar.fill for bar in bars] == [BLUE, ORANGE, BLUE]
    assert lengths == pytest.approx([lengths[2] / 2, lengths[2] / 4, lengths[2]])
    assert bars[0].box[0] == bars[1].box[2] == bars[2].box[0] and {"0.5", "-0.25", "1"} <= set(texts(drawing))
    assert place_of(drawing, "-0.25")[0] < bars[1].box[0] and place_of(drawing, "1")[0] > bars[2].box[2]
    assert "nan" not in svg(Bars(["a", "b"], [0.5, 1.0], intervals=[(math.nan, 0.6), (0.9, 1.1)]))
    many = texts(layout(Bars([str(number) for number in range(100)], [1.0] * 100)))
    assert "63" in many and "64" not in many and "The first 64 of 100 bars are drawn." in many


def test_tokens_are_shaded_by_their_weights_and_wrap():
    words = [f"word{number}" for number in range(40)]
    weights = np.linspace(0, 2, 40)
    drawing = layout(Tokens([TokenRow(words, weights, "layer 1", 7)]))
    shades = [shape for shape in drawing.shapes if isinstance(shape, Rectangle) and shape.fill]
    assert [shape.opacity for shape in shades] == pytest.approx(weights[1:] / 2) and {s.fill for s in shades} == {BLUE}
    (framed,) = (shape for shape in drawing.shapes if isinstance(shape, Rectangle) and shape.width == 2)
    assert framed.box[0] < place_of(drawing, "word7")[0] < framed.box[2]
    assert len({place_of(drawing, word)[1] for word in words}) > 3
    assert place_of(drawing, "word0")[0] < place_of(drawing, "word1")[0]
    assert all(shape.box[2] <= drawing.width for shape in shades)


def test_signs_of_weights_differ_and_rows_share_a_scale():
    rows = [TokenRow(["a", "b"], [1.0, -2.0], "one"), TokenRow(["a", "b"], [4.0, math.nan], "two")]
    drawing = layout(Tokens(rows, diverging=True))
    shades = [(shape.fill, shape.opacity) for shape in drawing.shapes if isinstance(shape, Rectangle) and shape.fill]
    assert shades == [(BLUE, 0.25), (ORANGE, 0.5), (BLUE, 1.0)]
    assert {"4", "0", "-4", "one", "two"} <= set(texts(drawing))


def test_tokens_of_arabic_and_hebrew_run_to_the_left():
    words = ["مرحبا", "بالعالم", "BLEU"]
    drawing = layout(Tokens([TokenRow(words, [1, 1, 1]), TokenRow(words[:1], [1])]))
    places = [place_of(drawing, word)[0] for word in words]
    ends = [shape.box[2] for shape in drawing.shapes if isinstance(shape, Rectangle) and shape.outline == "grid"]
    assert places == sorted(places, reverse=True) and ends[0] == ends[3] == max(ends[:4])


def test_long_texts_are_cut_and_say_so():
    notes = texts(layout(Tokens([TokenRow(["a"] * 2000, np.ones(2000))] * 70)))
    assert {"The first 1,024 of 2,000 tokens are drawn.", "The first 64 of 70 rows are drawn."} <= set(notes)


def test_names_of_bars_may_be_wide():
    narrow, wide = (texts(layout(Bars(["a long name " * 9], [1.0], name_pixels=pixels))) for pixels in (100, 900))
    assert "a long name " * 9 not in narrow and any(text.strip() == ("a long name " * 9).strip() for text in wide)


def test_hands_of_clocks_begin_at_the_top_and_turn_clockwise():
    drawing = layout(Dials(["a hand"], ["0", "1", "2", "3"], np.array([[0, 0.25, 0.625, np.nan]])))
    hands = [shape.points for shape in drawing.shapes if isinstance(shape, Line)]
    moves = [((x2 - x1) / 15, (y2 - y1) / 15) for (x1, y1), (x2, y2) in hands]
    half = math.sqrt(0.5)
    np.testing.assert_allclose(moves, [(0, -1), (1, 0), (-half, half)], atol=1e-9)
    dials = [shape.centre for shape in drawing.shapes if isinstance(shape, Circle) and shape.radius > 2]
    assert [begin for begin, _ in hands] == dials[:3] and len(dials) == 4
    assert place_of(drawing, "2")[0] == dials[2][0] and place_of(drawing, "a hand")[1] == dials[0][1]
    many = Dials([""] * 40, ["1"] * 50, np.zeros((40, 50)))
    assert [text for text in texts(layout(many)) if "drawn" in text] == [
        "The first 32 of 40 rows are drawn.", "The first 32 of 50 columns are drawn."
    ]  # fmt: skip
