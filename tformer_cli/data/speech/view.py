"""Views of recordings: the utterances of an epoch, in batches of similar lengths."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tformer_cli.data.core.batching import ByEpoch
from tformer_cli.data.core.view import LengthBucketed
from tformer_cli.data.speech.batches import SpeechBatch
from tformer_cli.data.speech.joining import Utterances, fixed_utterances, training_utterances
from tformer_cli.data.speech.recordings import Recordings

if TYPE_CHECKING:
    from tformer_cli.data.speech.dataset import SpeechData


class SpeechView(LengthBucketed[SpeechBatch]):
    """Utterances in batches of similar lengths.

    In training the recordings may be joined, played at other speeds and surrounded by silence, differently in each
    epoch.

    Args:
        data: the recordings.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: SpeechData, split: str, *, training: bool) -> None:
        self.data, self.split, self.training = data, split, training
        self._utterances = ByEpoch(self._draw if training else self.fixed_utterances)
        config = data.config
        augment = config.augment
        changes = training and (augment.join or augment.shift_ms or augment.speeds != [1.0])
        super().__init__(
            split, self._lengths if changes else self._lengths(0), budget=data.budget,
            max_batch=config.data.max_batch, seed=config.seed, training=training,
        )  # fmt: skip

    @property
    def recordings(self) -> Recordings:
        """Return the recordings of the split."""
        return self.data.split(self.split)

    def utterances_of(self, epoch: int) -> Utterances:
        """Return the utterances of an epoch, which consist of one recording or several."""
        return self._utterances[epoch if self.training else 0]

    def fixed_utterances(self, epoch: int = 0) -> Utterances:
        """Return the utterances of evaluation, which are the same in each epoch."""
        data = self.data.config.data
        return fixed_utterances(self.recordings.lengths, data.join_low, data.join_high, self.data.config.seed)

    def transcripts(self, epoch: int, rows: Iterable[int]) -> list[str]:
        """Return the transcripts of some utterances of an epoch."""
        utterances = self.utterances_of(epoch)
        return [utterances.text(row, self.recordings.texts, self.data.texts.separator) for row in rows]

    def name(self, row: int) -> str:
        """Return a human-readable name of an utterance: the files of its recordings."""
        parts = self.utterances_of(0).parts[row]
        return " + ".join(Path(self.recordings.location(part)).name for part in parts[parts >= 0].tolist())

    def collate(self, epoch: int, rows: np.ndarray) -> SpeechBatch:
        """Return the batch of the given utterances, as they are in `epoch`."""
        utterances, gather = self.utterances_of(epoch), self.recordings.sound.gather
        sounds = [utterances.sound(row, gather) for row in rows.tolist()]
        return self.data.collate(sounds, self.transcripts(epoch, rows.tolist()), rows, epoch)

    def _lengths(self, epoch: int) -> np.ndarray:
        return self.utterances_of(epoch).lengths

    def _draw(self, epoch: int) -> Utterances:
        """Return the training utterances of an epoch; none is too short for its text."""
        config, lengths = self.data.config, self.recordings.lengths
        drawn = training_utterances(
            lengths, config.augment, config.data.sample_rate, self.data.max_length, config.seed, epoch
        )
        unfit = self._unfit(drawn)
        return drawn.without_joining(unfit, lengths) if len(unfit) else drawn

    def _unfit(self, drawn: Utterances) -> np.ndarray:
        """Return the indices of joined recordings that have fewer frames than their text needs.

        Each recording fits by itself, but then it has its own margins.
        """
        followers, texts = (drawn.parts[:, 1:] >= 0).sum(1), self.recordings.texts
        if not followers.any():
            return np.zeros(0, np.int64)
        # There is at most a space and a blank between two of them. Only transcripts that may not fit are tokenised.
        upper_bound = np.where(drawn.parts >= 0, self._needed_frames[drawn.parts], 0).sum(1) + 2 * followers
        available = self.data.output_frames(drawn.lengths)
        close = np.flatnonzero((upper_bound > available) & (followers > 0))
        joined = [drawn.text(row, texts, self.data.texts.separator) for row in close.tolist()]
        return close[self.data.texts.needed_frames(joined, self.data.tokenizer) > available[close]]

    @functools.cached_property
    def _needed_frames(self) -> np.ndarray:
        """Return the smallest number of frames that a recording of each text must have, (N,) int64."""
        return self.data.texts.needed_frames(self.recordings.texts, self.data.tokenizer)
