"""Texts that fit their recordings and the model.

CTC emits at most one token in each frame, so that transcripts must fit in the frames of their recordings. A decoder
writes translations of any length up to its limit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tformer_cli.config.schema import Spaces
from tformer_cli.data.speech.recordings import Recordings
from tformer_cli.data.text.targets import encode_texts, fitting_rows, is_of_task
from tformer_cli.languages import unspaced_language
from tformer_cli.tokenizers.tokenizer import Vocabulary


class SpeechTexts:
    """The limits of the texts of recordings; each kind of text has a subclass.

    Args:
        config: the task's `Experiment`.

    Attributes:
        noun: name of a text in messages.
        unfit: reason, in messages, why recordings with fewer frames than their texts need are left out.
        language: language of the texts; empty: not known.
        separator: what separates the texts of recordings that are joined: a space, or nothing.
    """

    separator = " "
    noun: str
    unfit: str
    language = ""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def limit(self) -> int:
        """Return the maximum number of tokens of a text, without </s> or <s>."""
        raise NotImplementedError

    def needed_frames(self, texts: Sequence[str], tokenizer: Vocabulary) -> np.ndarray:
        """Return the smallest number of frames that a recording of each text must have, (N,) int64."""
        raise NotImplementedError

    def short_rows(self, recordings: Recordings, tokenizer: Vocabulary, *, skip: bool) -> np.ndarray:
        """Return the rows whose texts are not longer than the limit, (N,) int64.

        Args:
            recordings: a split.
            tokenizer: the vocabulary.
            skip: whether longer texts are left out, as in training; otherwise they are an error.

        Raises:
            DataError: if a text is longer and is not left out, or no text is left.
        """
        raise NotImplementedError

    def uses_vocabulary_of(self, checkpoint: Path) -> bool:
        """Return whether the texts are written with the vocabulary of a checkpoint that training starts from."""
        raise NotImplementedError


class Transcripts(SpeechTexts):
    """Transcripts, which CTC emits along the frames of their recordings."""

    noun = "transcript"
    unfit = "with too long a transcript"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.separator = "" if config.transcripts.spaces is Spaces.remove else " "

    @property
    def limit(self) -> int:
        """Return the maximum number of tokens of a predicted transcript, without </s> or <s>."""
        return self.config.model.max_length - 1

    def needed_frames(self, texts: Sequence[str], tokenizer: Vocabulary) -> np.ndarray:
        """Return the smallest number of frames in which CTC emits each text, (N,) int64."""
        return np.array([needed_frames(tokens) for tokens in tokenizer.encode_batch(texts)], np.int64)

    def short_rows(self, recordings: Recordings, tokenizer: Vocabulary, *, skip: bool) -> np.ndarray:
        """Return all rows: the frames of a recording are the limit of its transcript."""
        return np.arange(len(recordings))

    def uses_vocabulary_of(self, checkpoint: Path) -> bool:
        """Return True; a vocabulary that lacks characters of the transcripts is replaced later."""
        return True


class Translations(SpeechTexts):
    """Translations, which a decoder writes; a recording of one frame can have a translation of any length."""

    noun = "translation"
    unfit = "too short for a frame after subsampling"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.language = config.data.target_language
        self.separator = "" if unspaced_language(self.language) not in ("", "ko") else " "  # Korean has spaces

    @property
    def limit(self) -> int:
        """Return the maximum number of tokens that the decoder writes, without </s> or <s>."""
        return self.config.decoder.max_length - 1

    def needed_frames(self, texts: Sequence[str], tokenizer: Vocabulary) -> np.ndarray:
        """Return one frame for each text, (N,) int64."""
        return np.ones(len(texts), np.int64)

    def short_rows(self, recordings: Recordings, tokenizer: Vocabulary, *, skip: bool) -> np.ndarray:
        """Return the rows whose translations are not longer than the decoder's limit, (N,) int64."""
        tokens = encode_texts(recordings.texts, tokenizer, "text")
        return fitting_rows(tokens, self.limit, self.noun, recordings.location, skip=skip)

    def uses_vocabulary_of(self, checkpoint: Path) -> bool:
        """Return whether the checkpoint is of a run of the same task; other tasks have other texts."""
        return is_of_task(checkpoint, self.config.task)


def needed_frames(tokens: Sequence[int]) -> int:
    """Return the smallest number of frames in which CTC emits tokens: one for each, and a blank between equal ones."""
    return len(tokens) + sum(left == right for left, right in itertools.pairwise(tokens))
