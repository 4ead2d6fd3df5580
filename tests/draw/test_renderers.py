"""Both renderers draw the same shapes at the same places; text of every script is legible."""

from __future__ import annotations

import re
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import features

from tformer_cli.draw import raster, vector
from tformer_cli.draw.drawing import FONT_PIXELS, Circle, Drawing, Line, Pixels, Polygon, Rectangle, Shape, Text
from tformer_cli.draw.lettering import (
    FONTS,
    _font,
    _has,
    broken,
    font_for,
    notes_below,
    printable,
    runs_leftwards,
    shortened,
    text_width,
)

SVG = "{http://www.w3.org/2000/svg}"


def dark(*shapes: Shape) -> tuple[int, int, int, int]:
    """Return the box of the pixels that are not white: left, top, right and bottom."""
    drawn = (raster.pixels(Drawing(100, 80, list(shapes))) < 200).any(-1)
    rows, columns = drawn.any(1).nonzero()[0], drawn.any(0).nonzero()[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def element(shape: Shape) -> ElementTree.Element:
    """Return the last element of a drawing of one shape."""
    return list(ElementTree.fromstring(vector.svg(Drawing(100, 80, [shape]))))[-1]


def test_drawings_have_the_fonts_of_the_page():
    page = (resources.files("tformer_cli.figures") / "page.html").read_text(encoding="utf-8")
    fonts = re.search(r"font: 16px/1.5 (.*?);", page)
    root = ElementTree.fromstring(vector.svg(Drawing(100, 80, [])))
    assert fonts is not None and root.get("font-family") == fonts[1].replace('"', "'")


def test_rectangles_and_images_fill_the_same_box_in_both_formats():
    box = (10, 20, 30, 60)
    for shape in (Rectangle(box, "#000000"), Pixels(box, np.zeros((2, 3, 3), np.uint8))):
        assert dark(shape) == box
        assert [float(element(shape).get(key)) for key in ("x", "y", "width", "height")] == [10, 20, 20, 40]
    outline = Rectangle(box, outline="#000000", width=4)
    assert dark(outline) == box and (raster.pixels(Drawing(100, 80, [outline]))[24:56, 14:26] == 255).all()
    assert [float(element(outline).get(key)) for key in ("x", "y", "width", "height")] == [12, 22, 16, 36]


def test_circles_polygons_and_lines_are_at_the_same_place_in_both_formats():
    circle = Circle((50, 40), 10, "#000000")
    assert np.abs(np.array(dark(circle)) - (40, 30, 60, 50)).max() <= 1
    assert [element(circle).get(key) for key in ("cx", "cy", "r")] == ["50", "40", "10"]
    polygon = Polygon(((10, 10), (40, 10), (10, 60.5)), "#000000")
    assert np.abs(np.array(dark(polygon)) - (10, 10, 40, 60)).max() <= 1
    assert element(polygon).get("points") == "10,10 40,10 10,60.5"
    line = Line(((10, 10), (60, 50)), "#000000", 2, (6, 4))
    assert np.abs(np.array(dark(line)) - (10, 10, 60, 50)).max() <= 5
    assert element(line).get("stroke-dasharray") == "6 4" and element(line).get("x2") == "60"


def test_slanted_lines_are_smooth():
    shades = np.unique(raster.pixels(Drawing(100, 80, [Line(((10, 10), (80, 47)), "#000000", 2)])))
    assert len(shades) > 5


def test_opacity_is_blended_with_white_and_drawn_over_what_is_below():
    half = Rectangle((10, 10, 20, 20), "#000000", opacity=0.5)
    assert abs(int(raster.pixels(Drawing(40, 40, [half]))[15, 15, 0]) - 127) <= 1
    assert element(half).get("fill-opacity") == "0.5"
    alpha = np.zeros((1, 2, 4), np.uint8)
    alpha[0, 1, 3] = 255
    drawn = raster.pixels(Drawing(40, 40, [Rectangle((0, 0, 40, 40), "#FF0000"), Pixels((0, 0, 40, 40), alpha)]))
    assert drawn[20, 10].tolist() == [255, 0, 0] and drawn[20, 30].tolist() == [0, 0, 0]


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("anchor", ["start", "middle", "end"])
def test_text_is_anchored_alike_in_both_formats(anchor, upright):
    shape = Text((50, 40), "mmm", anchor, upright=upright)
    left, top, right, bottom = dark(shape)
    width = text_width("mmm")
    low, high = {"start": (0, width), "middle": (-width / 2, width / 2), "end": (-width, 0)}[anchor]
    if upright:  # what is at the left of a text is at its lower end
        assert abs(bottom - (40 - low)) <= 3 and abs(top - (40 - high)) <= 3 and abs((left + right) / 2 - 50) <= 3
    else:
        assert abs(left - (50 + low)) <= 3 and abs(right - (50 + high)) <= 3 and abs((top + bottom) / 2 - 40) <= 4
    written = element(shape)
    assert (written.get("text-anchor") or "start") == anchor
    assert written.get("transform") == ("rotate(-90 50 40)" if upright else None)


def test_upright_text_is_read_from_below():
    drawn = raster.pixels(Drawing(100, 80, [Text((50, 70), "M.....", upright=True)]))
    ink = (drawn < 200).any(-1).sum(1)
    assert ink[60:70].max() > 5 > ink[:50].max() > 0  # the letter is below, the full stops above


def test_bold_and_small_text_differ():
    (_, _, plain, _), (_, _, bold, _), (_, _, small, _) = (
        dark(Text((5, 40), "wide word", bold=bold, small=small)) for bold, small in ((0, 0), (1, 0), (0, 1))
    )
    assert small < plain < bold
    assert element(Text((5, 5), "x", bold=True)).get("font-weight") == "bold"
    assert float(element(Text((5, 5), "x", small=True)).get("font-size")) < FONT_PIXELS


def test_svg_follows_the_setting_for_light_and_dark_and_nothing_leaks_into_a_page():
    text = vector.svg(Drawing(10, 10, [Text((1, 1), "a & b", colour="muted"), Line(((0, 0), (9, 9)))], "shown: <x>"))
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img" and root.get("aria-label") == "shown: <x>"
    assert root.find(f"{SVG}title").text == "shown: <x>"
    style = root.find(f"{SVG}style").text
    assert "@media (prefers-color-scheme:dark)" in style
    selectors = re.findall(r"([^{}]+)\{[^{}]+\}", style.replace("@media (prefers-color-scheme:dark){", ""))
    assert selectors and all(selector.startswith(".tf-") for selector in selectors)
    assert " id=" not in text
    classes = {name for item in root.iter() for name in (item.get("class") or "").split()}
    assert classes == {"tf-drawing", "tf-ink", "tf-background", "tf-muted", "tf-ink-line"}
    assert all(f".{name}" in style for name in classes)


def test_an_image_that_is_shown_twice_is_stored_once():
    """In a file by itself with its definition; in a page that defines it only the reference remains."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 255, (2, 5, 4, 3), np.uint8)
    boxes = [(0, 0, 8, 10), (20, 0, 28, 10), (40, 0, 48, 10)]
    drawing = Drawing(
        100, 80, [Pixels(box, values.copy()) for box, values in zip(boxes, (first, second, first), strict=True)]
    )
    text = vector.svg(drawing)
    root = ElementTree.fromstring(text)
    (symbol,) = root.iter(f"{SVG}symbol")
    assert symbol.get("id") == vector.image_id(first) != vector.image_id(second)
    assert [use.get("href") for use in root.findall(f"{SVG}use")] == [f"#{vector.image_id(first)}"] * 2
    assert [use.get("x") for use in root.findall(f"{SVG}use")] == ["0", "40"] and text.count("base64,") == 2
    assert "pixelated" in str(root.findall(f"{SVG}use")[0].get("style"))
    images = vector.repeated_images([drawing])
    assert list(images) == [vector.image_id(first)] and vector.definitions(images) in text
    assert vector.svg(drawing, images).count("base64,") == 1 and " id=" not in vector.svg(drawing, images)
    assert vector.repeated_images([Drawing(9, 9, [drawing.shapes[1]])], [second]).keys() == {vector.image_id(second)}
    assert vector.image_id(first) != vector.image_id(first.reshape(4, 5, 3))  # equal bytes of another shape


def test_text_of_any_script_is_real_text_in_svg():
    for text in ("猫がいる", "مرحبا بالعالم!", "שלום", "<&>"):
        assert element(Text((5, 5), text)).text == text


@pytest.mark.parametrize("text", ["ねこ", "سلام", "שלום", "кошка"])
def test_a_font_of_this_machine_is_chosen_for_the_characters(text):
    able = [name for name in FONTS if _font(name, FONT_PIXELS) and all(_has(name, character) for character in text)]
    if not able:
        pytest.skip("no font on this machine has these characters")
    font, missing = font_for(text), bytes(font_for(text).getmask("\uffff"))
    assert all(bytes(font.getmask(character)) != missing for character in text)
    left, _, right, _ = dark(Text((5, 40), text))
    assert right - left > 10


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no raqm, which orders right-to-left text")
def test_right_to_left_text_begins_at_the_right():
    if not _has(FONTS[0], "ש"):
        pytest.skip("no font with Hebrew")
    mixed, letters = (raster.pixels(Drawing(100, 80, [Text((50, 40), text, "middle")])) for text in ("ש.....", "ש"))
    ink = (mixed < 200).any(-1)
    columns = ink.any(0).nonzero()[0]
    tall = [column for column in columns if ink[:, column].sum() > 4]  # the letter, not the full stops
    assert min(tall) > columns.mean() and (letters < 200).any()


def test_unprintable_characters_are_escaped_and_joiners_stay():
    assert printable("a\nb\x00\u2581c") == "a\\nb\\x00_c"
    assert printable("می\u200cخواهم") == "می\u200cخواهم"
    assert ElementTree.fromstring(vector.svg(Drawing(9, 9, [Text((1, 1), printable("\udcff\x08"))]))) is not None


def test_texts_are_broken_and_shortened_to_a_width():
    lines = broken("some words and onewordthatistoolongforanyline", 80)
    assert all(text_width(line) <= 80 for line in lines) and "".join(lines).replace(" ", "").endswith("anyline")
    assert len(broken("猫" * 30, 80)) >= 5
    assert shortened("short", 80) == "short"
    cut = shortened("a very long name of a column", 80)
    assert cut.endswith("…") and text_width(cut) <= 80
    _, height = notes_below([], 0, 0, 100)
    assert height == 0


def test_japanese_text_has_room_even_if_no_font_has_it():
    for text in ("猫がいる", "\U0002a6df" * 4):  # the last one is in few fonts
        assert text_width(text) >= 4 * FONT_PIXELS


def test_the_direction_of_most_letters_decides():
    assert runs_leftwards(["سلام", "BLEU", "دنیا خوب"]) and not runs_leftwards(["hello", "سلا"])
    assert not runs_leftwards(["1", "."])
