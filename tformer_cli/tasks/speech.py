"""What tasks on recordings share: splits, utterances of an epoch, and what the model hears of them.

Batches hold sound as it was read; features are computed, and augmented, by the training process on the training device
(`data.speech_features`), for each utterance by random numbers of its own.

Shapes: B utterances, N samples (or frames of stored features), F numbers a frame, U tokens of a transcript.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.schema import BadSample, Features, Normalise
from tformer_cli.data.core.batching import ByEpoch
from tformer_cli.data.core.splits import find_split
from tformer_cli.data.speech.audio import read_sound, recording_files
from tformer_cli.data.speech.features import SpeechFeatures, Statistics
from tformer_cli.data.speech.joining import Utterances, fixed_strings, training_strings
from tformer_cli.data.speech.recording_sources import Wanted
from tformer_cli.data.speech.recordings import Recordings, read_recordings
from tformer_cli.data.speech.transcripts import normaliser
from tformer_cli.data.text.encoded import pad
from tformer_cli.decode.ctc import needed_frames
from tformer_cli.errors import DataError
from tformer_cli.regular import read_regular
from tformer_cli.tasks.base import Batch, M
from tformer_cli.tasks.registry import SpeechRecognitionExperiment
from tformer_cli.tasks.separate_texts import SeparateTexts

STATISTICS = "features.json"
"""In a checkpoint: means and deviations of the training data's features, where these normalise."""


@dataclass
class SpeechBatch(Batch):
    """Utterances with their transcripts.

    Attributes:
        sound: (B, N), int16; or stored features, (B, N, F), float32; padded at the end.
        lengths: samples, or frames, of each, (B,), int64.
        rate: samples, or frames, a second.
        epoch: whose random numbers augment them.
        targets: tokens of the transcripts, (B, U), int64, padded at the end.
        target_lengths: (B,), int64.
        inputs: <s> and tokens, (B, U + 1), padded at the end, int64: what the decoder reads.
        outputs: tokens and </s>, (B, U + 1), padded at the end, int64: what it is to write.
    """

    sound: Tensor
    lengths: Tensor
    rate: float
    epoch: int
    targets: Tensor
    target_lengths: Tensor
    inputs: Tensor
    outputs: Tensor
    unit: ClassVar[str] = "audio_seconds"

    def sizes(self) -> tuple[float, float]:
        """Seconds of sound, real and padded."""
        return int(self.lengths.sum()) / self.rate, self.sound.shape[0] * self.sound.shape[1] / self.rate


class SpeechTask(SeparateTexts[Recordings, M, SpeechBatch]):
    """The data side of a task on recordings; a subclass gives the model, the loss and the use."""

    usual_length = 300
    config: SpeechRecognitionExperiment

    def __init__(self, config: SpeechRecognitionExperiment) -> None:
        super().__init__(config)
        self.front_end = SpeechFeatures(
            config.features, config.augment, config.data.sample_rate, config.seed, self._read_noises
        )
        self._utterances: dict[str, ByEpoch[Utterances]] = {}
        self._notes: list[str] = []

    @property
    def stored(self) -> bool:
        """Whether features are read, and not computed."""
        return self.config.features.kind is Features.stored

    @property
    def rate(self) -> float:
        """Samples a second; of stored features, frames."""
        return 1000 / self.config.features.hop_ms if self.stored else self.config.data.sample_rate

    # --- data ---

    def prepare(self, run: Path) -> None:
        """Read training and validation recordings, train or load the tokenizer, see that transcripts fit."""
        super().prepare(run)
        self.front_end.augmentation  # noqa: B018 - reads recordings of noise, if there are to be any

    def load(self, folder: Path) -> None:
        """Take the tokenizer, and the statistics of features, from a checkpoint."""
        super().load(folder)
        if (folder / STATISTICS).is_file():
            content = read_regular(folder / STATISTICS, links=False)
            self.front_end.statistics = Statistics.of_json(content, self.config.features.bins, str(folder))

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files, and the statistics of features."""
        statistics = self.front_end.statistics
        return {**super().files(), **({STATISTICS: statistics.to_json()} if statistics else {})}

    def _find_split(self, split: str) -> bool:
        wanted = Wanted(self.config.data, self.config.features.kind, self.config.seed)
        return find_split(self.config.data, split, wanted.layout) is not None

    def _read(self, split: str) -> dict[str, Recordings]:
        config = self.config
        bad = config.trainer.on_bad_sample
        parts = read_recordings(config.data, config.features, split, seed=config.seed, on_bad_sample=bad)
        parts = {name: self._in_form(part) for name, part in parts.items()}
        if "train" in parts:
            train = parts["train"]
            short = np.flatnonzero(train.lengths <= config.data.max_seconds * self.rate)
            if not len(short):
                cause = f"{train.origin}: every recording is longer than data.max_seconds {config.data.max_seconds:g}"
                raise DataError(cause, "raise it, or cut the recordings")
            parts["train"] = self._without(train, short, f"longer than {config.data.max_seconds:g} seconds")
        return parts

    @functools.cached_property
    def _form(self) -> Callable[[str], str]:
        """Return the normaliser of training transcripts."""
        return normaliser(self.config.transcripts, "transcripts")

    def _in_form(self, part: Recordings) -> Recordings:
        """Return recordings with normalised transcripts; an empty result counts as a missing transcript.

        Raises:
            DataError: if there is a missing transcript, and such recordings are not skipped.
        """
        texts = [self._form(text) for text in part.texts]
        if texts == part.texts:
            return part
        kept = np.array([row for row, text in enumerate(texts) if text], np.int64)
        empty = len(texts) - len(kept)
        if empty and self.config.trainer.on_bad_sample is BadSample.stop:
            row = texts.index("")
            cause = f"{part.place(row)}: transcripts.* leave nothing of its transcript {part.texts[row][:40]!r}"
            raise DataError(cause, f"correct it, or trainer.on_bad_sample=skip ({empty:,} such recordings)")
        notes = (f"left out: {empty:,} recordings of whose transcript nothing is left",) if empty else ()
        return dataclasses.replace(part, texts=texts, notes=(*part.notes, *notes)).select(kept, part.origin)

    def _without(self, train: Recordings, kept: np.ndarray, reason: str) -> Recordings:
        """The training recordings that are kept; how many are not is said in the header."""
        if len(kept) == len(train):
            return train
        self._notes.append(f"left out of training: {len(train) - len(kept):,} recordings {reason}")
        return train.select(kept, train.origin)

    def _read_noises(self, folder: str) -> list[np.ndarray]:
        return [read_sound(path, self.config.data.sample_rate) for path in recording_files(Path(folder))]

    def _training_text(self, train: Recordings) -> dict[str, Iterable[str]]:
        return {"text": train.texts}

    def _learn(self, train: Recordings) -> None:
        super()._learn(train)
        if strange := self._strange(train):
            if self.config.tokenizer.path:
                remedy = "transcripts.case=lower, transcripts.punctuation=remove, or leave tokenizer.path empty"
                raise DataError(f"{strange} is in no piece of tokenizer.path", remedy)
            del self.tokenizer  # of a run that was trained on other transcripts
            super()._learn(train)
            self._notes.append(f"a new vocabulary, as {strange} is in no piece of the old one")
        self._splits["train"] = train = self._without(train, self._fitting(train), "with too long a transcript")
        if self.config.features.normalise is Normalise.corpus and not self.front_end.statistics:
            self.front_end.measure(together([train.sound[row]]) for row in range(len(train)))

    def _strange(self, train: Recordings) -> str:
        """What the vocabulary cannot spell, and where that is said first; empty: nothing."""
        for row, ids in enumerate(self.tokenizer.encode_batch(train.texts)):
            if self.tokenizer.unk_id in ids:
                known = {c for c in train.texts[row] if self.tokenizer.unk_id not in self.tokenizer.encode(c)}
                strange = "".join(sorted(set(train.texts[row]) - known - {" "}))
                return f"{train.place(row)}: {strange!r}"
        return ""

    def _fitting(self, train: Recordings) -> np.ndarray:
        """Rows whose transcript CTC can write in as many frames as there are, at the fastest speed.

        Raises:
            DataError: naming the first that does not fit, unless such are to be left out.
        """
        needed = self._frames_for(train.texts)
        there = self._output_frames((train.lengths / max(self.config.augment.speeds)).astype(np.int64))
        if self.config.trainer.on_bad_sample is BadSample.stop and (needed > there).any():
            row = int(np.flatnonzero(needed > there)[0])
            cause = f"{train.place(row)}: its transcript needs {needed[row]} frames, and there are {there[row]}"
            remedy = "correct it, or features.margin=20, longer pieces (tokenizer=bpe), trainer.on_bad_sample=skip"
            raise DataError(f"{cause} after subsampling ({int((needed > there).sum()):,} such recordings)", remedy)
        return np.flatnonzero(needed <= there)

    def _output_frames(self, lengths: np.ndarray) -> np.ndarray:
        """Frames that the model makes of recordings of so many samples, (N,)."""
        frames = self.front_end.frames_of(torch.from_numpy(lengths))
        limits = self.config.model.limits()
        assert limits.frames is not None
        return limits.frames(frames).numpy()

    def _in_epoch(self, epoch: int) -> Utterances:
        data, train = self.config.data, self._split("train")
        longest = round(data.max_seconds * self.rate)
        drawn = training_strings(train.lengths, self.config.augment, data.sample_rate, longest, self.config.seed, epoch)
        unfit = self._unfit(drawn)
        return drawn.apart(unfit, train.lengths) if len(unfit) else drawn

    def _unfit(self, drawn: Utterances) -> np.ndarray:
        """Return the places of joined recordings whose transcript has more tokens than CTC can write in their frames.

        Each recording fits by itself, but has its own margins then.
        """
        followers, texts = (drawn.parts[:, 1:] >= 0).sum(1), self._split("train").texts
        if not followers.any():
            return np.zeros(0, np.int64)
        # A space and a blank at most between two of them. Only close cases are tokenised.
        most = np.where(drawn.parts >= 0, self._needed[drawn.parts], 0).sum(1) + 2 * followers
        there = self._output_frames(drawn.lengths)
        close = np.flatnonzero((most > there) & (followers > 0))
        needed = self._frames_for([drawn.text(place, texts) for place in close.tolist()])
        return close[needed > there[close]]

    @functools.cached_property
    def _needed(self) -> np.ndarray:
        """Fewest frames in which CTC can write each training transcript, (N,) int64."""
        return self._frames_for(self._split("train").texts)

    def _frames_for(self, texts: list[str]) -> np.ndarray:
        """Return the fewest frames in which CTC can write each text, (N,) int64."""
        return np.array([needed_frames(ids) for ids in self.tokenizer.encode_batch(texts)], np.int64)

    def _made_of(self, split: str, epoch: int) -> Utterances:
        """What a split's recordings make up in an epoch: training's own, or always the same."""
        changing = self._is_changing(split)
        if split not in self._utterances:
            self._utterances[split] = ByEpoch(self._in_epoch if changing else lambda _: self._always(split))
        return self._utterances[split][epoch if changing else 0]

    def _always(self, split: str) -> Utterances:
        data = self.config.data
        return fixed_strings(self._split(split).lengths, data.join_low, data.join_high, self.config.seed)

    def _lengths(self, split: str) -> np.ndarray | Callable[[int], np.ndarray]:
        augment = self.config.augment
        changes = augment.join or augment.shift_ms or augment.speeds != [1.0]
        if self._is_changing(split) and changes:
            return lambda epoch: self._made_of(split, epoch).lengths
        return self._made_of(split, 0).lengths

    @property
    def _budget(self) -> int:
        return max(1, round(self.config.data.batch_seconds * self.rate))

    def _transcripts(self, split: str, epoch: int, rows: Iterable[int]) -> list[str]:
        utterances, texts = self._made_of(split, epoch), self._split(split).texts
        return [utterances.text(row, texts) for row in rows]

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> SpeechBatch:
        """A batch of the given utterances, as they are in `epoch`."""
        utterances, gather = self._made_of(split, epoch), self._split(split).sound.gather
        sounds = [utterances.sound(row, gather) for row in rows.tolist()]
        return self._batch(rows, sounds, self._transcripts(split, epoch, rows.tolist()), epoch)

    def _batch(self, names: np.ndarray, sounds: Sequence[np.ndarray], texts: Sequence[str], epoch: int) -> SpeechBatch:
        tokenizer = self.tokenizer
        tokens = [np.asarray(row, np.int64) for row in tokenizer.encode_batch(texts)]
        targets, target_lengths = pad(tokens, tokenizer.pad_id)
        inputs, _ = pad(tokens, tokenizer.pad_id, begin=tokenizer.bos_id)
        outputs, _ = pad(tokens, tokenizer.pad_id, end=tokenizer.eos_id)
        ids = torch.from_numpy(np.asarray(names, np.int64))
        sound, lengths = together(sounds)
        return SpeechBatch(ids, sound, lengths, self.rate, epoch, targets, target_lengths, inputs, outputs)

    def _describe_data(self) -> list[tuple[str, str]]:
        train, validation = self._split("train"), self._split("validation")
        facts = [("data", f"{self._amount(train)} to train, {self._amount(validation)} to validate")]
        return facts + [("note", note) for note in dict.fromkeys(self._notes)]

    def _amount(self, part: Recordings) -> str:
        return f"{len(part):,} recordings ({part.lengths.sum() / self.rate / 60:.1f} minutes)"

    def _name(self, split: str, row: int) -> str:
        """What an utterance of validation or test is made of, for people."""
        parts = self._made_of(split, 0).parts[row]
        return " + ".join(Path(self._split(split).place(part)).name for part in parts[parts >= 0].tolist())


def together(sounds: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Recordings in one tensor.

    Args:
        sounds: (n,) each, int16; or (T, F), float32.

    Returns:
        (B, N) or (B, N, F), zero after the end of each, and lengths, (B,), int64.
    """
    lengths = np.array([len(sound) for sound in sounds], np.int64)
    whole = np.zeros((len(sounds), lengths.max(), *sounds[0].shape[1:]), sounds[0].dtype)
    for place, sound in zip(whole, sounds, strict=True):
        place[: len(sound)] = sound
    return torch.from_numpy(whole), torch.from_numpy(lengths)
