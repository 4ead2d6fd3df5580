"""translate and predict: one answer a line, in order, whatever the bytes."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tformer_cli.cli.arguments import is_setting
from tformer_cli.cli.main import main
from tformer_cli.cli.media_inputs import media
from tformer_cli.cli.prediction_output import Notes, as_rows, in_order
from tformer_cli.cli.reading import Line
from tformer_cli.config.compose import compose, to_yaml
from tformer_cli.config.schema import ImageDataConfig
from tformer_cli.errors import DataError, RunError
from tformer_cli.predictors.base import Prediction
from tformer_cli.predictors.media import ImageFiles


def of(line: str) -> Line:
    return Line(line, "place", line)


def stdin(monkeypatch, data: bytes, terminal: bool = False) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: terminal))


@pytest.mark.parametrize("verb", ["translate", "predict"])
def test_lines_come_back_in_order_and_empty_ones_stay_empty(verb, stand_ins, monkeypatch, capfdbinary):
    stdin(monkeypatch, "\n\na\r\nb\n \nü\n日本\nlast".encode())
    assert main([verb, "r"]) == 0
    assert capfdbinary.readouterr() == ("\n\nA\nB\n\nÜ\n日本\nLAST\n".encode(), b"")
    assert stand_ins.task.asked == [
        "",
        "",
        "a",
        "b",
        " ",
        "ü",
        "日本",
        "last",
    ]  # so that its line numbers are ours


def test_only_line_feeds_end_lines(stand_ins, monkeypatch, capfdbinary):
    stdin(monkeypatch, "\ufeffa\u2028b\x0bc\x85d\x0ce\rf\n\n\n".encode())
    assert main(["translate", "r"]) == 0
    assert capfdbinary.readouterr().out == "A\u2028B\x0bC\x85D\x0cE F\n\n\n".encode()


def test_a_seed_is_that_of_sampling(stand_ins, capsys):
    assert main(["predict", "r", "a text", "--seed", "3", "decode.sample=true"]) == 0
    assert "decode.seed=3" in stand_ins.open_run[-1].overrides and capsys.readouterr().out == "A TEXT\n"


def test_the_seed_of_training_is_refused(stand_ins, capsys):
    assert main(["predict", "r", "a text", "seed=3"]) == 2
    message = "seed has no effect on predictions: decode.seed=N draws other samples"
    assert capsys.readouterr().err == f"error: {message}\n" and not stand_ins.open_run


def test_no_input_gives_no_output(stand_ins, monkeypatch, capfdbinary):
    stdin(monkeypatch, b"")
    assert main(["translate", "r"]) == 0
    assert capfdbinary.readouterr() == (b"", b"standard input is empty: there is nothing to predict\n")
    Path("empty.txt").touch()
    assert main(["translate", "r", "empty.txt"]) == 0
    assert capfdbinary.readouterr() == (b"", b"")


def test_files_settings_and_options(stand_ins, capsys, monkeypatch):
    Path("one").write_text("a\n")
    Path("two").write_text("b")
    stdin(monkeypatch, b"in\n")
    options = ["--beam", "7", "--n-best", "2", "--batch", "5", "--device", "cpu", "--checkpoint", "latest"]
    assert main(["translate", "r", "one", "-", "two", "decode.length_penalty=0.5", *options]) == 0
    assert capsys.readouterr().out == "A 0\nA 1\nIN 0\nIN 1\nB 0\nB 1\n"
    (call,) = stand_ins.open_run
    assert (call.path, call.device, call.checkpoint) == (Path("r"), "cpu", "latest")
    assert call.overrides == [
        "decode.length_penalty=0.5",
        "decode.beam=7",
        "decode.n_best=2",
        "decode.batch=5",
    ]


def test_n_best_always_gives_as_many_lines(stand_ins, monkeypatch, capsys):
    stdin(monkeypatch, b"a\n\nb\n")
    assert main(["translate", "r", "--n-best", "3"]) == 0
    assert capsys.readouterr().out == "A 0\nA 1\n\n\n\n\nB 0\nB 1\n\n"


def test_json_has_one_object_a_line(stand_ins, monkeypatch, capsys):
    stdin(monkeypatch, "ü\n\n".encode())
    assert main(["translate", "r", "--json", "--n-best", "2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {
        "input": "ü",
        "text": "Ü",
        "score": -1.5,
        "hypotheses": [{"text": "Ü 0", "score": 0}, {"text": "Ü 1", "score": -1}],
    }
    assert json.loads(second) == {"input": "", "text": ""}


def test_an_answer_with_a_line_break_stays_one_line(stand_ins, monkeypatch, capsys):
    stand_ins.task.answer = lambda line: Prediction("a\nb\r\nc")
    stdin(monkeypatch, b"x\n")
    assert main(["translate", "r"]) == 0
    assert capsys.readouterr().out == "a b  c\n"


def test_output_goes_to_a_file_only_once_the_run_is_open(stand_ins, monkeypatch, capsys):
    stdin(monkeypatch, "ü\n".encode())
    assert main(["translate", "r", "--output", "out"]) == 0
    assert Path("out").read_bytes() == "Ü\n".encode()
    assert capsys.readouterr().out == ""
    assert main(["translate", "r", "nothing", "--output", "out"]) == 1
    assert Path("out").read_bytes() == "Ü\n".encode()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a\nb\xff\n", "error: standard input:2: not UTF-8: byte 2 of the line is 0xff: "),
        (b"a\0\n", "error: standard input:1: a NUL byte: "),
        ("a\n".encode("utf-16"), "error: standard input: the text is UTF-16: "),
    ],
)
def test_bad_bytes_are_named(data, line, stand_ins, monkeypatch, capsys):
    stdin(monkeypatch, data)
    assert main(["translate", "r"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_files_are_looked_for_before_the_model_is_loaded(stand_ins, capsys):
    assert main(["translate", "r", "nothing"]) == 1
    remedy = 'to translate a text: tformer predict r "nothing", or give it on standard input'
    assert capsys.readouterr().err == f"error: nothing: no such file: {remedy}\n"
    assert main(["translate", "r", "nothing.txt"]) == 1
    assert capsys.readouterr().err == "error: nothing.txt: no such file: check the path\n"
    assert stand_ins.open_run == []


@pytest.mark.parametrize("item", ["the dog sleeps", "photo.txt"])
def test_a_run_that_does_not_translate_is_named_before_a_missing_file(item, stand_ins, capsys):
    Path("photos").mkdir()
    Path("photos/config.yaml").write_text(to_yaml(compose("quickstart/vit", [])))
    assert main(["translate", "photos", item]) == 1
    cause = "photos is a run of image_classification, which does not translate"
    assert capsys.readouterr().err == f"error: {cause}: tformer predict photos\n"
    assert stand_ins.open_run == []


def test_a_mistaken_setting_is_answered(stand_ins, capsys):
    assert main(["translate", "r", "decode.beem=3"]) == 2
    assert capsys.readouterr().err == "error: unknown setting 'decode.beem': did you mean 'decode.beam'?\n"


def test_a_file_may_look_like_a_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_setting("decode.beam=3") and is_setting("seed=3") and not is_setting("seed=x")
    Path("decode.beam=3").touch()
    assert not is_setting("decode.beam=3")
    assert not is_setting("a=b")
    assert not is_setting("file.txt")


def test_answers_come_as_soon_as_they_are_there():
    read = []

    def lines():
        for line in ["a", "", "b", "c"]:
            read.append(line)
            yield of(line)

    def one_by_one(spoken):
        for line in spoken:
            yield line.upper()

    answers = in_order(lines(), one_by_one)
    assert next(answers) == (of("a"), "A")
    assert read == ["a"]
    assert list(answers) == [(of(""), ""), (of("b"), "B"), (of("c"), "C")]


def test_someone_who_types_is_answered_line_by_line():
    read = []

    def lines():
        for line in ["a", "", "b"]:
            read.append(line)
            yield of(line)

    def reading_ahead(spoken):
        yield from [line.upper() for line in spoken]

    answers = in_order(lines(), reading_ahead, at_once=True)
    assert (next(answers), read) == ((of("a"), "A"), ["a"])
    assert list(answers) == [(of(""), ""), (of("b"), "B")]


def test_a_file_is_named_before_each_answer_and_silence_is_one_too(capsys):
    def answer(text: str, **details):
        return Prediction(text, details)

    several = [{"text": "one"}, {"text": "won"}]
    assert as_rows(of("a.wav"), answer("one"), 1, 0) == "a.wav\tone\n"
    assert as_rows(of("a.wav"), answer(""), 1, 0) == "a.wav\t\n"
    assert as_rows(of("a.wav"), answer("one", hypotheses=several), 3, 0) == "a.wav\tone\na.wav\twon\n"
    assert (
        as_rows(of("a.png"), answer("x", probabilities={"x": 0.75, "y": 0.25}), 1, 5)
        == "a.png\tx\t0.7500\na.png\ty\t0.2500\n"
    )
    assert as_rows(of("b.wav"), answer("", error="b.wav: empty (0 bytes)"), 1, 0) == ""
    assert (
        as_rows(of("a.png"), answer("a\x0bb\x85c\u2028d\t0.5"), 1, 0) == "a.png\ta\x0bb\x85c\u2028d\t0.5\n"
    )  # one line
    assert as_rows(of("a\nb\t.wav"), answer("one"), 1, 0) == "a\\nb\\t.wav\tone\n"


def test_all_files_are_looked_for_before_the_first_is_answered(tmp_path):
    (tmp_path / "one.wav").touch()
    task = SimpleNamespace(predictor=SimpleNamespace(files=ImageFiles(ImageDataConfig(), [])))
    with pytest.raises(DataError, match=r"two.wav: no such file or folder: this run reads images: give their paths"):
        media(task, [tmp_path / "one.wav", tmp_path / "two.wav"], ())
    assert [line.value for line in media(None, [tmp_path / "one.wav"], ())] == [str(tmp_path / "one.wav")]


NAN = float("nan")


@pytest.mark.parametrize(
    "details", [{"probabilities": {"a": NAN}}, {"fillings": [[{"probability": NAN}]]}, {"number": NAN}]
)
def test_a_model_whose_numbers_overflow_gives_an_error_and_no_answer(details):
    with pytest.raises(RunError, match="place: the model's output is not finite: .*--checkpoint"):
        Notes().of(of("a"), SimpleNamespace(text="x", details=details))
    fine = SimpleNamespace(text="x", details={"probabilities": {"a": 0.5}, "score": None, "words": ["nan"]})
    assert Notes().of(of("a"), fine) is fine


def test_blank_lines_of_standard_input_name_no_folder(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n  \r\n\t\n")))
    assert list(media(None, [], ())) == []


def test_an_empty_path_is_not_the_current_folder(tmp_path, capsys, monkeypatch):
    run = tmp_path / "vit"
    settings = ["trainer.steps=1", "trainer.minutes=0", "data.size=20", "model.depth=1", "trainer.evaluate_every=0"]
    assert main(["pretrain", "quickstart/vit", *settings, "trainer.threads=1", "-q", "--run", str(run)]) == 0
    capsys.readouterr()
    assert main(["predict", str(run), ""]) == 2
    assert "the path of an input is empty: give a path" in capsys.readouterr().err
    assert main(["evaluate", str(run), "data.test=mine"]) == 1
    assert "data.test=mine has no effect on built-in data" in capsys.readouterr().err
