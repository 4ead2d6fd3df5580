"""What is drawn is where it belongs, and is large enough to be looked at."""

from __future__ import annotations

import numpy as np
import pytest

from tformer_cli.draw import (
    CELL_PIXELS,
    DARK,
    FONT_PIXELS,
    IMAGE_PIXELS,
    MAX_PIXELS,
    MIN_PIXELS,
    Gallery,
    HeatMap,
    Spectrogram,
    draw,
    gallery,
    heat_map,
    spectrogram,
)

RED = np.array((0xC6, 0x28, 0x28))


def values(frames: int, bins: int) -> np.ndarray:
    """Quiet, but for one frame and bin."""
    values = np.zeros((frames, bins))
    values[frames // 3, 0] = 1
    return values


def test_time_runs_to_the_right_and_frequency_upwards():
    pixels = spectrogram(Spectrogram(values(9, 4))).astype(int)
    rows, columns = np.nonzero(pixels.sum(-1) < 600)
    width = MIN_PIXELS // 9
    assert (columns.min(), columns.max()) == (3 * width, 4 * width - 1)
    height = (rows.max() + 1) // 4
    assert rows.min() == 3 * height and 4 * height >= MIN_PIXELS // 2


def test_a_mark_stands_where_it_begins_and_its_name_is_not_cut():
    plain = spectrogram(Spectrogram(values(300, 20)))
    pixels = spectrogram(Spectrogram(values(300, 20), [(100, "left"), (299, "a long name at the end")]))
    columns = np.nonzero((pixels == RED).all(-1).any(0))[0]
    assert columns.tolist() == [300, 897]  # three pixels a frame
    assert pixels.shape[1] > plain.shape[1] == 900
    right = pixels[:, 905:]
    assert (right.sum(-1) < 300).any() and (right[:, -2:] == 255).all()  # written, and not up to the edge


def test_a_long_caption_is_broken_and_does_not_make_the_picture_small():
    short, long = (spectrogram(Spectrogram(values(6, 6), caption=text)) for text in ("short", "a long caption " * 9))
    assert short.shape[1] == long.shape[1] == MIN_PIXELS and long.shape[0] > short.shape[0] + 50
    assert (long[short.shape[0] + 40 :].sum(-1) < 300).any()


def test_hours_of_sound_are_one_pixel_a_frame():
    assert spectrogram(Spectrogram(np.zeros((MAX_PIXELS + 5, 3)))).shape[1] == MAX_PIXELS + 5


@pytest.mark.parametrize("name", ["plain", "two\nlines", "\t\x00", "\udcff", "ねこ", ""])
def test_names_of_any_kind_are_drawn(name):
    heat = HeatMap(np.eye(2), [name, "b"], [name, "b"], name, name, name, percent=True)
    images = [np.zeros((4, 9, 3), np.uint8), np.zeros((9, 2, 1), np.uint8)]
    shown = Gallery(images, [name, f"{name}\nlabel: {name}"], [True, False], [np.ones((2, 3)), np.ones((3, 2))])
    sound = Spectrogram(values(9, 4), [(2, name)], name, 0.01)
    for picture in (heat, shown, sound):
        assert draw(picture).ndim == 3


def test_confusions_have_numbers_titles_and_a_scale():
    matrix, names = np.array([[1.0, 0.0], [0.25, 0.75]]), ["cat", "dog"]
    plain = heat_map(HeatMap(matrix, names, names)).astype(int)
    numbered = heat_map(HeatMap(matrix, names, names, percent=True)).astype(int)
    titled = heat_map(HeatMap(matrix, names, names, "all", "label", "predicted as", percent=True)).astype(int)

    def white(image: np.ndarray) -> np.ndarray:
        """Return the white pixels of the first dark cell."""
        inside = (image == DARK).all(-1)
        left = inside.any(0).nonzero()[0][0]
        top = inside[:, left].nonzero()[0][0]
        return (image[top : top + CELL_PIXELS, left : left + CELL_PIXELS] == 255).all(-1)

    assert white(numbered).any() and not white(plain).any()
    assert titled.shape[0] > numbered.shape[0] and titled.shape[1] > numbered.shape[1]
    dark = (plain == DARK).all(-1)
    assert dark[:, -70:].any() and dark[:, :-70].any()  # the scale has the colours of the cells


def test_a_wrong_answer_has_its_label_below_and_shapes_are_kept():
    wide = np.full((10, 40, 3), 7, np.uint8)
    image = gallery(Gallery([wide], ["cat 0.9"], [True]))
    two = gallery(Gallery([wide], ["cat 0.9\nlabel: dog"], [False]))
    assert two.shape[0] == image.shape[0] + FONT_PIXELS
    inside = (image == 7).all(-1)
    rows, columns = inside.any(1).sum(), inside.any(0).sum()
    assert (rows, columns) == (IMAGE_PIXELS // 4, IMAGE_PIXELS)


def test_a_spectrogram_has_an_axis_of_time():
    plain, timed = (spectrogram(Spectrogram(values(300, 20), frame_seconds=seconds)) for seconds in (0, 0.01))
    assert timed.shape[0] > plain.shape[0]
    black = (timed == 0).all(-1)
    ticks = black[plain.shape[0] - 4 : plain.shape[0] - 2].all(0).nonzero()[0]
    assert len(ticks) >= 3 and np.ptp(np.diff(ticks)) <= 1
