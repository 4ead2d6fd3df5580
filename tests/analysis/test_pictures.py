"""What is drawn is where it belongs, and is large enough to be looked at."""

from __future__ import annotations

import numpy as np

from tformer_cli.analysis.pictures import LEAST_PIXELS, WIDEST_PIXELS, spectrogram
from tformer_cli.tasks.base import Spectrogram

RED = np.array((0xC6, 0x28, 0x28))


def values(frames: int, bins: int) -> np.ndarray:
    """Quiet, but for one frame and bin."""
    found = np.zeros((frames, bins))
    found[frames // 3, 0] = 1
    return found


def test_time_runs_to_the_right_and_frequency_upwards():
    pixels = spectrogram(Spectrogram(values(9, 4))).astype(int)
    rows, columns = np.nonzero(pixels.sum(-1) < 600)
    width = LEAST_PIXELS // 9
    assert (columns.min(), columns.max()) == (3 * width, 4 * width - 1)
    height = (rows.max() + 1) // 4
    assert rows.min() == 3 * height and 4 * height >= LEAST_PIXELS // 2


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
    assert short.shape[1] == long.shape[1] == LEAST_PIXELS and long.shape[0] > short.shape[0] + 50
    assert (long[short.shape[0] + 40 :].sum(-1) < 300).any()


def test_hours_of_sound_are_one_pixel_a_frame():
    assert spectrogram(Spectrogram(np.zeros((WIDEST_PIXELS + 5, 3)))).shape[1] == WIDEST_PIXELS + 5
