"""Fine-tuning an encoder on the words of sentences: a tag each, told by the word's first piece (Devlin et al. 2019).

Shapes: B sentences, T tokens, N words of a batch, C tags.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import TokenTaggingExperiment
from tformer_cli.data.tagged import TaggedSentences, read_tagged
from tformer_cli.data.text import pad
from tformer_cli.errors import DataError
from tformer_cli.metrics import library, tags_scores
from tformer_cli.models.bert import BERTTagger
from tformer_cli.regular import read_regular
from tformer_cli.tasks.base import Evaluation, Input, Loss, Prediction, Sample, Scoring, batches_of
from tformer_cli.tasks.inputs import Answer, Readable, Refusal
from tformer_cli.tasks.separate_texts import SeparateTexts
from tformer_cli.tasks.splits import spread
from tformer_cli.tasks.text import TokenBatch

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


def whole_scheme(tags: set[str]) -> set[str]:
    """Tags with every kind of entity in every place: where I-PER and B-LOC occur, also B-PER and I-LOC.

    A rare kind may have one-word entities alone in the training split, and longer ones in the test split (I-LST of
    CoNLL-2000 does).
    """
    split = [match.groups() for tag in tags if (match := re.fullmatch("([BIESLU])-(.+)", tag))]
    return tags | {f"{place}-{kind}" for place, _ in split for _, kind in split}


class TokenTagging(SeparateTexts[TaggedSentences, BERTTagger, TaggedBatch]):
    """The adapter between tagged sentences and an encoder with a linear head on each word."""

    metric = "f1"
    lower_is_better = frozenset({"loss"})
    usual_length = 32
    config: TokenTaggingExperiment

    def __init__(self, config: TokenTaggingExperiment) -> None:
        super().__init__(config)
        self.tags: tuple[str, ...] = ()
        self._pieces: dict[str, list[list[list[int]]]] = {}

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
            self.tags = tuple(json.loads(read_regular(folder / TAGS, links=False)))

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files, and the tags."""
        return {**super().files(), TAGS: json.dumps(self.tags, ensure_ascii=False).encode()}

    def _read(self, split: str) -> dict[str, TaggedSentences]:
        return read_tagged(self.config.data, split, seed=self.config.seed)

    def _training_text(self, train: TaggedSentences) -> dict[str, Iterable[str]]:
        return {"text": (" ".join(words) for words in train.words)}

    def _learn(self, train: TaggedSentences) -> None:
        super()._learn(train)
        found = whole_scheme({tag for row in train.tags for tag in row})
        self.tags = tuple(sorted(found, key=lambda tag: (tag != "O", tag)))
        if len(self.tags) < 2:
            raise DataError(f"{train.origin}: tags to tell apart: {', '.join(self.tags)}", "see data.tag_column")

    def _encode(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The pieces of each word of each sentence; a word of which the vocabulary makes nothing is unknown."""
        flat = self.tokenizer.encode_batch([word for words in sentences for word in words])
        pieces = iter(flat)
        return [[next(pieces) or [self.tokenizer.unk_id] for _ in words] for words in sentences]

    def _words(self, split: str) -> list[list[list[int]]]:
        if split not in self._pieces:
            self._pieces[split] = self._encode(self._split(split).words)
        return self._pieces[split]

    def _numbers(self, split: str, rows: Iterable[int]) -> list[list[int]]:
        place = {tag: number for number, tag in enumerate(self.tags)}
        data, found = self._split(split), []
        for row in rows:
            unknown = next((tag for tag in data.tags[row] if tag not in place), None)
            if unknown is not None:
                cause = f"{data.origin}: sentence {row + 1}: tag {unknown!r} is not in the training split"
                raise DataError(cause, f"there are: {', '.join(self.tags[:12])}")
            found.append([place[tag] for tag in data.tags[row]])
        return found

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
        return [("data", data + note), ("tags", names + (f" and {len(counts) - 8} more" if len(counts) > 8 else ""))]

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
        """F1 of whole entities (or chunks) by seqeval, and the share of right tags; what did not fit counts as O."""
        data = self._split(split)
        found = [["O"] * len(tags) for tags in data.tags]
        total, count = 0.0, 0
        for batch in batches_of(self, model, split):
            scores = self._scores(model, batch)
            total += float(nn.functional.cross_entropy(scores, batch.tags, reduction="sum"))
            count += len(scores)
            numbers = iter(scores.argmax(-1).tolist())
            for row, words in zip(batch.sample_ids.tolist(), batch.counts.tolist(), strict=True):
                found[row][:words] = [self.tags[next(numbers)] for _ in range(words)]
        scores, tables = tags_scores(data.tags, found, thorough=scoring.thorough)
        evaluation = Evaluation({"loss": total / max(1, count), **scores}, tables=tables, data_sha256=data.hash)
        for row in spread(len(data), scoring.samples):
            text, truth, said = (" ".join(part[row][:40]) for part in (data.words, data.tags, found))
            evaluation.samples.append(Sample(text, truth, said))
        return evaluation

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The column of the words."""
        return (self.config.data.words,)

    def _read_inputs(self, given: list[Input]) -> list[Answer[list[str]] | Refusal]:
        """The words of each line, which are apart by spaces, or of each sentence."""
        words = [text.split() if isinstance(text, str) else list(text) for text in given]
        encoded = self._encode(words)
        counts = self._join(encoded)[-1].tolist() if encoded else []
        found: list[Answer[list[str]] | Refusal] = []
        for row, count in zip(words, counts, strict=True):
            if count == len(row):
                found.append(Readable(row))
                continue
            size = f"{len(row):,} words, of which {count:,} fit into the model"
            found.append(self._too_long(size, "split it into sentences", row[:count], "the others have no tag"))
        return found

    @torch.inference_mode()
    def _answer(self, model: BERTTagger, rows: list[list[str]]) -> list[Prediction]:
        """The tags of the words of sentences that fit into the model."""
        tokens, lengths, places, _ = self._join(self._encode(rows))
        device = next(model.parameters()).device
        scores = model(tokens.to(device), lengths.to(device), places.to(device)).float().softmax(-1)
        probability, number = (part.tolist() for part in scores.max(-1))
        found, start = [], 0
        for row in rows:
            stop = start + len(row)
            tags = [self.tags[n] for n in number[start:stop]]
            sure = [round(p, 6) for p in probability[start:stop]]
            found.append(Prediction(" ".join(tags), {"words": row, "tags": tags, "probabilities": sure}))
            start = stop
        return found
