"""Completion: candidates, also after `=`, and the scripts in their shells."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from tformer_cli.cli import app
from tformer_cli.cli.completion import SCRIPTS, candidates
from tformer_cli.cli.main import main
from tformer_cli.config.family import families, family

QUICKSTART = ("bert", "captions", "conformer", "gpt", "lineage", "speech_translation", "translation", "vit")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tformer pre", ["predict", "pretrain"]),
        ("tformer --v", ["--version"]),
        (
            "tformer pretrain quick",
            [f"quickstart/{name}" for name in QUICKSTART],
        ),
        ("tformer pretrain --qu", ["--quiet"]),
        ("tformer pretrain translation/files opt", ["optim=", "optim."]),
        ("tformer pretrain translation/files --run x opt", ["optim=", "optim."]),
        ("tformer pretrain translation/files se", ["seed="]),
        ("tformer pretrain translation/files optim=c", ["optim=constant", "optim=cosine"]),
        ("tformer pretrain translation/files model.tie", ["model.tie_embeddings="]),
        (
            "tformer pretrain translation/files trainer.precision=",
            ["trainer.precision=auto", "trainer.precision=fp32", "trainer.precision=bf16"],
        ),
        ("tformer pretrain translation/files model.bias=t", ["model.bias=true"]),
        ("tformer pretrain translation/files data.path=/us", []),
        ("tformer pretrain translation/files --run ", []),
        ("tformer recipes s", ["show"]),
        ("tformer recipes show translation/f", ["translation/files"]),
        ("tformer tokenize ", ["train", "encode", "decode", "info"]),
        ("tformer tokenize train --lo", ["--lossless"]),
        ("tformer completion ", ["bash", "fish", "zsh"]),
        ("tformer evaluate runs/a --split v", ["validation"]),
        ("tformer evaluate runs/a decode=g", ["decode=greedy"]),
        ("tformer compare runs/b ", ["runs/a"]),
        ("tformer compare runs/a runs/b --by l", ["length", "label"]),
        ("tformer distill runs/a decode=b", ["decode=beam"]),
        ("tformer export runs/a --to ", ["huggingface", "timm"]),
        ("tformer export runs/a -o ", []),
        ("tformer predict runs/a --on-long c", ["cut"]),
        ("tformer tokenize train x.txt --kind b", ["bpe"]),
        ("tformer quickstart g", ["gpt"]),
        ("tformer quickstart vit b", ["bert"]),
        ("tformer pretrain -j 2 quickstart/v", ["quickstart/vit"]),
        ("tformer pretrain --run-folder x quickstart/v", ["quickstart/vit"]),
        ("tformer pretrain --dry-run quickstart/v", ["quickstart/vit"]),
        ("tformer translate ", ["runs/a"]),
        ("tformer finetune translation/files --from r", ["runs/a"]),
        ("tformer pretrain 'translation/fi", []),
        ("tformer", []),
        ("", []),
    ],
)  # fmt: skip
def test_candidates(line, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/config.yaml").write_text("task: translation\n")
    assert candidates(line) == expected


def commands(command, words=("tformer",)):
    """Yield every command of the program with its words."""
    yield words, command
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*words, name))


def options_with_values():
    """Yield every option with a value: the words of its command, its names, and the values listed in its help."""
    options = []
    for words, command in commands(get_command(app)):
        for option in command.get_params(typer.Context(command)):
            if option.param_type_name == "option" and not option.is_flag and not command.hidden:
                options.append((" ".join(words), option.opts, closed_set(option.help)))
    return options


def closed_set(text):
    """Return the values that a help text lists as `a, b or c`, if it is only such a list."""
    listed = re.match(r"(?:[^:.]*: )?((?:[a-z0-9]+, )*[a-z0-9]+ or [a-z0-9]+)\.(?:  \[default.*\])?$", text or "")
    return re.split(", | or ", listed[1]) if listed else None


def test_options_of_a_closed_set_complete_to_what_their_help_lists():
    options = options_with_values()
    listed = {(command, name): values for command, names, values in options if values for name in names}
    assert {"--to", "--split", "--device", "--kind", "--format", "--on-long"} <= {name for _, name in listed}
    for (command, name), values in listed.items():
        assert candidates(f"{command} {name} ") == values, (command, name)


def test_every_option_and_its_value_are_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command, names, _ in options_with_values():
        dashes = [name for name in names if name.startswith("--")]
        assert set(dashes) <= set(candidates(f"{command} --"))
        first = candidates(f"{command} ")
        for name in names:
            assert candidates(f"{command} {name} x ") == first, (command, name)


def test_export_lists_its_formats():
    formats = {name for one in families() for name in family(one).exporters}
    assert candidates("tformer export x --to ") == sorted(formats) == ["huggingface", "timm"]


def test_scripts_are_printed(capsys):
    for shell, script in SCRIPTS.items():
        assert main(["completion", shell]) == 0
        assert capsys.readouterr().out == script


@pytest.fixture
def program(tmp_path):
    """A folder with a `tformer` to put on the path."""
    script = tmp_path / "tformer"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m tformer_cli "$@"\n')
    script.chmod(0o755)
    package = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": package}


# What bash hands a completion function: the words split at `=` too, and the line up to the cursor.
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("words", "line", "reply"),
    [
        (["tformer", "quick"], "tformer quick", ["quickstart"]),
        (
            ["tformer", "pretrain", "translation/files", "mod"],
            "tformer pretrain translation/files mod",
            ["model=", "model."],
        ),
        (
            ["tformer", "pretrain", "translation/files", "model", "=", "t"],
            "tformer pretrain translation/files model=t",
            ["transformer_base", "transformer_small", "transformer_tiny"],
        ),
        (
            ["tformer", "pretrain", "translation/files", "model.norm", "=", "p"],
            "tformer pretrain translation/files model.norm=p",
            ["pre", "post"],
        ),
    ],
)
def test_bash_completes_after_an_equals_sign(words, line, reply, program):
    quoted = " ".join(f"'{word}'" for word in words)
    code = f"""source <(tformer completion bash)
compopt() {{ :; }}
COMP_WORDBREAKS=$' \\t\\n"=:'
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}
_tformer
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", code], env=program, capture_output=True, text=True, timeout=60)
    assert (done.stdout.splitlines(), done.stderr) == (reply, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_accepted_by_their_shells(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    path = tmp_path / "script"
    path.write_text(SCRIPTS[shell])
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
