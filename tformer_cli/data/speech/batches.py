"""Batches of recordings with texts.

Shapes: B utterances, N samples (or frames of stored features), F features in a frame, U tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.core.batch import Batch


@dataclass
class SpeechBatch(Batch):
    """Utterances with their transcripts.

    Attributes:
        sound: (B, N), int16; or stored features, (B, N, F), float32; padded at the end.
        lengths: samples, or frames, of each utterance, (B,), int64.
        rate: samples, or frames, per second.
        epoch: the epoch, from which random numbers are derived.
        transcripts: tokens of the transcripts, (B, U), int64, padded at the end.
        transcript_lengths: (B,), int64.
        target_inputs: <s> and tokens, (B, U + 1), int64, padded at the end.
        targets: tokens and </s>, (B, U + 1), int64, padded at the end.
        view: number of the augmented view, 0 or 1; views of the same epoch differ in their masks.
    """

    sound: Tensor
    lengths: Tensor
    rate: float
    epoch: int
    transcripts: Tensor
    transcript_lengths: Tensor
    target_inputs: Tensor
    targets: Tensor
    view: int = field(default=0, kw_only=True)
    unit: ClassVar[str] = "audio_seconds"

    @property
    def target_lengths(self) -> Tensor:
        """Return the number of tokens in each row of `targets`, (B,), int64."""
        return self.transcript_lengths + 1

    def select(self, rows: Tensor) -> Self:
        """Return the batch of some of the utterances.

        Args:
            rows: numbers of the utterances, (B',), int64.
        """
        return self._each_tensor(lambda value: value[rows])

    def sizes(self) -> tuple[float, float]:
        """Return real and padded seconds of sound."""
        return int(self.lengths.sum()) / self.rate, self.sound.shape[0] * self.sound.shape[1] / self.rate


def pad_sounds(sounds: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return recordings in one tensor.

    Args:
        sounds: (n,) each, int16; or (T, F) each, float32.

    Returns:
        (B, N) or (B, N, F), zero after the end of each, and lengths, (B,), int64.
    """
    lengths = np.array([len(sound) for sound in sounds], np.int64)
    padded = np.zeros((len(sounds), lengths.max(), *sounds[0].shape[1:]), sounds[0].dtype)
    for row, sound in zip(padded, sounds, strict=True):
        row[: len(sound)] = sound
    return torch.from_numpy(padded), torch.from_numpy(lengths)
