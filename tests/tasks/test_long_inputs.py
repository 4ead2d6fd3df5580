"""Inputs that are too long or malformed are an error after previous predictions, cut, or skipped, in every family."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.properties.families import FAMILIES, family_named
from tformer_cli import tasks
from tformer_cli.cli.arguments import PredictionArguments, check_options, use_options
from tformer_cli.errors import ConfigError, DataError, RunError
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.inputs import BadInput, OnLong, Readable, Refusal, merged, readable, windows
from tformer_cli.trained.applicable import check_settings, check_trained

TEXTS = [family for family in FAMILIES if family.inputs and not family.inputs[0].endswith((".png", ".wav"))]
LONG = {"question answering": "where " * 400 + "\tAnn lives in Oslo."}


def by_name(families):
    return pytest.mark.parametrize("family", families, ids=lambda family: family.name)


def failing(*lines):
    yield from lines
    raise DataError("f.txt:3 is not UTF-8")


def test_an_error_in_reading_comes_after_the_lines_before_it():
    windows_read = windows(failing("a", "b", "c"), 2)
    assert [next(windows_read), next(windows_read)] == [(0, ["a", "b"]), (2, ["c"])]
    with pytest.raises(DataError, match="not UTF-8"):
        next(windows_read)


def test_a_refused_line_comes_after_those_before_it():
    def read(lines):
        return [Refusal("odd", "mend it") if line == "x" else Readable(line) for line in lines]

    inputs = readable(["a", "b", "c", "x", "d"], 3, read)
    assert next(inputs) == (0, [Readable("a"), Readable("b"), Readable("c")])
    with pytest.raises(BadInput, match="input line 4: odd: mend it") as caught:
        next(inputs)
    assert caught.value.number == 3


def test_answers_take_their_places_and_notes():
    items = [Readable("a", "long"), Prediction("", {"error": "odd"}), Readable("b")]
    answers = list(merged(items, [Prediction("A"), Prediction("B")]))
    assert answers == [Prediction("A", {"note": "long"}), Prediction("", {"error": "odd"}), Prediction("B")]


@by_name(TEXTS)
def test_what_is_too_long_is_an_error_or_cut_or_skipped(family, tmp_path):
    task = family.task(tmp_path)
    model = task.model().eval()
    long = LONG.get(family.name, "word " * 1000)
    inputs = [family.inputs[0], long, family.inputs[0]]
    alone = next(iter(task.predict(model, inputs[:1]))).text
    task.predictor.on_long = OnLong.error
    answers = task.predict(model, inputs)
    assert next(answers).text == alone
    with pytest.raises(BadInput, match="input line 2: ") as caught:
        next(answers)
    assert "--on-long cut or --on-long skip" in str(caught.value)
    task.predictor.on_long = OnLong.skip
    skipped = list(task.predict(model, inputs))
    assert [answer.text for answer in skipped] == [alone, "", alone]
    assert "error" in skipped[1].details
    task.predictor.on_long = OnLong.cut
    cut = list(task.predict(model, inputs))
    assert [cut[0].text, cut[2].text] == [alone, alone]
    assert "note" in cut[1].details and "note" not in cut[0].details


@by_name(TEXTS)
@pytest.mark.parametrize("character", ["\ud800", "\0"])
def test_text_that_is_not_valid_is_an_error_or_skipped(family, character, tmp_path):
    good = family.inputs[0]
    bad = (*good.split("\t")[:-1], f"a {character}") if "\t" in good else f"{good} {character}"
    task = family.task(tmp_path)
    model = task.model().eval()
    answers = task.predict(model, [good, bad])
    alone = next(answers).text
    with pytest.raises(BadInput, match="input line 2: it holds a.*: correct it"):
        next(answers)
    task = family.task(tmp_path, "trainer.on_bad_sample=skip")
    first, skipped, last = task.predict(model, [good, bad, good])
    assert (first.text, skipped.text, last.text) == (alone, "", alone) and "it holds a" in skipped.details["error"]


@by_name([family for family in TEXTS if family.name in ("question answering",)])
def test_a_malformed_line_is_an_error_or_skipped(family, tmp_path):
    task = family.task(tmp_path)
    model = task.model().eval()
    answers = task.predict(model, [family.inputs[0], "no tab"])
    next(answers)
    with pytest.raises(BadInput, match="no tab between a question"):
        next(answers)
    task = family.task(tmp_path, "trainer.on_bad_sample=skip")
    skipped = list(task.predict(model, [family.inputs[0], "no tab"]))
    assert skipped[1].text == "" and "no tab" in skipped[1].details["error"]
    rows = list(task.predict(model, [("Where?", "Ann lives\tin Oslo.")]))
    assert rows[0].text in "Ann lives\tin Oslo."


def asked(*inputs: str, top: int = 0, on_long: str = "", **decode) -> PredictionArguments:
    return PredictionArguments(Path("r"), list(inputs), decode, (), "", on_long, False, None, "auto", "", top)


@pytest.mark.parametrize("depth", [0, 1])
def test_advice_for_an_option_without_effect_gives_it_one(depth, tmp_path):
    def without_effect(name: str, method: str) -> str:
        more = (f"decode.method={method}", f"model.decoder_depth={depth}", "decode.beam=5")
        return tasks.build(speech.config(tmp_path, *more)).predictor.unused(name)

    speech = next(family for family in FAMILIES if family.name == "conformer")
    assert "add decode.method=prefix" in without_effect("beam", "greedy") and not without_effect("beam", "prefix")
    for method in ("greedy", "prefix"):
        assert ("add decode.method=joint" in without_effect("length_penalty", method)) == bool(depth)
    assert not depth or not without_effect("length_penalty", "joint")
    assert "there is no language model" in without_effect("language_model_weight", "prefix")
    assert without_effect("word_bonus", "greedy").endswith("add decode.method=prefix")
    assert not without_effect("word_bonus", "prefix") and without_effect("ctc_weight", "prefix")


@pytest.mark.parametrize(
    "setting",
    [
        "optim.lr=1",
        "generator_optim.lr=1",
        "augment.mixup=1",
        "regularise.consistency=1",
        "trainer.steps=3",
        "trainer.ema=0.9",
        "trainer.average=last",
        "trainer.accumulate=2",
        "trainer.evaluate_limit=2",
        "data.balance=1",
    ],
)
def test_settings_of_training_are_refused_on_a_trained_model(setting):
    with pytest.raises(ConfigError, match="has no effect on a trained model"):
        check_trained(["decode.beam=2", "data.batch_tokens=9", setting])
    check_trained(["trainer.threads=1", "trainer.metric=loss", "data.test=x", "evaluation.classifier=x"])


@by_name(FAMILIES)
def test_options_that_mean_nothing_are_refused(family, tmp_path):
    task = tasks.build(family.config(tmp_path))
    labels = "top" in task.predictor.options
    searches = "beam" in task.predictor.options
    for given, fits in ((asked(top=3), labels), (asked(beam=3), searches), (asked("decode.beam=3"), searches)):
        if fits:
            check_options(task, given, translating=False)
        else:
            with pytest.raises(ConfigError, match=r"(--top|--beam|decode.beam) has no effect on a run of"):
                check_options(task, given, translating=False)
    if not task.predictor.translates:
        with pytest.raises(RunError, match="which does not translate: tformer predict r"):
            check_options(task, asked(), translating=True)
    if task.predictor.on_long is None:
        with pytest.raises(ConfigError, match="--on-long has no effect"):
            check_options(task, asked(on_long="cut"), translating=False)
    else:
        with pytest.raises(ConfigError, match="--on-long: 'no' is not one of error, cut, skip"):
            check_options(task, asked(on_long="no"), translating=False)
        use_options(task, asked(on_long="skip"))
        assert task.predictor.on_long is OnLong.skip


@pytest.mark.parametrize(
    ("name", "settings", "given", "reason"),
    [
        ("translation", [], asked(temperature=0.5), "--temperature has no effect: it is for sampling"),
        ("gpt", ["decode.beam=5", "decode.sample=true"], asked(beam=2), "--beam has no effect: it is for searching"),
        ("gpt", [], asked("decode.top_p=0.9"), "decode.top_p has no effect"),
        (
            "conformer",
            ["model.decoder_depth=0", "decode.beam=5"],
            asked(beam=2),
            "--beam has no effect: greedy decoding",
        ),
        (
            "conformer",
            ["decode.method=prefix"],
            asked(max_length=2),
            "--max-length has no effect: decode.method=prefix",
        ),
    ],
)
def test_options_without_effect_are_refused(name, settings, given, reason, tmp_path):
    family = family_named(name)
    with pytest.raises(ConfigError, match=reason):
        check_options(tasks.build(family.config(tmp_path, *settings)), given, translating=False)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("translation", ["decode.temperature=0.5"], "decode.temperature has no effect: it is for sampling"),
        ("gpt", ["decode.seed=2"], "decode.seed has no effect: it is for sampling.*: add decode.sample=true"),
        ("gpt", ["decode.sample=true", "decode.beam=2"], "decode.beam has no effect: it is for searching"),
        ("captions", ["decode.top_k=3"], "decode.top_k has no effect: it is for sampling"),
        (
            "conformer",
            ["decode.method=prefix", "decode.max_length=2"],
            "decode.max_length has no effect: decode.method",
        ),
    ],
)
def test_settings_of_another_search_are_refused_in_evaluations(name, settings, reason, tmp_path):
    task = tasks.build(family_named(name).config(tmp_path))
    with pytest.raises(ConfigError, match=reason):
        check_settings(task, settings)


def test_settings_of_sampling_are_accepted_with_it(tmp_path):
    check_settings(tasks.build(family_named("gpt").config(tmp_path)), ["decode.sample=true", "decode.top_k=3"])


def test_numbers_have_no_likeliest_labels(tmp_path):
    family = family_named("text classification")
    with pytest.raises(ConfigError, match="--top has no effect"):
        check_options(tasks.build(family.config(tmp_path, "data.target=number")), asked(top=2), translating=False)


def test_hidden_tokens_by_either_name(tmp_path):
    family = family_named("bert")
    task = family.task(tmp_path)
    model = task.model().eval()
    own_name, bert_name, none = task.predict(model, ["a <mask>", "a [MASK]", "no word"])
    assert own_name.text == bert_name.text and own_name.details["fillings"] == bert_name.details["fillings"]
    assert none.text == "no word" and "no <mask>" in none.details["note"]
    use_options(task, asked(top=7))
    (answer,) = task.predict(model, ["a <mask>"])
    assert len(answer.details["fillings"][0]) == 7
