"""Recordings with transcripts as batches.

Batches contain the sound as it was read. The training process computes and augments features on the training device
(`data.speech.features`), with random numbers derived for each utterance from (seed, epoch, sample).

Shapes: B utterances, N samples (or frames of stored features), F features in a frame, U tokens of a transcript.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import BadSample, Features, Normalise
from tformer_cli.data.core.batch import Batch
from tformer_cli.data.core.batching import ByEpoch
from tformer_cli.data.core.splits import find_split
from tformer_cli.data.core.view import LengthBucketed
from tformer_cli.data.speech.audio import read_sound, recording_files
from tformer_cli.data.speech.features import SpeechFeatures, Statistics
from tformer_cli.data.speech.fitting import needed_frames_of
from tformer_cli.data.speech.joining import Utterances, fixed_utterances, training_utterances
from tformer_cli.data.speech.recording_sources import SpeechSource
from tformer_cli.data.speech.recordings import Recordings, read_recordings
from tformer_cli.data.speech.transcripts import normaliser
from tformer_cli.data.text.dataset import TextData
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.targets import encode_texts, fitting_rows, is_of_task, unknown_characters
from tformer_cli.errors import DataError
from tformer_cli.regular import read_regular

STATISTICS = "features.json"
"""File in a checkpoint: means and standard deviations of the training data's features, if these are normalised by
them."""


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

    def sizes(self) -> tuple[float, float]:
        """Return real and padded seconds of sound."""
        return int(self.lengths.sum()) / self.rate, self.sound.shape[0] * self.sound.shape[1] / self.rate


class SpeechData(TextData[Recordings, SpeechBatch]):
    """Recordings with transcripts.

    Args:
        config: a `SpeechRecognitionExperiment` or a `SpeechTranslationExperiment`.
        aligned: whether a text is emitted along the frames of its recording (CTC), so that it must fit in them;
            otherwise a decoder writes it, whose `decoder.max_length` limits it.
    """

    typical_length = 300

    def __init__(self, config: Any, *, aligned: bool = True) -> None:
        super().__init__(config)
        self.aligned = aligned
        self.validation_is_drawn = False
        self._limited: set[str] = set()
        self.front_end = SpeechFeatures(
            config.features, config.augment, config.data.sample_rate, config.seed, self._read_noises
        )
        self._notes: list[str] = []

    def sizes(self) -> Sizes:
        """Return the size of the vocabulary, and the number of features."""
        return Sizes(vocabularies=(self.tokenizer.vocab_size,), bins=self.config.features.bins)

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
        """Take the statistics of features, and the tokenizer unless the texts are those of another task."""
        self.load(folder)
        if not self.aligned and not is_of_task(folder, self.config.task):
            del self.tokenizer

    def files(self) -> dict[str, bytes]:
        """Return the tokenizer's files and the statistics of features."""
        statistics = self.front_end.statistics
        return {**super().files(), **({STATISTICS: statistics.to_json()} if statistics else {})}

    def training_text(self, train: Recordings) -> dict[str, Iterable[str]]:
        """Return the transcripts."""
        return {"text": train.texts}

    def learn(self, train: Recordings) -> None:
        """Take the vocabulary, leave out recordings that are too short for their transcripts, measure features.

        A vocabulary of another run that lacks characters of the transcripts is replaced by a new one.

        Raises:
            DataError: if the vocabulary at `tokenizer.path` lacks characters, or a transcript does not fit.
        """
        super().learn(train)
        if unknown := unknown_characters(train.texts, self.tokenizer, train.location):
            if self.config.tokenizer.path:
                remedy = "transcripts.case=lower, transcripts.punctuation=remove, or leave tokenizer.path empty"
                raise DataError(f"{unknown} is in no piece of tokenizer.path", remedy)
            del self.tokenizer  # that of a run which was trained on other transcripts
            super().learn(train)
            self._notes.append(f"a new vocabulary, as {unknown} is in no piece of the old one")
        too_short = "with too long a transcript" if self.aligned else "too short for a frame after subsampling"
        self._splits["train"] = self._select(train, self._fitting(train), too_short)
        self._limit_texts("train")
        train = self.split("train")
        if self.config.features.normalise is Normalise.corpus and not self.front_end.statistics:
            self.front_end.measure(pad_sounds([train.sound[row]]) for row in range(len(train)))

    def _fitting(self, train: Recordings) -> np.ndarray:
        """Return the rows whose transcripts CTC can emit in the frames of their recordings at the highest speed.

        A translation is not emitted by CTC: it needs a frame.

        Raises:
            DataError: for the first that does not fit, unless such recordings are left out.
        """
        needed = needed_frames_of(train.texts, self.tokenizer) if self.aligned else np.ones(len(train), np.int64)
        available = self.output_frames((train.lengths / max(self.config.augment.speeds)).astype(np.int64))
        if self.config.trainer.on_bad_sample is BadSample.stop and (needed > available).any():
            row = int(np.flatnonzero(needed > available)[0])
            text = "transcript" if self.aligned else "translation"
            cause = f"{train.location(row)}: its {text} needs {needed[row]} frames, and there are {available[row]}"
            remedy = "correct it, or features.margin=20, longer pieces (tokenizer=bpe), trainer.on_bad_sample=skip"
            raise DataError(f"{cause} after subsampling ({int((needed > available).sum()):,} such recordings)", remedy)
        return np.flatnonzero(needed <= available)

    # --- translations ---

    @property
    def limit(self) -> int:
        """Return the maximum number of tokens of a translation, without </s> or <s>."""
        return self.config.decoder.max_length - 1

    @property
    def target_language(self) -> str:
        """Return the language of translations."""
        return self.config.data.target_language

    def references(self, split: str) -> list[str]:
        """Return the translations of a split.

        Raises:
            DataError: if one is too long, see `_limit_texts`.
        """
        self._limit_texts(split)
        return self.split(split).texts

    def _limit_texts(self, split: str) -> None:
        """Leave recordings whose translations are too long out of training and of a validation split drawn from it.

        Raises:
            DataError: if a translation of another split is longer than the decoder's limit.
        """
        if self.aligned or split in self._limited:
            return
        part = self.split(split)
        tokens = encode_texts(part.texts, self.tokenizer, "text")
        skip = split == "train" or (split == "validation" and self.validation_is_drawn)
        rows = fitting_rows(tokens, self.limit, "translation", part.location, skip=skip)
        self._splits[split] = self._select(part, rows, f"with translations of more than {self.limit} tokens")
        self._limited.add(split)

    def _select(self, train: Recordings, rows: np.ndarray, reason: str) -> Recordings:
        """Return the given training recordings; the header reports the number of the others."""
        if len(rows) == len(train):
            return train
        self._notes.append(f"left out of training: {len(train) - len(rows):,} recordings {reason}")
        return train.select(rows, train.origin)

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
            parts["train"] = self._select(train, short, f"longer than {config.data.max_seconds:g} seconds")
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
            cause = f"{part.location(row)}: transcripts.* leave nothing of its transcript {part.texts[row][:40]!r}"
            raise DataError(cause, f"correct it, or trainer.on_bad_sample=skip ({empty:,} such recordings)")
        notes = (f"left out: {empty:,} recordings of whose transcript nothing is left",) if empty else ()
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
            texts: their transcripts.
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
        return [utterances.text(row, self.recordings.texts) for row in rows]

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
        """Return the training utterances of an epoch; none is too short for its transcript."""
        config, lengths = self.data.config, self.recordings.lengths
        drawn = training_utterances(
            lengths, config.augment, config.data.sample_rate, self.data.max_length, config.seed, epoch
        )
        unfit = self._unfit(drawn)
        return drawn.without_joining(unfit, lengths) if len(unfit) else drawn

    def _unfit(self, drawn: Utterances) -> np.ndarray:
        """Return the indices of joined recordings whose transcript has more tokens than CTC can emit in their frames.

        Each recording fits by itself, but then it has its own margins.
        """
        followers, texts = (drawn.parts[:, 1:] >= 0).sum(1), self.recordings.texts
        if not followers.any():
            return np.zeros(0, np.int64)
        # There is at most a space and a blank between two of them. Only transcripts that may not fit are tokenised.
        upper_bound = np.where(drawn.parts >= 0, self._needed_frames[drawn.parts], 0).sum(1) + 2 * followers
        available = self.data.output_frames(drawn.lengths)
        close = np.flatnonzero((upper_bound > available) & (followers > 0))
        joined = [drawn.text(row, texts) for row in close.tolist()]
        return close[needed_frames_of(joined, self.data.tokenizer) > available[close]]

    @functools.cached_property
    def _needed_frames(self) -> np.ndarray:
        """Return the smallest number of frames in which CTC emits each transcript, (N,) int64."""
        return needed_frames_of(self.recordings.texts, self.data.tokenizer)


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
