"""Fine-tuning an encoder on the words of sentences: a tag each, told by the word's first piece (Devlin et al. 2019).

Shapes: B sentences, T tokens, N words of a batch, C tags.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import TokenTaggingExperiment
from tformer_cli.data.batching import LengthBatches
from tformer_cli.data.tagged import TaggedSentences, read_tagged
from tformer_cli.data.text import pad
from tformer_cli.errors import DataError
from tformer_cli.metrics import library, tags_scores
from tformer_cli.models.bert import BERTTagger
from tformer_cli.tasks.base import Batch, Evaluation, HeatMap, Loss, Prediction, Sample
from tformer_cli.tokenizer import Tokenizer

TAGS = "tags.json"
USUAL_LENGTH = 32
"""Tokens of a sentence where no data was read."""


@dataclass
class TaggedBatch(Batch):
    """Sentences with a tag a word.

    Attributes:
        tokens: [CLS] words [SEP], (B, T), int64, padded at the end.
        lengths: real tokens a row, (B,), int64.
        places: of the words' first pieces in the flat (B * T), (N,), int64.
        tags: of the words, (N,), int64.
        counts: words a sentence that were read, (B,), int64: what does not fit the model is not.
    """

    tokens: Tensor
    lengths: Tensor
    places: Tensor
    tags: Tensor
    counts: Tensor

    def sizes(self) -> tuple[int, int]:
        """Real and padded tokens."""
        return int(self.lengths.sum()), self.tokens.numel()


class TokenTagging:
    """The adapter between tagged sentences and an encoder with a linear head on each word."""

    metric = "f1"
    lower_is_better = frozenset({"loss"})

    def __init__(self, config: TokenTaggingExperiment) -> None:
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.tags: tuple[str, ...] = ()
        self.splits: dict[str, TaggedSentences] = {}
        self._pieces: dict[str, list[list[list[int]]]] = {}
        self._batches: dict[str, LengthBatches] = {}

    # --- data ---

    def prepare(self, run: Path) -> None:
        """Read training and validation sentences, find the tags, train or load the tokenizer, tokenise."""
        library("seqeval.metrics", "seqeval")
        train = self._split("train")
        if self.tokenizer is None:
            settings = self.config.tokenizer
            if settings.path:
                self.tokenizer = Tokenizer.load(Path(settings.path))
            else:
                lines = (" ".join(words) for words in train.words)
                self.tokenizer = Tokenizer.train({"text": lines}, settings, self.config.seed)
        self.tags = tuple(sorted({tag for row in train.tags for tag in row}, key=lambda tag: (tag != "O", tag)))
        if len(self.tags) < 2:
            raise DataError(f"{train.origin}: tags to tell apart: {', '.join(self.tags)}", "see data.tag_column")
        for split in ("train", "validation"):
            self._split_batches(split)
            self._numbers(split, range(len(self._split(split))))

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint, and the tags if it is one of this task."""
        self.tokenizer = Tokenizer.load(folder / "tokenizer")
        if (folder / TAGS).is_file():
            self.tags = tuple(json.loads((folder / TAGS).read_bytes()))

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files, and the tags."""
        own = {f"tokenizer/{name}": content for name, content in self.tokenizer.files().items()}
        return {**own, TAGS: json.dumps(self.tags, ensure_ascii=False).encode()}

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of the training and validation sentences."""
        return {f"data.{split}": self._split(split).hash for split in ("train", "validation")}

    def _split(self, split: str) -> TaggedSentences:
        if split not in self.splits:
            self.splits[split] = read_tagged(self.config.data, split, seed=self.config.seed)
        return self.splits[split]

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

    def _split_batches(self, split: str) -> LengthBatches:
        if split not in self._batches:
            data = self.config.data
            lengths = np.array([sum(map(len, words)) + 2 for words in self._words(split)])
            self._batches[split] = LengthBatches(
                np.minimum(lengths, self.config.model.max_length),
                batch_tokens=data.batch_tokens,
                max_batch=data.max_batch,
                seed=self.config.seed,
                shuffle=split == "train",
            )
        return self._batches[split]

    def num_batches(self, split: str) -> int:
        """Batches in an epoch."""
        return len(self._split_batches(split))

    def batch(self, split: str, epoch: int, index: int) -> TaggedBatch:
        """Batch `index` of `epoch`."""
        return self.collate(split, epoch, self._split_batches(split).indices(epoch, index))

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

    def describe(self) -> list[tuple[str, str]]:
        """The header's lines on data, tags and vocabulary."""
        train, validation, tokenizer = self._split("train"), self._split("validation"), self.tokenizer
        room = self.config.model.max_length - 2
        cut = sum(sum(map(len, words)) > room for words in self._words("train"))
        counts = Counter(tag for row in train.tags for tag in row)
        names = ", ".join(f"{tag} {count:,}" for tag, count in counts.most_common(8))
        batches = self._split_batches("train")
        data = f"{len(train):,} sentences to train, {len(validation):,} to validate"
        note = f"; {cut:,} longer than {room} tokens lose their end" if cut else ""
        return [
            ("data", data + note),
            ("tags", names + (f" and {len(counts) - 8} more" if len(counts) > 8 else "")),
            ("batches", f"{len(batches):,} an epoch, {batches.padding_percent():.1f} % padding"),
            ("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} pieces, {tokenizer.hash[:12]}"),
        ]

    # --- model and loss ---

    def model(self) -> nn.Module:
        """A new encoder and head."""
        return BERTTagger(self.config.model, self.tokenizer.vocab_size, self.config.head, len(self.tags))

    def shape(self) -> dict[str, int]:
        """Attention's shape in this task: that of a sentence of mean length."""
        model = self.config.model
        length = USUAL_LENGTH
        if "train" in self._pieces:
            length = round(float(np.mean([sum(map(len, words)) + 2 for words in self._pieces["train"]])))
        length = max(1, min(length, model.max_length))
        return {"heads": model.heads, "head_dim": model.dim // model.heads, "length": length}

    def loss(self, model: nn.Module, batch: TaggedBatch) -> Loss:
        """Cross-entropy of the words' tags."""
        scores = model(batch.tokens, batch.lengths, batch.places).float()
        smoothing = self.config.optim.label_smoothing if model.training else 0.0
        total = nn.functional.cross_entropy(scores, batch.tags, reduction="sum", label_smoothing=smoothing)
        return Loss(total, torch.tensor(len(scores), device=scores.device))

    # --- evaluation and use ---

    def evaluate(
        self,
        model: nn.Module,
        split: str,
        *,
        decoded: bool = True,
        thorough: bool = True,
        limit: int = 0,
        samples: int = 3,
    ) -> Evaluation:
        """F1 of whole entities (or chunks) by seqeval, and the share of right tags; what did not fit counts as O."""
        device = next(model.parameters()).device
        data = self._split(split)
        found = [["O"] * len(tags) for tags in data.tags]
        total, count = 0.0, 0
        for index in range(self.num_batches(split)):
            batch = self.batch(split, 0, index).to(device)
            loss = self.loss(model, batch)
            total, count = total + float(loss.total), count + int(loss.count)
            numbers = iter(model(batch.tokens, batch.lengths, batch.places).argmax(-1).tolist())
            for row, words in zip(batch.sample_ids.tolist(), batch.counts.tolist(), strict=True):
                found[row][:words] = [self.tags[next(numbers)] for _ in range(words)]
        scores, tables = tags_scores(data.tags, found, thorough=thorough)
        evaluation = Evaluation({"loss": total / max(1, count), **scores}, tables=tables, data_sha256=data.hash)
        for row in np.linspace(0, len(data) - 1, min(samples, len(data)), dtype=int):
            text, truth, said = (" ".join(part[row][:40]) for part in (data.words, data.tags, found))
            evaluation.samples.append(Sample(text, truth, said))
        return evaluation

    def predict(self, model: nn.Module, inputs: Iterable[str]) -> Iterator[Prediction]:
        """The tags of each line's words, which are apart by spaces."""
        lines, size, before = iter(inputs), self.config.decode.batch, 0
        while part := list(islice(lines, size)):
            yield from self._answer(model, part, before)
            before += len(part)

    @torch.inference_mode()
    def _answer(self, model: nn.Module, texts: list[str], before: int) -> list[Prediction]:
        words = [text.split() for text in texts]
        tokens, lengths, places, counts = self._join(self._encode(words))
        for number, (row, count) in enumerate(zip(words, counts.tolist(), strict=True), before + 1):
            if count < len(row):
                cause = f"input line {number}: {len(row)} words, of which {count} fit into the model"
                raise DataError(cause, "split the line into sentences")
        device = next(model.parameters()).device
        scores = model(tokens.to(device), lengths.to(device), places.to(device)).float().softmax(-1)
        probability, number = (part.tolist() for part in scores.max(-1))
        found, start = [], 0
        for row in words:
            stop = start + len(row)
            tags = [self.tags[n] for n in number[start:stop]]
            sure = [round(p, 6) for p in probability[start:stop]]
            found.append(Prediction(" ".join(tags), {"words": row, "tags": tags, "probabilities": sure}))
            start = stop
        return found

    def pictures(self, model: nn.Module) -> dict[str, HeatMap]:
        """None while training."""
        return {}
