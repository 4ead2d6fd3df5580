"""Fine-tuning an encoder to answer questions by spans of a text (Devlin et al. 2019, sections 4.2 and 4.3).

A text that is too long is read in windows that overlap; the best span of all windows is the answer. The place of the
answer to a question that has none is [CLS].

Shapes: B windows, T tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import QuestionAnsweringExperiment
from tformer_cli.data.core.cells import Gate, MissingValue, shortest
from tformer_cli.data.text.dataset import TokenBatch, lines_of
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.questions import Question, Questions, read_questions, squad_rows
from tformer_cli.errors import DataError, checkpoint_content
from tformer_cli.evaluators.base import spread
from tformer_cli.languages import units
from tformer_cli.metrics.answers import answer_scores
from tformer_cli.models.bert.model import BERTForSpans
from tformer_cli.predictors.inputs import Answer, OnLong, Readable, Refusal
from tformer_cli.regular import read_regular
from tformer_cli.tasks.base import Evaluation, Input, Loss, Prediction, Sample, Scoring, batches_of
from tformer_cli.tasks.fine_tuned import FIRST_ENCODING, FineTuned

ANSWERS = "answers.json"


@dataclass(frozen=True)
class Window:
    """A question and a part of its text.

    Attributes:
        question: row of the split.
        tokens: [CLS] question [SEP] part [SEP], (T,) int64.
        first: place of the part's first token.
        characters: where an answer begins that begins with one of the part's tokens, and where one ends that ends with
            it: whole units, (part, 2) int64.
        begin: place of the answer's first token; 0, that of [CLS], if the answer is not in this window.
        end: place of its last token.
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
    """Windows.

    Attributes:
        tokens: (B, T), int64, padded at the end.
        lengths: real tokens a row, (B,), int64.
        segments: 0 for the question, 1 for the text, (B, T), int64.
        allowed: where an answer may begin and end: [CLS], and the text without its white space, (B, T), bool.
        spans: places of its first and last token, (B, 2), int64.
    """

    segments: Tensor
    allowed: Tensor
    spans: Tensor


class QuestionAnswering(FineTuned[Questions, BERTForSpans, SpanBatch]):
    """The adapter between questions with their texts and an encoder that points at spans."""

    metric = "f1"
    lower_is_better = frozenset({"loss"})
    usual_length = 256
    on_long = OnLong.cut  # the question is cut, as in training; texts of any length are read in windows
    config: QuestionAnsweringExperiment

    def __init__(self, config: QuestionAnsweringExperiment) -> None:
        super().__init__(config)
        self.always_answers: bool | None = None
        """Whether every training question has an answer, and so gets one; None: a run of version 0.1, which does not
        say."""
        self._windows: dict[str, list[Window]] = {}

    # --- data ---

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint; and whether each question is answered, if it is one of this task."""
        super().load(folder)
        if (folder / ANSWERS).is_file():
            with checkpoint_content(folder / ANSWERS, "whether questions have answers"):
                always = json.loads(read_regular(folder / ANSWERS, links=False))["always"]
                if not isinstance(always, bool):
                    raise TypeError
                self.always_answers = always

    def files(self) -> dict[str, bytes]:
        """Return the tokenizer's files, and whether each question is answered."""
        return {**super().files(), ANSWERS: json.dumps({"always": self.always_answers is not False}).encode()}

    def _learn(self, train: Questions) -> None:
        super()._learn(train)
        self.always_answers = all(row.answers for row in train.rows)

    def _read(self, split: str) -> dict[str, Questions]:
        return read_questions(self.config.data, split, seed=self.config.seed, skip=self._skips)

    def _training_text(self, train: Questions) -> dict[str, Iterable[str]]:
        return {"text": lines_of(dict.fromkeys(chain.from_iterable((row.question, row.context) for row in train.rows)))}

    def _split_windows(self, split: str) -> list[Window]:
        if split not in self._windows:
            rows = self._split(split).rows
            self._windows[split] = [window for i, row in enumerate(rows) for window in self._cut(i, row)]
        return self._windows[split]

    def _cut(self, number: int, row: Question) -> list[Window]:
        """The windows of a question, with the place of its first answer."""
        tokenizer, most, data = self.tokenizer, self.config.model.max_length, self.config.data
        question = tokenizer.encode(row.question)[: most // 2]
        context, characters = self._pieces(row.context)
        begin = end = -1
        if row.answers:
            text, start = row.answers[0]
            firsts, stops = characters.T
            answer = np.flatnonzero((firsts < start + len(text)) & (stops > start) & (firsts < stops))
            begin, end = (int(answer[0]), int(answer[-1])) if len(answer) else (-1, -1)
        head = [tokenizer.bos_id, *question, *self.separator]
        room = most - len(head) - 1
        step = max(1, room - data.stride)
        windows = []
        for start in range(0, max(1, len(context)), step):
            part = context[start : start + room]
            tokens = np.concatenate([head, part, [tokenizer.eos_id]]).astype(np.int64)
            here = (begin - start + len(head), end - start + len(head))
            fits = start <= begin and end < start + len(part) and begin >= 0
            span = here if fits else (0, 0)
            windows.append(Window(number, tokens, len(head), characters[start : start + room], *span))
            if start + room >= len(context):
                break
        return windows

    def _pieces(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of a text, (N,), and the characters of the units that each lies in, (N, 2).

        A piece of white space lies in none: it ends before it begins.
        """
        if self.encoding != FIRST_ENCODING:
            ids, offsets = self.tokenizer.encode_with_offsets(text)
            return np.array(ids, np.int64), whole_units(text, offsets)
        places = units(text)
        pieces = self.tokenizer.encode_batch([text[begin:end] for begin, end in places])
        pieces = [ids or [self.tokenizer.unk_id] for ids in pieces]
        ids = np.array(list(chain.from_iterable(pieces)), np.int64)
        return ids, np.repeat(np.array(places, np.int64).reshape(-1, 2), [len(ids) for ids in pieces], axis=0)

    def _lengths(self, split: str) -> np.ndarray:
        return np.array([len(window.tokens) for window in self._split_windows(split)])

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> SpanBatch:
        """A batch of the given windows."""
        windows = self._split_windows(split)
        return self._join([windows[row] for row in rows], torch.from_numpy(np.asarray(rows, np.int64)))

    def _join(self, windows: list[Window], ids: Tensor) -> SpanBatch:
        tokens, lengths = pad([window.tokens for window in windows], self.tokenizer.pad_id)
        first = torch.tensor([window.first for window in windows])[:, None]
        here = torch.arange(tokens.shape[1])
        inside = torch.zeros(tokens.shape, dtype=torch.bool)
        for row, window in enumerate(windows):
            begins, ends = window.characters.T
            inside[row, window.first : window.first + len(begins)] = torch.from_numpy(begins < ends)
        segments = ((here >= first) & (here < lengths[:, None])).long()
        spans = torch.tensor([[window.begin, window.end] for window in windows])
        return SpanBatch(ids, tokens, lengths, segments, inside | (here == 0), spans)

    def _describe_data(self) -> list[tuple[str, str]]:
        train, validation = self._split("train"), self._split("validation")
        windows = f"{len(self._split_windows('train')):,} windows"
        facts = [("data", f"{len(train):,} questions ({windows}) to train, {len(validation):,} to validate")]
        return facts + [("note", note) for note in self._unreachable("train")]

    def _unreachable(self, split: str) -> list[str]:
        """Return the reasons why correct answers of a split cannot be predicted, one line each."""
        rows, longest, within = self._split(split).rows, dict[int, int](), set[int]()
        for window in self._split_windows(split):
            if window.begin:
                row = rows[window.question]
                longest[window.question] = window.end - window.begin + 1
                if window.text(row.context, window.begin, window.end) != row.answers[0][0].strip():
                    within.add(window.question)
        long, most = (
            sum(tokens > self.config.data.max_answer for tokens in longest.values()),
            max([0, *longest.values()]),
        )
        parted = sum(bool(row.answers) for row in rows) - len(longest)
        notes = []
        if within:
            notes.append(f"{len(within):,} answers begin or end within a word or piece of the vocabulary: all is given")
        if long:
            notes.append(f"{long:,} answers have more than data.max_answer tokens, and are given shorter: up to {most}")
        if parted:
            notes.append(f"{parted:,} answers are in no window as a whole: raise data.stride or model.max_length")
        return notes

    # --- model and loss ---

    def model(self) -> BERTForSpans:
        """A new encoder and head."""
        return BERTForSpans(self.config.model, self.tokenizer.vocab_size, self.config.head)

    def loss(self, model: BERTForSpans, batch: SpanBatch) -> Loss:
        """Mean of the cross-entropies of where the answer begins and where it ends; summed over windows."""
        scores = self._scores(model, batch)
        return Loss(self._sum(scores, batch), torch.tensor(len(scores), device=scores.device))

    def _scores(self, model: BERTForSpans, batch: SpanBatch) -> Tensor:
        return model(batch.tokens, batch.lengths, batch.segments, batch.allowed)

    def _sum(self, scores: Tensor, batch: SpanBatch) -> Tensor:
        return nn.functional.cross_entropy(scores.flatten(0, 1), batch.spans.flatten(), reduction="sum") / 2

    # --- evaluation and use ---

    def evaluate(self, model: BERTForSpans, split: str, scoring: Scoring) -> Evaluation:
        """Exact match and F1 of the answers."""
        data = self._split(split)
        best: dict[int, tuple[float, str]] = {}
        total = count = 0.0
        for batch in batches_of(self, model, split):
            scores = self._scores(model, batch)
            total, count = total + float(self._sum(scores, batch)), count + len(scores)
            windows = [self._split_windows(split)[row] for row in batch.sample_ids.tolist()]
            self._point(scores, windows, data.rows, best)
        always = self.always_answers
        if always is None:  # a run of version 0.1 goes by the split
            always = all(row.answers for row in data.rows)
        predictions = [self._given(best[number], always=always) for number in range(len(data))]
        answers = [[text for text, _ in row.answers] for row in data.rows]
        scores = {"loss": total / count, **answer_scores(answers, predictions)}
        evaluation = Evaluation(scores, data_sha256=data.hash, notes=list(data.notes))
        for row in spread(len(data), scoring.samples):
            evaluation.samples.append(Sample(data.rows[row].question, " | ".join(answers[row]), predictions[row]))
        if scoring.predictions:
            evaluation.predictions = [
                {"id": row.name, "question": row.question, "context": row.context, "reference": right,
                 "prediction": predictions[number], "score": _shown(best[number][0])}
                for number, (row, right) in enumerate(zip(data.rows, answers, strict=True))
            ]  # fmt: skip
        return evaluation

    def _point(
        self, scores: Tensor, windows: list[Window], rows: list[Question], best: dict[int, tuple[float, str]]
    ) -> None:
        """Keep the best span of each question over the windows seen so far: its score over [CLS]'s, and its text."""
        scores = scores.log_softmax(-1).cpu()
        width = scores.shape[-1]
        together = scores[:, 0, :, None] + scores[:, 1, None, :]  # (B, begin, end)
        far = torch.ones(width, width, dtype=torch.bool).triu().tril(self.config.data.max_answer - 1)
        none = together[:, 0, 0]
        together = together.masked_fill(~far, -torch.inf)
        together[:, 0, :] = together[:, :, 0] = -torch.inf
        value, place = together.flatten(1).max(1)
        for row, window in enumerate(windows):
            score, text = float(value[row] - none[row]), ""
            if np.isfinite(score):
                text = window.text(rows[window.question].context, *divmod(int(place[row]), width))
            if window.question not in best or score > best[window.question][0]:
                best[window.question] = (score, text)

    def _given(self, span: tuple[float, str], *, always: bool) -> str:
        """Return the best span as the answer, or nothing where its score is too low."""
        score, text = span
        return text if always or score > self.config.data.answer_threshold else ""

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of the question and its text, named as in tables of SQuAD."""
        return ("question", "context")

    def documents(self, path: Path) -> Iterator[tuple[str, tuple[str, str] | MissingValue]]:
        """Yield the questions of a file in SQuAD's JSON, or what they lack, each with its name in error messages.

        Raises:
            DataError: if the file is malformed, or contains no questions.
        """
        empty = True
        for row in squad_rows(path, Gate(), answered=False):
            empty = False
            if isinstance(row, MissingValue):
                yield row.place, row
            else:
                yield f"{path}: question {row.name}", (row.question, row.context)
        if empty:
            raise DataError(f"{path}: there are no questions")

    def _read_inputs(self, given: list[Input]) -> list[Answer[tuple[str, str]] | Refusal]:
        """Return questions with their texts, from rows of two columns or from lines separated by a tab."""
        most = self.config.model.max_length // 2
        answers: list[Answer[tuple[str, str]] | Refusal] = []
        for row in given:
            parts = row.split("\t", 1) if isinstance(row, str) else list(row)
            if len(parts) != 2 and any(parts):
                reason = "no tab between a question and the text that answers it"
                answers.append(self._malformed(reason, "write QUESTION<tab>TEXT"))
                continue
            question, context = parts if len(parts) == 2 else ("", "")
            long = len(self.tokenizer.encode(question))
            if long > most:
                size = f"the question has {long:,} tokens, the model reads {most:,}"
                kept = (question, context)
                answers.append(self._too_long(size, "shorten the question", kept, "its end was not read"))
            else:
                answers.append(Readable((question, context)))
        return answers

    @torch.inference_mode()
    def _answer(self, model: BERTForSpans, rows: list[tuple[str, str]]) -> list[Prediction]:
        """Return the answer to each question."""
        questions = [Question(str(n), question, context, (("", 0),)) for n, (question, context) in enumerate(rows)]
        device, best = next(model.parameters()).device, {}
        for number, row in enumerate(questions):
            windows = self._cut(number, Question(row.name, row.question, row.context, ()))
            batch = self._join(windows, torch.arange(len(windows))).to(device)
            self._point(self._scores(model, batch), windows, questions, best)
        always = self.always_answers is not False
        threshold = None if always else self.config.data.answer_threshold
        answers = [self._given(best[number], always=always) for number in range(len(questions))]
        return [
            Prediction(answer, {"answer": answer, "score": _shown(best[number][0]), "threshold": threshold})
            for number, answer in enumerate(answers)
        ]


def _shown(score: float) -> float | None:
    """Return a score; None if the text is empty and has no answer, since JSON cannot store infinity."""
    return shortest(score) if math.isfinite(score) else None


def whole_units(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the characters of the units that pieces of a text lie in, (N, 2) int64.

    Args:
        text: what was encoded.
        offsets: the characters of each piece; an empty place is that of the character after it.

    Returns:
        The beginning of a piece's first unit and the end of its last; of a piece of white space, the beginning of the
        unit after it and the end of the one before it.
    """
    places = np.array(units(text), np.int64).reshape(-1, 2)
    begins, ends = np.array(offsets, np.int64).reshape(-1, 2).T
    ends = np.maximum(ends, begins + 1)
    first = np.searchsorted(places[:, 1], begins, side="right")
    last = np.searchsorted(places[:, 0], ends, side="left")
    return np.stack([np.append(places[:, 0], len(text))[first], np.insert(places[:, 1], 0, 0)[last]], axis=1)
