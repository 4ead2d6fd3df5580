"""Fine-tuned encoders read the tokens of transformers' fast tokenizers, and old runs those of their training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Library

from tests.properties.families import family_named
from tests.tasks.test_question_answering import ANSWERS
from tformer_cli import tasks
from tformer_cli.config.schema import TokenizerConfig, TokenizerKind
from tformer_cli.data.text.encoding_version import ENCODING
from tformer_cli.data.text.question_windows import whole_units
from tformer_cli.data.text.questions import Question
from tformer_cli.errors import RunError
from tformer_cli.interop.huggingface_tokenizer import encoder_files
from tformer_cli.languages import units
from tformer_cli.tokenizers.huggingface import JsonTokenizer
from tformer_cli.tokenizers.tokenizer import Tokenizer

TEXTS = [context for context, _ in ANSWERS.values()] + [
    "Ann's house, (the old one) costs $5.50 - isn't it?",
    "  two  spaces   here ",
    "",
    " ",
    "a\nline\tand a tab",
    "<mask> and </s> are text",
    "e\u0301 and \u00e9; \u0e01\u0e33; \ufb01ne",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
KINDS = ("byte level", "byte level with a space first", "sentencepiece", "wordpiece")


def library_tokenizer(kind: str) -> Library:
    """A small vocabulary of a pre-trained model's kind, learnt from the texts."""
    if kind.startswith("byte level"):
        library = Library(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space="space" in kind)
        library.decoder = decoders.ByteLevel()
        letters = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=500, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False
        )
    elif kind == "sentencepiece":
        library = Library(models.Unigram())
        library.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
        library.pre_tokenizer, library.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=400, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
    else:
        library = Library(models.WordPiece(unk_token="<unk>"))
        library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        library.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)
    library.train_from_iterator(TEXTS * 3, trainer)
    if kind.startswith("byte level"):
        library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space="space" in kind)
    else:
        library.post_processor = processors.TemplateProcessing(
            "<s> $A </s>", "<s> $A </s> $B:1 </s>:1", [("<s>", 0), ("</s>", 2)]
        )
    library.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return library


NAMES = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}


def written(kind: str, folder: Path) -> Path:
    """A folder with the tokenizer of a pre-trained model."""
    library_tokenizer(kind).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **NAMES}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_has_the_pieces_and_places_that_transformers_gives(kind, tmp_path):
    ours = JsonTokenizer.from_folder(written(kind, tmp_path))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        encoded = theirs(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, offsets = ours.encode_with_offsets(text)
        assert ids == encoded["input_ids"] and offsets == [tuple(pair) for pair in encoded["offset_mapping"]]


@pytest.mark.parametrize("kind", KINDS)
def test_words_have_the_pieces_that_transformers_gives(kind, tmp_path):
    ours = JsonTokenizer.from_folder(written(kind, tmp_path))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=True)
    if kind == "byte level":  # what add_prefix_space=True does to a RobertaTokenizerFast
        theirs.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    for text in TEXTS:
        if words := text.split():
            encoded = theirs(words, is_split_into_words=True, add_special_tokens=False)
            assert [piece for pieces in ours.encode_words(words) for piece in pieces] == encoded["input_ids"]


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize("lossless", [False, True])
def test_the_places_of_our_own_pieces_are_those_of_their_characters(kind, lossless, tmp_path):
    settings = TokenizerConfig(kind=TokenizerKind[kind], vocab_size=530 + 15 * lossless, lossless=lossless,
                               byte_fallback=True, user_symbols=("<mask>",))  # fmt: skip
    tokenizer = Tokenizer.train({"text": [line for text in TEXTS for line in text.split("\n")]}, settings)
    files = encoder_files(tokenizer, 64, 2)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "a \u2581 b\u2581"]:
        ids, offsets = tokenizer.encode_with_offsets(text)
        assert ids == tokenizer.encode(text) and len(ids) == len(offsets)
        assert ids == theirs(text, add_special_tokens=False)["input_ids"] or "\u2581" in text
        assert offsets == sorted(offsets) and all(begin <= end <= len(text) for begin, end in offsets)
        covered = {character for begin, end in offsets for character in range(begin, end)}
        spaces = {" ", "\n", "\t", "\u3000", *([] if lossless else ["\u2581"])}
        assert {place for place, character in enumerate(text) if character not in spaces} <= covered


@pytest.mark.parametrize("kind", KINDS)
def test_questions_and_texts_are_read_as_a_pair_of_transformers(kind, tmp_path):
    task, theirs = question_task(kind, tmp_path)
    for text in filter(None, TEXTS):  # transformers takes a pair with an empty text for one text
        (window,) = task.data.divide(0, Question("", "Where is it?", text, ()))
        assert window.tokens.tolist() == theirs("Where is it?", text)["input_ids"]
        spans = whole_units(text, task.data.tokenizer.encode_with_offsets(text)[1])
        assert np.array_equal(spans, window.characters)
        units_of, edges = units(text), {edge for unit in units(text) for edge in unit}
        for begin, end in spans.tolist():
            assert end <= begin or {begin, end} <= edges
        if units_of and kind != "wordpiece":  # which makes one unknown piece of what it does not know, or none
            assert {begin for begin, end in spans.tolist() if begin < end} >= {units_of[0][0]}


def question_task(kind: str, folder: Path):
    family = family_named("question answering")
    task = tasks.build(family.config(folder, "model.max_length=400"))
    task.data.tokenizer = JsonTokenizer.from_folder(written(kind, folder))
    return task, transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_to_classify_are_read_as_those_of_transformers(kind, tmp_path):
    family = family_named("text classification")
    task = tasks.build(family.config(tmp_path, "model.max_length=400", "data.second=other"))
    task.data.tokenizer = JsonTokenizer.from_folder(written(kind, tmp_path))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    rows = [("Ann lives here.", "Ann lives in Oslo."), ("", "x"), ("a b", " b")]
    tokens, lengths, _ = task.data.join([task.data.encode(pair) for pair in rows])
    for (first, second), row, length in zip(rows, tokens.tolist(), lengths.tolist(), strict=True):
        assert row[:length] == theirs(first, second)["input_ids"]


# --- checkpoints ------------------------------------------------------------------------------------------------------

FINE_TUNED = ("text classification", "token tagging", "question answering")


def saved(task, folder: Path) -> Path:
    from tformer_cli.config.compose import to_yaml

    files = {**task.data.files(), "config.yaml": to_yaml(task.config).encode()}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", FINE_TUNED)
def test_a_checkpoint_says_how_it_reads_and_one_of_before_reads_as_it_did(name, tmp_path):
    family = family_named(name)
    task = family.task(tmp_path / "cache")
    folder = saved(task, tmp_path / "saved")
    for encoding in (3, 1):
        again = tasks.build(task.config)
        again.data.load(folder)
        assert again.data.encoding.number == encoding
        (folder / ENCODING).unlink(missing_ok=True)
        (folder / "answers.json").unlink(missing_ok=True)
    for other in FINE_TUNED:  # an encoder of another task is read as new ones are
        if other != name:
            again = tasks.build(family_named(other).config(tmp_path))
            again.data.load(folder)
            assert again.data.encoding.number == 3
    for content in ('{"encoding": 4}', "[]", "{"):
        (folder / ENCODING).write_text(content)
        with pytest.raises(RunError, match=r"encoding\.json: does not hold"):
            tasks.build(task.config).data.load(folder)
    shutil.rmtree(folder)


def test_old_runs_answer_questions_word_by_word(tmp_path):
    task, _ = question_task("byte level", tmp_path)
    task.data.encoding.number = 1
    text = "Ann lives in Oslo, \u6771\u4eac."
    (window,) = task.data.divide(0, Question("", "Where?", text, (("Oslo", text.index("Oslo")),)))
    pieces = [task.data.tokenizer.encode(text[begin:end]) for begin, end in units(text)]
    head = [task.data.tokenizer.bos_id, *task.data.tokenizer.encode("Where?"), task.data.tokenizer.eos_id]
    assert window.tokens.tolist() == [*head, *(piece for ids in pieces for piece in ids), task.data.tokenizer.eos_id]
    assert window.text(text, window.begin, window.end) == "Oslo"


def test_old_taggers_read_words_without_the_space_before_them(tmp_path):
    family = family_named("token tagging")
    task = tasks.build(family.config(tmp_path))
    task.data.tokenizer = JsonTokenizer.from_folder(written("byte level", tmp_path))
    words = ["lives", "in", "Oslo"]
    assert task.data.encode([words]) == [[task.data.tokenizer.encode(f" {word}") for word in words]]
    task.data.encoding.number = 1
    assert task.data.encode([words]) == [[task.data.tokenizer.encode(word) for word in words]]


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
def test_words_to_tag_follow_a_space_with_a_lossless_vocabulary_too(kind, tmp_path):
    """The words of an older run continue without it."""
    settings = TokenizerConfig(kind=TokenizerKind[kind], vocab_size=545, lossless=True)
    tokenizer = Tokenizer.train({"text": [line for text in TEXTS for line in text.split("\n")]}, settings)
    family = family_named("token tagging")
    task = tasks.build(family.config(tmp_path))
    task.data.tokenizer = tokenizer
    (pieces,) = task.data.encode([["a", "part"]])
    assert pieces == [tokenizer.encode(" a"), tokenizer.encode(" part")]
    assert tokenizer.decode(pieces[0] + pieces[1]) == " a part"
    (folder := tmp_path / "saved").mkdir()
    for number in (2, 1):
        (folder / ENCODING).write_text(json.dumps({"encoding": number}))
        task.data.encoding.load(folder, task.config.task)
        assert task.data.encode([["a", "part"]]) == [[tokenizer.encode("a"), tokenizer.encode("part")]]


# --- questions without an answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unanswerable", [False, True])
def test_predict_and_evaluate_follow_one_rule_for_questions_without_an_answer(unanswerable, tmp_path):
    entries = [{"id": str(n), "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]} for n in range(8)]
    if unanswerable:
        entries[0] |= {"answers": [], "is_impossible": True}
    data = {"data": [{"paragraphs": [{"context": "Ann lives in Oslo.", "qas": entries}]}]}
    (tmp_path / "train.json").write_text(json.dumps(data), encoding="utf-8")
    (tmp_path / "validation.json").write_text(json.dumps(data), encoding="utf-8")
    family = family_named("question answering")
    data_settings = [f"data.path={tmp_path / 'train.json'}", f"data.validation={tmp_path / 'validation.json'}"]
    for threshold, given in ((-1e9, True), (1e9, False)):
        task = family.task(tmp_path, *data_settings, "tokenizer.kind=char", f"data.answer_threshold={threshold}")
        model = task.model().eval()
        again = tasks.build(task.config)
        again.data.load(saved(task, tmp_path / "saved"))
        (answer,) = again.predict(model, iter(["Who?\tAnn lives in Oslo."]))
        (scored, *_) = again_evaluation(again, model)
        assert bool(answer.text) == (given or not unanswerable) and answer.text == scored["prediction"]
        assert answer.details["threshold"] == (threshold if unanswerable else None)
        assert answer.details["answer"] == answer.text and answer.details["score"] == pytest.approx(scored["score"])


def again_evaluation(task, model) -> list[dict]:
    from tformer_cli.evaluators.base import Scoring

    with torch.inference_mode():
        return task.evaluate(model, "validation", Scoring(predictions=True)).predictions


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_tokenizer_of_a_tagger_reads_words_as_the_run_does(kind, tmp_path):
    tokenizer = JsonTokenizer.from_folder(written(kind, tmp_path))
    (tmp_path / "out").mkdir()
    for name, content in encoder_files(tokenizer, 64, 1, words=True).items():
        (tmp_path / "out" / name).write_bytes(content)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    check_words(tokenizer, theirs)


def check_words(tokenizer, theirs) -> None:
    words = ["Ann", "lives", "in", "Oslo,", "東京"]
    expected = [piece for pieces in tokenizer.encode_words(words) for piece in pieces]
    assert theirs(words, is_split_into_words=True, add_special_tokens=False)["input_ids"] == expected


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize("lossless", [False, True])
def test_an_exported_vocabulary_of_our_own_reads_words_as_the_tagger_does(kind, lossless, tmp_path):
    settings = TokenizerConfig(kind=TokenizerKind[kind], vocab_size=530 + 15 * lossless, lossless=lossless,
                               byte_fallback=True)  # fmt: skip
    tokenizer = Tokenizer.train({"text": [line for text in TEXTS for line in text.split("\n")]}, settings)
    for name, content in encoder_files(tokenizer, 64, 1, words=True).items():
        (tmp_path / name).write_bytes(content)
    check_words(tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path))
