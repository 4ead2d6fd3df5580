"""pretrain and finetune: what reaches the loop, which folder, and dry runs."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tformer_cli.cli.main import main
from tformer_cli.cli.train import summary
from tformer_cli.config.compose import compose
from tformer_cli.runs.checkpoint import usable_files, write_folder

RECIPE = "translation/multi30k_en_de"
DATA = "data.path=data"


def test_settings_and_options_reach_the_loop(stand_ins, capsys):
    write_folder(stand_ins.tmp / "old", usable_files(b"", {}, compose(RECIPE, [DATA, "model.ffn_dim=64"]), {}))
    assert main(["pretrain", RECIPE, DATA, "optim.lr=-0", "--run", "r", "--processes", "2"]) == 0
    assert main(["finetune", RECIPE, "--from", "old", DATA, "model=transformer_base", "--run", "s"]) == 0
    assert main(["finetune", RECIPE, "--from", "old", DATA, "model.dropout=0.2", "--run", "t"]) == 0
    first, second, third = stand_ins.launch
    assert first.config == compose(RECIPE, [DATA, "optim.lr=0"])
    assert (first.run, first.resume, first.initial, first.processes) == (Path("r"), False, None, 2)
    assert (second.config.model.dim, second.initial) == (512, Path("old"))
    assert (third.config.model.ffn_dim, third.config.model.dropout) == (64, 0.2)
    assert capsys.readouterr().out == ""


def test_runs_are_numbered_by_recipe(stand_ins, tmp_path):
    (tmp_path / "own.yaml").write_text("task: translation\ndata: {path: x, source_language: a, target_language: b}\n")
    for recipe in (RECIPE, RECIPE, "./own.yaml"):
        assert main(["pretrain", recipe, DATA]) == 0
    assert [str(call.run) for call in stand_ins.launch] == [
        f"runs/{RECIPE}/001",
        f"runs/{RECIPE}/002",
        "runs/own/001",
    ]


def test_a_folder_in_use_is_left_alone_unless_resumed(stand_ins, capsys):
    run = stand_ins.tmp / "r"
    run.mkdir()
    (run / ".lock").touch()
    assert main(["pretrain", RECIPE, DATA, "--run", "r"]) == 0
    (run / "config.yaml").touch()
    assert main(["pretrain", RECIPE, DATA, "--run", "r"]) == 1
    assert capsys.readouterr().err == (
        "error: r is not empty: continue that run with --resume, or choose another folder with --run\n"
    )
    assert main(["pretrain", RECIPE, DATA, "--run", "r", "--resume"]) == 0
    assert [call.resume for call in stand_ins.launch] == [False, True]
    assert main(["pretrain", RECIPE, DATA, "--run", "r/config.yaml"]) == 1
    assert "is a file" in capsys.readouterr().err


def test_resume_needs_a_run_and_names_the_newest(stand_ins, capsys):
    assert main(["pretrain", RECIPE, DATA, "--resume"]) == 1
    assert "add --run FOLDER" in capsys.readouterr().err
    main(["pretrain", RECIPE, DATA])
    assert main(["pretrain", RECIPE, DATA, "--resume"]) == 1
    assert f"add --run runs/{RECIPE}/001" in capsys.readouterr().err


def test_finetune_needs_a_run_that_is_there(stand_ins, capsys):
    assert main(["finetune", RECIPE, "--from", "nothing", DATA]) == 1
    assert capsys.readouterr().err.startswith("error: nothing: no such run folder")
    assert main(["finetune", RECIPE, DATA]) == 2
    assert stand_ins.launch == []


def write_splits(folder: Path) -> None:
    """Write the names of the files of the recipe into a new folder."""
    folder.mkdir()
    for name in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de"):
            (folder / f"{name}.{language}").touch()


def test_a_dry_run_can_be_saved_and_run_again(stand_ins, capfdbinary):
    write_splits(stand_ins.tmp / "a corpus, v2 (x) é")
    overrides = ["data.path=a corpus, v2 (x) é", "tokenizer.user_symbols=[<a>,'1']"]
    assert main(["pretrain", RECIPE, *overrides, "--dry-run"]) == 0
    text, messages = capfdbinary.readouterr()
    assert messages.startswith(b"would train translation/multi30k_en_de on a corpus")
    Path("mine.yaml").write_bytes(text)
    assert main(["pretrain", "./mine.yaml", "--dry-run", "--quiet"]) == 0
    assert capfdbinary.readouterr() == (text, b"")
    assert b"\x1b" not in text
    assert stand_ins.launch == []


@pytest.mark.parametrize("jobs", [["--jobs", "2"], ["-j", "3"]])
def test_jobs_without_a_sweep_are_a_mistake(stand_ins, jobs, capsys):
    assert main(["pretrain", RECIPE, DATA, *jobs]) == 2
    assert capsys.readouterr().err.startswith("error: --jobs has no effect without -m")


# --- sweeps ---------------------------------------------------------------------------------------------------------

FAKE = """
import json, sys, time
arguments = sys.argv[1:]
run = arguments[arguments.index("--run") + 1]
settings = arguments[arguments.index("--") + 1:]
print("settings", settings, "options", arguments[: arguments.index("--run")])
import pathlib
pathlib.Path(run).mkdir()
if "optim.lr=0.5" in settings:
    sys.exit("error: the loss is not finite")
lr = float(next(s for s in settings if s.startswith("optim.lr=")).partition("=")[2])
result = {"metric": "bleu", "best": lr * 100, "step": 7, "minutes": 0.5}
pathlib.Path(run, "result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def fake_runs(stand_ins, monkeypatch):
    """Subprocesses run a few lines that write a result instead of training."""
    import subprocess
    import sys

    real = subprocess.Popen

    def popen(command, **options):
        assert command[:3] == [sys.executable, "-m", "tformer_cli"]
        return real([sys.executable, "-c", FAKE, *command[3:]], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)
    return stand_ins


def test_a_sweep_runs_every_combination_and_ends_in_a_table(fake_runs, capsys):
    sweep = [
        "pretrain",
        RECIPE,
        DATA,
        "optim.lr=0.1,0.2",
        "model=transformer_tiny,transformer_base",
        "-m",
        "--run",
        "s",
    ]
    assert main([*sweep, "--jobs", "2"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["run", "optim.lr", "model", "metric", "best", "step", "minutes", "state"]
    assert lines[1].split() == ["s/1", "0.1", "transformer_tiny", "bleu", "10.00", "7", "0.5", "done"]
    assert lines[4].split() == ["s/4", "0.2", "transformer_base", "bleu", "20.00", "7", "0.5", "done"]
    assert len(lines) == 5
    assert err.count("] done ") == 4
    log = Path("s/2.log").read_text()
    assert "'model=transformer_base'" in log
    assert "trainer.threads=" in log  # two at a time share the cores


def test_failed_runs_are_named_and_counted(fake_runs, capsys):
    assert main(["pretrain", RECIPE, DATA, "optim.lr=0.5,0.25", "-m", "--run", "s"]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()[1:]] == ["failed", "done"]
    assert "s/1 failed (exit code 1, s/1.log): error: the loss is not finite" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_sweep_stops_its_runs_and_starts_no_others(stand_ins, monkeypatch, capsys, number):
    slow = (
        "import signal, sys, time, pathlib\n"
        "run = sys.argv[sys.argv.index('--run') + 1]\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(run, 'saved').touch(), sys.exit(143)))\n"
        "pathlib.Path(run).mkdir(); pathlib.Path(run, 'began').touch(); time.sleep(60)\n"
    )
    real = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **more: real([sys.executable, "-c", slow, *command[3:]], **more)
    )

    def act():
        while not Path("s/1/began").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=act, daemon=True).start()
    assert main(["pretrain", RECIPE, DATA, "optim.lr=0.1,0.2", "-m", "--run", "s"]) == 128 + number
    err = capsys.readouterr().err
    assert "stopped: 0 of 2 runs are done; to continue: the same command with --resume" in err
    assert "[1/2] stopped s/1" in err
    assert Path("s/1/saved").exists() and not Path("s/2").exists()


def test_torchruns_parser_takes_every_option_but_the_one_that_it_takes_for_its_own():
    from torch.distributed.run import get_args_parser
    from typer.main import get_command

    from tformer_cli.cli import app

    names = {
        name
        for verb in ("pretrain", "finetune")
        for option in get_command(app).commands[verb].params
        for name in [*option.opts, *option.secondary_opts]
        if name.startswith("-") and name != "--run"
    }
    assert "--run-folder" in names and "--resume" in names
    for name in sorted(names):
        arguments = ["pretrain", "quickstart/vit", name, "x"]
        assert get_args_parser().parse_args(["-m", "tformer_cli", *arguments]).training_script_args == arguments


def test_the_run_folder_has_a_name_that_torchrun_leaves_alone(stand_ins):
    assert main(["pretrain", RECIPE, DATA, "--run-folder", "r"]) == 0
    assert stand_ins.launch[0].run == Path("r")


def test_ranks_of_torchrun_leave_the_folder_to_the_first(stand_ins, monkeypatch):
    Path("r").mkdir()
    Path("r", "something").touch()  # rank 0 has begun
    monkeypatch.setenv("RANK", "1")
    assert main(["pretrain", RECIPE, DATA, "--run", "r"]) == 0
    monkeypatch.setenv("RANK", "0")
    assert main(["pretrain", RECIPE, DATA, "--run", "r"]) == 1


def test_a_restart_by_torchrun_resumes(stand_ins, monkeypatch):
    Path("runs/quickstart/translation/003").mkdir(parents=True)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main(["pretrain", "quickstart/translation"]) == 0
    assert (stand_ins.launch[0].run, stand_ins.launch[0].resume) == (Path("runs/quickstart/translation/003"), True)


def test_all_combinations_are_checked_before_any_starts(fake_runs, capsys):
    assert main(["pretrain", RECIPE, DATA, "optim.lr=0.1,abc", "-m", "--run", "s"]) == 2
    assert capsys.readouterr().err == f"error: {DATA} optim.lr=abc: optim.lr: 'abc' is not a number\n"
    assert not Path("s").exists()


def test_a_sweep_is_resumed_with_the_same_settings_only(fake_runs, capsys):
    sweep = ["pretrain", RECIPE, DATA, "optim.lr=0.1,0.2", "-m", "--run", "s"]
    assert main(sweep) == 0
    assert main(sweep) == 1
    assert "s is not empty" in capsys.readouterr().err
    assert main(["pretrain", RECIPE, DATA, "optim.lr=0.1,0.3", "-m", "--run", "s", "--resume"]) == 1
    assert "contains another sweep" in capsys.readouterr().err


def test_a_sweeps_dry_run_lists_its_combinations(fake_runs, capsys):
    write_splits(Path("data"))
    assert main(["pretrain", RECIPE, DATA, "seed=range(1,4)", "-m", "--dry-run"]) == 0
    assert capsys.readouterr().out == f"{DATA} seed=1\n{DATA} seed=2\n{DATA} seed=3\n"
    assert not Path("runs").exists()


def test_settings_that_are_given_twice_are_named(stand_ins, capsys):
    overrides = [DATA, "optim.lr=0.1", "model=transformer_tiny", "++optim.lr=0.2", "model=transformer_base", "seed=2"]
    assert main(["pretrain", RECIPE, *overrides, "--run", "r"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "note: optim.lr is given twice: optim.lr=0.2 counts",
        "note: model is given twice: model=transformer_base counts",
    ]
    assert stand_ins.launch[0].config.optim.lr == 0.2
    assert main(["pretrain", RECIPE, DATA, "seed=1", "seed=1", "seed=3", "--run", "s", "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["evaluate", "r", "decode.beam=1", "decode.beam=2"]) == 0
    assert "note: decode.beam is given twice: decode.beam=2 counts" in capsys.readouterr().err


def test_a_dry_run_names_every_limit():
    config = compose(RECIPE, [DATA, "trainer.epochs=2.5", "trainer.minutes=60"])
    assert "for 9,000 steps or 2.5 epochs or 60 minutes in" in summary(config, None)
