"""Fine-tuning an encoder on the words of sentences: a tag each, told by the word's first piece (Devlin et al. 2019).

Shapes: B sentences, T tokens, N words of a batch, C tags.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import TokenTaggingExperiment
from tformer_cli.data.text.dataset import TokenBatch
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.tag_schemes import TagScheme, find_scheme
from tformer_cli.data.text.tagged import TaggedSentences, read_tagged
from tformer_cli.errors import DataError, checkpoint_content
from tformer_cli.evaluators.base import spread
from tformer_cli.metrics.labels import library
from tformer_cli.models.bert.model import BERTTagger
from tformer_cli.predictors.inputs import Answer, Readable, Refusal
from tformer_cli.regular import read_regular
from tformer_cli.tasks.base import Evaluation, Input, Loss, Prediction, Sample, Scoring, batches_of
from tformer_cli.tasks.fine_tuned import FIRST_ENCODING, FineTuned
from tformer_cli.tasks.tag_scores import plain_tags_scores, tags_scores

TAGS = "tags.json"


@dataclass
class TaggedBatch(TokenBatch):
    """Sentences with a tag a word.

    Attributes:
        tokens: [CLS] words [SEP], (B, T), int64, padded at the end.
        lengths: real tokens a row, (B,), int64.
        places: of the words' first pieces in the flat (B * T), (N,), int64.
        tags: of the words, (N,), int64.
        counts: words a sentence that were read, (B,), int64: what does not fit the model is not.
    """

    places: Tensor
    tags: Tensor
    counts: Tensor


class TokenTagging(FineTuned[TaggedSentences, BERTTagger, TaggedBatch]):
    """The adapter between tagged sentences and an encoder with a linear head on each word."""

    metric = "f1"
    lower_is_better = frozenset({"loss"})
    usual_length = 32
    config: TokenTaggingExperiment

    def __init__(self, config: TokenTaggingExperiment) -> None:
        super().__init__(config)
        self.tags: tuple[str, ...] = ()
        self.scheme: TagScheme | None = None  # None: checkpoints of version 0.1 do not record it
        self._pieces: dict[str, list[list[list[int]]]] = {}

    def _set_scheme(self, scheme: TagScheme | None) -> None:
        """Set the scheme and the metric: F1 for tags that mark entities, accuracy for others."""
        self.scheme = scheme
        self.metric = "f1" if scheme is None or scheme.has_entities else "accuracy"

    # --- data ---

    def prepare(self, run: Path) -> None:
        """Read training and validation sentences, find the tags, train or load the tokenizer, tokenise."""
        library("seqeval.metrics", "seqeval")
        super().prepare(run)
        for split in ("train", "validation"):
            self._numbers(split, range(len(self._split(split))))

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint, and the tags if it is one of this task."""
        super().load(folder)
        if (folder / TAGS).is_file():
            with checkpoint_content(folder / TAGS, "tags"):
                saved = json.loads(read_regular(folder / TAGS, links=False))
                if isinstance(saved, list):  # a checkpoint of version 0.1
                    saved = {"tags": saved, "scheme": None}
                self.tags = tuple(saved["tags"])
                scheme = TagScheme.from_json(saved["scheme"]) if saved["scheme"] is not None else None
                for tag in self.tags:
                    if not isinstance(tag, str):
                        raise TypeError
                    if scheme is not None and scheme.has_entities:
                        scheme.split(tag)
                self._set_scheme(scheme)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the tags, in order."""
        return self.tags

    def first_scorer(self, metric: str) -> str | None:
        """Return the signature of version 0.1's scorer: its F1 took no notice of the scheme."""
        return "" if metric == "f1" else None

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files, and the tags."""
        saved = {"tags": self.tags, "scheme": self.scheme and self.scheme.to_json()}
        return {**super().files(), TAGS: json.dumps(saved, ensure_ascii=False).encode()}

    def _read(self, split: str) -> dict[str, TaggedSentences]:
        return read_tagged(self.config.data, split, seed=self.config.seed, skip=self._skips)

    def _training_text(self, train: TaggedSentences) -> dict[str, Iterable[str]]:
        return {"text": (" ".join(words) for words in train.words)}

    def _learn(self, train: TaggedSentences) -> None:
        super()._learn(train)
        scheme = find_scheme(train.tags, self.config.data.scheme, train.origin)
        self._set_scheme(scheme)
        tags = scheme.completed(tag for row in train.tags for tag in row)
        self.tags = tuple(sorted(tags, key=lambda tag: (tag != scheme.outside, tag)))
        if len(tags) < 2:
            cause = f"{train.origin}: every word has the tag {min(tags)!r}"
            raise DataError(cause, "name another column: data.tag_column=..., of tables data.tags=...")

    def _encode(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The pieces of each word of each sentence; a word of which the vocabulary makes nothing is unknown."""
        tokenizer = self.tokenizer
        encode = tokenizer.encode_batch if self.encoding == FIRST_ENCODING else tokenizer.encode_words
        flat = encode([word for words in sentences for word in words])
        pieces = iter(flat)
        return [[next(pieces) or [self.tokenizer.unk_id] for _ in words] for words in sentences]

    def _words(self, split: str) -> list[list[list[int]]]:
        if split not in self._pieces:
            self._pieces[split] = self._encode(self._split(split).words)
        return self._pieces[split]

    def _numbers(self, split: str, rows: Iterable[int]) -> list[list[int]]:
        place = {tag: number for number, tag in enumerate(self.tags)}
        data, numbers = self._split(split), []
        for row in rows:
            unknown = next((tag for tag in data.tags[row] if tag not in place), None)
            if unknown is not None:
                cause = f"{data.place(row)}: tag {unknown!r} is not in the training split"
                known = ", ".join(self.tags[:12]) + (", ..." if len(self.tags) > 12 else "")
                raise DataError(cause, f"tags there: {known}; correct it, or train with examples of it")
            numbers.append([place[tag] for tag in data.tags[row]])
        return numbers

    def _whole_lengths(self, split: str) -> np.ndarray:
        """Tokens of each sentence before what is too long is cut, (N,)."""
        return np.array([sum(map(len, words)) + 2 for words in self._words(split)])

    def _lengths(self, split: str) -> np.ndarray:
        return np.minimum(self._whole_lengths(split), self.config.model.max_length)

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> TaggedBatch:
        """A batch of the given sentences."""
        words = [self._words(split)[row] for row in rows]
        tokens, lengths, places, counts = self._join(words)
        tags = [row[:count] for row, count in zip(self._numbers(split, rows), counts.tolist(), strict=True)]
        ids = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        return TaggedBatch(ids, tokens, lengths, places, torch.tensor(sum(tags, []), dtype=torch.int64), counts)

    def _join(self, sentences: list[list[list[int]]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens (B, T), lengths (B,), places of first pieces (N,), words a sentence that fit (B,)."""
        tokenizer, room = self.tokenizer, self.config.model.max_length - 1
        texts, firsts, counts = [], [], []
        for words in sentences:
            ids, first = [tokenizer.bos_id], []
            for pieces in words:
                if len(ids) + len(pieces) > room:
                    break
                first.append(len(ids))
                ids += pieces
            texts.append(np.array([*ids, tokenizer.eos_id]))
            firsts.append(np.array(first, dtype=np.int64))
            counts.append(len(first))
        tokens, lengths = pad(texts, tokenizer.pad_id)
        places = np.concatenate([first + row * tokens.shape[1] for row, first in enumerate(firsts)])
        return tokens, lengths, torch.from_numpy(places), torch.tensor(counts)

    def _describe_data(self) -> list[tuple[str, str]]:
        train, validation, most = self._split("train"), self._split("validation"), self.config.model.max_length
        cut = int((self._whole_lengths("train") > most).sum())
        counts = Counter(tag for row in train.tags for tag in row)
        names = ", ".join(f"{tag} {count:,}" for tag, count in counts.most_common(8))
        data = f"{len(train):,} sentences to train, {len(validation):,} to validate"
        note = f"; {cut:,} longer than {most - 2} tokens lose their end" if cut else ""
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        return [("data", data + note), ("tags", f"{self._describe_scheme(train)}: {names}{more}")]

    def _describe_scheme(self, train: TaggedSentences) -> str:
        """Describe the detected scheme, and the number of tags that break its rules."""
        scheme = self.scheme
        if scheme is None or not scheme.has_entities:
            return "no entities"
        broken = _broken(scheme, train.tags)
        return scheme.scheme.name.upper() + (f" ({broken} by its rules)" if broken else "")

    # --- model and loss ---

    def model(self) -> BERTTagger:
        """A new encoder and head."""
        return BERTTagger(self.config.model, self.tokenizer.vocab_size, self.config.head, len(self.tags))

    def loss(self, model: BERTTagger, batch: TaggedBatch) -> Loss:
        """Cross-entropy of the words' tags."""
        scores = self._scores(model, batch)
        total = nn.functional.cross_entropy(scores, batch.tags, reduction="sum", label_smoothing=self._smoothing(model))
        return Loss(total, torch.tensor(len(scores), device=scores.device))

    def _scores(self, model: BERTTagger, batch: TaggedBatch) -> Tensor:
        return model(batch.tokens, batch.lengths, batch.places).float()

    # --- evaluation and use ---

    def evaluate(self, model: BERTTagger, split: str, scoring: Scoring) -> Evaluation:
        """Compute F1 of entities by seqeval, or accuracy of other tags; truncated words count as outside."""
        data = self._split(split)
        scheme = self.scheme or find_scheme(data.tags, self.config.data.scheme, data.origin, self.tags)
        predictions = [[scheme.outside if scheme.has_entities else ""] * len(tags) for tags in data.tags]
        sure: list[list[float | None]] = [[None] * len(tags) for tags in data.tags]
        total, count = 0.0, 0
        for batch in batches_of(self, model, split):
            scores = self._scores(model, batch)
            total += float(nn.functional.cross_entropy(scores, batch.tags, reduction="sum"))
            count += len(scores)
            numbers = iter(scores.argmax(-1).tolist())
            shares = iter(scores.softmax(-1).amax(-1).tolist())
            for row, words in zip(batch.sample_ids.tolist(), batch.counts.tolist(), strict=True):
                predictions[row][:words] = [self.tags[next(numbers)] for _ in range(words)]
                sure[row][:words] = [round(next(shares), 6) for _ in range(words)]
        if scheme.has_entities:
            name = scheme.scheme.name
            truth, answers = ([scheme.canonical(row) for row in rows] for rows in (data.tags, predictions))
            scores, tables = tags_scores(truth, answers, name, thorough=scoring.thorough)
            signatures = {"f1": f"seqeval, strict, {name.upper()}"}
        else:
            scores, tables = plain_tags_scores(data.tags, predictions, thorough=scoring.thorough)
            signatures = {}
        evaluation = Evaluation({"loss": total / max(1, count), **scores}, signatures, tables=tables)
        evaluation.data_sha256, evaluation.notes = data.hash, list(data.notes)
        if broken := _broken(scheme, data.tags):
            name = scheme.scheme.name.upper()
            evaluation.notes.append(
                f"{data.origin}: {broken} by the rules of {name}, the scheme of the run's training data"
            )
        for row in spread(len(data), scoring.samples):
            text, truth, predicted = (" ".join(part[row][:40]) for part in (data.words, data.tags, predictions))
            evaluation.samples.append(Sample(text, truth, predicted))
        if scoring.predictions:
            columns = (self.config.data.words, "reference", "prediction", "probabilities")
            rows = zip(data.words, data.tags, predictions, sure, strict=True)
            evaluation.predictions = [dict(zip(columns, row, strict=True)) for row in rows]
        return evaluation

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of words."""
        return (self.config.data.words,)

    def _read_inputs(self, given: list[Input]) -> list[Answer[list[str]] | Refusal]:
        """Return the words of each line, separated by spaces, or of each sentence."""
        words = [text.split() if isinstance(text, str) else list(text) for text in given]
        encoded = self._encode(words)
        counts = self._join(encoded)[-1].tolist() if encoded else []
        answers: list[Answer[list[str]] | Refusal] = []
        for row, count in zip(words, counts, strict=True):
            if count == len(row):
                answers.append(Readable(row))
                continue
            size = f"{len(row):,} words, of which {count:,} fit into the model"
            answers.append(self._too_long(size, "split it into sentences", row[:count], "the others have no tag"))
        return answers

    @torch.inference_mode()
    def _answer(self, model: BERTTagger, rows: list[list[str]]) -> list[Prediction]:
        """Return the tags of the words of sentences within the model's limit."""
        tokens, lengths, places, _ = self._join(self._encode(rows))
        device = next(model.parameters()).device
        scores = model(tokens.to(device), lengths.to(device), places.to(device)).float().softmax(-1)
        probability, number = (part.tolist() for part in scores.max(-1))
        predictions, start = [], 0
        for row in rows:
            stop = start + len(row)
            tags = [self.tags[n] for n in number[start:stop]]
            sure = [round(p, 6) for p in probability[start:stop]]
            details = {"words": row, "tags": tags, "probabilities": sure, **self._entities(row, tags)}
            predictions.append(Prediction(" ".join(tags), details))
            start = stop
        return predictions

    def _entities(self, words: list[str], tags: list[str]) -> dict[str, list[dict[str, str | int]]]:
        """Return the entities of a sentence, if its tags mark any: type, text, first word, word after the last."""
        if self.scheme is None or not self.scheme.has_entities:
            return {}
        return {
            "entities": [
                {"type": kind, "text": " ".join(words[start:stop]), "start": start, "stop": stop}
                for kind, start, stop in self.scheme.entities(tags)
            ]
        }


def _broken(scheme: TagScheme, sentences: Iterable[Sequence[str]]) -> str:
    """Describe how many tags break the rules of their scheme; empty: none do, or there are no entities."""
    if not scheme.has_entities:
        return ""
    tagged = inside = 0
    for tags in sentences:
        tagged += sum(tag != scheme.outside for tag in tags)
        inside += sum(stop - start for _, start, stop in scheme.entities(tags))
    return f"{tagged - inside:,} of {tagged:,} tags are in no entity" if inside < tagged else ""
