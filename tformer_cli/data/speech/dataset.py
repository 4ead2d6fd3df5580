"""Recordings with texts as batches: their transcripts or their translations.

Batches contain the sound as it was read. The training process computes and augments features on the training device
(`data.speech.features`), with random numbers derived for each utterance from (seed, epoch, sample).

Shapes: B utterances, T frames, F features in a frame.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import BadSample, Features, Normalise, Source
from tformer_cli.data.core.splits import find_split
from tformer_cli.data.speech.audio import SOUNDFILE, SOXR, read_sound, recording_files
from tformer_cli.data.speech.batches import SpeechBatch, pad_sounds
from tformer_cli.data.speech.features import SpeechFeatures, Statistics
from tformer_cli.data.speech.fitting import SpeechTexts
from tformer_cli.data.speech.recording_sources import ESPEAK, SpeechSource
from tformer_cli.data.speech.recordings import Recordings, read_recordings
from tformer_cli.data.speech.times import FrameTimes
from tformer_cli.data.speech.transcripts import normaliser
from tformer_cli.data.speech.view import SpeechView
from tformer_cli.data.text.dataset import TextData
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.targets import unknown_characters
from tformer_cli.errors import DataError, Library
from tformer_cli.nn.convolution import receptive_field
from tformer_cli.regular_files import read_regular

STATISTICS = "features.json"
"""File in a checkpoint: means and standard deviations of the training data's features, if these are normalised by
them."""


class SpeechData(TextData[Recordings, SpeechBatch]):
    """Recordings with texts.

    Args:
        config: a `SpeechRecognitionExperiment` or a `SpeechTranslationExperiment`.
        texts: the limits of the texts.
    """

    typical_length = 300

    def __init__(self, config: Any, texts: SpeechTexts) -> None:
        super().__init__(config)
        self.texts = texts
        self.validation_is_drawn = False
        self._limited: set[str] = set()
        self.front_end = SpeechFeatures(
            config.features, config.augment, config.data.sample_rate, config.seed, self._read_noises
        )
        self._notes: list[str] = []

    def sizes(self) -> Sizes:
        """Return the size of the vocabulary, and the number of features."""
        return Sizes(vocabularies=(self.tokenizer.vocab_size,), bins=self.config.features.bins)

    def libraries(self) -> list[Library]:
        """Return the libraries that decode recordings or synthesise them; stored features need none."""
        if self.stored:
            return []
        return [SOUNDFILE, SOXR, *([ESPEAK] if self.config.data.source is Source.builtin else [])]

    # --- units ---

    @property
    def stored(self) -> bool:
        """Return whether features are read instead of sound."""
        return self.config.features.kind is Features.stored

    @property
    def rate(self) -> float:
        """Return samples per second; for stored features, frames per second."""
        return 1000 / self.config.features.hop_ms if self.stored else self.config.data.sample_rate

    @property
    def budget(self) -> int:
        """Return the maximum number of samples, or frames, in a batch, with padding."""
        return max(1, round(self.config.data.batch_seconds * self.rate))

    @property
    def max_length(self) -> int:
        """Return the maximum length of an utterance in samples, or frames: `data.max_seconds`."""
        return round(self.config.data.max_seconds * self.rate)

    @property
    def feature_times(self) -> FrameTimes:
        """Return the times of feature frames, each of which lasts until the next one begins."""
        hop_seconds = self.front_end.hop_seconds
        return FrameTimes(hop_seconds, -self.config.features.margin * hop_seconds)

    @property
    def output_times(self) -> FrameTimes:
        """Return the times of the model's frames; the middle of each is that of the sound which subsampling reads."""
        hop_seconds, begin_seconds = self.feature_times
        factor = self.config.model.subsampling
        sound_seconds = (receptive_field(factor) - 1) * hop_seconds + self.front_end.window_seconds
        frame_seconds = factor * hop_seconds
        return FrameTimes(frame_seconds, begin_seconds + (sound_seconds - frame_seconds) / 2)

    def output_frames(self, lengths: np.ndarray) -> np.ndarray:
        """Return the number of frames that the model outputs for recordings of the given lengths, (N,) int64."""
        frames = self.front_end.frames_of(torch.from_numpy(lengths))
        limits = self.config.model.limits()
        assert limits.frames is not None
        return limits.frames(frames).numpy()

    # --- preparation ---

    def prepare(self, run: Path) -> None:
        """Read training and validation recordings and the recordings of noise, and train or load the tokenizer."""
        super().prepare(run)
        self.front_end.augmentation  # noqa: B018 - reads the recordings of noise, if there are any

    def load(self, folder: Path) -> None:
        """Take the tokenizer and the statistics of features from a checkpoint."""
        super().load(folder)
        if (folder / STATISTICS).is_file():
            content = read_regular(folder / STATISTICS, links=False)
            self.front_end.statistics = Statistics.of_json(content, self.config.features.bins, str(folder))

    def start_from(self, folder: Path) -> None:
        """Take the statistics of features, and the tokenizer unless it was trained on texts of another kind."""
        self.load(folder)
        if not self.texts.uses_vocabulary_of(folder):
            del self.tokenizer

    def files(self) -> dict[str, bytes]:
        """Return the tokenizer's files and the statistics of features."""
        statistics = self.front_end.statistics
        return {**super().files(), **({STATISTICS: statistics.to_json()} if statistics else {})}

    def training_text(self, train: Recordings) -> dict[str, Iterable[str]]:
        """Return the texts."""
        return {"text": train.texts}

    def learn(self, train: Recordings) -> None:
        """Take the vocabulary, leave out recordings that are too short for their texts, measure features.

        A vocabulary of another run that lacks characters of the texts is replaced by a new one.

        Raises:
            DataError: if the vocabulary at `tokenizer.path` lacks characters, or a text does not fit.
        """
        super().learn(train)
        if unknown := unknown_characters(train.texts, self.tokenizer, train.location):
            if self.config.tokenizer.path:
                remedy = "transcripts.case=lower, transcripts.punctuation=remove, or leave tokenizer.path empty"
                raise DataError(f"{unknown} is in no piece of tokenizer.path", remedy)
            del self.tokenizer  # that of a run which was trained on other texts
            super().learn(train)
            self._notes.append(f"a new vocabulary, as {unknown} is in no piece of the old one")
        self._splits["train"] = self._select("train", train, self._fitting(train), self.texts.unfit)
        self._limit_texts("train")
        train = self.split("train")
        if self.config.features.normalise is Normalise.corpus and not self.front_end.statistics:
            self.front_end.measure(pad_sounds([train.sound[row]]) for row in range(len(train)))

    def _fitting(self, train: Recordings) -> np.ndarray:
        """Return the rows of recordings that have the frames that their texts need, at the highest speed.

        Raises:
            DataError: for the first that does not fit, unless such recordings are left out.
        """
        needed = self.texts.needed_frames(train.texts, self.tokenizer)
        available = self.output_frames((train.lengths / max(self.config.augment.speeds)).astype(np.int64))
        if self.config.trainer.on_bad_sample is BadSample.stop and (needed > available).any():
            row = int(np.flatnonzero(needed > available)[0])
            noun = self.texts.noun
            cause = f"{train.location(row)}: its {noun} needs {needed[row]} frames, and there are {available[row]}"
            remedy = "correct it, or features.margin=20, longer pieces (tokenizer=bpe), trainer.on_bad_sample=skip"
            raise DataError(f"{cause} after subsampling ({int((needed > available).sum()):,} such recordings)", remedy)
        return np.flatnonzero(needed <= available)

    # --- texts ---

    @property
    def limit(self) -> int:
        """Return the maximum number of tokens of a predicted text, without </s> or <s>."""
        return self.texts.limit

    @property
    def target_language(self) -> str:
        """Return the language of the texts; empty: not known."""
        return self.texts.language

    def references(self, split: str) -> list[str]:
        """Return the texts of a split.

        Raises:
            DataError: if one is too long, see `_limit_texts`.
        """
        self._limit_texts(split)
        return self.split(split).texts

    def _limit_texts(self, split: str) -> None:
        """Leave recordings whose texts are too long out of training and of a validation split drawn from it.

        Raises:
            DataError: if a text of another split is too long.
        """
        if split in self._limited:
            return
        part = self.split(split)
        skip = split == "train" or (split == "validation" and self.validation_is_drawn)
        rows = self.texts.short_rows(part, self.tokenizer, skip=skip)
        self._splits[split] = self._select(
            split, part, rows, f"with {self.texts.noun}s of more than {self.limit} tokens"
        )
        self._limited.add(split)

    def _select(self, split: str, part: Recordings, rows: np.ndarray, reason: str) -> Recordings:
        """Return the recordings of a split at the given rows; the header reports how many others there are."""
        if len(rows) == len(part):
            return part
        name = "training" if split == "train" else split
        self._notes.append(f"left out of {name}: {len(part) - len(rows):,} recordings {reason}")
        return part.select(rows, part.origin)

    # --- splits ---

    @functools.cached_property
    def normalise(self) -> Callable[[str], str]:
        """Return the normaliser of training transcripts.

        Raises:
            ConfigError: if its settings are impossible, or a library is missing.
        """
        return normaliser(self.config.transcripts, "transcripts")

    def _find_split(self, split: str) -> bool:
        source = SpeechSource(self.config.data, self.config.features.kind, self.config.seed)
        return find_split(self.config.data, split, source.layout) is not None

    def _read(self, split: str) -> dict[str, Recordings]:
        config = self.config
        bad = config.trainer.on_bad_sample
        parts = read_recordings(config.data, config.features, split, seed=config.seed, on_bad_sample=bad)
        self.validation_is_drawn |= len(parts) > 1
        parts = {name: self._normalised(part) for name, part in parts.items()}
        if "train" in parts:
            train = parts["train"]
            short = np.flatnonzero(train.lengths <= config.data.max_seconds * self.rate)
            if not len(short):
                cause = f"{train.origin}: every recording is longer than data.max_seconds {config.data.max_seconds:g}"
                raise DataError(cause, "raise it, or cut the recordings")
            parts["train"] = self._select("train", train, short, f"longer than {config.data.max_seconds:g} seconds")
        return parts

    def _normalised(self, part: Recordings) -> Recordings:
        """Return recordings with normalised transcripts; an empty result counts as a missing transcript.

        Raises:
            DataError: if there is a missing transcript, and such recordings are not skipped.
        """
        texts = [self.normalise(text) for text in part.texts]
        if texts == part.texts:
            return part
        rows = np.array([row for row, text in enumerate(texts) if text], np.int64)
        empty = len(texts) - len(rows)
        if empty and self.config.trainer.on_bad_sample is BadSample.stop:
            row = texts.index("")
            cause = f"{part.location(row)}: its transcript {part.texts[row][:40]!r} is empty after normalisation"
            remedy = "correct it, change transcripts.*, or set trainer.on_bad_sample=skip"
            raise DataError(cause, f"{remedy} ({empty:,} such recordings)")
        notes = (f"left out: {empty:,} recordings whose transcript is empty after normalisation",) if empty else ()
        return dataclasses.replace(part, texts=texts, notes=(*part.notes, *notes)).select(rows, part.origin)

    def _read_noises(self, folder: str) -> list[np.ndarray]:
        return [read_sound(path, self.config.data.sample_rate) for path in recording_files(Path(folder))]

    # --- batches ---

    def collate(
        self, sounds: Sequence[np.ndarray], texts: Sequence[str], sample_ids: np.ndarray, epoch: int = 0
    ) -> SpeechBatch:
        """Return a batch of utterances.

        Args:
            sounds: samples, (n,) int16 each; or stored features, (T, F) float32 each.
            texts: their texts.
            sample_ids: numbers of the utterances, (B,), from which random numbers are derived.
            epoch: the epoch, from which random numbers are derived.
        """
        tokenizer = self.tokenizer
        tokens = [np.asarray(row, np.int64) for row in tokenizer.encode_batch(texts)]
        transcripts, transcript_lengths = pad(tokens, tokenizer.pad_id)
        target_inputs, _ = pad(tokens, tokenizer.pad_id, begin=tokenizer.bos_id)
        targets, _ = pad(tokens, tokenizer.pad_id, end=tokenizer.eos_id)
        sound, lengths = pad_sounds(sounds)
        return SpeechBatch(
            torch.from_numpy(np.asarray(sample_ids, np.int64)), sound, lengths, self.rate, epoch,
            transcripts, transcript_lengths, target_inputs, targets,
        )  # fmt: skip

    def inputs(self, batch: SpeechBatch, *, training: bool) -> tuple[Tensor, Tensor]:
        """Return features, (B, T, F) float32, augmented in training, and the number of frames of each, (B,) int64."""
        return self.front_end(
            batch.sound, batch.lengths, batch.sample_ids, batch.epoch, training=training, view=batch.view
        )

    def _make_view(self, split: str, *, training: bool) -> SpeechView:
        self._limit_texts(split)
        return SpeechView(self, split, training=training)

    # --- header ---

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return the number and duration of recordings, and what is left out."""
        train, validation = self.split("train"), self.split("validation")
        amounts = f"{self._amount(train)} to train, {self._amount(validation)} to validate"
        return [("data", amounts), *(("note", note) for note in dict.fromkeys(self._notes))]

    def _amount(self, part: Recordings) -> str:
        return f"{len(part):,} recordings ({part.lengths.sum() / self.rate / 60:.1f} minutes)"
