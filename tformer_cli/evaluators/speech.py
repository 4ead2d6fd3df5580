"""Scores of transcripts: the loss, and word and character error rates.

Shapes: B utterances, T' frames after subsampling.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from tformer_cli.config.schema import AttentionKind, Case, Numbers
from tformer_cli.data.core.view import View
from tformer_cli.data.speech.batches import SpeechBatch
from tformer_cli.data.speech.dataset import SpeechData
from tformer_cli.data.speech.transcripts import NUM2WORDS, combine, normaliser, signature
from tformer_cli.data.speech.view import SpeechView
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.draw import Picture, Sound, Spectrogram
from tformer_cli.errors import Library
from tformer_cli.evaluators.base import Evaluation, Evaluator, Row, Sample, Scoring, batch_on_device, spread
from tformer_cli.figures.attention import last_layer, mean_map
from tformer_cli.inspectors.speech import SpeechRecognitionInspector
from tformer_cli.languages import script_shares
from tformer_cli.metrics.bootstrap import Statistic, mean_of, ratio_of
from tformer_cli.metrics.speech import JIWER, speech_scores, utterance_counts
from tformer_cli.models.conformer.model import Conformer
from tformer_cli.objectives.base import LossSums
from tformer_cli.objectives.ctc import CTC
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.speech import SpeechRecogniser

WORST = 10
"""Number of utterances in the table of those with the most errors."""
UNSPACED_SHARE = 0.5
"""Share of letters in scripts without spaces from which on a word error rate is not meaningful."""


class SpeechEvaluator(Evaluator[Conformer, SpeechBatch]):
    """The loss, word and character error rates.

    Args:
        objective: CTC, alone or with an attention decoder.
        predictor: transcribes the utterances that are scored.
        inspector: inspector that provides the examples for pictures.
    """

    metric = "wer"
    decodes = True
    per_token = frozenset({"loss", "ctc", "attention"})
    lower_is_better = per_token | {"wer", "cer", "sentence_errors", "substitutions", "insertions", "deletions"}
    unranked = frozenset({"words"})
    groups = {"length": ("reference",), "speaker": ("recording",)}
    data: SpeechData
    objective: CTC

    def __init__(self, objective: CTC, predictor: SpeechRecogniser, inspector: SpeechRecognitionInspector) -> None:
        super().__init__(objective)
        self.predictor, self.inspector = predictor, inspector

    def require(self) -> None:
        """Check that transcripts can be normalised."""
        _ = self.data.normalise, self.normalise

    def libraries(self) -> list[Library]:
        """Return the library of the scores, and that of numbers in words."""
        forms = (self.data.config.transcripts, self.data.config.scoring)
        return [JIWER, *(NUM2WORDS for form in forms if form.numbers is Numbers.words)]

    @functools.cached_property
    def normalise(self) -> Callable[[str], str]:
        """The normaliser of references and predictions for scoring.

        Raises:
            ConfigError: if its settings are impossible, or a library is missing.
        """
        for_scoring = normaliser(self.data.config.scoring, "scoring")
        return lambda text: for_scoring(self.data.normalise(text))

    def evaluate(
        self, model: Conformer, view: View[SpeechBatch], scoring: Scoring, share: Share = unshared
    ) -> Evaluation:
        """Return the loss, and the error rates of transcripts.

        Each utterance is encoded once, and one longer than `data.max_seconds` again in pieces.
        """
        assert isinstance(view, SpeechView)
        data, size = view.recordings, len(view.utterances_of(0))
        size = min(scoring.limit or size, size) if scoring.decoded else 0
        sums, predictions = self._loss_and_predictions(model, view, size, share)
        evaluation = Evaluation(sums.means(), data_sha256=data.hash, notes=list(data.notes))
        if not scoring.decoded:
            return evaluation
        references, names = view.transcripts(0, range(size)), [view.name(row) for row in range(size)]
        transcripts = [predictions[row].text for row in range(size)]
        targets, hypotheses = ([self.normalise(text) for text in texts] for texts in (references, transcripts))
        rates, wers = speech_scores(targets, hypotheses)
        rates = rates if scoring.thorough else {name: rates[name] for name in ("wer", "cer")}
        evaluation.signatures = {name: self._signature(name) for name in rates}
        evaluation.notes += _notes(targets)
        evaluation.scores |= rates
        evaluation.samples = [
            Sample(names[row], references[row], transcripts[row]) for row in spread(size, scoring.samples)
        ]
        if scoring.thorough:
            worst = [row for row in sorted(range(size), key=lambda row: -wers[row]) if wers[row]][:WORST]
            rows = [[f"{wers[row]:.1f}", targets[row], hypotheses[row], names[row]] for row in worst]
            evaluation.tables.append(("worst utterances", ["WER", "reference", "transcript", "recording"], rows))
            evaluation.pictures["alignment"] = self.alignment(model, view)
        if scoring.predictions:
            evaluation.predictions = [
                {"recording": names[row], "reference": references[row], "prediction": transcripts[row],
                 "confidence": predictions[row].details["confidence"], "wer": wers[row]}
                for row in range(size)
            ]  # fmt: skip
        return evaluation

    def statistic(self, metric: str, rows: Sequence[Row]) -> Statistic | None:
        """Return an error rate as a function of rows."""
        targets, hypotheses = ([self.normalise(row[name]) for row in rows] for name in ("reference", "prediction"))
        if metric not in ("wer", "cer", "sentence_errors"):
            return None
        errors, sizes = map(np.array, utterance_counts(targets, hypotheses, characters=metric == "cer"))
        return mean_of((errors > 0).astype(float)) if metric == "sentence_errors" else ratio_of(errors, sizes)

    def _loss_and_predictions(
        self, model: Conformer, view: SpeechView, size: int, share: Share
    ) -> tuple[LossSums, dict[int, Prediction]]:
        """Return the loss over all batches, and the predictions for at least the first `size` utterances by row."""

        def job(index: int) -> tuple[LossSums, dict[int, Prediction]]:
            batch = batch_on_device(view, model, index)
            outputs = self.objective.outputs(model, batch)
            sums = LossSums.of(self.objective.loss(model, outputs, batch))
            rows = batch.sample_ids.tolist()
            if min(rows) >= size:
                return sums, {}
            return sums, dict(zip(rows, self.predictor.encoded_texts(model, batch, outputs.memory), strict=True))

        total, predictions = LossSums(), dict[int, Prediction]()
        for sums, part in share(lambda indices: map(job, indices), range(view.num_batches)):
            total.add(sums)
            predictions |= part
        return total, predictions

    def _signature(self, metric: str) -> str:
        """Return the signature of an error rate or of a count of words."""
        config = self.data.config
        form = config.transcripts
        if config.data.lower_case:
            form = dataclasses.replace(form, case=Case.lower)
        form = signature(combine(form, config.scoring))
        unit = "char" if metric == "cer" else "space"
        return f"{form}|tok:{unit}|version:jiwer-{importlib.metadata.version('jiwer')}"

    # --- pictures ---

    def pictures(self, model: Conformer) -> dict[str, Picture | Sound]:
        """Return the sound and the spectrogram of a training utterance, before and after augmentation.

        Other pictures show a validation utterance: its words over the spectrogram, and the last block's attention.
        """
        device = next(model.parameters()).device
        data, view = self.data, self.data.view("train", training=True)
        assert isinstance(view, SpeechView)
        train = view.collate(0, np.zeros(1, np.int64))
        (caption,) = view.transcripts(0, [0])
        figures: dict[str, Picture | Sound] = {}
        if not data.stored:
            samples = train.sound[0].numpy().astype(np.float32) / 32_768
            figures["training/sound"] = Sound(samples, data.config.data.sample_rate, caption)
        on_device = dataclasses.replace(train, sound=train.sound.to(device))
        for name, augmented in (("plain", False), ("augmented", True)):
            values, _ = data.inputs(on_device, training=augmented)
            figures[f"training/{name}"] = self._spectrogram(values, [], caption)
        validation = data.view("validation")
        figures["alignment"] = self.alignment(model, validation)
        batch = validation.collate(0, np.zeros(1, np.int64)).to(device)
        example, _ = self.inspector.of_encoder(model, batch, "")
        last = last_layer(model, example, AttentionKind.encoder)
        return figures if last is None else {**figures, "attention": mean_map(example, *last)}

    def alignment(self, model: Conformer, view: View[SpeechBatch]) -> Spectrogram:
        """Return the spectrogram of a view's first utterance with the words that CTC aligns to it."""
        assert isinstance(view, SpeechView)
        batch = view.collate(0, np.zeros(1, np.int64)).to(next(model.parameters()).device)
        (prediction,) = self.predictor.transcribe_batch(model, batch)
        features, _ = self.data.inputs(batch, training=False)
        words, times = prediction.details["words"], self.data.feature_times
        marks = [(round(times.position(word["start_seconds"])), word["text"]) for word in words]
        return self._spectrogram(features, marks, f"reference: {view.transcripts(0, [0])[0]}")

    def _spectrogram(self, features: Tensor, marks: list[tuple[int, str]], caption: str) -> Spectrogram:
        """Return the spectrogram of the first recording of a batch, (B, T, F)."""
        frame_seconds, begin_seconds = self.data.feature_times
        return Spectrogram(features[0].cpu().numpy(), marks, caption, frame_seconds, begin_seconds=begin_seconds)


def _notes(references: Sequence[str]) -> list[str]:
    """Return notes for the reader of the word error rate."""
    shares = script_shares(references)
    if sum(share for script, share in shares.items() if script != "hangul") < UNSPACED_SHARE:
        return []
    return ["wer counts words separated by spaces, and these transcripts have few spaces: use cer instead of wer"]
