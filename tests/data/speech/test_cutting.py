"""Long recordings are cut at quiet points, into pieces that are neither too long nor too short."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dct

from tformer_cli.config.schema import FeatureConfig
from tformer_cli.data.speech.augment import LOUDEST
from tformer_cli.data.speech.cutting import quiet_pieces
from tformer_cli.data.speech.log_mel import LogMel

RATE = 8000


def bursts(seconds: int) -> np.ndarray:
    """Return samples, (N,), float32: noise, and silence in the first 0.3 seconds of each second."""
    noise = np.random.default_rng(0).standard_normal(seconds * RATE).astype(np.float32)
    silent = np.arange(len(noise)) % RATE < 0.3 * RATE
    return noise * np.where(silent, np.float32(1e-4), np.float32(0.1))


@pytest.mark.parametrize("length", [1, 99, 100, 101, 250, 1234])
@pytest.mark.parametrize("longest", [1, 2, 3, 100])
def test_pieces_are_short_enough_and_leave_nothing_out(length, longest):
    sound = np.random.default_rng(length).integers(-1000, 1000, length).astype(np.int16)
    pieces = quiet_pieces(sound, longest)
    assert pieces[0][0] == 0 and pieces[-1][1] == length
    assert all(0 < stop - start <= longest for start, stop in pieces)
    assert all(one[1] == other[0] for one, other in zip(pieces, pieces[1:], strict=False))


@pytest.mark.parametrize("kind", ["samples", "log-mel", "log-mel of 16-bit integers", "normalised log-mel", "cepstra"])
def test_cuts_are_in_silence(kind):
    sound = bursts(20)
    frames = 100
    if kind == "samples":
        values, frames = (sound * LOUDEST).astype(np.int16), RATE
    else:
        samples = torch.from_numpy(sound)[None]
        features, _ = LogMel(FeatureConfig(bins=20), RATE)(samples, torch.tensor([len(sound)]))
        log_mel = features[0].numpy()
        values = {
            "log-mel": log_mel,
            "log-mel of 16-bit integers": log_mel + np.float32(2 * np.log(LOUDEST)),
            "normalised log-mel": (log_mel - log_mel.mean(0)) / log_mel.std(0),
            "cepstra": np.asarray(dct(log_mel, axis=1, norm="ortho"))[:, :13],
        }[kind]
    cuts = [start / frames for start, _ in quiet_pieces(values, 5 * frames)[1:]]
    assert len(cuts) >= 4 and all(cut % 1 < 0.3 for cut in cuts)


@pytest.mark.parametrize("length", [1001, 1100, 1999, 2300, 5001])
def test_the_last_piece_is_at_least_a_quarter_of_the_longest(length):
    sound = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    sound[-20:] = 0  # the quietest point is at the end
    pieces = quiet_pieces(sound, 1000)
    assert all(250 <= stop - start <= 1000 for start, stop in pieces)
