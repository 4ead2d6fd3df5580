"""Windows, spans and answers have correct boundaries in every script."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.cli.inputs import read, reading_of
from tformer_cli.cli.prediction_output import in_order
from tformer_cli.config.schema import BadSample
from tformer_cli.data.text.question_windows import SpanBatch, whole_units
from tformer_cli.data.text.questions import Question
from tformer_cli.errors import DataError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.languages import units
from tformer_cli.predictors.question_answering import best_spans, window_spans
from tformer_cli.tasks.task import Task

FAMILY = family_named("question answering")
ANSWERS = {  # texts, with an answer in the middle of each
    "hindi": ("मीरा दिल्ली में रहती है और हिन्दी पढ़ाती है।", "हिन्दी"),
    "tamil": ("மீரா சென்னையில் தமிழ் கற்பிக்கிறார்.", "தமிழ்"),
    "thai": ("มีราอาศัยอยู่ที่กรุงเทพและสอนภาษาไทย", "กรุงเทพ"),
    "khmer": ("មីរ៉ារស់នៅភ្នំពេញហើយបង្រៀនភាសាខ្មែរ", "ភ្នំពេញ"),
    "burmese": ("မီရာသည်ရန်ကုန်တွင်နေထိုင်သည်", "ရန်ကုန်"),
    "tibetan": ("བཀྲ་ཤིས་ལྷ་ས་ལ་སྡོད་ཀྱི་ཡོད།", "ལྷ་ས"),
    "japanese": ("美良は東京に住み、日々フランス語を教えている。", "フランス語"),
    "chinese": ("米拉住在𠮷林市，教iPhone课程。", "𠮷林市"),
    "korean": ("미라는 서울에서 한국어를 가르친다.", "서울"),
    "arabic": ("تسكن مِيرا في بَيْرُوت وتعلم العربية.", "بَيْرُوت"),
    "persian": ("میرا می‌خواهد در شهر بماند", "می‌خواهد"),
    "hebrew": ("מירה גרה בתל־אביב ומלמדת עִבְרִית.", "עִבְרִית"),
    "vietnamese, decomposed": (unicodedata.normalize("NFD", "Mai sống ở Hà Nội và dạy."), "Hà Nội"),
    "emoji": ("Mira 👩‍🏫 teaches 🇮🇹 Italian 😀 in Rome.", "🇮🇹 Italian 😀"),
    "wide": ("Ｍｉｒａ　ｌｉｖｅｓ　ｉｎ　ﬁne Ｒｏｍｅ．", "ﬁne Ｒｏｍｅ"),
}


def written(folder: Path, texts: dict[str, tuple[str, str]]) -> str:
    paragraphs = []
    for number, (context, answer) in enumerate(texts.values()):
        form = "NFD" if unicodedata.is_normalized("NFD", context) else "NFC"
        answer = answer if answer in context else unicodedata.normalize(form, answer)
        answers = [{"text": answer, "answer_start": context.index(answer)}]
        question = {"id": str(number), "question": "?", "answers": answers}
        paragraphs.append({"context": context, "qas": [question]})
    path = folder / "questions.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Task:
    return FAMILY.task(tmp_path_factory.mktemp("questions"))


class Knowing(torch.nn.Module):
    """A model that predicts the correct spans of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.spans = torch.zeros(0, 2, dtype=torch.int64)

    def forward(self, tokens, lengths, segments, allowed):
        scores = torch.zeros(len(tokens), 2, tokens.shape[1]).masked_fill(~allowed[:, None], -torch.inf)
        return scores.scatter(2, self.spans[:, :, None], 20.0)


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize("lossless", [False, True])
def test_whoever_knows_the_answers_scores_100_in_every_script(tmp_path, monkeypatch, kind, lossless):
    path = written(tmp_path, ANSWERS)
    more = [f"data.path={path}", f"data.validation={path}", "data.max_answer=64", "tokenizer.byte_fallback=true"]
    more += ["data.stride=60", f"tokenizer.kind={kind}", f"tokenizer.lossless={str(lossless).lower()}"]
    task = FAMILY.task(tmp_path, *more, f"tokenizer.vocab_size={515 if lossless else 500}", "model.max_length=128")
    model, collate = Knowing(), task.data.collate

    def collated(windows, ids) -> SpanBatch:
        batch = collate(windows, ids)
        model.spans = batch.spans
        return batch

    monkeypatch.setattr(task.data, "collate", collated)
    evaluation = task.evaluate(model, "validation", Scoring(samples=100))
    longer = 0
    for sample in evaluation.samples:
        assert sample.reference in sample.prediction
        longer += sample.prediction != sample.reference
    assert longer <= (0 if kind == "char" else 5)  # where a piece holds the end of an answer and what comes after it
    assert evaluation.scores["exact_match"] == pytest.approx(100 * (1 - longer / len(ANSWERS)))
    notes = [note for name, note in task.describe() if name == "note"]
    assert [note.startswith(f"{longer} answers begin or end within") for note in notes] == [True] * bool(longer)


@pytest.mark.parametrize("stride", [0, 3, 7, 100])
@pytest.mark.parametrize("length", [0, 1, 8, 9, 10, 40])
def test_windows_share_exactly_the_stride_and_leave_nothing_out(task, stride, length):
    task.config.data.stride = stride
    words = [f"{'abcdefgh'[i % 8]}{i}" for i in range(length)]
    context = " ".join(words)
    tokens = task.data.tokenizer.encode(context)
    windows = task.data.divide(5, Question("", "Who?", context, ()))
    most, pieces = task.config.model.max_length, []
    for window in windows:
        head, part = window.tokens[: window.first].tolist(), window.tokens[window.first : -1].tolist()
        question = task.data.tokenizer.encode("Who?")
        assert head == [task.data.tokenizer.bos_id, *question, task.data.tokenizer.eos_id] and window.question == 5
        assert window.tokens[-1] == task.data.tokenizer.eos_id and len(window.tokens) <= most
        assert (window.begin, window.end) == (0, 0) and len(window.characters) == len(part)
        pieces.append(part)
    room = most - len(head) - 1
    shared = min(stride, room - 1)
    assert pieces[0] == tokens[:room]
    for before, part in zip(pieces, pieces[1:], strict=False):
        assert len(before) == room and len(part) > shared  # each window contains new tokens
        assert before[len(before) - shared :] == part[:shared]
    joined = pieces[0] + [token for part in pieces[1:] for token in part[shared:]]
    assert joined == tokens


def test_the_answer_is_placed_at_its_own_tokens_in_each_window_that_holds_all_of_it(task):
    task.config.data.stride = 6
    context = " ".join(f"{'abcdefgh'[i % 8]}{i}" for i in range(24))
    spans, tokens = units(context), task.data.tokenizer.encode(context)
    of_text = whole_units(context, task.data.tokenizer.encode_with_offsets(context)[1])
    edges = set()
    for first in range(len(spans)):
        for last in range(first, min(first + 3, len(spans))):
            start, stop = spans[first][0], spans[last][1]
            answer = context[start:stop]
            inside = [i for i, (begin, end) in enumerate(of_text.tolist()) if start < end <= stop and begin < end]
            answer_tokens = tokens[inside[0] : inside[-1] + 1]
            windows = task.data.divide(0, Question("", "Who?", context, ((answer, start),)))
            placed = 0
            for window in windows:
                covered = [
                    i for i, (begin, end) in enumerate(window.characters.tolist()) if start < end <= stop > begin
                ]
                holds = len([i for i in covered if window.characters[i, 0] < window.characters[i, 1]]) == len(inside)
                assert bool(window.begin) == bool(window.end) == holds
                if holds:
                    assert window.tokens[window.begin : window.end + 1].tolist() == answer_tokens
                    assert window.text(context, window.begin, window.end) == answer
                    edges |= {window.begin == window.first, 2 + (window.end == len(window.tokens) - 2)}
                placed += holds
            assert placed or len(answer_tokens) > 6
    assert edges == {False, True, 2, 3}  # answers at the edges of windows were among them


def test_the_best_span_is_found_and_no_other(task):
    """The result equals a search over all spans within the text, up to the longest answer, and [CLS]."""
    task.config.data.stride = 4
    rows = [Question("a", "Who?", "a b c d e f g h i j k l", ()), Question("b", "Who?", "a b", ())]
    windows = [window for number, row in enumerate(rows) for window in task.data.divide(number, row)]
    batch = task.data.collate(windows, torch.arange(len(windows)))
    for row, window in enumerate(windows):
        inside = [i for i in range(batch.tokens.shape[1]) if window.first <= i < len(window.tokens) - 1]
        spaces = {i for i in inside if window.characters[i - window.first, 0] >= window.characters[i - window.first, 1]}
        assert batch.allowed[row].nonzero().flatten().tolist() == [0, *(i for i in inside if i not in spaces)]
        assert batch.segments[row].nonzero().flatten().tolist() == [*inside, len(window.tokens) - 1]
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        scores = torch.randn(len(windows), 2, batch.tokens.shape[1], generator=generator)
        scores = scores.masked_fill(~batch.allowed[:, None], -torch.inf)
        scores[:, :, 0] += 3 * (seed % 2)
        best = best_spans(window_spans(scores, windows, rows, max_answer=3))
        probability = scores.log_softmax(-1)
        for number, row in enumerate(rows):
            expected = (-torch.inf, "")
            for i, window in enumerate(windows):
                if window.question != number:
                    continue
                for begin in range(window.first, len(window.tokens) - 1):
                    for end in range(begin, min(begin + 3, len(window.tokens) - 1)):
                        score = float(probability[i, 0, begin] + probability[i, 1, end] - probability[i, :, 0].sum())
                        first, last = (window.characters[p - window.first] for p in (begin, end))
                        expected = max(expected, (score, row.context[first[0] : last[1]]), key=lambda pair: pair[0])
            score, text = expected
            assert best[number].score == pytest.approx(score, abs=1e-5)
            assert best[number].text == text and best[number].answer(None) == text
            assert best[number].answer(0.0) == (text if score > 0 else "")


def test_answers_that_cannot_be_given_are_counted(task):
    rows = [("behind the house", "hind"), ("a b c", "b"), ("a b c d e f", "a b c d e "), ("a " * 40, "a " * 30)]
    rows = [Question("", "?", context, ((answer, context.index(answer)),)) for context, answer in rows]
    task.data._splits["odd"] = dataclasses.replace(task.data.split("train"), rows=rows)
    words = [len(task.data.tokenizer.encode(text)) for text in ("behind", "b", "a b c d e")]
    task.config.data.max_answer, task.config.data.stride = max(words[:2]), 4
    most = max(words[0], words[2])
    assert words[2] > max(words[:2])
    assert task.data.unreachable_answers("odd") == [
        "1 answers begin or end within a word or piece of the vocabulary: all is given",
        f"1 answers have more than data.max_answer tokens, and are given shorter: up to {most}",
        "1 answers are in no window as a whole: raise data.stride or model.max_length",
    ]


@pytest.mark.parametrize(
    "start, hint", [(9, "UTF-16 units"), (11, "bytes"), (3, "code points"), (None, "code points"), (-1, "code points")]
)
def test_a_place_that_counts_something_else_says_what(tmp_path, start, hint):
    answers = [{"text": "Rome", "answer_start": start}]
    data = {
        "data": [
            {"paragraphs": [{"context": "😀 is in Rome", "qas": [{"id": 1, "question": "?", "answers": answers}]}]}
        ]
    }
    (tmp_path / "train.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataError, match=f"answer_start counts.*{hint}"):
        FAMILY.task(tmp_path, f"data.path={tmp_path / 'train.json'}")


def test_an_empty_text_has_no_answer_and_a_score_that_json_can_hold(task):
    with torch.inference_mode():
        answers = list(task.predict(task.model().eval(), iter(["Who?\t", "", "Where?\tAnn lives in Oslo."])))
    assert [answer.details["score"] is None for answer in answers] == [True, True, False]
    for answer in answers:
        json.dumps(answer.details, allow_nan=False)


def test_questions_to_be_answered_need_no_answers(task, tmp_path):
    entries = [
        {"id": 1, "question": "Who?"},
        {"id": 2, "question": "Where?", "answers": [{"text": "x", "answer_start": 9}]},
    ]
    path = tmp_path / "asked.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "Ann lives in Oslo.", "qas": entries}]}]}))
    assert [row for _, row in task.predictor.documents(path)] == [
        (entry["question"], "Ann lives in Oslo.") for entry in entries
    ]


def test_questions_without_a_text_keep_their_place_if_they_are_skipped(task, tmp_path, monkeypatch):
    entries = [{"id": 1, "question": "Who?"}, {"id": 2, "question": None}, {"id": 3, "question": "Where?"}]
    path = tmp_path / "asked.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "Ann lives in Oslo.", "qas": entries}]}]}))
    with pytest.raises(DataError, match=r"question 2: question is missing .*trainer.on_bad_sample=skip"):
        list(read([path], reading_of(task, (), "")))
    monkeypatch.setattr(task.config.trainer, "on_bad_sample", BadSample.skip)
    lines = list(read([path], reading_of(task, (), "")))
    assert [line.location for line in lines] == [f"{path}: question {number}" for number in (1, 2, 3)]
    assert [line.fault for line in lines] == ["", "question is missing (null)", ""]
    with torch.inference_mode():
        records = list(in_order(lines, partial(task.predict, task.model().eval())))
    assert ["error" in answer.details for _, answer in records] == [False, True, False]
