"""Random numbers without a state: uniform, unrelated, the same everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from tformer_cli.data.core.uniforms import normals, uniforms

WORD = 1 << 64


def splitmix(state: int) -> int:
    """Steele et al. 2014, in whole numbers of any size."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % WORD
    return state ^ (state >> 31)


def test_they_are_those_of_splitmix64():
    golden = 0x9E3779B97F4A7C15
    random_numbers = uniforms(seed=7, epoch=3, samples=torch.tensor([0, 5, 2**40]), count=4, stream=2)
    start = int.from_bytes(hashlib.blake2b(b"7 3 2", digest_size=8).digest(), "little")
    for row, sample in zip(random_numbers.tolist(), (0, 5, 2**40), strict=True):
        key = splitmix((sample * golden + start) % WORD)
        assert row == [(splitmix((key + (i + 1) * golden) % WORD) >> 40) / 2**24 for i in range(4)]


def test_they_are_uniform():
    random_numbers = uniforms(0, 0, torch.arange(2_000), 500, 0).numpy().ravel()
    assert random_numbers.dtype == np.float32 and random_numbers.min() >= 0 and random_numbers.max() < 1
    counts = np.bincount((random_numbers * 1000).astype(int), minlength=1000)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert abs(chi_square - 999) < 4 * np.sqrt(2 * 999)


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"stream": 1}, {"samples": torch.arange(1, 2_001)}, {}])
def test_seeds_epochs_streams_samples_and_places_are_unrelated(other):
    base = {"seed": 0, "epoch": 0, "samples": torch.arange(2_000), "count": 50, "stream": 0}
    first, second = uniforms(**base), uniforms(**{**base, **other})
    if not other:
        first, second = first[:, 1:], second[:, :-1]
    related = np.corrcoef(first.numpy().ravel(), second.numpy().ravel())[0, 1]
    assert abs(related) < 4 / np.sqrt(first.numel())


def test_a_number_does_not_depend_on_how_many_are_drawn_or_for_whom():
    many = uniforms(1, 2, torch.arange(40), 9, 3)
    assert torch.equal(uniforms(1, 2, torch.tensor([17, 4]), 5, 3), many[[17, 4], :5])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_the_same():
    samples = torch.arange(1_000)
    assert torch.equal(uniforms(1, 2, samples.cuda(), 9, 3).cpu(), uniforms(1, 2, samples, 9, 3))


def test_normals_are_normally_distributed_and_those_of_a_sample_alone():
    drawn = normals(3, 1, torch.arange(1_000), 300, 65)
    values = np.sort(drawn.numpy().ravel())
    assert np.isfinite(values).all() and values.mean() == pytest.approx(0, abs=0.01)
    for point, share in ((-2, 0.02275), (-1, 0.15866), (0, 0.5), (1.5, 0.93319), (3, 0.99865)):
        assert (values < point).mean() == pytest.approx(share, abs=0.003)
    assert np.corrcoef(drawn[:, ::2].numpy().ravel(), drawn[:, 1::2].numpy().ravel())[0, 1] == pytest.approx(
        0, abs=0.01
    )
    torch.testing.assert_close(normals(3, 1, torch.tensor([7]), 9, 65)[0], drawn[7, :9], rtol=0, atol=0)
