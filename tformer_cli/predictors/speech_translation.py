"""Translations of recordings into text of another language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tformer_cli.data.speech.batches import SpeechBatch
from tformer_cli.data.speech.dataset import SpeechData
from tformer_cli.models.decoding import Memory
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.generation import TextGenerator
from tformer_cli.predictors.media import RecordingFiles, joined_text, predict_recordings, with_pieces


class SpeechTranslator(TextGenerator):
    """Translates recordings; the translations of the pieces of a long recording are joined.

    Args:
        data: recordings with translations.
    """

    data: SpeechData

    def __init__(self, data: SpeechData) -> None:
        super().__init__(data, RecordingFiles(data))

    def answers(self, model: Any, contents: Sequence[np.ndarray], numbers: Sequence[int] = ()) -> list[Prediction]:
        """Return the translations of recordings, (n,) int16 each, or of stored features, (T, F) float32 each."""
        pieces = predict_recordings(self.data, model, contents, self.batch_texts, numbers)
        return [self._joined(translations) for translations, _ in pieces]

    def encoded_texts(self, model: Any, batch: SpeechBatch, memory: Memory) -> list[Prediction]:
        """Return the translations of a batch, those of long recordings from their pieces."""
        return with_pieces(self, model, batch, memory, super().encoded_texts)

    def _joined(self, parts: Sequence[Prediction]) -> Prediction:
        if len(parts) == 1:
            return parts[0]
        text = joined_text(parts, self.data.texts.separator)
        return Prediction(text, {"hypotheses": [{"text": text}]})
