"""recipes, evaluate, tokenize, export, runs, quickstart, doctor and the table they print."""

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tformer_cli.builtin import parallel
from tformer_cli.cli.main import main
from tformer_cli.cli.output import table
from tformer_cli.cli.summary import find_runs, last_step, summarise
from tformer_cli.config.compose import compose
from tformer_cli.config.recipes import find, names, recipes
from tformer_cli.errors import install_command
from tformer_cli.tasks.demos import DEMOS
from tformer_cli.trained.groups import Group


def test_recipes_are_listed_and_shown_as_they_are(capfdbinary):
    assert main(["recipes"]) == 0
    listed = capfdbinary.readouterr().out.decode().splitlines()
    assert [line.split()[0] for line in listed[1:]] == names()
    for info, line in zip(recipes(), listed[1:], strict=True):
        assert info.description in line and line.endswith(info.header.get("expected", ""))
    assert main(["recipes", "--json"]) == 0
    records = list(map(json.loads, capfdbinary.readouterr().out.splitlines()))
    assert [record["recipe"] for record in records] == names()
    assert records[0]["command"].startswith("tformer ") and records[0]["description"] == recipes()[0].description
    assert main(["recipes", "show", "translation/files"]) == 0
    assert capfdbinary.readouterr().out == find("translation/files").read_bytes()
    assert main(["recipes", "show", "translation/file"]) == 2
    assert b"did you mean 'translation/files'?" in capfdbinary.readouterr().err


def test_evaluate_prints_tables_or_json(stand_ins, capsys):
    assert main(["evaluate", "r", "--split", "validation", "data.test=x", "--checkpoint", "best"]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "metric  value  signature\nbleu    39.50  nrefs:1|[x]\nloss     1.25\n\n"
        "by length\nwords   bleu\n1-10   40.00\n11-20  35.12\n"
    )
    assert err == "saved in r/e.json\n"
    (call,) = stand_ins.evaluate
    assert (call.split, call.overrides, call.checkpoint) == ("validation", ["data.test=x"], "best")
    assert main(["evaluate", "r", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {
        "scores": {"bleu": 39.5, "loss": 1.25},
        "signatures": {"bleu": "nrefs:1|[x]"},
        "path": "r/e.json",
    }


def test_predictions_are_written_although_nobody_reads_the_scores(stand_ins, monkeypatch, capsys):
    def nobody(text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("tformer_cli.cli.output.result", nobody)
    assert main(["evaluate", "r", "--predictions", "all.jsonl"]) == 141
    assert Path("all.jsonl").exists()


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "checkpoints/mine.jsonl", "link.jsonl"])
def test_an_output_never_replaces_a_file_of_a_run(name, stand_ins, capsys):
    Path("r/checkpoints").mkdir(parents=True)
    for file_name in ("config.yaml", "metrics.jsonl"):
        Path("r", file_name).write_text("kept")
    Path("r/link.jsonl").symlink_to("metrics.jsonl")
    assert main(["predict", "r", "a text", "--output", f"r/{name}"]) == 1
    assert f"error: r/{name} is a file of a run, which would be lost: choose another name" in capsys.readouterr().err
    if name.endswith("jsonl"):
        assert main(["evaluate", "r", "--predictions", f"r/{name}"]) == 1
    assert Path("r/metrics.jsonl").read_text() == "kept"
    assert main(["evaluate", "r", "--predictions", "r/mine.jsonl"]) == 0
    assert main(["evaluate", "r", "--predictions", "r/mine.jsonl"]) == 0  # the user's own file, again


def test_json_holds_the_notes_of_an_evaluation_too(capsys):
    from tformer_cli.cli.evaluate import show
    from tformer_cli.evaluators.base import Evaluation
    from tformer_cli.trained.evaluate import Report

    show(Report(Evaluation({"bleu": 1.0}, notes=["BLEU over characters"]), Path("r/e.json"), []), as_json=True)
    assert json.loads(capsys.readouterr().out)["notes"] == ["BLEU over characters"]


def test_a_column_of_signatures_is_there_only_with_signatures(stand_ins, capsys, monkeypatch):
    evaluate_run = sys.modules["tformer_cli.trained.evaluate"].evaluate_run

    def unsigned(*arguments, **named):
        report = evaluate_run(*arguments, **named)
        report.evaluation.signatures, report.evaluation.tables = {}, []
        report.evaluation.predictions = [{"text": "a, b", "reference": "x", "prediction": "y"}]
        return report

    monkeypatch.setattr(sys.modules["tformer_cli.trained.evaluate"], "evaluate_run", unsigned)
    assert main(["evaluate", "r", "--predictions", "p.csv"]) == 0
    out, err = capsys.readouterr()
    assert out == "metric  value\nbleu    39.50\nloss     1.25\n"
    assert err == "saved in r/e.json\n1 predictions in p.csv\n"
    assert Path("p.csv").read_bytes() == b'text,reference,prediction\n"a, b",x,y\n'
    for place, error in (("p.xlsx", "not the name of a table"), ("none/p.csv", "there is no folder")):
        assert main(["evaluate", "r", "--predictions", place]) != 0
        assert error in capsys.readouterr().err
    assert main(["evaluate", "r", "--split", "dev"]) == 2
    assert capsys.readouterr().err.startswith("error: --split: 'dev' is not one of train, validation, test: did you")


def test_export_checks_its_arguments(stand_ins, capsys):
    assert main(["export", "r", "--to", "onnx", "--output", "o"]) == 2
    assert capsys.readouterr().err == "error: --to: 'onnx' is not one of huggingface, timm\n"
    Path("full").mkdir()
    Path("full/x").touch()
    assert main(["export", "r", "--output", "full"]) == 1
    assert "full already exists" in capsys.readouterr().err
    assert main(["export", "r", "--output", "o"]) == 0
    assert stand_ins.export == [(Path("r"), Path("o"))]


def make_run(folder: Path, recipe: str, **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"task: translation\nrecipe: {recipe}\n")
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_runs_are_listed_with_what_they_reached(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = json.dumps({"metric": "bleu", "best": 39.5, "step": 900, "minutes": 59.9})
    make_run(Path("runs/a/1"), "x/a", result_json=result, metrics_jsonl='{"step": 5}\n')
    make_run(Path("runs/b"), "x/b", metrics_jsonl='{"step": 5}\n{"step": 10, "val/bleu": 1.5}\n{"st')
    make_run(Path("runs/b/checkpoints/step-1"), "x/b")
    make_run(Path("runs/c"), "x/c", result_json="[" * 100_000)
    assert main(["runs"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["runs/a/1", "x/a", "900", "bleu", "39.50", "59.90", "finished"],
        ["runs/b", "x/b", "10", "-", "-", "-", "unfinished"],
        ["runs/c", "x/c", "-", "-", "-", "-", "unfinished"],
    ]
    assert main(["runs", "runs/b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 10
    assert main(["runs", "nothing"]) == 1
    assert capsys.readouterr().err.startswith("error: nothing: no such folder")


def test_runs_show_the_score_of_the_test_split(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = json.dumps({"metric": "bleu", "best": 39.5, "step": 900, "minutes": 59.9})
    run = make_run(Path("runs/a"), "x/a", result_json=result)
    make_run(Path("runs/b"), "x/b", result_json=result)
    (run / "evaluation").mkdir()
    record = {"checkpoint": "step-00000900", "scores": {"bleu": 37.25, "loss": 2.0}}
    (run / "evaluation" / "test.json").write_text(json.dumps(record))
    assert main(["runs"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["run", "recipe", "step", "metric", "best", "test", "minutes", "state"],
        ["runs/a", "x/a", "900", "bleu", "39.50", "37.25", "59.90", "finished"],
        ["runs/b", "x/b", "900", "bleu", "39.50", "-", "59.90", "finished"],
    ]
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best").write_text("step-00000900")
    assert summarise(run).test == 37.25
    (run / "checkpoints" / "best").write_text("step-00000800")  # scored before the run continued
    assert summarise(run).test is None
    (run / "evaluation" / "test.json").write_text('{"scores": [1]}')
    assert summarise(run).test is None


def test_runs_show_the_step_of_the_newest_checkpoint(tmp_path):
    run = make_run(tmp_path / "r", "x", metrics_jsonl='{"step": 50}\n')
    assert summarise(run).step == 50
    for name in ("step-00000060", "step-00000070", ".step-00000080.writing", "best", "averaged"):
        (run / "checkpoints" / name).mkdir(parents=True)
    assert summarise(run).step == 70


def test_runs_show_the_scores_of_an_unfinished_run(tmp_path, capsys):
    run = make_run(tmp_path / "r", "x")
    for step, best in ((60, 21.5), (70, 25.25)):
        state = {"step": step, "seconds": 90.0, "metric": "bleu", "best": best, "best_step": 60, "score": 20.0}
        (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
        (run / "checkpoints" / f"step-{step:08d}" / "state.json").write_text(json.dumps(state))
    (run / "evaluation").mkdir()
    (run / "evaluation" / "test.json").write_text('{"checkpoint": "step-00000060", "scores": {"bleu": 24.0}}')
    (run / "checkpoints" / "best").write_text("step-00000060")
    assert main(["runs", str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[1:] == ["x", "70", "bleu", "25.25", "24.00", "1.50", "unfinished"]
    (run / "checkpoints" / "step-00000070" / "state.json").write_text('{"step')
    summary = summarise(run)
    assert (summary.best, summary.step, summary.finished) == (None, 70, False)


def test_a_damaged_run_is_still_listed(tmp_path):
    run = make_run(tmp_path / "r", "x")
    (run / "config.yaml").write_bytes(b"\xff")
    assert summarise(run).recipe is None
    assert last_step(run) is None
    assert find_runs(tmp_path) == [run]


def test_quickstart_trains_translates_scores_and_says_what_next(stand_ins, capsys):
    assert main(["quickstart", "translation", "--minutes", "0.5", "--run", "q"]) == 0
    out, err = capsys.readouterr()
    (call,) = stand_ins.launch
    trainer = call.config.trainer
    assert (trainer.minutes, trainer.steps, call.run) == (0.5, 0, Path("q"))
    assert trainer.evaluate_limit == 20
    source, reference = parallel("en-ja", "test", size=1)[0]
    assert f"{source} -> {source.upper()} (should be {reference})" in out
    assert f'echo "{source}" | tformer translate q' in err
    assert "bleu" in out
    assert main(["quickstart", "--minutes", "-1"]) == 2
    assert capsys.readouterr().err == "error: --minutes: -1 is not positive: give more than 0, as --minutes 1\n"


def test_quickstart_limits_the_recipe_to_minutes_unless_all_steps_are_asked_for(stand_ins, capsys):
    assert main(["quickstart", "translation", "--run", "short"]) == 0
    assert main(["quickstart", "translation", "--run", "all", "--full"]) == 0
    short, all_steps = (call.config.trainer for call in stand_ins.launch)
    assert all_steps == compose("quickstart/translation", []).trainer and all_steps.minutes == 0
    assert short == replace(all_steps, minutes=DEMOS["translation"].minutes) and 0 < short.minutes <= 1
    assert sum(demo.minutes for demo in DEMOS.values()) <= 4, "a minute of five is left for all but training"
    err = capsys.readouterr().err
    assert err.count("tformer quickstart translation --full") == 1
    assert main(["quickstart", "--full", "--minutes", "1"]) == 2
    assert "--full and --minutes both set the length of training: give one of them" in capsys.readouterr().err


def test_quickstart_says_which_budget_was_used_and_what_the_recipe_reaches(stand_ins, monkeypatch, capsys):
    launch = sys.modules["tformer_cli.train.launch"]
    trained = launch.launch

    def trained_for_640_steps(config, run, **settings):
        trained(config, run, **settings)
        (run / "metrics.jsonl").write_text('{"step": 640}\n', encoding="utf-8")

    monkeypatch.setattr(launch, "launch", trained_for_640_steps)
    assert main(["quickstart", "translation", "--run", "q"]) == 0
    err = capsys.readouterr().err
    header = next(info.header for info in recipes() if info.name == "quickstart/translation")
    assert "this run: 640 steps; its limit was 1,200 steps or 1 minute, whichever is first\n" in err
    assert f"all 1,200 steps of the recipe: {header['expected']}\n" in err
    assert f"in {header['time']}, on {header['hardware']}; measured {header['measured']}\n" in err


def test_quickstart_shows_each_family_in_turn(stand_ins, monkeypatch, capsys):
    from tformer_cli.cli import quickstart

    for name, demo in quickstart.DEMOS.items():
        monkeypatch.setitem(
            quickstart.DEMOS, name, replace(demo, examples=lambda opened, name=name: ([], f"of {name}"))
        )
    assert main(["quickstart", "--run", "q"]) == 0
    assert [call.run for call in stand_ins.launch] == [
        Path("q", name) for name in ("translation", "bert", "gpt", "vit", "conformer")
    ]
    assert [call.config.recipe for call in stand_ins.launch] == [f"quickstart/{name}" for name in quickstart.DEMOS]
    err = capsys.readouterr().err
    assert "[3/5] gpt: a language model" in err and 'tformer predict q/bert "of bert"' in err
    assert "  tformer quickstart --full    # train all steps of the recipes\n" in err
    assert main(["quickstart", "gpt", "bert", "gpt"]) == 0
    assert [str(call.run) for call in stand_ins.launch[5:]] == ["runs/quickstart/gpt/001", "runs/quickstart/bert/001"]
    assert main(["quickstart", "music"]) == 2
    assert "quickstart has no family 'music'" in capsys.readouterr().err


def test_quickstart_compares_models_of_one_recipe_only_when_asked_to(stand_ins, monkeypatch, capsys):
    compared = []

    def compare_runs(runs, split, *, metric, by, say):
        compared.append((runs, split, metric, by))
        entries = [
            SimpleNamespace(run=str(run), score=score, resampled=None, parameters=9, minutes=1, examples_per_second=0)
            for score, run in enumerate(runs)
        ]
        groups = [Group(name, 5, [1, 2, 3, 4], [(0, 5)] * 4) for name in ("1-4", "5-9")]
        return SimpleNamespace(
            runs=entries,
            groups=groups,
            metric=metric,
            split=split,
            by=by,
            lower_is_better=False,
            notes=["speeds of two machines"],
        )

    monkeypatch.setitem(sys.modules, "tformer_cli.trained.compare", SimpleNamespace(compare_runs=compare_runs))
    assert main(["quickstart", "lineage", "--run", "q"]) == 0
    names = ["fixed", "peeky", "bahdanau", "transformer"]
    assert [call.run for call in stand_ins.launch] == [Path("q", name) for name in names]
    assert compared == [([Path("q", name) for name in names], "test", "exact_match", "length")]
    configs = [call.config for call in stand_ins.launch]
    assert {config.recipe for config in configs} == {"quickstart/lineage"}
    assert len({config.trainer.minutes for config in configs}) == 1 and configs[0].trainer.minutes <= 1
    assert [config.model.family for config in configs] == [*["recurrent_seq2seq"] * 3, "seq2seq"]
    assert [getattr(config.model, "peeky", False) for config in configs] == [False, True, False, False]
    captured = capsys.readouterr()
    assert "speeds of two machines" in captured.err
    assert "exact_match by length" in captured.out and "q/transformer" in captured.out
    assert Path("q/length.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "tformer translate" not in captured.err, "next commands of demonstrations"
    assert main(["quickstart", "lineage", "--minutes", "0.1", "--run", "short", "--quiet"]) == 0
    assert {call.config.trainer.minutes for call in stand_ins.launch[4:]} == {0.1}
    assert main(["quickstart", "lineage", "--full"]) == 2
    assert "the models of lineage train for the same minutes" in capsys.readouterr().err


def test_quickstart_leaves_out_what_needs_a_library_that_is_not_there(stand_ins, monkeypatch, capsys):
    from tformer_cli.cli import quickstart

    for name, demo in quickstart.DEMOS.items():
        changed = replace(demo, examples=lambda opened: ([], "x"), needs="no_such_library" if name == "vit" else "")
        monkeypatch.setitem(quickstart.DEMOS, name, changed)
    assert main(["quickstart", "--run", "q"]) == 0
    assert [call.run for call in stand_ins.launch] == [
        Path("q", name) for name in ("translation", "bert", "gpt", "conformer")
    ]
    assert f"vit is skipped: it needs no_such_library ({install_command('demo')})" in capsys.readouterr().err
    assert main(["quickstart", "vit"]) == 2
    assert "vit needs no_such_library, which is not installed: pip install" in capsys.readouterr().err


def test_doctor_says_what_is_here(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("tformer", "python", "torch", "device", "threads", "free disk space"):
        assert word in out


def test_doctor_names_what_is_missing(capsys, monkeypatch):
    from tformer_cli.cli import doctor

    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(doctor, "_machine", list)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("error: missing: no-such-package")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"{a}{b} {c}" for a in "kstnhmr" for b in "aiueo" for c in ("the cat", "a dog", "über")]
    Path("train.en").write_text("\n".join(words * 3), encoding="utf-8")
    Path("train.de").write_text("\n".join(word.upper() for word in words * 3), encoding="utf-8")
    assert main(["tokenize", "train", "train.en", "train.de", "-o", "tok", "--vocab-size", "50"]) == 0


def pipe(monkeypatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode()), isatty=lambda: False))


def test_tokenize_encodes_and_decodes_what_it_trained(trained, monkeypatch, capsys):
    capsys.readouterr()
    Path("text").write_text("ka the cat\n\nno dog\n")
    assert main(["tokenize", "encode", "tok", "text"]) == 0
    pieces = capsys.readouterr().out.split("\n")
    assert "".join(pieces[0].split()).replace("\u2581", " ").strip() == "ka the cat"
    assert pieces[1] == ""
    assert main(["tokenize", "encode", "tok", "text", "--ids"]) == 0
    pipe(monkeypatch, capsys.readouterr().out)
    assert main(["tokenize", "decode", "tok"]) == 0
    assert capsys.readouterr().out == "ka the cat\n\nno dog\n"


def test_tokenize_info_and_hash(trained, capsys):
    capsys.readouterr()
    assert main(["tokenize", "info", "tok", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["vocab_size"], facts["languages"]) == ("unigram", 50, "joint")
    assert (facts["pad_id"], facts["unk_id"], facts["bos_id"], facts["eos_id"]) == (0, 1, 2, 3)
    assert len(facts["hash"]) == 64
    assert main(["tokenize", "info", "tok"]) == 0
    assert facts["hash"] in capsys.readouterr().out


def test_tokenize_separate_vocabularies(trained, capsys):
    arguments = ["tokenize", "train", "train.en", "train.de", "--separate", "--vocab-size", "28", "-o"]
    assert main([*arguments, "two"]) == 0
    capsys.readouterr()
    assert main(["tokenize", "info", "two", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["vocab_size"]) == {"en", "de"}
    assert main(["tokenize", "train", "train.en", "--separate", "-o", "three"]) == 2
    assert "--separate needs files of two languages" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "train.en", "-o", "tok"], "error: tok already exists"),
        (["train", "nothing", "-o", "new"], "error: nothing: no such file"),
        (
            ["train", "train.en", "-o", "new", "--kind", "word"],
            "error: kind: 'word' is not one of unigram, bpe, char",
        ),
        (["train", "train.en", "-o", "new", "--vocab-size", "2"], "error: vocab_size: 2 is "),
        (["decode", "tok", "ids"], "error: line 1: 'x' is not an id below 50"),
        (["encode", "tok", "nothing"], "error: nothing: no such file"),
        (["info", "nothing"], "error: nothing: "),
    ],
)
def test_tokenize_answers_mistakes_in_one_line(trained, arguments, line, capsys):
    capsys.readouterr()
    Path("ids").write_text("5 x\n")
    assert main(["tokenize", *arguments]) != 0
    err = capsys.readouterr().err
    assert err.startswith(line)
    assert err.count("\n") == 1
    assert not Path("new").exists()


def test_tokenize_alone_says_what_it_can(capsys):
    assert main(["tokenize"]) == 0
    assert "encode" in capsys.readouterr().out


def test_tables_line_up_wide_characters_and_numbers(capsys):
    table(("名", "n"), [("日本", 5), ("abc", 12)])
    assert capsys.readouterr().out == "名     n\n日本   5\nabc   12\n"
    table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


def test_tables_are_drawn_on_a_terminal_without_markup(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    table(("a", "b"), [("[red]x[/red]", 1.5)], title="t")
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert not re.search(r"\x1b\[(3[0-7]|9[0-7])", out)  # colours; bold and italics stay
    assert "1.50" in out
