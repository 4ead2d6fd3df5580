"""Heat maps: colours against their formula, names, scales, and what is left out of large ones."""

from __future__ import annotations

import base64
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from tformer_cli.draw import HeatMap, HeatMaps, draw, layout, svg
from tformer_cli.draw.cells import Scale, block_means, rgb
from tformer_cli.draw.drawing import BLUE, FONT_PIXELS, ORANGE, RED, ROLES, Drawing, Pixels, Text
from tformer_cli.draw.lettering import text_width


def texts(drawing: Drawing) -> list[str]:
    return [shape.text for shape in drawing.shapes if isinstance(shape, Text)]


def cells_of(picture: HeatMap) -> Pixels:
    return next(shape for shape in layout(picture).shapes if isinstance(shape, Pixels))


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    channels = [value / 255 for value in rgb(colour)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("shade", [0, 1])
@pytest.mark.parametrize("colour", [BLUE, ORANGE, RED, "ink", "muted"])
def test_colours_are_legible_on_light_and_dark_pages(colour, shade):
    pair = [luminance(ROLES[colour][shade] if colour in ROLES else colour), luminance(ROLES["background"][shade])]
    least = 3 if colour.startswith("#") else 4.5
    assert (max(pair) + 0.05) / (min(pair) + 0.05) >= least


@pytest.mark.parametrize("shade", [0, 1])
def test_numbers_are_legible_on_cells_of_every_shade(shade):
    ink, page = (np.array(rgb(ROLES[role][shade])) for role in ("ink", "background"))
    for share in (0, 0.5, 1):
        cell = np.round(page + share * (np.array(rgb(BLUE)) - page)).astype(int)
        pair = [luminance("#" + "".join(f"{value:02x}" for value in colour)) for colour in (ink, cell)]
        assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 3


def test_pixels_have_the_colours_of_the_values_on_white():
    values = np.array([[0.0, 0.25, 0.5], [0.1, 0.9, 1.0]])
    picture = HeatMap(values, ["a", "b"], ["c", "d", "e"])
    left, top, right, bottom = cells_of(picture).box
    drawn = draw(picture).astype(float)
    blue = np.array(rgb(BLUE))
    for row in range(2):
        for column in range(3):
            x = round(left + (column + 0.5) * (right - left) / 3)
            y = round(top + (row + 0.5) * (bottom - top) / 2)
            expected = 255 + values[row, column] * (blue - 255)
            assert np.abs(drawn[y, x] - expected).max() <= 1.5


def test_signs_differ_in_colour_and_zero_is_transparent():
    colours = Scale(-2.0, 2.0, diverging=True).colours(np.array([[-2.0, -1.0, 0.0, 1.0, 2.0, np.nan]]))[0]
    assert colours[:, 3].tolist() == [255, 128, 0, 128, 255, 0]
    assert tuple(colours[0, :3]) == rgb(ORANGE) and tuple(colours[4, :3]) == rgb(BLUE)
    plain = Scale(0.0, 2.0).colours(np.array([[-2.0, 1.0, 9.0]]))[0]
    assert plain[:, 3].tolist() == [0, 128, 255]


def test_the_scale_shows_the_given_limits():
    labels = texts(layout(HeatMap(np.array([[0.2]]), [], [], limits=(-0.5, 1.0), diverging=True)))
    assert labels == ["1", "0", "-0.5"]
    assert texts(layout(HeatMap(np.array([[0.2]]), [], [], percent=True)))[1:] == ["20 %", "0 %"]


def test_the_image_in_svg_has_one_pixel_a_cell():
    values = np.random.default_rng(0).random((30, 20))
    text = svg(HeatMap(values, [], []))
    data = re.findall(r"base64,([^\"]*)", text)[0]
    stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert stored.shape == (30, 20, 4) and "image-rendering:pixelated" in text and len(text) < 10_000
    np.testing.assert_array_equal(stored[..., 3], np.round(255 * values / values.max()))


def test_confusions_have_numbers_titles_and_a_scale():
    matrix, names = np.array([[1.0, 0.0], [0.25, 0.75]]), ["cat", "dog"]
    plain, titled = (
        HeatMap(matrix, names, names),
        HeatMap(matrix, names, names, "all", "label", "predicted as", percent=True),
    )
    assert {"100", "25", "75", "100 %", "0 %", "label", "predicted as", "all"} <= set(texts(layout(titled)))
    assert "25" not in texts(layout(plain))
    for picture, dark in ((plain, False), (titled, True)):
        left, top, right, bottom = map(round, cells_of(picture).box)
        cell = draw(picture)[top : (top + bottom) // 2, left : (left + right) // 2]
        assert (cell.sum(-1) < 60).any() == dark
    assert layout(titled).height > layout(plain).height


def test_names_stand_at_their_rows_and_columns():
    picture = HeatMap(np.eye(3), ["a", "b", "c"], ["first", "second", "third"])
    left, top, right, bottom = cells_of(picture).box
    places = {shape.text: shape for shape in layout(picture).shapes if isinstance(shape, Text)}
    assert [places[name].place[1] for name in "abc"] == pytest.approx(
        [top + (row + 0.5) * (bottom - top) / 3 for row in range(3)]
    )
    assert [places[name].place[0] for name in picture.columns] == pytest.approx(
        [left + (column + 0.5) * (right - left) / 3 for column in range(3)]
    )
    assert places["a"].anchor == "end" and places["first"].upright
    flat = HeatMap(np.eye(3), [], ["1", "2", "3"])
    assert not any(shape.upright for shape in layout(flat).shapes if isinstance(shape, Text))


@pytest.mark.parametrize(("size", "note"), [(64, ""), (300, "One of 4 rows and one of 4 columns is named.")])
def test_many_names_are_thinned_and_the_picture_says_so(size, note):
    names = [f"n{number}" for number in range(size)]
    drawing = layout(HeatMap(np.eye(size), names, names))
    shown = texts(drawing)
    assert drawing.width < 1600 and drawing.height < 1600
    assert (note in shown) if note else not any("named" in text for text in shown)
    assert ("n1" in shown) == (size == 64) and "n4" in shown


def test_a_very_large_matrix_is_averaged_in_blocks_and_the_picture_says_so():
    values = np.zeros((2000, 1025))
    values[4:8, 3:6] = 12.0
    picture = HeatMap(values, list(map(str, range(2000))), [], note="from a run")
    cells = cells_of(picture)
    assert cells.values.shape[:2] == (500, 342)
    alpha = cells.values[..., 3]
    assert alpha[1, 1] == 255 and alpha.astype(int).sum() == 255
    shown = " ".join(texts(layout(picture)))
    assert "mean of 4 x 3 of the 2,000 x 1,025 values" in shown and "from a run" in shown
    assert (
        "One of 32 rows is named" in shown
        and {"32", "1984"} <= set(texts(layout(picture)))
        and "8" not in texts(layout(picture))
    )


def test_blocks_average_what_is_finite():
    values = np.array([[1.0, 3.0, np.nan], [np.inf, 5.0, np.nan], [7.0, 9.0, 11.0]])
    means, block = block_means(values, 2)
    assert block == (2, 2)
    np.testing.assert_array_equal(means, [[3.0, np.nan], [8.0, 11.0]])


def test_values_that_are_not_finite_are_empty_and_counted():
    picture = HeatMap(np.array([[1.0, np.nan], [np.nan, 0.5]]), [], [])
    assert cells_of(picture).values[..., 3].tolist() == [[255, 0], [0, 128]]
    assert "2 values are not finite." in " ".join(texts(layout(picture)))
    several = HeatMaps(np.array([[[1.0, np.nan]], [[0.5, 0.5]]]))
    assert "1 value is not finite." in " ".join(texts(layout(several)))


def test_marks_of_an_axis_stand_at_their_places_where_other_names_are_empty():
    marks = ["0 s" if place == 0 else str(place // 10) if place % 10 == 0 else "" for place in range(100)]
    drawing = layout(HeatMap(np.eye(100), marks, []))
    drawn = [shape for shape in drawing.shapes if isinstance(shape, Text) and shape.text in marks]
    names = [shape.text for shape in drawn if shape.anchor == "end"]
    assert names == ["0 s", *map(str, range(1, 10))]
    heights = [shape.place[1] for shape in drawn if shape.anchor == "end"]
    assert len({round(after - before) for before, after in itertools.pairwise(heights)}) == 1
    assert not any("named" in text for text in texts(drawing))
    blocks = texts(layout(HeatMap(np.ones((1100, 4)), ["", "b", *[""] * 1098], [])))
    assert "b" in blocks  # blocks of 3 rows have the first name within them
    grid = texts(layout(HeatMaps(np.ones((4, 100, 100)), rows=marks, columns=marks)))
    assert {"0 s", "9"} <= set(grid) and not any("too many" in text for text in grid)
    marks[1] = "next"  # it would overlap with the first one
    grid = texts(layout(HeatMaps(np.ones((4, 100, 100)), rows=marks, columns=marks)))
    assert {"0 s", "9"} <= set(grid) and "next" not in grid


@pytest.mark.parametrize(("size", "cell"), [(4, 22), (100, 5), (400, 1)])
def test_a_side_has_a_greatest_length(size, cell):
    drawing = layout(HeatMap(np.ones((size, 2)), [], [], side=500))
    left, top, right, bottom = next(shape.box for shape in drawing.shapes if isinstance(shape, Pixels))
    assert (bottom - top, right - left) == (size * cell, 2 * 22)


@pytest.mark.parametrize("count", [2, 9, 13, 14, 16])
def test_up_to_sixteen_names_of_a_grid_of_heat_maps_do_not_touch(count):
    names = [f"word{number}" for number in range(count)]
    drawing = layout(HeatMaps(np.ones((8, count, count)), [f"head {head + 1}" for head in range(8)], names, names))
    for upright, axis in ((False, 1), (True, 0)):
        places = sorted(
            shape.place[axis] for shape in drawing.shapes
            if isinstance(shape, Text) and shape.text in names and shape.upright == upright
        )  # fmt: skip
        assert count == 2 or len(places) == count * (4 if upright else 2)
        assert min(np.diff(places), default=99) >= FONT_PIXELS + 2


@pytest.mark.parametrize("size", [2, 5, 53, 106])
@pytest.mark.parametrize("kind", [HeatMap, HeatMaps])
def test_the_title_of_rows_and_notes_do_not_meet(kind, size):
    title, marks = "query (time in seconds)", ["0 s", *[""] * (size - 1)]
    values = np.ones((size, size) if kind is HeatMap else (4, size, size))
    more = {} if kind is HeatMap else {"titles": [f"head {head + 1}" for head in range(4)]}
    drawing = layout(kind(values, rows=marks, columns=marks, title="layer", row_title=title, note="A note.", **more))
    (note,) = (shape for shape in drawing.shapes if isinstance(shape, Text) and shape.text == "A note.")
    (beside,) = (
        shape for shape in drawing.shapes if isinstance(shape, Text) and shape.upright and shape.anchor == "middle"
    )
    half = text_width(beside.text) / 2
    assert beside.place[1] - half >= 0 and beside.place[1] + half <= note.place[1] - 6
    assert beside.text == title or beside.text.endswith("…")


def test_a_small_grid_of_heat_maps_fills_its_place():
    for size in (5, 53, 106, 120):
        drawing = layout(HeatMaps(np.ones((4, size, size)), rows=["0 s", *[""] * (size - 1)]))
        width = next(shape.box[2] - shape.box[0] for shape in drawing.shapes if isinstance(shape, Pixels))
        assert width >= 195 or width == 22 * size
