"""Transcripts that fit their recordings: CTC emits at most one token in each frame."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from tformer_cli.tokenizers.tokenizer import Vocabulary


def needed_frames(tokens: Sequence[int]) -> int:
    """Return the smallest number of frames in which CTC emits tokens: one for each, and a blank between equal ones."""
    return len(tokens) + sum(left == right for left, right in itertools.pairwise(tokens))


def needed_frames_of(texts: Sequence[str], tokenizer: Vocabulary) -> np.ndarray:
    """Return the smallest number of frames in which CTC emits each text, (N,) int64."""
    return np.array([needed_frames(tokens) for tokens in tokenizer.encode_batch(texts)], np.int64)
