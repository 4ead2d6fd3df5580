"""Files that models read: images and recordings, how they are found in a folder and decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tformer_cli.config.schema import ImageDataConfig
from tformer_cli.data.core.batching import LengthBatches
from tformer_cli.data.core.media import files_below
from tformer_cli.data.image.images import picture_files, read_picture
from tformer_cli.data.image.pictures import ENDINGS as IMAGES
from tformer_cli.data.speech.audio import ENDINGS as RECORDINGS
from tformer_cli.data.speech.audio import read_sound, recording_files
from tformer_cli.data.speech.batches import SpeechBatch
from tformer_cli.data.speech.cutting import quiet_pieces
from tformer_cli.data.speech.dataset import SpeechData
from tformer_cli.data.speech.recording_sources import AUDIO
from tformer_cli.data.speech.stored_features import ENDINGS as FEATURES
from tformer_cli.data.speech.stored_features import read_features
from tformer_cli.models.decoding import Memory
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.files import FilePredictor

READ_TOGETHER = 64
"""Number of recordings that are read together; of these, recordings of similar lengths form batches."""


MOST_PIECES = 1 << 20
"""Upper bound of the pieces of a recording. The id of a piece is the recording's number times this, plus the number of
the piece."""


class ImageFiles:
    """Images; see `MediaFiles`.

    Args:
        config: size and coding of the images.
        columns: columns of tables that may contain images.
    """

    contents, endings = "images", IMAGES

    def __init__(self, config: ImageDataConfig, columns: Sequence[str]) -> None:
        self.config, self.columns = config, tuple(columns)

    @property
    def read_together(self) -> int:
        """Return the number of images in a batch."""
        return self.config.batch_images

    def files_of(self, path: Path) -> list[Path]:
        """Return the images that a user's path stands for: itself, or those in a folder and below it.

        Raises:
            DataError: if there is none.
        """
        return picture_files(path) if path.is_dir() else [path]

    def read(self, content: Path | bytes, name: str) -> np.ndarray:
        """Return a decoded image, (H, W, C), uint8."""
        return read_picture(content, self.config, name)


class RecordingFiles:
    """Recordings, or files of stored features; see `MediaFiles`.

    Args:
        data: the data.
    """

    read_together = READ_TOGETHER

    def __init__(self, data: SpeechData) -> None:
        self.data = data

    @property
    def contents(self) -> str:
        """Return the words for recordings or for stored features."""
        return "files of features" if self.data.stored else "recordings"

    @property
    def endings(self) -> tuple[str, ...]:
        """Return the endings of recordings or of stored features."""
        return FEATURES if self.data.stored else RECORDINGS

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of recordings."""
        audio = self.data.config.data.audio
        return (audio,) if audio else AUDIO

    def files_of(self, path: Path) -> list[Path]:
        """Return the recordings that a user's path stands for: itself, or those in a folder.

        Raises:
            DataError: if there is none.
        """
        if not path.is_dir():
            return [path]
        return files_below(path, FEATURES, "features") if self.data.stored else recording_files(path)

    def read(self, content: Path | bytes, name: str) -> np.ndarray:
        """Return the samples of a recording, (n,) int16, or stored features, (T, F) float32."""
        if self.data.stored:
            return read_features(content, self.data.config.features.bins, name)
        return read_sound(content, self.data.config.data.sample_rate, name)


def predict_recordings(
    data: SpeechData,
    model: Any,
    sounds: Sequence[np.ndarray],
    predict: Callable[[Any, SpeechBatch], list[Prediction]],
    numbers: Sequence[int] = (),
) -> list[tuple[list[Prediction], list[float]]]:
    """Return the predictions for the pieces of each recording, and the seconds at which the pieces begin.

    A recording longer than `data.max_seconds` is split at the quietest points. Pieces of similar lengths are computed
    together.

    Args:
        data: the data.
        model: in evaluation mode.
        sounds: recordings, (n,) int16 each, or stored features, (T, F) float32 each.
        predict: returns the predictions of a model for a batch.
        numbers: number of each recording, see `FilePredictor.answers`.
    """
    cuts = [quiet_pieces(sound, data.max_length) for sound in sounds]
    pieces = [sound[start:stop] for sound, parts in zip(sounds, cuts, strict=True) for start, stop in parts]
    owners = zip(numbers or range(len(sounds)), cuts, strict=True)
    sample_ids = np.array([number * MOST_PIECES + piece for number, parts in owners for piece in range(len(parts))])
    lengths = np.array([len(piece) for piece in pieces])
    batches = LengthBatches(lengths, batch_tokens=data.budget, seed=0, shuffle=False)
    predictions: dict[int, Prediction] = {}
    device = next(model.parameters()).device
    for index in range(len(batches)):
        rows = batches.indices(0, index)
        batch = data.collate([pieces[row] for row in rows], [""] * len(rows), sample_ids[rows]).to(device)
        predictions |= zip(rows.tolist(), predict(model, batch), strict=True)
    ordered = iter([predictions[row] for row in range(len(pieces))])
    return [([next(ordered) for _ in parts], [start / data.rate for start, _ in parts]) for parts in cuts]


def with_pieces(
    predictor: FilePredictor[Any],
    model: Any,
    batch: SpeechBatch,
    memory: Memory,
    predict: Callable[[Any, SpeechBatch, Memory], list[Prediction]],
) -> list[Prediction]:
    """Return predictions for a batch; those for recordings longer than `data.max_seconds` are made from their pieces.

    Args:
        predictor: its `answers` split recordings by `predict_recordings`.
        model: in evaluation mode.
        batch: the recordings.
        memory: output of the model's encoder for them.
        predict: returns the predictions of a model for whole recordings and their memory.
    """
    too_long = (batch.lengths > predictor.data.max_length).cpu()
    if not too_long.any():
        return predict(model, batch, memory)
    divided, whole = (rows.nonzero()[:, 0] for rows in (too_long, ~too_long))
    sounds = [batch.sound[row, : batch.lengths[row]].cpu().numpy() for row in divided.tolist()]
    answers = predictor.answers(model, sounds, batch.sample_ids[divided].tolist())
    predictions = dict(zip(divided.tolist(), answers, strict=True))
    if len(whole):
        others = predict(model, batch.select(whole), memory.select(whole))
        predictions |= zip(whole.tolist(), others, strict=True)
    return [predictions[row] for row in range(len(too_long))]


def joined_text(parts: Sequence[Prediction], separator: str) -> str:
    """Return the texts of pieces as one text, in which they are separated once."""
    return separator.join(text for text in (part.text.strip() for part in parts) if text)
