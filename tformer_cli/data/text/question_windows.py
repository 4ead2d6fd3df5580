"""Questions with the texts that answer them as token batches (Devlin et al. 2019, sections 4.2 and 4.3).

A text that is too long is read in overlapping windows. The span of a question without an answer is [CLS].

Shapes: B windows, T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.core.view import LengthBucketed
from tformer_cli.data.text.dataset import TextData, TokenBatch, lines_of
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.encoding_version import EncodingVersion
from tformer_cli.data.text.questions import Question, Questions, read_questions
from tformer_cli.errors import checkpoint_content
from tformer_cli.languages import units
from tformer_cli.regular_files import read_regular

ANSWERS = "answers.json"
"""Name of the file in a checkpoint that tells whether every question is answered."""


@dataclass(frozen=True)
class Window:
    """A question and a part of its text.

    Attributes:
        question: row of the split.
        tokens: [CLS] question [SEP] part [SEP], (T,) int64.
        first: index of the part's first token.
        characters: for each token of the part, the beginning of an answer that begins with it, and the end of one that
            ends with it: whole units, (part, 2) int64.
        begin: index of the answer's first token; 0, that of [CLS], if the answer is not in this window.
        end: index of its last token.
    """

    question: int
    tokens: np.ndarray
    first: int
    characters: np.ndarray
    begin: int = 0
    end: int = 0

    def text(self, context: str, begin: int, end: int) -> str:
        """Return the part of the text from one token of the window to another."""
        return context[self.characters[begin - self.first, 0] : self.characters[end - self.first, 1]]


@dataclass
class SpanBatch(TokenBatch):
    """A batch of windows.

    Attributes:
        tokens: (B, T), int64, padded at the end.
        lengths: real tokens in each row, (B,), int64.
        segments: 0 for the question, 1 for the text, (B, T), int64.
        allowed: tokens where an answer may begin and end: [CLS], and the text without its white space, (B, T), bool.
        spans: indices of the answer's first and last token, (B, 2), int64.
    """

    segments: Tensor
    allowed: Tensor
    spans: Tensor


class QuestionWindows(TextData[Questions, SpanBatch]):
    """Questions with their texts, in windows within the model's limit.

    Args:
        config: a `QuestionAnsweringExperiment`.

    Attributes:
        encoding: the version of the encoding.
        always_answers: whether every training question has an answer, and so every question is answered; set by
            `prepare` or `load`; None: the checkpoint is of version 0.1, which does not record it.
    """

    typical_length = 256

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoding = EncodingVersion()
        self.always_answers: bool | None = None
        self._windows: dict[str, list[Window]] = {}

    # --- preparation ---

    def learn(self, train: Questions) -> None:
        """Take the vocabulary from the training split, and whether all its questions have answers."""
        super().learn(train)
        self.always_answers = all(row.answers for row in train.rows)

    def load(self, folder: Path) -> None:
        """Take tokenizer and encoding from a checkpoint, and whether it answers each question, if it says so."""
        super().load(folder)
        self.encoding.load(folder, self.config.task)
        if (folder / ANSWERS).is_file():
            with checkpoint_content(folder / ANSWERS, "whether questions have answers"):
                always = json.loads(read_regular(folder / ANSWERS, links=False))["always"]
                if not isinstance(always, bool):
                    raise TypeError
                self.always_answers = always

    def files(self) -> dict[str, bytes]:
        """Return the files of tokenizer, encoding, and of whether each question is answered."""
        answers = json.dumps({"always": self.always_answers is not False}).encode()
        return {**super().files(), **self.encoding.files(), ANSWERS: answers}

    def training_text(self, train: Questions) -> dict[str, Iterable[str]]:
        """Return the lines of questions and texts, each once."""
        return {"text": lines_of(dict.fromkeys(chain.from_iterable((row.question, row.context) for row in train.rows)))}

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return the header's lines on questions, and on answers that cannot be predicted."""
        train, validation = self.split("train"), self.split("validation")
        windows = f"{len(self.windows('train')):,} windows"
        facts = [("data", f"{len(train):,} questions ({windows}) to train, {len(validation):,} to validate")]
        return facts + [("note", note) for note in self.unreachable_answers("train")]

    def unreachable_answers(self, split: str) -> list[str]:
        """Return the reasons why correct answers of a split cannot be predicted, one line each."""
        rows, longest, within = self.split(split).rows, dict[int, int](), set[int]()
        for window in self.windows(split):
            if window.begin:
                row = rows[window.question]
                longest[window.question] = window.end - window.begin + 1
                if window.text(row.context, window.begin, window.end) != row.answers[0][0].strip():
                    within.add(window.question)
        long = sum(tokens > self.config.data.max_answer for tokens in longest.values())
        maximum = max([0, *longest.values()])
        parted = sum(bool(row.answers) for row in rows) - len(longest)
        notes = []
        if within:
            notes.append(f"{len(within):,} answers begin or end within a word or piece of the vocabulary: all is given")
        if long:
            notes.append(
                f"{long:,} answers have more than data.max_answer tokens, and are given shorter: up to {maximum}"
            )
        if parted:
            notes.append(f"{parted:,} answers are in no window as a whole: raise data.stride or model.max_length")
        return notes

    # --- examples ---

    @property
    def separator(self) -> list[int]:
        """Return the ids between question and text."""
        return self.encoding.separator(self.tokenizer)

    @property
    def question_limit(self) -> int:
        """Return the maximum number of tokens of a question; the others are cut."""
        return self.config.model.max_length // 2

    def windows(self, split: str) -> list[Window]:
        """Return the windows of all questions of a split."""
        if split not in self._windows:
            rows = self.split(split).rows
            self._windows[split] = [window for number, row in enumerate(rows) for window in self.divide(number, row)]
        return self._windows[split]

    def divide(self, number: int, question: Question) -> list[Window]:
        """Return the windows of a question, with the span of its first answer.

        Args:
            number: row of the split.
            question: the question and its text.
        """
        tokenizer = self.tokenizer
        context, characters = self._pieces(question.context)
        begin, end = _answer_span(question, characters)
        head = [tokenizer.bos_id, *tokenizer.encode(question.question)[: self.question_limit], *self.separator]
        room = self.config.model.max_length - len(head) - 1
        step = max(1, room - self.config.data.stride)
        windows = []
        for start in range(0, max(1, len(context)), step):
            part = context[start : start + room]
            tokens = np.concatenate([head, part, [tokenizer.eos_id]]).astype(np.int64)
            fits = start <= begin and end < start + len(part) and begin >= 0
            span = (begin - start + len(head), end - start + len(head)) if fits else (0, 0)
            windows.append(Window(number, tokens, len(head), characters[start : start + room], *span))
            if start + room >= len(context):
                break
        return windows

    def collate(self, windows: Sequence[Window], ids: Tensor) -> SpanBatch:
        """Return a batch of windows.

        Args:
            windows: results of `divide`.
            ids: rows of the split's windows, (B,), int64.
        """
        tokens, lengths = pad([window.tokens for window in windows], self.tokenizer.pad_id)
        first = torch.tensor([window.first for window in windows])[:, None]
        indices = torch.arange(tokens.shape[1])
        inside = torch.zeros(tokens.shape, dtype=torch.bool)
        for row, window in enumerate(windows):
            begins, ends = window.characters.T
            inside[row, window.first : window.first + len(begins)] = torch.from_numpy(begins < ends)
        segments = ((indices >= first) & (indices < lengths[:, None])).long()
        spans = torch.tensor([[window.begin, window.end] for window in windows])
        return SpanBatch(ids, tokens, lengths, segments, inside | (indices == 0), spans)

    def inputs(self, batch: SpanBatch, *, training: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return tokens, lengths, segments, and the tokens where an answer may begin and end."""
        return batch.tokens, batch.lengths, batch.segments, batch.allowed

    def _pieces(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of a text, (N,), and the characters of the units that contain each, (N, 2).

        A piece of white space is in no unit: its end is before its beginning.
        """
        if not self.encoding.is_first:
            ids, offsets = self.tokenizer.encode_with_offsets(text)
            return np.array(ids, np.int64), whole_units(text, offsets)
        bounds = units(text)
        pieces = self.tokenizer.encode_batch([text[begin:end] for begin, end in bounds])
        pieces = [ids or [self.tokenizer.unk_id] for ids in pieces]
        ids = np.array(list(chain.from_iterable(pieces)), np.int64)
        return ids, np.repeat(np.array(bounds, np.int64).reshape(-1, 2), [len(ids) for ids in pieces], axis=0)

    def _read(self, split: str) -> dict[str, Questions]:
        return read_questions(self.config.data, split, seed=self.config.seed, skip=self.skips)

    def _make_view(self, split: str, *, training: bool) -> QuestionWindowsView:
        return QuestionWindowsView(self, split, training=training)


class QuestionWindowsView(LengthBucketed[SpanBatch]):
    """Windows of questions in batches of similar lengths.

    Args:
        data: the questions.
        split: name of the split.
        training: see `View`.
    """

    def __init__(self, data: QuestionWindows, split: str, *, training: bool) -> None:
        self.data = data
        config = data.config
        super().__init__(
            split, np.array([len(window.tokens) for window in data.windows(split)]),
            budget=config.data.batch_tokens, max_batch=config.data.max_batch, seed=config.seed, training=training,
        )  # fmt: skip

    def collate(self, epoch: int, rows: np.ndarray) -> SpanBatch:
        """Return the batch of the given windows."""
        windows = self.data.windows(self.split)
        return self.data.collate([windows[row] for row in rows], torch.from_numpy(np.asarray(rows, np.int64)))


def _answer_span(question: Question, characters: np.ndarray) -> tuple[int, int]:
    """Return the indices of the first and the last piece of a question's first answer, or -1 and -1.

    Args:
        question: the question and its text.
        characters: the characters of the units that contain each piece of the text, (N, 2).
    """
    if not question.answers:
        return -1, -1
    text, start = question.answers[0]
    firsts, stops = characters.T
    pieces = np.flatnonzero((firsts < start + len(text)) & (stops > start) & (firsts < stops))
    return (int(pieces[0]), int(pieces[-1])) if len(pieces) else (-1, -1)


def whole_units(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the characters of the units that contain each piece of a text, (N, 2) int64.

    Args:
        text: the encoded text.
        offsets: the characters of each piece; an empty range belongs to the character after it.

    Returns:
        The beginning of a piece's first unit and the end of its last; of a piece of white space, the beginning of the
        unit after it and the end of the one before it.
    """
    bounds = np.array(units(text), np.int64).reshape(-1, 2)
    begins, ends = np.array(offsets, np.int64).reshape(-1, 2).T
    ends = np.maximum(ends, begins + 1)
    first = np.searchsorted(bounds[:, 1], begins, side="right")
    last = np.searchsorted(bounds[:, 0], ends, side="left")
    return np.stack([np.append(bounds[:, 0], len(text))[first], np.insert(bounds[:, 1], 0, 0)[last]], axis=1)
