"""The files of a start that failed before training, and the behaviour of the next start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.properties.families import SMALL as FAST
from tests.properties.families import family_named
from tformer_cli import machine
from tformer_cli.cli.main import main
from tformer_cli.cli.summary import find_runs, summarise
from tformer_cli.config.compose import compose
from tformer_cli.runs.checkpoint import usable_files, write_folder
from tformer_cli.runs.folder import Lock
from tformer_cli.train.launch import launch

FAMILY = family_named("text classification")
SMALL = [setting for setting in FAMILY.settings if not setting.startswith("trainer.")]
SMALL += ["trainer.steps=2", "trainer.threads=1", "trainer.device=cpu", "trainer.precision=fp32"]
COMMAND = ["pretrain", FAMILY.recipe, *SMALL, "--quiet"]


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)


def test_a_start_that_fails_leaves_nothing(capsys):
    assert main([*COMMAND, "data.path=missing.tsv"]) == 1
    assert "missing.tsv" in capsys.readouterr().err
    assert list(Path().iterdir()) == []
    assert main([*COMMAND, "data.path=missing.tsv", "--run", "mine/a"]) == 1
    assert list(Path().iterdir()) == []
    Path("mine").mkdir()
    assert main([*COMMAND, "data.path=missing.tsv", "--run", "mine"]) == 1
    assert list(Path("mine").iterdir()) == []


@pytest.mark.parametrize("name", ["vit", "conformer"])
def test_a_start_that_fails_after_its_data_was_read_leaves_nothing(name, capsys):
    family = family_named(name)
    command = ["pretrain", family.recipe, *FAST, *family.settings, "data.cache=cache", "trainer.steps=1", "--quiet"]
    assert main([*command, "trainer.metric=blue", "--run", "mine"]) == 1
    assert "blue" in capsys.readouterr().err and not Path("mine").exists()
    assert main([*command, "--run", "mine"]) == 0
    assert Path("mine/validation.txt").exists() == (name == "vit")  # it was drawn from the training split


def test_a_run_that_another_process_starts_is_left_alone(monkeypatch, capsys):
    monkeypatch.setattr("tformer_cli.runs.folder.PATIENCE", 0.1)
    lock = Lock(Path("mine"))
    assert main([*COMMAND, "data.path=missing.tsv", "--run", "mine"]) == 1
    assert "another process is writing this run" in capsys.readouterr().err
    assert [entry.name for entry in Path("mine").iterdir()] == [".lock"]
    lock.release()


def initial(run: Path) -> None:
    """Write the files that fine-tuning from another library's model creates before it reads the data."""
    write_folder(run / "initial", usable_files(b"", {"step": 0}, compose(FAMILY.recipe, ["data.path=x"]), {}))


def test_what_a_killed_start_leaves_is_no_run_and_blocks_none(capsys):
    initial(Path("runs/text/001"))
    (Path("runs/text/001") / ".lock").touch()
    assert find_runs(Path("runs")) == []
    assert main([*COMMAND, "--run", "runs/text/001"]) == 0
    assert find_runs(Path("runs")) == [Path("runs/text/001")]


def test_a_failed_finetune_leaves_nothing(monkeypatch, capsys):
    from tformer_cli.cli.start import Start

    def checkpoint(self, config, run):
        initial(run)
        return run / "initial"

    monkeypatch.setattr(Start, "find", classmethod(lambda cls, name: cls(Path(name), foreign=True)))
    monkeypatch.setattr(Start, "adapt", lambda self, config, overrides: config)
    monkeypatch.setattr(Start, "checkpoint", checkpoint)
    assert main(["finetune", *COMMAND[1:], "--from", "hf:x", "data.path=missing.tsv", "--run", "mine"]) == 1
    assert list(Path().iterdir()) == []


def test_a_model_of_another_library_is_kept_until_its_weights_are_read_and_no_longer(monkeypatch):
    from tformer_cli.cli.start import Start
    from tformer_cli.runs.checkpoint import model_tensors, tensors_to_bytes
    from tformer_cli.train import launch

    written: list[Path] = []

    def checkpoint(self, config, run):
        task = FAMILY.task(Path("cache"))
        files = usable_files(tensors_to_bytes(model_tensors(task.model())), {"step": 0}, config, task.data.files())
        write_folder(run / "initial", files)
        written.append(run)
        return run / "initial"

    monkeypatch.setattr(Start, "find", classmethod(lambda cls, name: cls(Path(name), foreign=True)))
    monkeypatch.setattr(Start, "adapt", lambda self, config, overrides: config)
    monkeypatch.setattr(Start, "checkpoint", checkpoint)
    command = ["finetune", *COMMAND[1:], "--from", "hf:x", "--run", "mine"]
    with monkeypatch.context() as patch:  # a start that is killed right after it has read its weights begins anew
        patch.setattr(launch, "_header", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(command) == 130
    assert not Path("mine/initial").exists() and Path("mine/config.yaml").exists()
    Path("mine/.initial.writing").mkdir()
    Path("mine/.result.json.7.writing").touch()
    assert main([*command, "--resume"]) == 0 and len(written) == 2
    assert {path.name for path in Path("mine").glob(".*")} == {".lock"} and not Path("mine/initial").exists()
    assert main([*command, "--resume", "trainer.steps=3"]) == 0 and len(written) == 2


def test_resuming_nothing_is_said_and_what_is_no_run_is_refused(capsys):
    assert main([*COMMAND[:-1], "--run", "new", "--resume"]) == 0
    assert "new: no checkpoint to resume from: a new run begins there" in capsys.readouterr().err
    Path("home").mkdir()
    Path("home/thesis.tex").write_text("x")
    assert main([*COMMAND, "--run", "home", "--resume"]) == 1
    assert "home contains no run to resume" in capsys.readouterr().err
    assert [entry.name for entry in Path("home").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_start_that_was_killed_while_it_wrote_its_settings_begins_anew(more):
    Path("new").mkdir()
    Path("new/.lock").touch()
    Path("new/.config.yaml.writing").write_text("task: ")
    assert main([*COMMAND[:-1], "--run", "new", *more]) == 0
    assert not Path("new/.config.yaml.writing").exists() and Path("new/config.yaml").is_file()


@pytest.mark.parametrize(
    ("recipe", "missing"),
    [
        ("quickstart/conformer", ["jiwer", "soundfile", "soxr", "espeakng-loader"]),
        ("quickstart/speech_translation", ["soundfile", "soxr", "espeakng-loader"]),
        ("quickstart/vit", ["scikit-learn"]),
        ("text/tagging", ["seqeval"]),
    ],
)
def test_a_dry_run_names_all_missing_packages_as_a_run_does(recipe, missing, monkeypatch, capsys):
    """One command installs them; neither has read data before."""
    for module in ("jiwer", "soundfile", "soxr", "espeakng_loader", "sklearn", "sklearn.metrics", "seqeval.metrics"):
        monkeypatch.setitem(sys.modules, module, None)
    command, errors = ["pretrain", recipe, "data.path=data"], []
    command = command[:2] if recipe.startswith("quickstart") else command
    for more in (["--dry-run"], ["--run", "new"], ["-m", "--dry-run"]):
        assert main([*command, *more]) == 2
        errors.append(capsys.readouterr().err.splitlines()[-1])
    assert errors.pop() == errors[0].replace("error: ", ": ".join(["error", *command[2:], ""]))
    verb = "is" if len(missing) == 1 else "are"
    assert errors[0].startswith(f"error: this needs {', '.join(missing)}, which {verb} not installed: pip install ")
    assert errors[0] == errors[1] and all(package in errors[0].partition(" installed: ")[2] for package in missing)


def test_a_dry_run_notices_data_that_is_not_there(capsys):
    assert main([*COMMAND, "data.path=missing.tsv", "--dry-run"]) == 1
    out, err = capsys.readouterr()
    assert "path: missing.tsv" in out and "data.path: missing.tsv: no such folder or file" in err
    assert main([*COMMAND, "data.test=tets", "--dry-run"]) == 1
    assert "data.test: there is no tets in " in capsys.readouterr().err
    Path("tets.tsv").touch()
    assert main([*COMMAND, "data.test=tets", "--dry-run"]) == 0
    assert main([*COMMAND, "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("recipe", "setting", "message"),
    [
        ("quickstart/translation", "data.path=mine", "no built-in data of this kind are called 'mine': data.path=en-"),
        ("quickstart/translation", "data.target_language=de", "data.target_language: built-in data is in en and ja"),
        ("quickstart/gpt", "data.path=mine", "no built-in data of this kind are called 'mine': data.path=python-docs"),
        ("quickstart/vit", "data.test=mine", "data.test=mine has no effect on built-in data"),
        ("quickstart/captions", "data.language=fr", "data.language: built-in data is in en and ja, not 'fr'"),
        ("quickstart/speech_translation", "data.target_language=fr", "data.target_language: built-in data is in en"),
        ("text/tagging", "data.source=builtin data.path=mine", "no built-in data of this kind are called 'mine'"),
    ],
)
def test_a_dry_run_refuses_built_in_data_as_training_does(recipe, setting, message, capsys):
    Path("mine").mkdir()
    command = ["pretrain", recipe, *setting.split(), "trainer.device=cpu", "trainer.steps=1", "--quiet"]
    assert main([*command, "--dry-run"]) > 0
    refused = capsys.readouterr().err
    assert message in refused
    assert main(command) > 0
    assert capsys.readouterr().err == refused


def test_a_run_with_a_setting_that_is_refused_today_is_resumed_with_it(capsys):
    refused, command = "tokenizer.sampling=0.1", [*COMMAND, "trainer.steps=3", "--run", "old"]
    launch(compose(FAMILY.recipe, [*SMALL, refused], resumed=True), Path("old"))  # as an earlier version started it
    assert main([*command, refused]) == 2 and "tokenizer.sampling: it has no effect" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 1
    assert "tokenizer.sampling: 0.1 -> 0.0: resume with the same" in capsys.readouterr().err
    assert main([*command, refused, "--resume"]) == 0 and summarise(Path("old")).step == 3


def test_runs_show_the_step_of_the_newest_checkpoint():
    run = Path("run")
    (run / "checkpoints" / "step-00000007").mkdir(parents=True)
    (run / "config.yaml").write_text("recipe: x\n")
    (run / "metrics.jsonl").write_text('{"step": 4}\n')
    assert summarise(run).step == 7
    (run / "result.json").write_text('{"metric": "bleu", "best": 3.0, "step": 2}')
    assert summarise(run).step == 7


def test_a_run_of_an_earlier_version_is_resumed_as_it_began(capsys):
    as_before = ["data.stratified=false", "data.missing=[]"]
    assert main([*COMMAND, *as_before, "--run", "old"]) == 0
    assert main([*COMMAND, "trainer.steps=3", "--run", "old", "--resume"]) == 0
    assert main([*COMMAND, "trainer.steps=4", "--run", "old", "--resume"]) == 0
    assert summarise(Path("old")).step == 4
    capsys.readouterr()
    assert main([*COMMAND, "data.stratified=true", "--run", "old", "--resume"]) == 1
    assert "made with other settings: data.stratified" in capsys.readouterr().err


UNDIVIDED = "data.validation_share=0"
NEEDS = [
    ("quickstart/translation", "tokenizer.path=none", "tokenizer.path: none: no tokenizer found: name a run folder"),
    ("quickstart/gpt", "tokenizer.path=empty", "tokenizer.path: empty: no tokenizer found: name a run folder"),
    ("quickstart/captions", "tokenizer.path=notes.txt", "tokenizer.path: notes.txt: not a SentencePiece model"),
    ("text/tagging", "tokenizer.path=none", "tokenizer.path: none: no tokenizer found"),
    ("quickstart/translation", "decode.shortlist=none", "decode.shortlist: none: no such file: decode.shortlist=auto"),
    ("quickstart/translation", "decode.shortlist=notes.txt", "decode.shortlist: notes.txt: not a shortlist file"),
    ("quickstart/conformer", "decode.language_model=none", "decode.language_model: there is no run or file none: name"),
    ("quickstart/conformer", "decode.language_model=empty", "decode.language_model: empty: not a run folder"),
    ("quickstart/conformer", "decode.language_model=notes.txt", "notes.txt: no line \\data\\: give an ARPA file"),
    ("quickstart/conformer", "decode.language_model=texts", "texts is a run of text_classification with bert: name"),
    ("sagan/mnist", "evaluation.classifier=none", "evaluation.classifier: there is no run none: name a run of image"),
    ("sagan/mnist", "evaluation.classifier=empty", "evaluation.classifier: empty: not a run folder"),
    (
        "sagan/mnist",
        "evaluation.classifier=texts",
        "evaluation.classifier: texts is a run of text_classification",
    ),
    ("translation/files", "data.source_language=en data.target_language=ja", "pairs: no validation split was found"),
    (
        "gpt/files",
        UNDIVIDED,
        "pairs: no validation split (data.validation_share=0): data.validation=..., or data.valid",
    ),
    ("text/classification", UNDIVIDED, "pairs: no validation split (data.validation_share=0)"),
    ("text/tagging", UNDIVIDED, "pairs: no validation split (data.validation_share=0)"),
    ("text/question_answering", UNDIVIDED, "pairs: no validation split (data.validation_share=0)"),
    ("vit/folder", UNDIVIDED, "pairs: no validation split (data.validation_share=0)"),
    ("captioning/folder", UNDIVIDED, "pairs: no validation split (data.validation_share=0)"),
    ("sagan/mnist", UNDIVIDED, "pairs: no validation split (data.validation_share=0)"),
    ("conformer/folder", UNDIVIDED, "pairs: no validation split (data.validation_share=0)"),
    ("quickstart/gpt", UNDIVIDED, "no validation split (data.validation_share=0)"),
    ("quickstart/conformer", UNDIVIDED, "no validation split (data.validation_share=0)"),
]
"""Recipes, settings that name what is missing or unsuitable, and the beginning of the error."""


@pytest.mark.parametrize(("recipe", "setting", "message"), NEEDS)
def test_what_is_missing_is_refused_before_data_is_read(recipe, setting, message, monkeypatch, capsys):
    """A dry run, that of a sweep, and the start of a run refuse it."""
    monkeypatch.setattr("tformer_cli.data.core.dataset.Data.split", lambda *_: pytest.fail("data was read"))
    monkeypatch.setattr("tformer_cli.tasks.sizing.read_parallel", lambda *_, **__: pytest.fail("pairs were counted"))
    Path("empty").mkdir()
    Path("notes.txt").write_text("no model\n")
    Path("pairs").mkdir()
    for language in ("en", "ja"):
        Path("pairs", f"train.{language}").write_text("a\n")
    write_folder(Path("texts"), usable_files(b"", {"step": 0}, compose(FAMILY.recipe, SMALL), {}))
    path = [] if recipe.startswith("quickstart") else ["data.path=pairs"]
    command = ["pretrain", recipe, *path, *setting.split(), "trainer.device=cpu", "--quiet"]
    for more in (["--dry-run"], ["--run", "new"], ["-m", "--dry-run"]):
        assert main([*command, *more]) > 0
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not Path("new").exists()
