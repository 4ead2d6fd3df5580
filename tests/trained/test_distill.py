"""Distilled text: what `translate` writes, line by line, whole or not there, and the same after an interruption."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.properties.families import SENTIMENT, SMALL, family_named
from tests.trained.test_compare import shorten
from tformer_cli import machine
from tformer_cli.builtin import parallel
from tformer_cli.cli import distill as distill_command
from tformer_cli.cli.main import main
from tformer_cli.config.compose import compose
from tformer_cli.data.text.parallel import read_parallel
from tformer_cli.decode.shortlist import FILE
from tformer_cli.errors import RunError
from tformer_cli.predictors import text as predictors_text
from tformer_cli.predictors.inputs import windows
from tformer_cli.runs.folder import Lock
from tformer_cli.train.launch import launch
from tformer_cli.trained import distill
from tformer_cli.trained.distill import CARD, distill_run
from tformer_cli.trained.opening import open_run

SEARCH = ["decode.beam=2", "decode.batch=2", "decode.max_length=6", "decode.workers=1"]
FILES = {f"{split}.{language}" for split in ("train", "validation", "test") for language in ("en", "ja")}
EMPTY, LONG = 4, 7
"""Lines of the training split, from 1, that are empty, and longer than the model reads."""


def write_data(folder: Path) -> None:
    """Write 40 training pairs and others; two of the sources have no translation."""
    folder.mkdir()
    for split, size in (("train", 40), ("val", 3), ("test_2016", 3)):
        sources, targets = map(list, zip(*parallel("en-ja", "train", size=size, seed=len(split)), strict=True))
        if split == "train":
            sources[EMPTY - 1], sources[LONG - 1], sources[9] = "", "word " * 400, "The\u2028cat eats.\x0c"
        for language, lines in (("en", sources), ("ja", targets)):
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run and its data."""
    folder, rate = tmp_path_factory.mktemp("project"), machine.product_rate
    write_data(folder / "data")
    machine.product_rate = lambda *_, **__: 1e9
    try:
        settings = ["trainer.evaluate_limit=4", "decode.max_length=6"]
        launch(family_named("translation").config(folder / "cache", *settings), folder / "run", quiet=True)
    finally:
        machine.product_rate = rate
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A current folder with that run and data, and windows of few lines."""
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    monkeypatch.setattr(predictors_text, "WINDOW_BATCHES", 2)
    monkeypatch.setattr(predictors_text, "LARGEST_WINDOW_BATCHES", 4)
    for name in ("run", "data"):
        shutil.copytree(trained / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*more: str, output: str = "out", search: Sequence[str] = SEARCH) -> list[str]:
    settings = ["data.source=files", "data.path=data", *search]
    return ["distill", "run", *settings, "--output", output, "--device", "cpu", *more]


def content(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_the_folder_holds_what_translate_writes_and_trains_a_student(project, capsys):
    assert main(command()) == 0
    printed = capsys.readouterr().err
    assert f"note: longer than the model reads, so their output is empty: 1 (line {LONG})" in printed
    assert printed.endswith("written: out, 40 lines\n")
    assert set(content("out")) == FILES | {CARD} and not Path("out.partial").exists()

    options = ["--beam", "2", "--batch", "2", "--workers", "1", "--on-long", "skip", "--device", "cpu"]
    translated = [*options, "decode.max_length=6", "--output", "answers"]
    assert main(["translate", "run", "data/train.en", *translated]) == 0
    assert content("out")["train.ja"] == Path("answers").read_bytes() and Path("answers").stat().st_size > 100

    pairs = read_parallel(student().data, "train")
    assert list(pairs.sources) == list(read_parallel(student("data.path=data").data, "train").sources)
    assert [number for number, text in enumerate(pairs.targets, 1) if not text][:2] == [EMPTY, LONG]
    for name, other in (("validation", "val"), ("test", "test_2016")):
        assert content("out")[f"{name}.ja"] == Path(f"data/{other}.ja").read_bytes()
    launch(
        student(
            "trainer.steps=2", "trainer.evaluate_limit=2", "decode.max_length=6", f"data.cache={project / 'cache'}"
        ),
        project / "student",
        quiet=True,
    )


def student(*more: str):
    """The configuration of a student that is trained on the text in `out`."""
    needless = "data.size", "tokenizer."
    teacher = [item for item in family_named("translation").settings if not item.startswith(needless)]
    files = ["size=given", "data.path=out", "data.source_language=en", "data.target_language=ja", "tokenizer.path=run"]
    return compose("translation/files", [*SMALL, *teacher, *files, *more])


def test_the_card_says_what_made_it(project):
    assert main(command("--split", "validation")) == 0
    card = json.loads(content("out")[CARD])
    origin = card["origin"]
    assert (
        origin["run"] == "run" and origin["checkpoint"].startswith("step-") and len(origin["checkpoint_sha256"]) == 64
    )
    assert origin["averaged"] == "none" and origin["attention"] and origin["threads"] == torch.get_num_threads()
    assert (origin["split"], origin["decode"]["beam"], origin["decode"]["max_length"]) == ("validation", 2, 6)
    validation = read_parallel(student("data.path=data").data, "validation")
    assert origin["data_sha256"] == validation.hash and set(origin["copied"]) == {"train", "test"}
    assert card["progress"]["lines"] == 3 and set(card["files"]) == FILES
    assert content("out")["train.ja"] == Path("data/train.ja").read_bytes()


@pytest.mark.parametrize("stop", [1, 5, 23, 40])
def test_an_interrupted_command_continues_to_the_same_bytes(project, capsys, stop, monkeypatch):
    assert main(command(output="plain")) == 0
    add = distill.Progress.add

    def interrupted(self, prediction):
        add(self, prediction)
        if self.lines == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distill.Progress, "add", interrupted)
        assert main(command()) == 130
    assert not Path("out").exists() and "the same command continues there" in capsys.readouterr().err
    asked = []
    predict = distill.Opened.predict
    with monkeypatch.context() as patch:
        patch.setattr(
            distill.Opened, "predict", lambda self, inputs: predict(self, (asked.append(1) or x for x in inputs))
        )
        assert main(command()) == 0
    assert len(asked) == 40 - {1: 0, 5: 4, 23: 20, 40: 36}[stop]  # windows of 4, 8, 8, ... lines: 4, 12, 20, 28, 36, 40
    assert content("out") == content("plain") and not Path("out.partial").exists()


def test_samples_continue_as_well(project, monkeypatch):
    """Random numbers depend on the number of a line, also after an interruption."""
    sampled = ["decode.sample=true", "decode.n_best=2", *SEARCH[1:]]  # no beam
    assert main(command(output="plain", search=sampled)) == 0
    finish = distill._finish

    def killed(folder, output, name, origin, progress):
        card = json.loads((folder / CARD).read_text())
        target = (folder / "train.ja").read_bytes().splitlines(keepends=True)[: 2 * 12]
        card["progress"] |= {"lines": 12, "size": len(b"".join(target))}
        card["progress"]["sha256"] = distill.hashlib.sha256(b"".join(target)).hexdigest()
        (folder / CARD).write_text(json.dumps(card))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distill, "_finish", killed)
        assert main(command(search=sampled)) == 130
    assert finish is distill._finish and main(command(search=sampled)) == 0
    assert content("out")["train.ja"] == content("plain")["train.ja"]
    assert content("out")["train.en"].count(b"\n") == content("out")["train.ja"].count(b"\n") == 80
    lines = content("out")["train.en"].splitlines()
    assert lines[::2] == lines[1::2]


def test_a_full_disk_leaves_no_line_that_is_counted_and_not_written(project, capsys, monkeypatch):
    """A limit on the size of files, as of a quota, cuts a write in its middle without an error."""
    longer = ["decode.n_best=4", "decode.beam=4", "decode.max_length=30"]
    assert main(command(*longer, output="plain")) == 0
    complete = content("plain")["train.ja"]
    hard, limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1], len(complete) - 5
    assert limit > 2 * len(content("plain")[CARD]) and b"\n" not in complete[limit : limit + 4]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        assert main(command(*longer)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert "error: " in (printed := capsys.readouterr().err) and "train.ja: File too large" in printed
    card = json.loads(Path("out.partial", CARD).read_text())
    assert card["progress"]["size"] <= Path("out.partial", "train.ja").stat().st_size == limit
    assert main(command(*longer)) == 0
    assert content("out") == content("plain")

    with monkeypatch.context() as patch:
        patch.setattr(distill.Output, "write", lambda self, record: self._stream.write(record[:-1]))
        assert main(command(output="cut")) == 1
    assert "cut.partial/train.ja: does not hold the outputs that were written" in capsys.readouterr().err
    assert not Path("cut").exists()


def test_a_finished_text_is_not_written_again(project, capsys, monkeypatch):
    assert main(command()) == 0
    before = content("out")
    monkeypatch.setattr(distill, "_write_outputs", None)
    assert main(command()) == 0
    assert content("out") == before and capsys.readouterr().err.endswith("was complete: out, 40 lines\n")
    assert main(command("decode.beam=3", "data.test=val")) == 1
    message = "error: out was made with a different copied.test, decode.beam: remove it, or choose another --output\n"
    assert capsys.readouterr().err.endswith(message)


def test_a_finished_text_that_was_changed_is_not_called_complete(project, capsys):
    assert main(command()) == 0
    before = content("out")
    Path("out", "test.ja").write_bytes(before["test.ja"] + b"x\n")
    assert main(command()) == 1
    assert capsys.readouterr().err.endswith(
        "error: out/test.ja: changed after it was written: remove out, and repeat the command\n"
    )
    Path("out", "test.ja").unlink()
    assert main(command()) == 1
    assert "error: out/test.ja: is missing: remove out" in capsys.readouterr().err
    Path("out", "test.ja").write_bytes(before["test.ja"])
    assert main(command()) == 0


def test_a_text_made_with_another_shortlist_is_not_continued(project, capsys):
    assert main(command("decode.shortlist=auto")) == 0
    shorten(Path("run", FILE))
    assert main(command("decode.shortlist=auto")) == 1
    assert "error: out was made with a different decode.shortlist_sha256: remove it" in capsys.readouterr().err
    assert main(command()) == 1
    assert "a different decode.shortlist_sha256, decode.shortlist: remove it" in capsys.readouterr().err


def test_the_card_names_the_weights_of_the_checkpoint(project):
    """Not what the configuration asks for: a single checkpoint may be better than the average, or be asked for."""
    opened = open_run(Path("run"), device="cpu", overrides=["trainer.average=last"])
    assert distill._averaged(opened) == "none"
    state = opened.checkpoint / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"averaged": ["step-1", "step-2"]}))
    assert distill._averaged(opened) == "mean of step-1, step-2"
    opened.saved.trainer.ema = 0.5
    assert distill._averaged(opened) == "ema 0.5; mean of step-1, step-2"


def test_a_folder_that_holds_something_else_is_not_touched(project, capsys):
    for folder, message in (("out", "already exists"), ("out.partial", "holds something else")):
        Path(folder).mkdir()
        Path(folder, "notes").write_text("mine")
        assert main(command()) == 1
        printed = capsys.readouterr().err
        assert printed.startswith(f"error: {folder} {message}") and printed.count("\n") == 1
        assert content(folder) == {"notes": b"mine"}
        shutil.rmtree(folder)


def test_an_unfinished_text_of_another_search_or_of_other_hands_is_not_continued(project, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(distill, "_finish", lambda *_: 1 / 0)
        assert main(command()) == 70
    before = content("out.partial")
    capsys.readouterr()
    assert main(command("decode.length_penalty=0.5")) == 1
    assert "out.partial was started with a different decode.length_penalty: remove it" in capsys.readouterr().err
    assert content("out.partial") == before
    Path("out.partial", "train.ja").write_bytes(before["train.ja"].replace(b"\n", b"!\n", 1))
    assert main(command()) == 1
    assert "error: out.partial/train.ja: changed after it was written" in capsys.readouterr().err
    Path("out.partial", CARD).write_text("{}")
    assert main(command()) == 1
    assert "distilled.json: does not hold what" in capsys.readouterr().err


def test_two_commands_do_not_write_one_folder(project, monkeypatch, capsys):
    monkeypatch.setattr("tformer_cli.runs.folder.PATIENCE", 0.1)
    lock = Lock(Path("out.partial"))
    assert main(command()) == 1
    assert "out.partial: another process is writing this folder: wait for it, or use another --output" in (
        capsys.readouterr().err
    )
    lock.release()


def test_a_run_of_another_kind_is_refused(project, tmp_path):
    family = family_named("text classification")
    launch(family.config(tmp_path / "cache", f"data.path={SENTIMENT}"), tmp_path / "labels", quiet=True)
    assert main(["distill", "labels", "--output", "out"]) == 1
    assert not Path("out").exists() and not Path("out.partial").exists()


def test_a_long_source_may_be_an_error_or_cut(project, capsys):
    assert main(command("--on-long", "error")) == 1
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].startswith(
        f"error: data/train.en, data/train.ja: line {LONG}: 1,600 tokens, the model reads at most"
    )
    assert shown[-2] == "out.partial holds the first 4 of 40 lines; the same command continues there"
    assert main(command("--on-long", "cut", output="cut")) == 0
    assert content("cut")["train.ja"].splitlines()[LONG - 1] and f"(line {LONG})" in capsys.readouterr().err


def test_windows_after_some_inputs_are_those_of_all_inputs():
    inputs = list(map(str, range(30)))
    complete = list(windows(inputs, 2, largest=8))
    assert [before for before, _ in complete] == [0, 2, 6, 14, 22]
    for number, (before, _) in enumerate(complete):
        assert list(windows(inputs[before:], 2, largest=8, before=before)) == complete[number:]
    assert next(windows(inputs[9:], 2, largest=8, before=9)) == (9, inputs[9:14])


def test_nothing_is_left_of_a_folder_that_another_process_completed(project, monkeypatch):
    acquire = Lock.__init__

    def late(self, *arguments, **options):
        acquire(self, *arguments, **options)
        Path("out").mkdir(exist_ok=True)
        Path("out", "train.en").write_text("x")

    monkeypatch.setattr(Lock, "__init__", late)
    with pytest.raises(RunError, match="already exists"):
        distill_run(Path("run"), Path("out"), overrides=["data.source=files", "data.path=data"], quiet=True)


def test_an_autoencoder_has_no_translations() -> None:
    data = SimpleNamespace(autoencoder=True)
    task = SimpleNamespace(predictor=SimpleNamespace(translates=True), config=SimpleNamespace(data=data))
    with pytest.raises(RunError, match="run reproduces its input, so its outputs are not translations"):
        distill_command._check(task, Path("run"), [])
