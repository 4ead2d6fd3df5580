"""What text classification reads of a text."""

from __future__ import annotations

import numpy as np
import pytest

from tests.properties.families import FAMILIES


@pytest.mark.parametrize(
    ("cut", "single", "pair"),
    [
        ("end", range(10, 24), ([*range(10, 17)], [*range(50, 56)])),
        ("beginning", range(26, 40), ([*range(33, 40)], [*range(64, 70)])),
        ("middle", [10, 11, 12, *range(29, 40)], ([10, *range(34, 40)], [50, *range(65, 70)])),
    ],
)
def test_what_is_too_long_loses_what_the_settings_say(cut, single, pair, tmp_path):
    """16 tokens are read: [CLS] and 14 with a [SEP], or 7 and 6 of a pair with one each."""
    family = next(family for family in FAMILIES if family.name == "text classification")
    task = family.task(tmp_path, f"data.cut={cut}", "model.max_length=16")
    first, second, short = np.arange(10, 40), np.arange(50, 70), np.arange(10, 13)
    begin, end = task.tokenizer.bos_id, task.tokenizer.eos_id
    tokens, lengths, _ = task._join([[first]])
    assert tokens.tolist() == [[begin, *single, end]] and lengths.tolist() == [16]
    tokens, lengths, _ = task._join([[first, second]])
    assert tokens.tolist() == [[begin, *pair[0], end, *pair[1], end]]
    tokens, _, _ = task._join([[short, second]])
    assert tokens[0, 1:4].tolist() == short.tolist() and tokens.shape == (1, 16)
