"""What is drawn is where it belongs, and is large enough to be looked at."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from tformer_cli.draw import Gallery, HeatMap, Spectrogram, draw, layout, raster, svg
from tformer_cli.draw.cells import rgb
from tformer_cli.draw.drawing import BLUE, FONT_PIXELS, ORANGE, Pixels, Rectangle, Text
from tformer_cli.draw.gallery import CORRECT, HEAT, IMAGE_PIXELS, WRONG
from tformer_cli.draw.lettering import MAX_CHARACTERS, rounded, shortened, text_width
from tformer_cli.draw.spectrogram import MIN_PIXELS, WIDTHS

RED = np.array((0xD3, 0x2F, 0x2F))


def values(frames: int, bins: int) -> np.ndarray:
    """Quiet, but for one frame and bin."""
    values = np.zeros((frames, bins))
    values[frames // 3, 0] = 1
    return values


def test_time_runs_to_the_right_and_frequency_upwards():
    pixels = draw(Spectrogram(values(9, 4))).astype(int)
    rows, columns = np.nonzero(pixels.sum(-1) < 600)
    width = MIN_PIXELS // 9
    assert (columns.min(), columns.max()) == (3 * width, 4 * width - 1)
    height = (rows.max() + 1) // 4
    assert rows.min() == 3 * height and 4 * height >= MIN_PIXELS // 2


def test_a_mark_stands_where_it_begins_and_its_name_is_not_cut():
    plain = draw(Spectrogram(values(300, 20)))
    pixels = draw(Spectrogram(values(300, 20), [(100, "left"), (299, "a long name at the end")]))
    columns = np.nonzero((pixels == RED).all(-1).any(0))[0]
    assert columns.tolist() == [300, 897]  # three pixels a frame
    assert pixels.shape[1] > plain.shape[1] == 900
    right = pixels[:, 905:]
    assert (right.sum(-1) < 300).any() and (right[:, -2:] == 255).all()  # written, and not up to the edge


def test_a_long_caption_is_broken_and_does_not_make_the_picture_small():
    short, long = (draw(Spectrogram(values(6, 6), caption=text)) for text in ("short", "a long caption " * 9))
    assert short.shape[1] == long.shape[1] == MIN_PIXELS and long.shape[0] > short.shape[0] + 50
    assert (long[short.shape[0] + 40 :].sum(-1) < 300).any()


def test_hours_of_sound_are_averaged_and_the_picture_says_so():
    values = np.zeros((2 * WIDTHS[0] + 6, 3))
    values[100:103] = 6.0  # half of one block and all of the one before
    picture = Spectrogram(values, [(WIDTHS[0] + 3, "middle")])
    drawing = layout(picture)
    (image,) = (shape for shape in drawing.shapes if isinstance(shape, Pixels))
    assert image.values.shape[1] == 669 == image.box[2]  # in threes, each a pixel
    texts = " ".join(shape.text for shape in drawing.shapes if isinstance(shape, Text))
    assert "mean of 3 of the 2,006 frames" in texts
    columns = np.nonzero((draw(picture) == RED).all(-1).any(0))[0]
    assert columns.tolist() == [334]


@pytest.mark.parametrize(("words", "width"), [(0, 1000), (24, 1000), (60, 2000), (80, 3000), (300, 3000)])
def test_a_spectrogram_is_as_wide_as_a_page_unless_its_words_need_more(words, width):
    marks = [(int(frame), "word") for frame in np.linspace(0, 2900, words)]
    drawing = layout(Spectrogram(np.zeros((3000, 3)), marks))
    (image,) = (shape for shape in drawing.shapes if isinstance(shape, Pixels))
    assert image.values.shape[1] == image.box[2] == 3000 / -(-3000 // width)
    lines = sorted(shape.place for shape in drawing.shapes if isinstance(shape, Text))
    for height in {y for _, y in lines}:
        places = [x for x, y in lines if y == height]
        assert words == 300 or all(right - left > text_width("word") for left, right in itertools.pairwise(places))


@pytest.mark.parametrize("name", ["plain", "two\nlines", "\t\x00", "\udcff", "ねこ", ""])
def test_names_of_any_kind_are_drawn(name):
    heat = HeatMap(np.eye(2), [name, "b"], [name, "b"], name, name, name, percent=True)
    images = [np.zeros((4, 9, 3), np.uint8), np.zeros((9, 2, 1), np.uint8)]
    shown = Gallery(images, [name, f"{name}\nlabel: {name}"], [True, False], [np.ones((2, 3)), np.ones((3, 2))])
    sound = Spectrogram(values(9, 4), [(2, name)], name, 0.01)
    for picture in (heat, shown, sound):
        assert draw(picture).ndim == 3 and ElementTree.fromstring(svg(picture)) is not None


def test_a_wrong_answer_has_its_label_below_and_shapes_are_kept():
    wide = np.full((10, 40, 3), 7, np.uint8)
    image = draw(Gallery([wide], ["cat 0.9"], [True]))
    two = draw(Gallery([wide], ["cat 0.9\nlabel: dog"], [False]))
    assert two.shape[0] == image.shape[0] + FONT_PIXELS
    inside = (image == 7).all(-1)
    rows, columns = inside.any(1).sum(), inside.any(0).sum()
    assert (rows, columns) == (IMAGE_PIXELS // 4, IMAGE_PIXELS)


def test_correct_images_are_framed_in_green_and_wrong_ones_in_red():
    images = [np.zeros((4, 4, 3), np.uint8)] * 3
    drawing = layout(Gallery(images, [""] * 3, [True, False, None], columns=3))
    frames = [shape for shape in drawing.shapes if isinstance(shape, Rectangle)]
    assert [frame.outline for frame in frames] == [CORRECT, WRONG]
    assert frames[0].box[2] <= frames[1].box[0] and CORRECT == "#2E7D32"


def test_photographs_are_reduced_smoothly_and_never_stored_larger_than_drawn():
    stripes = np.zeros((450, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    for side in (IMAGE_PIXELS, 224):
        (image,) = (shape for shape in layout(Gallery([stripes], [""], [None], side=side)).shapes)
        assert image.values.shape == (side * 3 // 4, side, 3)
        assert np.abs(image.values.astype(int) - 127).max() < 60


def test_weights_over_an_image_redden_what_is_high_and_darken_what_is_low():
    image = np.full((8, 8, 3), 200, np.uint8)
    picture = Gallery([image], [""], [None], [np.array([[0.0, 1.0]])])
    stored, heat = (shape.values for shape in layout(picture).shapes if isinstance(shape, Pixels))
    assert (stored == image).all() and heat.shape == (2, 4, 4)
    drawn = draw(picture)[8 : 8 + IMAGE_PIXELS, 8 : 8 + IMAGE_PIXELS].astype(int)
    low, high = drawn[56, 5], drawn[56, -5]
    assert abs(low - 0.35 * 200).max() <= 4 and abs(high - (0.65 * 200 + 0.35 * HEAT)).max() <= 4


def test_half_of_the_largest_weight_is_between():
    """A heat map with opacity gives p + 0.35 s (HEAT - p), where p = (0.35 + 0.65 s) v, for a pixel v and a share s."""
    weights = np.repeat(np.repeat([[0.2, 0.1]], 4, 0), 4, 1)
    picture = Gallery([np.full((8, 8, 3), 200, np.uint8)], [""], [None], [weights])
    drawn = draw(picture)[8 : 8 + IMAGE_PIXELS, 8 : 8 + IMAGE_PIXELS].astype(int)
    dimmed = (0.35 + 0.65 * 0.5) * 200
    assert np.abs(drawn[56, -10] - (dimmed + 0.35 * 0.5 * (HEAT - dimmed))).max() <= 3


def test_marks_are_at_their_points():
    images = [np.zeros((10, 40, 3), np.uint8)] * 2
    drawing = layout(Gallery(images, ["", ""], [None] * 2, columns=2, marks=[(0.75, 0.5), None]))
    first, second = (shape.box for shape in drawing.shapes if isinstance(shape, Pixels))
    (mark,) = (shape for shape in drawing.shapes if isinstance(shape, Rectangle))
    (left, top, right, bottom), centre = first, ((mark.box[0] + mark.box[2]) / 2, (mark.box[1] + mark.box[3]) / 2)
    assert centre == (left + 0.75 * (right - left), (top + bottom) / 2) and right < second[0]


def test_a_spectrogram_has_an_axis_of_time():
    plain, timed = (draw(Spectrogram(values(300, 20), frame_seconds=seconds)) for seconds in (0, 0.01))
    assert timed.shape[0] > plain.shape[0]
    black = (timed == 0).all(-1)
    ticks = black[plain.shape[0] - 4 : plain.shape[0] - 2].all(0).nonzero()[0]
    assert len(ticks) >= 3 and np.ptp(np.diff(ticks)) <= 1


def test_weights_of_both_signs_are_colours_over_a_pale_image():
    image = np.zeros((2, 2, 3), np.uint8)
    weights = np.array([[1.0, -1.0], [0.0, -0.5]])
    drawing = layout(Gallery([image, image], ["", ""], [None, None], [None, weights], side=2, diverging=True))
    pixels = raster.pixels(drawing).astype(int)
    plain, _, colours = (shape for shape in drawing.shapes if isinstance(shape, Pixels))
    left, top, right, bottom = map(int, colours.box)
    covered = pixels[top:bottom, left:right]
    assert (plain.values == 0).all() and covered.shape == (2, 2, 3)
    half = np.round((128 + np.array(rgb(ORANGE))) / 2)
    assert covered[0, 0].tolist() == list(rgb(BLUE)) and covered[0, 1].tolist() == list(rgb(ORANGE))
    assert covered[1, 0].tolist() == [128] * 3 and np.abs(covered[1, 1] - half).max() <= 1


def test_white_stays_white_under_weights_of_both_signs():
    picture = Gallery([np.full((4, 4, 3), 255, np.uint8)], [""], [None], [np.zeros((2, 2))], side=4, diverging=True)
    assert (draw(picture) == 255).all()


@pytest.mark.parametrize("text", ["a short one", "wide and narrow letters: iiii WWWW", "日本語の長い文章です", ""])
@pytest.mark.parametrize("width", [0, 5, 40, 100, 1000])
def test_a_shortened_text_is_the_longest_that_fits(text, width):
    result = shortened(text, width)
    if text_width(text) <= width:
        assert result == text
        return
    fits = [f"{text[:end].rstrip()}…" for end in range(1, len(text)) if text_width(f"{text[:end]}…") <= width]
    assert result == (fits[-1] if fits else "")


def test_a_long_text_is_shortened_with_few_measurements():
    text_width.cache_clear()
    assert text_width(shortened("a word " * 100_000, 560)) <= 560
    assert text_width.cache_info().misses < 20
    assert shortened("\u200b" * (MAX_CHARACTERS + 1), 10**6).endswith("…")


@pytest.mark.parametrize("value, text", [(0.12345, "0.123"), (999.4, "999"), (999.7, "1,000"), (-12345.6, "-12,346")])
def test_numbers_have_three_digits_or_are_whole(value, text):
    assert rounded(value) == text
