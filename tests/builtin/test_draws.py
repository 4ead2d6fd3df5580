"""Random choices that depend on a key alone."""

from __future__ import annotations

from collections import Counter

from tformer_cli.builtin.draws import Draws, digest


def test_the_same_key_gives_the_same_choices():
    one, other, third = Draws("1/train/0"), Draws("1/train/0"), Draws("1/train/1")
    choices = [draws.choose(range(1_000)) for draws in (one, other, third) for _ in range(20)]
    assert choices[:20] == choices[20:40] != choices[40:]


def test_choices_never_change():
    """Data sets of old runs would change with them."""
    draws = Draws("1/train/0")
    assert digest("1/train/0") == 164717675285675646229883220526504239697
    assert [draws.choose("abcdefgh") for _ in range(8)] == list("fggebfab")
    assert [draws.between(-1, 1) for _ in range(2)] == [0.3265351400518217, -0.4855067513504121]


def test_choices_are_uniform():
    draws = Draws("uniform")
    counts = Counter(draws.choose("abc") for _ in range(3_000))
    assert min(counts.values()) > 900 and len(counts) == 3
    numbers = [draws.between(2, 6) for _ in range(3_000)]
    assert 2 <= min(numbers) < 2.02 and 5.98 < max(numbers) < 6
    assert abs(sum(numbers) / 3_000 - 4) < 0.1
