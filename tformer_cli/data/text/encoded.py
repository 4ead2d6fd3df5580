"""Token ids of a corpus: encoded once, piece by piece, into memory-mapped files, and sliced without copies.

The cache's key is everything that the ids depend on: the hashes of the text and of the tokenizer. Training leaves out
long pairs and pairs with an unusual ratio of lengths. These are selected when a corpus is opened, from the lengths
alone, so that a changed limit does not encode the text again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.core.cache import Open, cached
from tformer_cli.data.core.store import Ragged, RaggedWriter, chunks, temporary
from tformer_cli.errors import DataError

if TYPE_CHECKING:
    from tformer_cli.config.schema import ParallelDataConfig
    from tformer_cli.data.text.corpus import Corpus
    from tformer_cli.data.text.parallel import ParallelSplit
    from tformer_cli.tokenizers.tokenizer import Vocabulary

FORMAT = 2
"""Version of the encoding in the cache's keys; 2: the space before <mask> is a part of it."""
LINES_AT_ONCE = 4096


@dataclass(frozen=True)
class ParallelTokens:
    """The pairs of a split as ids, without beginning and end.

    Attributes:
        source: ids of the sources, N sequences.
        target: ids of the targets, N sequences.
        sample_ids: row of each pair in the split before any were left out, from 0, (N,) int64.
        dropped: numbers of pairs that are left out, by reason: empty, too long, ratio.
        note: a line for the user, or "".
    """

    source: Ragged
    target: Ragged
    sample_ids: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    note: str = ""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.sample_ids)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of tokens of each pair's source and target, (N, 2) int64."""
        return np.stack([self.source.lengths, self.target.lengths], axis=1)


def tokenize_parallel(
    split: ParallelSplit, tokenizer: Vocabulary, config: ParallelDataConfig, *, training: bool, max_length: int
) -> ParallelTokens:
    """Encode a split, or open the ids that an earlier run encoded.

    Args:
        split: the pairs.
        tokenizer: the vocabulary of both languages.
        config: languages, cache folder, and the limits of training.
        training: whether to leave out pairs with a side that is empty or too long, or with an unusual ratio of lengths.
        max_length: maximum number of ids of a side that the model accepts, without beginning and end. In training,
            `config.max_length` is another limit.

    Raises:
        DataError: if no pair is left.
    """
    languages = [config.source_language, config.target_language]
    columns = [
        _Column(f"{side}_tokens", f"{side}_offsets", texts, language)
        for side, texts, language in zip(("source", "target"), (split.sources, split.targets), languages, strict=True)
    ]
    key = [FORMAT, split.hash, tokenizer.hash, *languages]
    (source, target), note = _cached(config.cache, key, columns, tokenizer)
    if not training:
        return ParallelTokens(source, target, np.arange(len(source)), note=note)
    rows, dropped = _keep(source.lengths, target.lengths, min(max_length, config.max_length), config.max_ratio)
    if not len(rows):
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count) or "there are none"
        raise DataError(
            f"{split.origin}: no pair is left to train on: {reasons}", "see data.max_length, data.max_ratio"
        )
    return ParallelTokens(source.select(rows), target.select(rows), rows, dropped, note)


def sample_parallel(
    split: ParallelSplit,
    tokens: ParallelTokens,
    tokenizer: Vocabulary,
    config: ParallelDataConfig,
    *,
    strength: float,
    seed: int,
    epoch: int,
    max_length: int,
) -> ParallelTokens:
    """Draw segmentations of the training pairs for an epoch (Kudo 2018; Provilkov et al. 2020).

    The ids are written to anonymous temporary files. A pair's segmentation is a function of its text, (seed, epoch) and
    its index.

    Args:
        split: the pairs' text.
        tokens: the training pairs with their plain segmentations.
        tokenizer: the vocabulary, which draws segmentations.
        config: languages and cache folder.
        strength: as in `Tokenizer.encode_sampled`.
        seed: seed of the draws.
        epoch: epoch of the draws.
        max_length: maximum number of ids of a side; a side that would be longer gets its plain segmentation.
    """
    sides = []
    columns = (
        (split.sources, config.source_language, tokens.source),
        (split.targets, config.target_language, tokens.target),
    )
    for side, (texts, language, plain) in enumerate(columns):
        writer = RaggedWriter(temporary(config.cache), temporary(config.cache), plain.values.dtype)
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, side])))
        start = 0
        for lines in chunks((texts[int(row)] for row in tokens.sample_ids), LINES_AT_ONCE):
            drawn = tokenizer.encode_batch_sampled(lines, language, strength=strength, rng=random)
            _append(writer, (ids if len(ids) <= max_length else plain[start + i] for i, ids in enumerate(drawn)))
            start += len(lines)
        sides.append(Ragged.from_offsets(*writer.finish()))
    sources, targets = sides
    return ParallelTokens(sources, targets, tokens.sample_ids)


def tokenize_corpus(corpus: Corpus, tokenizer: Vocabulary, cache: str = "") -> tuple[Ragged, str]:
    """Encode documents, each with </s> at its end, or open the ids that an earlier run encoded.

    Args:
        corpus: the documents.
        tokenizer: its vocabulary.
        cache: folder; empty: the user's.

    Returns:
        The documents' ids; and a line for the user, or "".
    """
    columns = [_Column("tokens", "offsets", corpus.documents, end=(tokenizer.eos_id,))]
    (tokens,), note = _cached(cache, [FORMAT, corpus.hash, tokenizer.hash, "documents"], columns, tokenizer)
    return tokens, note


def tokenize_texts(
    columns: Sequence[Sequence[str]], text_hash: str, tokenizer: Vocabulary, cache: str = ""
) -> list[Ragged]:
    """Encode the columns of a table without beginning and end, or open the ids that an earlier run encoded.

    Args:
        columns: the texts of each column.
        text_hash: hash of all texts.
        tokenizer: its vocabulary.
        cache: folder; empty: the user's.
    """
    encoded = [_Column(f"tokens_{number}", f"offsets_{number}", texts) for number, texts in enumerate(columns)]
    return _cached(cache, [FORMAT, text_hash, tokenizer.hash, "texts", len(columns)], encoded, tokenizer)[0]


def pad(
    rows: Sequence[np.ndarray], pad_id: int, *, begin: int | None = None, end: int | None = None
) -> tuple[Tensor, Tensor]:
    """Collate sequences into a padded tensor.

    Args:
        rows: B sequences of ids.
        pad_id: id of padding, which follows the sequences.
        begin: id to put before each sequence.
        end: id to put after each sequence.

    Returns:
        Ids (B, T) int64, where T is the maximum length; lengths (B,) int64 with `begin` and `end`.
    """
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    before = int(begin is not None)
    stops = lengths + before
    full = stops + (end is not None)
    ids = np.full((len(rows), full.max(initial=0)), pad_id, np.int64)
    columns = np.arange(ids.shape[1])
    if len(rows):
        ids[(columns >= before) & (columns < stops[:, None])] = np.concatenate(rows)
    if begin is not None:
        ids[:, 0] = begin
    if end is not None:
        ids[np.arange(len(rows)), stops] = end
    return torch.from_numpy(ids), torch.from_numpy(full)


def _keep(source: np.ndarray, target: np.ndarray, longest: int, ratio: float) -> tuple[np.ndarray, dict[str, int]]:
    """Return the rows to train on, (rows,) int64, and the numbers of others by the first reason that applies."""
    more, fewer = np.maximum(source, target), np.minimum(source, target)
    empty = fewer == 0
    long = ~empty & (more > longest)
    odd = ~empty & ~long & (more > ratio * fewer) if ratio else np.zeros_like(empty)
    dropped = {"empty": int(empty.sum()), "too long": int(long.sum()), "ratio": int(odd.sum())}
    return np.flatnonzero(~(empty | long | odd)), dropped


# --- cache --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """Texts that are encoded, each followed by the ids `end`, and the names of the arrays for ids and offsets."""

    tokens: str
    offsets: str
    texts: Sequence[str]
    language: str | None = None
    end: tuple[int, ...] = ()

    def write(self, writer: RaggedWriter, tokenizer: Vocabulary) -> None:
        for texts in chunks(self.texts, LINES_AT_ONCE):
            _append(writer, ([*ids, *self.end] for ids in tokenizer.encode_batch(texts, self.language)))


def _width(tokenizer: Vocabulary) -> type:
    return np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32


def _append(writer: RaggedWriter, rows: Iterable[Sequence[int] | np.ndarray]) -> None:
    """Append sequences of ids."""
    rows = list(rows)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    writer.extend(np.fromiter(chain.from_iterable(rows), writer.values.dtype, int(lengths.sum())), lengths)


def _cached(
    cache: str, key: Sequence[object], columns: Sequence[_Column], tokenizer: Vocabulary
) -> tuple[list[Ragged], str]:
    """Return the ids of columns from the cache, encoded if necessary; and a note if the cache could not be written."""

    def write(stream: Open) -> None:
        for column in columns:
            writer = RaggedWriter(stream(column.tokens), stream(column.offsets), _width(tokenizer))
            column.write(writer, tokenizer)
            writer.finish()

    arrays, note = cached(cache, key, [name for column in columns for name in (column.tokens, column.offsets)], write)
    return [Ragged.from_offsets(arrays[column.tokens], arrays[column.offsets]) for column in columns], note
