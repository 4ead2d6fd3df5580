"""Recordings to text, with a Conformer: CTC, an attention decoder, or both (Watanabe et al. 2017).

Shapes: B utterances, T' frames after subsampling, U tokens of a transcript, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from tformer_cli.config.schema import Case, Decoding
from tformer_cli.data.core.batching import LengthBatches
from tformer_cli.data.core.media import files_below
from tformer_cli.data.speech.audio import ENDINGS as RECORDINGS
from tformer_cli.data.speech.audio import read_sound, recording_files
from tformer_cli.data.speech.cutting import quiet_pieces
from tformer_cli.data.speech.recording_sources import AUDIO
from tformer_cli.data.speech.stored_features import ENDINGS as FEATURES
from tformer_cli.data.speech.stored_features import read_features
from tformer_cli.data.speech.transcripts import normaliser, signature, together
from tformer_cli.decode.causal import Writer
from tformer_cli.evaluators.base import spread
from tformer_cli.languages import script_shares
from tformer_cli.metrics.speech import speech_library, speech_scores
from tformer_cli.models.conformer.model import Conformer
from tformer_cli.models.decoding import Memory
from tformer_cli.nn.taps import attention_weights
from tformer_cli.predictors.inputs import SEARCH, unused_by_search
from tformer_cli.tasks.base import (
    Evaluation,
    Loss,
    LossSums,
    Picture,
    Prediction,
    Sample,
    Scoring,
    Sound,
    Spectrogram,
    batches_of,
)
from tformer_cli.tasks.files import AnswersFiles
from tformer_cli.tasks.registry import SpeechRecognitionExperiment
from tformer_cli.tasks.speech import SpeechBatch, SpeechTask
from tformer_cli.tasks.transcription import Transcriber, one_after_the_other
from tformer_cli.tokenizers.tokenizer import Vocabulary

WORST = 10
"""Utterances in the table of those with most errors."""
UNSPACED_SHARE = 0.5
"""Share of letters of scripts without spaces above which a word error rate is not meaningful."""
READ_TOGETHER = 64
"""Recordings that are read before those of like lengths are transcribed together."""


class SpeechRecognition(AnswersFiles[Conformer], SpeechTask[Conformer]):
    """The adapter between recordings with transcripts and the Conformer."""

    metric = "wer"
    on_long = None  # long recordings are split at the quietest points
    options = SEARCH | {
        "method",
        "ctc_weight",
        "language_model",
        "language_model_weight",
        "unknown_word_penalty",
        "word_bonus",
    }
    lower_is_better = frozenset({"loss", "ctc", "attention", "wer", "cer"})
    config: SpeechRecognitionExperiment
    language_model: tuple[Writer, Vocabulary] | None = None
    """Of the run that `decode.language_model` names, where it names one: set by `train.restore`."""

    def __init__(self, config: SpeechRecognitionExperiment) -> None:
        super().__init__(config)
        self._transcriber: Transcriber | None = None

    def prepare(self, run: Path) -> None:
        """Read training and validation recordings, train or load the tokenizer, see that transcripts fit."""
        speech_library()
        _ = self._form, self._scored
        super().prepare(run)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of recordings."""
        return (self.config.data.audio,) if self.config.data.audio else AUDIO

    def unused(self, name: str) -> str:
        """Return why a setting has no effect: greedy decoding has no search, and CTC search is not autoregressive."""
        decode, decoder = self.config.decode, self.config.model.decoder_depth > 0
        method = decode.method
        if method is Decoding.auto:
            method = Decoding.joint if decoder else Decoding.prefix if decode.language_model else Decoding.greedy
        by_tokens = name in SEARCH - {"beam", "n_best"}
        if method is Decoding.greedy and name in SEARCH and not by_tokens:
            return "greedy decoding does not search: add decode.method=prefix"
        if method in (Decoding.greedy, Decoding.prefix) and by_tokens:
            more = ": add decode.method=joint" if decoder else ""
            return f"decode.method={method.name} has no use for it{more}"
        return unused_by_search(decode, name)

    # --- model and loss ---

    def model(self) -> Conformer:
        """A new Conformer for this vocabulary."""
        return Conformer(self.config.model, self.config.features.bins, self.tokenizer.vocab_size)

    def _encode(self, model: Conformer, batch: SpeechBatch) -> Memory:
        features, frames = self.front_end(
            batch.sound, batch.lengths, batch.sample_ids, batch.epoch, training=model.training
        )
        return model.encode(features, frames)

    def loss(self, model: Conformer, batch: SpeechBatch) -> Loss:
        """CTC's negative log-likelihood of the transcripts, the decoder's of their tokens, or the weighted sum.

        Its count is of tokens, with an end for each transcript.
        """
        return self._loss_of(model, batch, self._encode(model, batch))

    def _loss_of(self, model: Conformer, batch: SpeechBatch, memory: Memory) -> Loss:
        count = (batch.target_lengths + 1).sum()
        log_probs = model.ctc_logits(memory.states).float().log_softmax(-1)
        heard = functional.ctc_loss(
            log_probs.transpose(0, 1), batch.targets, memory.lengths, batch.target_lengths, blank=self.tokenizer.pad_id,
            reduction="sum", zero_infinity=not model.training,
        )  # fmt: skip
        if not self.config.model.decoder_depth:
            return Loss(heard, count)
        hidden, weight = model.decode(memory, batch.inputs), self.config.objective.ctc_weight
        written = self._next_token_loss(model, hidden, batch.outputs, batch.target_lengths + 1)
        total = weight * heard + (1 - weight) * written.total
        return Loss(total, count, {"ctc": heard.detach(), "attention": written.parts["nll"]})

    # --- evaluation ---

    @functools.cached_property
    def _scored(self) -> Callable[[str], str]:
        """Return the normaliser of references and predictions for scoring."""
        further = normaliser(self.config.scoring, "scoring")
        return lambda text: further(self._form(text))

    def _signatures(self) -> dict[str, str]:
        """Return the signatures of the error rates."""
        form = self.config.transcripts
        if self.config.data.lower_case:
            form = dataclasses.replace(form, case=Case.lower)
        form = signature(together(form, self.config.scoring))
        version = f"version:jiwer-{importlib.metadata.version('jiwer')}"
        return {"wer": f"{form}|tok:space|{version}", "cer": f"{form}|tok:char|{version}"}

    def evaluate(self, model: Conformer, split: str, scoring: Scoring) -> Evaluation:
        """The loss; word and character error rates of what is heard."""
        in_form, size = self._scored, len(self._made_of(split, 0))
        size = min(scoring.limit or size, size) if scoring.decoded else 0
        sums, predictions = LossSums(), dict[int, Prediction]()
        for batch in batches_of(self, model, split):
            memory = self._encode(model, batch)
            sums.add(self._loss_of(model, batch, memory))
            if int(batch.sample_ids.min()) < size:
                predictions |= zip(batch.sample_ids.tolist(), self._transcribe(model, batch, memory), strict=True)
        data = self._split(split)
        evaluation = Evaluation(sums.means(), data_sha256=data.hash, notes=list(data.notes))
        if not scoring.decoded:
            return evaluation
        references, names = self._transcripts(split, 0, range(size)), [self._name(split, row) for row in range(size)]
        heard = [predictions[row].text for row in range(size)]
        compared, answers = ([in_form(text) for text in texts] for texts in (references, heard))
        rates, own = speech_scores(compared, answers)
        evaluation.signatures = self._signatures()
        evaluation.notes += _notes(compared)
        evaluation.scores |= rates if scoring.thorough else {name: rates[name] for name in ("wer", "cer")}
        evaluation.samples = [Sample(names[row], references[row], heard[row]) for row in spread(size, scoring.samples)]
        if scoring.thorough:
            worst = [row for row in sorted(range(size), key=lambda row: -own[row]) if own[row]][:WORST]
            rows = [[f"{own[row]:.1f}", compared[row], answers[row], names[row]] for row in worst]
            evaluation.tables.append(("worst utterances", ["WER", "said", "heard", "recording"], rows))
            evaluation.pictures["alignment"] = self._alignment(model, split)
        if scoring.predictions:
            evaluation.predictions = [
                {"recording": names[row], "reference": references[row], "prediction": heard[row],
                 "confidence": predictions[row].details["confidence"], "wer": own[row]}
                for row in range(size)
            ]  # fmt: skip
        return evaluation

    def _transcribe(self, model: Conformer, batch: SpeechBatch, memory: Memory) -> list[Prediction]:
        """What is said in a batch, of which `memory` is what the model heard."""
        seconds = [length / batch.rate for length in batch.lengths.tolist()]
        return self.transcriber(model, memory, self.config.model.max_length - 1, seconds)

    @torch.inference_mode()
    def _hear(self, model: Conformer, batch: SpeechBatch) -> list[Prediction]:
        return self._transcribe(model, batch, self._encode(model, batch))

    @property
    def transcriber(self) -> Transcriber:
        """What searches for transcripts."""
        if self._transcriber is None:
            hop_seconds = self.config.features.hop_ms / 1000
            self._transcriber = Transcriber(
                self.config.decode,
                self.tokenizer,
                frame_seconds=self.config.model.subsampling * hop_seconds,
                begin_seconds=-self.config.features.margin * hop_seconds,
                other=self.language_model,
            )
        return self._transcriber

    # --- use ---

    def files_of(self, path: Path) -> list[Path]:
        """The recordings that a user's path stands for: itself, or those of a folder.

        Raises:
            DataError: if there are none.
        """
        if not path.is_dir():
            return [path]
        return files_below(path, FEATURES, "features") if self.stored else recording_files(path)

    @property
    def read_together(self) -> int:
        """Enough to find some of like lengths."""
        return READ_TOGETHER

    @property
    def endings(self) -> tuple[str, ...]:
        """Return the endings of recordings or of stored features."""
        return FEATURES if self.stored else RECORDINGS

    def read_content(self, content: Path | bytes, name: str) -> np.ndarray:
        """A recording's samples, (n,) int16, or stored frames, (T, F) float32."""
        if self.stored:
            return read_features(content, self.config.features.bins, name)
        return read_sound(content, self.config.data.sample_rate, name)

    def answers(self, model: Conformer, contents: Sequence[np.ndarray]) -> list[Prediction]:
        """Return the transcripts of recordings read by `read_content`.

        A recording longer than `data.max_seconds` is split at the quietest points, and the transcripts are joined.
        """
        longest = round(self.config.data.max_seconds * self.rate)
        cuts = [quiet_pieces(sound, longest) for sound in contents]
        pieces = [sound[start:stop] for sound, parts in zip(contents, cuts, strict=True) for start, stop in parts]
        heard = iter(self._heard_in(model, pieces))
        return [
            one_after_the_other([next(heard) for _ in parts], [start / self.rate for start, _ in parts])
            for parts in cuts
        ]

    def _heard_in(self, model: Conformer, sounds: Sequence[np.ndarray]) -> list[Prediction]:
        """What is heard in recordings that are short enough, those of like lengths together."""
        lengths = np.array([len(sound) for sound in sounds])
        batches = LengthBatches(lengths, batch_tokens=self._budget, seed=0, shuffle=False)
        found: dict[int, Prediction] = {}
        device = next(model.parameters()).device
        for index in range(len(batches)):
            rows = batches.indices(0, index)
            batch = self._batch(rows, [sounds[row] for row in rows], [""] * len(rows), epoch=0)
            found |= dict(zip(rows.tolist(), self._hear(model, batch.to(device)), strict=True))
        return [found[row] for row in range(len(sounds))]

    # --- pictures ---

    def pictures(self, model: Conformer) -> dict[str, Picture | Sound]:
        """A training utterance as it sounds, and as it looks before and after augmentation; what is heard, and where.

        Of a validation utterance: its words over the spectrogram, and the last block's attention.
        """
        device = next(model.parameters()).device
        train = self.collate("train", 0, np.zeros(1, np.int64))
        caption = self._transcripts("train", 0, [0])[0]
        figures: dict[str, Picture | Sound] = {}
        if not self.stored:
            samples = train.sound[0].numpy().astype(np.float32) / 32_768
            figures["training/sound"] = Sound(samples, self.config.data.sample_rate, caption)
        sound, hop_seconds = train.sound.to(device), self.config.features.hop_ms / 1000
        for name, augmented in (("plain", False), ("augmented", True)):
            values, _ = self.front_end(sound, train.lengths, train.sample_ids, train.epoch, training=augmented)
            figures[f"training/{name}"] = Spectrogram(values[0].cpu().numpy(), [], caption, hop_seconds)
        figures["alignment"] = self._alignment(model, "validation")
        batch = self.collate("validation", 0, np.zeros(1, np.int64)).to(device)
        weights = attention_weights(model, lambda: self._encode(model, batch))
        last = [name for name in weights if name.startswith("encoder.")][-1]
        caption = "attention of the last block, mean over heads: from below to above queries, from left to right keys"
        figures["attention"] = Spectrogram(weights[last][0].float().mean(0).T.cpu().numpy(), caption=caption)
        return figures

    def _alignment(self, model: Conformer, split: str) -> Spectrogram:
        """The first utterance of a split, and where CTC hears which word."""
        batch = self.collate(split, 0, np.zeros(1, np.int64)).to(next(model.parameters()).device)
        (answer,) = self._hear(model, batch)
        features, _ = self.front_end(batch.sound, batch.lengths, batch.sample_ids, 0, training=False)
        margin, hop_seconds = self.config.features.margin, self.config.features.hop_ms / 1000
        marks = [
            (margin + round(word["start_seconds"] / hop_seconds), word["text"]) for word in answer.details["words"]
        ]
        caption = f"said: {self._transcripts(split, 0, [0])[0]}"
        return Spectrogram(features[0].cpu().numpy(), marks, caption, hop_seconds)


def _notes(references: Sequence[str]) -> list[str]:
    """Return notes for the reader of the word error rate."""
    shares = script_shares(references)
    if sum(share for script, share in shares.items() if script != "hangul") < UNSPACED_SHARE:
        return []
    return ["words are what white space separates, and these transcripts set little between theirs: go by cer, not wer"]
