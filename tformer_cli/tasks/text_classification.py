"""Fine-tuning an encoder on whole texts: labels, several labels, numbers; of single texts and of pairs.

Shapes: B texts, T tokens, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Cut, Target, TextClassificationExperiment
from tformer_cli.data.core.balance import Balance
from tformer_cli.data.core.cells import shortest
from tformer_cli.data.core.store import Ragged
from tformer_cli.data.core.uniforms import uniforms
from tformer_cli.data.text.dataset import TokenBatch, lines_of
from tformer_cli.data.text.encoded import pad, tokenize_texts
from tformer_cli.data.text.labelled import LABELS, LabelledTexts, LabelSet, read_labelled
from tformer_cli.evaluators.base import spread
from tformer_cli.metrics.labels import labels_scores, needs_libraries, number_scores, several_labels_scores
from tformer_cli.models.bert.model import BERTClassifier
from tformer_cli.predictors.inputs import Answer, OnLong, Readable, Refusal, parts_of
from tformer_cli.tasks.base import Evaluation, Input, Loss, Prediction, Sample, Scoring, batches_of
from tformer_cli.tasks.fine_tuned import FineTuned

ORDER_STREAM = 32
"""Of the random numbers that turn symmetric pairs round."""
METRICS = {Target.label: "accuracy", Target.number: "spearman", Target.labels: "f1_micro"}


@dataclass
class TextBatch(TokenBatch):
    """Texts, or pairs, with what is to be said of them.

    Attributes:
        tokens: [CLS] A [SEP], or [CLS] A [SEP] B [SEP], (B, T), int64, padded at the end.
        lengths: real tokens a row, (B,), int64.
        segments: 0 for A, 1 for B, (B, T), int64; None for single texts.
        targets: (B,) int64 of labels, (B,) float of numbers, (B, C) float of several labels.
    """

    segments: Tensor | None
    targets: Tensor


class TextClassification(FineTuned[LabelledTexts, BERTClassifier, TextBatch]):
    """The adapter between labelled texts and an encoder with a linear head."""

    lower_is_better = frozenset({"loss", "mean_squared_error"})
    on_long = OnLong.cut  # as in training; `data.cut` selects the part that is cut
    config: TextClassificationExperiment
    labels: LabelSet
    """Set by `prepare` or `load`."""

    def __init__(self, config: TextClassificationExperiment) -> None:
        super().__init__(config)
        self.metric = METRICS[config.data.target]
        if config.data.target is not Target.number:
            self.options |= {"top"}
        self._parts: dict[str, list[Ragged]] = {}
        self._targets: dict[str, np.ndarray] = {}
        self._balance: Balance | None = None

    # --- data ---

    def prepare(self, run: Path) -> None:
        """Read training and validation rows, find the labels, train or load the tokenizer, tokenise."""
        needs_libraries(self.config.data.target is Target.number)
        super().prepare(run)
        if self.config.head.class_weights and self.labels.target is Target.label:
            self.labels = self.labels.weighted(self._targets["train"])

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint, and the labels if it is one of this task."""
        super().load(folder)
        if (labels := LabelSet.of_checkpoint(folder)) is not None:
            self.labels = labels

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the labels, in order; none for regression."""
        labels = getattr(self, "labels", None)
        return () if labels is None else labels.names

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files, and the labels."""
        return {**super().files(), LABELS: self.labels.to_json()}

    def _read(self, split: str) -> dict[str, LabelledTexts]:
        return read_labelled(self.config.data, split, seed=self.config.seed, skip=self._skips)

    def _training_text(self, train: LabelledTexts) -> dict[str, Iterable[str]]:
        return {"text": lines_of((*train.texts, *(train.seconds or ())))}

    def _learn(self, train: LabelledTexts) -> None:
        super()._learn(train)
        self.labels = LabelSet.of(train, self.config.data.target, self.config.data.separator)

    def _tokens(self, split: str) -> list[Ragged]:
        """The ids of the first texts, and of the second ones if there are pairs."""
        if split not in self._parts:
            data = self._split(split)
            texts = [data.texts] if data.seconds is None else [data.texts, data.seconds]
            self._parts[split] = tokenize_texts(texts, data.hash, self.tokenizer, self.config.data.cache)
            self._targets[split] = self.labels.numbers(data)
        return self._parts[split]

    def _whole_lengths(self, split: str) -> np.ndarray:
        """Tokens of each row before what is too long is cut, (N,)."""
        parts = self._tokens(split)
        return np.sum([part.lengths for part in parts], axis=0) + self._around(len(parts))

    def _around(self, texts: int) -> int:
        """Return the number of special tokens around and between a row's texts."""
        return 2 + (len(self.separator) if texts > 1 else 0)

    def _lengths(self, split: str) -> np.ndarray | Callable[[int], np.ndarray]:
        lengths = np.minimum(self._whole_lengths(split), self.config.model.max_length)
        balance = self._balanced(split)
        return lengths if balance is None else lambda epoch: lengths[balance[epoch] % len(lengths)]

    def _balanced(self, split: str) -> Balance | None:
        """Return the sampler of rows if labels are balanced; None otherwise."""
        data = self.config.data
        if not (self._is_changing(split) and data.balance):
            return None
        if self._balance is None:
            self._tokens(split)  # and with them the targets
            self._balance = Balance(self._targets[split], data.balance, self.config.seed)
        return self._balance

    def rows(self, split: str, epoch: int, index: int) -> np.ndarray:
        """Return the rows of batch `index` of `epoch`; with balanced labels, the draws of `Balance`."""
        rows, balance = super().rows(split, epoch, index), self._balanced(split)
        return rows if balance is None else balance[epoch][rows]

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> TextBatch:
        """Return a batch of the given rows or draws."""
        draws = torch.from_numpy(np.asarray(rows, np.int64))
        rows = np.asarray(rows, np.int64) % len(self._split(split))
        parts = self._tokens(split)
        texts = [[part[row] for part in parts] for row in rows]
        if self.config.data.symmetric and split == "train":
            turned = uniforms(self.config.seed, epoch, draws, 1, ORDER_STREAM)[:, 0] < 0.5
            texts = [pair[::-1] if turn else pair for pair, turn in zip(texts, turned.tolist(), strict=True)]
        targets = torch.from_numpy(self._targets[split][rows])
        return TextBatch(torch.from_numpy(rows), *self._join(texts), targets)

    def _join(self, rows: list[list[np.ndarray]]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Rows of one or two texts as [CLS] A [SEP] (B [SEP]); what is too long is cut, the longer one first."""
        tokenizer, most = self.tokenizer, self.config.model.max_length
        texts, kinds = [], []
        for first, *others in rows:
            room = most - self._around(1 + len(others))
            second = others[0] if others else first[:0]
            first = self._cut(first, max(room - len(second), room - room // 2))
            parts = [[tokenizer.bos_id], first]
            if others:
                parts += [self.separator, self._cut(second, room - len(first))]
            texts.append(np.concatenate([*parts, [tokenizer.eos_id]]).astype(np.int64))
            before = min(len(texts[-1]), 1 + len(first) + len(self.separator))
            kinds.append(np.repeat([0, 1], [before, len(texts[-1]) - before]))
        tokens, lengths = pad(texts, tokenizer.pad_id)
        pairs = len(rows[0]) == 2 and self.config.model.segments > 1
        return tokens, lengths, pad(kinds, 0)[0] if pairs else None

    def _cut(self, text: np.ndarray, room: int) -> np.ndarray:
        """What stays of a text: its beginning, its end, or a quarter of the one and the rest of the other.

        The last is what Sun et al. 2019 ("How to fine-tune BERT for text classification?") do with 128 tokens of head
        and 382 of tail.
        """
        if len(text) <= room:
            return text
        cut = self.config.data.cut
        head = {Cut.end: room, Cut.beginning: 0, Cut.middle: room // 4}[cut]
        return np.concatenate([text[:head], text[len(text) - (room - head) :]])

    def _describe_data(self) -> list[tuple[str, str]]:
        train, validation = self._split("train"), self._split("validation")
        kind = "pairs" if train.seconds is not None else "texts"
        long = int((self._whole_lengths("train") > self.config.model.max_length).sum())
        names = self.labels.described(self._targets["train"])
        data = f"{len(train):,} {kind} to train, {len(validation):,} to validate"
        note = (
            f"; {long:,} longer than {self.config.model.max_length} tokens lose their {self.config.data.cut.name}"
            if long
            else ""
        )
        return [("data", data + note), ("labels", names)]

    # --- model and loss ---

    def model(self) -> BERTClassifier:
        """A new encoder and head."""
        config = self.config
        return BERTClassifier(config.model, self.tokenizer.vocab_size, config.head, self.labels.outputs)

    def loss(self, model: BERTClassifier, batch: TextBatch) -> Loss:
        """Cross-entropy of a label, squared error of a number, binary cross-entropy of several labels; summed."""
        scores = self._scores(model, batch)
        total = self._sum(scores, batch.targets, self._smoothing(model))
        return Loss(total, torch.tensor(len(scores), device=scores.device))

    def _scores(self, model: BERTClassifier, batch: TextBatch) -> Tensor:
        return model(batch.tokens, batch.lengths, batch.segments).float()

    def _sum(self, scores: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        functions = nn.functional
        if self.labels.target is Target.label:
            weight = scores.new_tensor(self.labels.weights) if self.labels.weights else None
            return functions.cross_entropy(scores, targets, weight=weight, reduction="sum", label_smoothing=smoothing)
        if self.labels.target is Target.number:
            return (scores[:, 0] - targets).square().sum()
        return functions.binary_cross_entropy_with_logits(scores, targets, reduction="sum")

    # --- evaluation and use ---

    def evaluate(self, model: BERTClassifier, split: str, scoring: Scoring) -> Evaluation:
        """The target's scores over the whole split."""
        data = self._split(split)
        self._tokens(split)  # and with them the targets
        targets = self._targets[split]
        outputs = np.zeros((len(data), self.labels.outputs), np.float32)
        total = 0.0
        for batch in batches_of(self, model, split):
            scores = self._scores(model, batch)
            outputs[batch.sample_ids.cpu().numpy()] = scores.cpu().numpy()
            total += float(self._sum(scores, batch.targets, 0.0))
        names = list(self.labels.names)
        evaluation = Evaluation({"loss": total / len(data)}, data_sha256=data.hash, notes=list(data.notes))
        if self.labels.target is Target.label:
            more, tables = labels_scores(targets, outputs.argmax(1), names, thorough=scoring.thorough)
            evaluation.tables = tables
        elif self.labels.target is Target.number:
            more = number_scores(targets, outputs[:, 0])
        else:
            more = several_labels_scores(targets, outputs > 0)
        evaluation.scores |= more
        predictions = self._predictions(torch.from_numpy(outputs))
        for row in spread(len(data), scoring.samples):
            text = data.texts[row] if data.seconds is None else f"{data.texts[row]}\t{data.seconds[row]}"
            evaluation.samples.append(Sample(text[:300], data.labels[row], predictions[row].text))
        if scoring.predictions:
            evaluation.predictions = [self._row(data, row, targets[row], predictions[row]) for row in range(len(data))]
        return evaluation

    def _row(self, data: LabelledTexts, row: int, target: np.ndarray, answer: Prediction) -> dict[str, Any]:
        """Return a row of the table of predictions."""
        texts = (data.texts[row],) if data.seconds is None else (data.texts[row], data.seconds[row])
        inputs = dict(zip(self.input_columns, texts, strict=True))
        if self.labels.target is Target.number:
            return {**inputs, "reference": shortest(float(target)), "prediction": answer.details["number"]}
        probabilities = answer.details["probabilities"]
        if self.labels.target is Target.labels:
            right = [name for name, there in zip(self.labels.names, target.tolist(), strict=True) if there]
            chosen = [name for name, share in probabilities.items() if share > 0.5]
            return {**inputs, "reference": right, "prediction": chosen, "probabilities": probabilities}
        label = answer.details["label"]
        right = self.labels.names[int(target)]
        return {**inputs, "reference": right, "prediction": label, "probability": probabilities[label],
                "probabilities": probabilities}  # fmt: skip

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of texts, or the two columns of pairs."""
        data = self.config.data
        return (data.text, data.second) if data.second else (data.text,)

    def _read_inputs(self, given: list[Input]) -> list[Answer[list[np.ndarray]] | Refusal]:
        """Return the tokens of each line, or of both texts of a pair separated by a tab."""
        wanted, most = len(self.input_columns), self.config.model.max_length
        answers: list[Answer[list[np.ndarray]] | Refusal] = []
        for text in given:
            parts = [text] if wanted == 1 and isinstance(text, str) else parts_of(text)
            if len(parts) != wanted:
                count = f"{len(parts)} text{'s'[: len(parts) != 1]}"
                answers.append(self._malformed(f"{count} where the model compares two", "put a tab between them"))
                continue
            tokens = [np.asarray(self.tokenizer.encode(part), np.int64) for part in parts]
            long = sum(map(len, tokens)) + self._around(wanted)
            if long <= most:
                answers.append(Readable(tokens))
                continue
            lost = {Cut.end: "its end was", Cut.beginning: "its beginning was", Cut.middle: "its middle was"}
            what = f"{lost[self.config.data.cut]} not read"
            size = f"{long:,} tokens, the model reads {most:,}"
            answers.append(self._too_long(size, "shorten the text", tokens, what))
        return answers

    @torch.inference_mode()
    def _answer(self, model: BERTClassifier, rows: list[list[np.ndarray]]) -> list[Prediction]:
        """Return the label and its probability, a number, or the labels, of each text or pair."""
        device = next(model.parameters()).device
        tokens, lengths, segments = (None if part is None else part.to(device) for part in self._join(rows))
        return self._predictions(model(tokens, lengths, segments).float().cpu())

    def _predictions(self, outputs: Tensor) -> list[Prediction]:
        names = self.labels.names
        if self.labels.target is Target.number:
            return [Prediction(f"{value:.4f}", {"number": shortest(value)}) for value in outputs[:, 0].tolist()]
        several = self.labels.target is Target.labels
        found = []
        for row in (outputs.sigmoid() if several else outputs.softmax(-1)).tolist():
            probabilities = {name: round(p, 6) for name, p in zip(names, row, strict=True)}
            if several:
                chosen = [name for name, p in zip(names, row, strict=True) if p > 0.5]
                found.append(Prediction(self.labels.separator.join(chosen), {"probabilities": probabilities}))
            else:
                best = max(range(len(row)), key=row.__getitem__)
                details = {"label": names[best], "probabilities": probabilities}
                found.append(Prediction(f"{names[best]}\t{row[best]:.4f}", details))
        return found
