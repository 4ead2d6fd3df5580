"""Token ids of a corpus: encoded once, piece by piece, into memory-mapped files, sliced without copies.

Encoding is cached by what it depends on: the text's hash and the tokenizer's. What training leaves out (long
pairs, odd ratios) is decided when a corpus is opened, from the lengths alone, so that changing a limit
encodes nothing anew.
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

FORMAT = 2  # since then the space before <mask> is a part of it
LINES_AT_ONCE = 4096


@dataclass(frozen=True)
class ParallelTokens:
    """The pairs of a split as ids, without beginning and end.

    Attributes:
        source: ids to read, N sequences.
        target: ids to write, N sequences.
        sample_ids: row of each pair in the split as it was read, from 0, (N,) int64.
        dropped: pairs left out, by reason: empty, too long, ratio.
        note: what the user should know, in a line, or "".
    """

    source: Ragged
    target: Ragged
    sample_ids: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    note: str = ""

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.sample_ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each pair's source and target, (N, 2) int64."""
        return np.stack([self.source.lengths, self.target.lengths], axis=1)


def tokenize_parallel(
    split: ParallelSplit, tokenizer: Vocabulary, config: ParallelDataConfig, *, training: bool, max_length: int
) -> ParallelTokens:
    """Encode a split, or open what an earlier run encoded.

    Args:
        split: the pairs.
        tokenizer: of both languages.
        config: languages, cache folder, and the limits of training.
        training: leave out pairs that are empty on a side, longer than a limit, or of odd ratio. Otherwise
            all are kept.
        max_length: most ids a side may have for the model, beside `config.max_length`; without beginning and
            end.

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
    """Training pairs segmented anew for an epoch (Kudo 2018; Provilkov et al. 2020), in files that go with the process.

    A pair's segmentation is a function of its text, (seed, epoch) and its place.

    Args:
        split: the pairs' text.
        tokens: the pairs that are trained on.
        tokenizer: draws.
        config: languages and cache folder.
        strength: as in `Tokenizer.encode_sampled`.
        seed: of the draws.
        epoch: likewise.
        max_length: most ids a side may have; a side that became longer keeps its plain segmentation.
    """
    found = []
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
        found.append(Ragged.from_offsets(*writer.finish()))
    sources, targets = found
    return ParallelTokens(sources, targets, tokens.sample_ids)


def tokenize_corpus(corpus: Corpus, tokenizer: Vocabulary, cache: str = "") -> tuple[Ragged, str]:
    """Encode documents, or open what an earlier run encoded; after each comes </s>.

    Args:
        corpus: the documents.
        tokenizer: its vocabulary.
        cache: folder; empty: the user's.

    Returns:
        The documents' ids; and what the user should know, in a line, or "".
    """
    columns = [_Column("tokens", "offsets", corpus.documents, end=(tokenizer.eos_id,))]
    (tokens,), note = _cached(cache, [FORMAT, corpus.hash, tokenizer.hash, "documents"], columns, tokenizer)
    return tokens, note


def tokenize_texts(
    columns: Sequence[Sequence[str]], text_hash: str, tokenizer: Vocabulary, cache: str = ""
) -> list[Ragged]:
    """Encode the columns of a table, or open what an earlier run encoded; no beginning, no end.

    Args:
        columns: texts.
        text_hash: of all of them.
        tokenizer: its vocabulary.
        cache: folder; empty: the user's.
    """
    found = [_Column(f"tokens_{number}", f"offsets_{number}", texts) for number, texts in enumerate(columns)]
    return _cached(cache, [FORMAT, text_hash, tokenizer.hash, "texts", len(columns)], found, tokenizer)[0]


def pad(
    rows: Sequence[np.ndarray], pad_id: int, *, begin: int | None = None, end: int | None = None
) -> tuple[Tensor, Tensor]:
    """Collate sequences into a rectangle.

    Args:
        rows: B sequences of ids.
        pad_id: what fills the rest, on the right.
        begin: an id to put before each sequence.
        end: an id to put after each.

    Returns:
        ids (B, T) int64, T the longest; lengths (B,) int64, `begin` and `end` counted.
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
    """Rows to train on, (kept,) int64, and how many are left out for each reason, the first that holds."""
    more, fewer = np.maximum(source, target), np.minimum(source, target)
    empty = fewer == 0
    long = ~empty & (more > longest)
    odd = ~empty & ~long & (more > ratio * fewer) if ratio else np.zeros_like(empty)
    dropped = {"empty": int(empty.sum()), "too long": int(long.sum()), "ratio": int(odd.sum())}
    return np.flatnonzero(~(empty | long | odd)), dropped


# --- cache --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """Texts that become sequences of ids, each followed by `end`, and the names of the arrays that hold them."""

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
    """Write some sequences of ids."""
    rows = list(rows)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    writer.extend(np.fromiter(chain.from_iterable(rows), writer.values.dtype, int(lengths.sum())), lengths)


def _cached(
    cache: str, key: Sequence[object], columns: Sequence[_Column], tokenizer: Vocabulary
) -> tuple[list[Ragged], str]:
    """The columns' ids, which `key` stands for, encoded once; and a note if they could not be kept."""

    def write(stream: Open) -> None:
        for column in columns:
            writer = RaggedWriter(stream(column.tokens), stream(column.offsets), _width(tokenizer))
            column.write(writer, tokenizer)
            writer.finish()

    arrays, note = cached(cache, key, [name for column in columns for name in (column.tokens, column.offsets)], write)
    return [Ragged.from_offsets(arrays[column.tokens], arrays[column.offsets]) for column in columns], note
