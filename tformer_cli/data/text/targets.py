"""Texts that a decoder generates for other inputs, such as captions and translations of recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tformer_cli.config.compose import from_yaml
from tformer_cli.errors import DataError
from tformer_cli.tokenizers.tokenizer import Vocabulary

CONFIG = "config.yaml"
"""The configuration of a run, in each of its checkpoints."""


def encode_texts(texts: Sequence[str], tokenizer: Vocabulary, language: str) -> list[np.ndarray]:
    """Return the tokens of each text, (T,) int64 each."""
    return [np.asarray(ids, np.int64) for ids in tokenizer.encode_batch(texts, language)]


def fitting_rows(
    tokens: Sequence[np.ndarray], limit: int, noun: str, location: Callable[[int], str], *, skip: bool
) -> np.ndarray:
    """Return the rows whose texts are not longer than the decoder's limit, (N,) int64.

    Args:
        tokens: tokens of each text, (T,) int64 each.
        limit: maximum number of tokens, without </s> or <s>.
        noun: name of a text in messages: "caption".
        location: returns the name of a row in messages.
        skip: whether longer texts are left out, as in training; otherwise they are an error.

    Raises:
        DataError: if a text is longer and is not left out, or no text is left.
    """
    lengths = np.array([len(ids) for ids in tokens])
    too_long = np.flatnonzero(lengths > limit)
    if len(too_long) and (not skip or len(too_long) == len(tokens)):
        row = int(too_long[0])
        size = f"{lengths[row]} tokens, the decoder takes {limit}"
        cause = f"{location(row)}: its {noun} has {size} ({len(too_long):,} such {noun}s)"
        raise DataError(cause, f"raise decoder.max_length, or shorten the {noun}s")
    return np.flatnonzero(lengths <= limit)


def unknown_characters(texts: Sequence[str], tokenizer: Vocabulary, location: Callable[[int], str]) -> str:
    """Return the location of the first text with characters that the vocabulary lacks, and these; empty: none.

    Args:
        texts: the texts.
        tokenizer: the vocabulary.
        location: returns the name of a row in messages.
    """
    unknown_id, encode = tokenizer.unk_id, tokenizer.encode
    for row, tokens in enumerate(tokenizer.encode_batch(texts)):
        if unknown_id in tokens:
            known = {character for character in texts[row] if unknown_id not in encode(character)}
            unknown = "".join(sorted(set(texts[row]) - known - {" "}))
            return f"{location(row)}: {unknown!r}"
    return ""


def is_of_task(checkpoint: Path, task: str) -> bool:
    """Return whether a checkpoint is of a run of the given task."""
    return (checkpoint / CONFIG).is_file() and from_yaml(checkpoint / CONFIG).task == task
