"""Sentences with a tag for each word as token batches.

The first piece of a word predicts its tag; in a causal language model, its last piece does.

Shapes: B sentences, T tokens, N words of a batch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.config.family import is_causal
from tformer_cli.data.core.view import LengthBucketed
from tformer_cli.data.text.dataset import TextData, TokenBatch
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.encoding_version import EncodingVersion
from tformer_cli.data.text.tag_schemes import TagScheme, find_scheme
from tformer_cli.data.text.tagged import TaggedSentences, read_tagged
from tformer_cli.errors import DataError, checkpoint_content
from tformer_cli.regular_files import read_regular

TAGS = "tags.json"
"""Name of the file in a checkpoint that contains its tags and their scheme."""

Pieces = list[list[int]]
"""The ids of each word of a sentence."""


@dataclass
class TaggedBatch(TokenBatch):
    """Sentences with a tag for each word.

    Attributes:
        tokens: [CLS] words [SEP], (B, T), int64, padded at the end.
        lengths: real tokens in each row, (B,), int64.
        indices: positions of the pieces that predict tags, in the flattened tokens (B * T,), (N,), int64.
        tags: numbers of the words' tags, (N,), int64.
        counts: number of words of each sentence within the model's limit, (B,), int64; the others are left out.
    """

    indices: Tensor
    tags: Tensor
    counts: Tensor


class TaggedWords(TextData[TaggedSentences, TaggedBatch]):
    """Sentences with a tag for each word.

    Args:
        config: a `TokenTaggingExperiment`.

    Attributes:
        encoding: the version of the encoding.
        tags: the tags of the training split, in order; set by `prepare` or `load`.
        scheme: the scheme of the tags; None: the checkpoint is of version 0.1, which does not record it.
    """

    typical_length = 32

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoding = EncodingVersion()
        self.tags: tuple[str, ...] = ()
        self.scheme: TagScheme | None = None
        self._words: dict[str, list[Pieces]] = {}

    # --- preparation ---

    def prepare(self, run: Path) -> None:
        """Read training and validation sentences, learn tags and vocabulary, and check the tags of both splits."""
        super().prepare(run)
        for split in ("train", "validation"):
            self.tag_numbers(split, range(len(self.split(split))))

    def learn(self, train: TaggedSentences) -> None:
        """Take vocabulary, tags and their scheme from the training split.

        Raises:
            DataError: if all words have the same tag.
        """
        super().learn(train)
        scheme = self.scheme = find_scheme(train.tags, self.config.data.scheme, train.origin)
        tags = scheme.completed(tag for row in train.tags for tag in row)
        self.tags = tuple(sorted(tags, key=lambda tag: (tag != scheme.outside, tag)))
        if len(tags) < 2:
            cause = f"{train.origin}: every word has the tag {min(tags)!r}"
            raise DataError(cause, "name another column: data.tag_column=..., of tables data.tags=...")

    def load(self, folder: Path) -> None:
        """Take tokenizer and encoding from a checkpoint, and the tags if it has any."""
        super().load(folder)
        self.encoding.load(folder, self.config.task)
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
                self.scheme = scheme

    def files(self) -> dict[str, bytes]:
        """Return the files of tokenizer, encoding and tags."""
        saved = {"tags": self.tags, "scheme": self.scheme and self.scheme.to_json()}
        tags = json.dumps(saved, ensure_ascii=False).encode()
        return {**super().files(), **self.encoding.files(), TAGS: tags}

    def training_text(self, train: TaggedSentences) -> dict[str, Iterable[str]]:
        """Return the sentences, with spaces between words."""
        return {"text": (" ".join(words) for words in train.words)}

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return the header's lines on sentences and tags."""
        train, validation, limit = self.split("train"), self.split("validation"), self.config.model.max_length
        cut = int((self.full_lengths("train") > limit).sum())
        counts = Counter(tag for row in train.tags for tag in row)
        names = ", ".join(f"{tag} {count:,}" for tag, count in counts.most_common(8))
        data = f"{len(train):,} sentences to train, {len(validation):,} to validate"
        note = f"; {cut:,} longer than {limit - 2} tokens lose their end" if cut else ""
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        return [("data", data + note), ("tags", f"{self._describe_scheme(train)}: {names}{more}")]

    def _describe_scheme(self, train: TaggedSentences) -> str:
        """Describe the detected scheme, and the number of tags that break its rules."""
        scheme = self.scheme
        if scheme is None or not scheme.has_entities:
            return "no entities"
        outside = scheme.describe_misplaced(train.tags)
        return scheme.scheme.name.upper() + (f" ({outside} by its rules)" if outside else "")

    # --- what a model must know ---

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the tags, in order."""
        return self.tags

    @property
    def separator(self) -> list[int]:
        """Return the ids between two texts, for exported tokenizers."""
        return self.encoding.separator(self.tokenizer)

    # --- examples ---

    def encode(self, sentences: Sequence[Sequence[str]]) -> list[Pieces]:
        """Return the pieces of each word of each sentence; a word without pieces is one unknown piece."""
        tokenizer = self.tokenizer
        pieces = iter(self.encoding.encode_words(tokenizer, [word for words in sentences for word in words]))
        return [[next(pieces) or [tokenizer.unk_id] for _ in words] for words in sentences]

    def words(self, split: str) -> list[Pieces]:
        """Return the pieces of each word of each sentence of a split."""
        if split not in self._words:
            self._words[split] = self.encode(self.split(split).words)
        return self._words[split]

    def tag_numbers(self, split: str, rows: Iterable[int] | np.ndarray) -> list[list[int]]:
        """Return the numbers of the tags of some sentences.

        Raises:
            DataError: at a tag that the training split does not have.
        """
        number = {tag: number for number, tag in enumerate(self.tags)}
        data, numbers = self.split(split), []
        for row in rows:
            unknown = next((tag for tag in data.tags[row] if tag not in number), None)
            if unknown is not None:
                cause = f"{data.location(row)}: tag {unknown!r} is not in the training split"
                known = ", ".join(self.tags[:12]) + (", ..." if len(self.tags) > 12 else "")
                raise DataError(cause, f"tags there: {known}; correct it, or train with examples of it")
            numbers.append([number[tag] for tag in data.tags[row]])
        return numbers

    def full_lengths(self, split: str) -> np.ndarray:
        """Return the number of tokens of each sentence with the special ones, before it is cut, (N,) int64."""
        return np.array([sum(map(len, words)) + 2 for words in self.words(split)])

    def join(self, sentences: Sequence[Pieces]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Join the words of each sentence to [CLS] words [SEP]; words beyond the model's limit are left out.

        A causal language model reads its sentences after [SEP], as in its training. It predicts the tag of a word at
        the word's last piece; other models predict it at the first piece.

        Args:
            sentences: results of `encode`.

        Returns:
            Tokens (B, T), lengths (B,), positions of these pieces in the flattened tokens (N,), and the number of words
            of each sentence within the limit (B,); int64.
        """
        tokenizer, room, causal = self.tokenizer, self.config.model.max_length - 1, is_causal(self.config.model)
        texts, places, counts = [], [], []
        for words in sentences:
            ids, place = [tokenizer.eos_id if causal else tokenizer.bos_id], []
            for pieces in words:
                if len(ids) + len(pieces) > room:
                    break
                place.append(len(ids) + (len(pieces) - 1 if causal else 0))
                ids += pieces
            texts.append(np.array([*ids, tokenizer.eos_id]))
            places.append(np.array(place, dtype=np.int64))
            counts.append(len(place))
        tokens, lengths = pad(texts, tokenizer.pad_id)
        indices = np.concatenate([place + row * tokens.shape[1] for row, place in enumerate(places)])
        return tokens, lengths, torch.from_numpy(indices), torch.tensor(counts)

    def inputs(self, batch: TaggedBatch, *, training: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens, lengths and the positions of the pieces that predict tags."""
        return batch.tokens, batch.lengths, batch.indices

    def _read(self, split: str) -> dict[str, TaggedSentences]:
        return read_tagged(self.config.data, split, seed=self.config.seed, skip=self.skips)

    def _make_view(self, split: str, *, training: bool) -> TaggedWordsView:
        return TaggedWordsView(self, split, training=training)


class TaggedWordsView(LengthBucketed[TaggedBatch]):
    """Tagged sentences in batches of similar lengths.

    Args:
        data: the sentences.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: TaggedWords, split: str, *, training: bool) -> None:
        self.data = data
        config = data.config
        super().__init__(
            split, np.minimum(data.full_lengths(split), config.model.max_length),
            budget=config.data.batch_tokens, max_batch=config.data.max_batch, seed=config.seed, training=training,
        )  # fmt: skip

    def collate(self, epoch: int, rows: np.ndarray) -> TaggedBatch:
        """Return the batch of the given sentences."""
        data, words = self.data, self.data.words(self.split)
        tokens, lengths, indices, counts = data.join([words[row] for row in rows])
        numbers = data.tag_numbers(self.split, rows)
        tags = [row[:count] for row, count in zip(numbers, counts.tolist(), strict=True)]
        ids = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        return TaggedBatch(ids, tokens, lengths, indices, torch.tensor(sum(tags, []), dtype=torch.int64), counts)
