"""The command line as a user types it, on small parallel files of the user's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tformer_cli.builtin import parallel
from tformer_cli.cli.main import main
from tformer_cli.runs.checkpoint import read_tensors
from tformer_cli.runs.folder import locate

SMALL = [
    "data.source_language=en", "data.target_language=ja", "data.batch_tokens=400", "tokenizer.vocab_size=400",
    "model.dim=16",
    "model.heads=2", "model.ffn_dim=32", "model.encoder_depth=1", "model.decoder_depth=1", "trainer.minutes=0",
    "trainer.threads=1", "trainer.log_every=2", "trainer.checkpoint_every=3", "trainer.evaluate_every=6",
    "trainer.evaluate_limit=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A folder of parallel files, named so that quoting is tried too."""
    folder = tmp_path_factory.mktemp("data") / "my corpus, v2 (x)"
    folder.mkdir()
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test_2026")):
        pairs = parallel("en-ja", split, size=200)
        for side, language in enumerate(("en", "ja")):
            (folder / f"{name}.{language}").write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
    return folder


def command(corpus: Path, run: Path, *more: str) -> list[str]:
    cache = f"data.cache={run.parent / 'cache'}"
    return ["pretrain", "translation/files", f"data.path={corpus}", *SMALL, cache, "--run", str(run), *more]


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory) -> Path:
    """A run of six steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(command(corpus, folder, "trainer.steps=6")) == 0
    return folder


def test_run_folder_has_what_it_should(run):
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "performance.jsonl",
        "train",
        "validation",
        "checkpoints",
        "result.json",
    } <= names
    checkpoint = run / "checkpoints" / (run / "checkpoints" / "latest").read_text()
    assert {
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "config.yaml",
        "tokenizer",
        "manifest.json",
    } == {path.name for path in checkpoint.iterdir()}


def test_translate_gives_a_line_for_a_line(run, tmp_path, capsys):
    lines = ["The cat sleeps.", "", "We read three books."]
    (tmp_path / "in.en").write_text("\n".join(lines), encoding="utf-8")
    assert (
        main(["translate", str(run), str(tmp_path / "in.en"), "--beam", "2", "--output", str(tmp_path / "out.ja")]) == 0
    )
    written = (tmp_path / "out.ja").read_text(encoding="utf-8").split("\n")
    assert len(written) == 4 and written[1] == "" and written[3] == ""
    capsys.readouterr()
    assert main(["translate", str(run), str(tmp_path / "in.en"), "--json", "--beam", "3", "--n-best", "2"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 3 and len(records[0]["hypotheses"]) == 2
    assert main(["translate", str(run), str(tmp_path / "in.en"), "--json", "decode.alignments=true"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert [target for _, target in first["alignment"]] == list(range(len(first["target_pieces"])))
    assert all(source < len(first["source_pieces"]) for source, _ in first["alignment"])


def test_evaluate_writes_scores_with_signatures(run, capsys):
    assert main(["evaluate", str(run), "--split", "test"]) == 0
    record = json.loads((run / "evaluation" / "test.json").read_text(encoding="utf-8"))
    assert {"loss", "perplexity", "bleu", "chrf", "ter", "exact_match"} <= record["scores"].keys()
    assert record["signatures"]["bleu"].startswith("nrefs:1|case:mixed") and len(record["data_sha256"]) == 64
    assert "bleu" in capsys.readouterr().out.lower()


def test_finetune_keeps_the_tokenizer(run, corpus, tmp_path):
    arguments = command(corpus, tmp_path / "ft", "trainer.steps=2", "--from", str(run))
    assert main(["finetune", *arguments[1:]]) == 0
    first, second = (
        next((folder / "checkpoints").glob("step-*/tokenizer/joint.model")) for folder in (run, tmp_path / "ft")
    )
    assert first.read_bytes() == second.read_bytes()


def test_finetune_starts_from_another_librarys_folder(run, corpus, tmp_path):
    assert main(["export", str(run), "--output", str(tmp_path / "theirs")]) == 0
    arguments = [item for item in command(corpus, tmp_path / "ft", "trainer.steps=1") if not item.startswith("model.")]
    start = ["--from", f"hf:{tmp_path / 'theirs'}"]
    assert main(["finetune", *arguments[1:], *start, "optim.lr=0", "trainer.ema=0"]) == 0
    first, second = (read_tensors(locate(folder)[1] / "model.safetensors") for folder in (run, tmp_path / "ft"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert main(["translate", str(tmp_path / "ft"), str(corpus / "val.en"), "--output", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["translate", "NOWHERE"], "no such run folder"),
        (["pretrain", "translation/nothing"], "recipe"),
        (["pretrain", "translation/files", "data.path=x", "optm.lr=1"], "did you mean"),
        (["evaluate", "RUN", "--split", "nothing"], "split"),
        (["evaluate", "RUN", "data.test=nowhere"], "nowhere"),
        (["finetune", "translation/files", "--from", "NOWHERE"], "no such run folder"),
        (
            ["finetune", "translation/files", "--from", "hf:no/such/model"],
            "neither a folder nor an accessible model of the hub",
        ),
    ],
)
def test_mistakes_are_answered_in_one_line(run, arguments, said, capsys, tmp_path):
    arguments = [str(run) if a == "RUN" else str(tmp_path / "nowhere") if a == "NOWHERE" else a for a in arguments]
    assert main(arguments) != 0
    captured = capsys.readouterr()
    lines = captured.err.strip().split("\n")
    assert lines[-1].startswith("error: ") and said in lines[-1] and "Traceback" not in captured.err
    assert captured.out == ""


def test_too_long_a_line_is_named(run, tmp_path, capsys):
    (tmp_path / "long").write_text("short\n" + "word " * 2000 + "\n", encoding="utf-8")
    assert main(["translate", str(run), str(tmp_path / "long")]) != 0
    out, err = capsys.readouterr()
    assert "long:2: " in err and "--on-long cut or --on-long skip" in err and out.count("\n") == 1


def start(arguments: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tformer_cli", *arguments], env=environment, stderr=subprocess.PIPE, text=True
    )


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    target = run / "checkpoints" / f"step-{step:08d}"
    until = time.monotonic() + 120
    while not target.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


def test_killed_and_terminated_runs_end_like_one_left_alone(corpus, run, tmp_path):
    """kill -9, then SIGTERM, then to the end: the weights have the bytes of the run that was left alone."""
    steps = ["trainer.steps=30", "trainer.evaluate_every=0", "trainer.samples=0", "trainer.evaluate_decoded=false"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(command(corpus, whole, *steps, "--quiet")) == 0
    process = start(command(corpus, broken, *steps))
    wait_for_step(broken, 6, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = start(command(corpus, broken, *steps, "--resume"))
    wait_for_step(broken, 12, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0 or "stopped at step" in said
    assert main(command(corpus, broken, *steps, "--resume", "--quiet")) == 0
    final = Path("checkpoints") / "step-00000030" / "model.safetensors"
    assert (broken / final).read_bytes() == (whole / final).read_bytes()
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_no_room_on_disk_is_said_and_loses_nothing(corpus, run, tmp_path):
    """A limit on file sizes stands in for a full disk: the error names the checkpoint, earlier ones stay whole."""
    import resource

    small = tmp_path / "small"
    assert main(command(corpus, small, "trainer.steps=3", "--quiet")) == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        from tformer_cli.errors import RunError
        from tformer_cli.runs.checkpoint import Checkpoints, damage, write_folder

        with pytest.raises(RunError, match="checkpoint cannot be written"):
            write_folder(small / "checkpoints" / "step-00000009", {"model.safetensors": bytes(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert damage(Checkpoints(small / "checkpoints").latest()) == ""
    assert not list((small / "checkpoints").glob(".*"))
