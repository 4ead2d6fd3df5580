"""A run that ends in any way at any step leaves valid files, and --resume ends like an uninterrupted run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from tests.properties.families import family_named
from tformer_cli import machine, tasks
from tformer_cli.errors import RunError
from tformer_cli.runs.checkpoint import Checkpoints, damage, load_model_tensors, read_state
from tformer_cli.runs.folder import locate
from tformer_cli.train.launch import launch
from tformer_cli.train.loop import Trainer
from tformer_cli.train.validation import Validation
from tformer_cli.trained.evaluate import evaluate_run

FAMILY = family_named("text classification")
SETTINGS = [
    "trainer.steps=4", "trainer.log_every=1", "trainer.checkpoint_every=2", "trainer.evaluate_every=2",
    "trainer.keep=2", "trainer.keep_best=2", "trainer.average=best", "trainer.evaluate_limit=4", "trainer.samples=0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)


def train(tmp_path: Path, name: str, *more: str, resume: bool = False) -> Path:
    launch(FAMILY.config(tmp_path, *SETTINGS, *more), tmp_path / name, resume=resume, quiet=True)
    return tmp_path / name


def contents(run: Path) -> dict[str, object]:
    """Return all contents of a run that the seed determines."""
    parts: dict[str, object] = {"metrics": (run / "metrics.jsonl").read_bytes()}
    for path in sorted((run / "checkpoints").rglob("*")):
        name = str(path.relative_to(run))
        if path.name == "state.json":
            state = json.loads(path.read_bytes())
            state.pop("seconds", None)
            state.get("offsets", {}).pop("performance.jsonl", None)
            parts[name] = state
        elif path.is_file() and path.name != "manifest.json":
            parts[name] = path.read_bytes()
    if (run / "result.json").exists():
        parts["result"] = {**json.loads((run / "result.json").read_bytes()), "minutes": 0}
    return parts


def at_step(monkeypatch, number: int, act) -> None:
    original = Trainer.train_step

    def train_step(self, *arguments):
        if self.progress.step == number:
            act()
        return original(self, *arguments)

    monkeypatch.setattr(Trainer, "train_step", train_step)


@pytest.mark.parametrize("every", [0, 2, 3])
@pytest.mark.parametrize("step", [3, 4])
def test_a_signal_in_any_step_the_last_included(tmp_path, monkeypatch, every, step):
    more = [f"trainer.evaluate_every={every}", "trainer.average=last"]
    uninterrupted = train(tmp_path, "whole", *more)
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        try:
            run = train(tmp_path, "run", *more)
        except BaseException:  # it may end with an exception
            run = tmp_path / "run"
    assert not (run / "result.json").exists()
    newest = Checkpoints(run / "checkpoints").latest()
    assert newest is not None and not read_state(newest)["finished"]
    train(tmp_path, "run", *more, resume=True)
    assert contents(run) == contents(uninterrupted)


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("where", ["measure", "show"])
def test_an_evaluation_that_fails_loses_no_step(tmp_path, monkeypatch, step, where):
    uninterrupted = train(tmp_path, "whole")
    real, seen = getattr(Validation, where), []

    def fails(self, *arguments, **more):
        seen.append(where)
        result = real(self, *arguments, **more)  # after `show` has written its line
        if len(seen) == step // 2:
            raise ValueError("a scorer stumbled")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Validation, where, fails)
        with pytest.raises(ValueError, match="stumbled"):
            train(tmp_path, "run")
    run = tmp_path / "run"
    newest = Checkpoints(run / "checkpoints").latest()
    assert newest is not None and newest.name == f"step-{step:08d}" and damage(newest) == ""
    train(tmp_path, "run", resume=True)
    assert contents(run) == contents(uninterrupted)


def test_a_mistyped_metric_is_found_before_training(tmp_path, monkeypatch):
    at_step(monkeypatch, 1, lambda: pytest.fail("trained"))
    with pytest.raises(RunError, match=r"trainer.metric: no score 'acuracy': there are: .*accuracy"):
        train(tmp_path, "run", "trainer.metric=acuracy")
    assert not (tmp_path / "run" / "config.yaml").exists()
    monkeypatch.undo()
    monkeypatch.setattr(machine, "product_rate", lambda *_, **__: 1e9)
    run = train(tmp_path, "run", "trainer.metric=f1", resume=True)
    assert json.loads((run / "result.json").read_bytes())["metric"] == "f1"


def test_the_metric_may_be_corrected_as_long_as_nothing_was_scored(tmp_path, monkeypatch):
    """A run of version 0.1 may have checkpoints from before its first evaluation, which failed."""
    with monkeypatch.context() as patch:
        patch.setattr(Validation, "check_metric", lambda self: None)
        with pytest.raises(RunError, match="no score 'acuracy'"):
            train(tmp_path, "run", "trainer.metric=acuracy")
    train(tmp_path, "run", "trainer.metric=f1", resume=True)
    with pytest.raises(RunError, match="trainer.metric: f1 -> loss"):
        train(tmp_path, "run", "trainer.metric=loss", "trainer.steps=6", resume=True)


FAST = ["optim.lr=1e38", "optim.warmup_steps=0", "optim.schedule=constant", "trainer.evaluate_every=4"]


def test_weights_that_are_not_finite_are_never_saved_and_the_advice_works(tmp_path):
    with pytest.raises(RunError, match=r"step \d: .*not finite.*lower optim.lr .*--resume"):
        train(tmp_path, "run", *FAST, "trainer.checkpoint_every=1")
    run = tmp_path / "run"
    assert list(run.glob("not-finite-rank0.json"))
    assert not Checkpoints(run / "checkpoints").steps()
    train(tmp_path, "run", resume=True)
    assert not list(run.glob("not-finite*"))
    with pytest.raises(RunError, match="made with other settings: optim.lr"):
        train(tmp_path, "run", "optim.lr=0.1", "trainer.steps=6", resume=True)


def test_the_learning_rate_may_change_after_a_step_that_was_not_finite(tmp_path, monkeypatch, capsys):
    original = Trainer.train_step

    def train_step(self, *arguments):
        sums = original(self, *arguments)
        if self.progress.step == 3:
            with torch.no_grad():
                next(self.model.parameters()).flatten()[0] = float("inf")
        return sums

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", train_step)
        with pytest.raises(RunError, match="step 3: weights .* not finite"):
            train(tmp_path, "run", "trainer.checkpoint_every=1", "trainer.evaluate_every=0")
    capsys.readouterr()
    more = ["trainer.checkpoint_every=1", "trainer.evaluate_every=0", "optim.lr=1e-5"]
    with pytest.raises(RunError, match="made with other settings: model.dropout"):
        train(tmp_path, "run", *more, "model.dropout=0.4", resume=True)
    launch(FAMILY.config(tmp_path, *SETTINGS, *more), tmp_path / "run", resume=True)
    assert "from step 3 on: optim.lr: " in capsys.readouterr().err
    assert locate(tmp_path / "run", "latest")[1].name == "step-00000004"


@pytest.mark.parametrize(
    ("log", "save", "message"),
    [
        (4, 0, "step 4: loss or gradient was not finite in an earlier step"),
        (8, 3, "step 3: loss or gradient was not finite in an earlier step"),
        (2, 3, "step 2: loss or gradient is not finite; the batch's samples"),
    ],
)
@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_a_device_that_is_read_now_and_then_hides_no_loss_that_is_not_finite(
    tmp_path, monkeypatch, log, save, message, name
):
    """A GPU is read at log lines and before a step is saved: the infinite value of step 2 is seen there."""
    original = Trainer.train_step

    def train_step(self, *arguments):
        sums = original(self, *arguments)
        return sums | {name: sums[name] * float("inf")} if self.progress.step == 2 else sums

    monkeypatch.setattr(machine.Machine, "is_asynchronous", True)
    monkeypatch.setattr(Trainer, "train_step", train_step)
    more = [f"trainer.log_every={log}", f"trainer.checkpoint_every={save}", "trainer.evaluate_every=0"]
    with pytest.raises(RunError, match=message):
        train(tmp_path, "run", "trainer.steps=8", *more)
    assert not Checkpoints(tmp_path / "run" / "checkpoints").steps()
    assert "train/loss" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_an_evaluation_that_is_not_finite_stops_and_is_not_saved(tmp_path, monkeypatch):
    real = Validation.measure

    def measure(self, *arguments):
        scores = real(self, *arguments)
        scores.scores["loss"] = float("nan")
        return scores

    monkeypatch.setattr(Validation, "measure", measure)
    with pytest.raises(RunError, match="step 2: the loss of the evaluation is nan"):
        train(tmp_path, "run")
    assert not Checkpoints(tmp_path / "run" / "checkpoints").steps()


def test_weights_that_give_no_finite_loss_are_named(tmp_path, monkeypatch):
    """With such weights the next step fails at any learning rate."""
    original = Trainer.train_step

    def train_step(self, *arguments):
        if self.progress.step == 3:
            with torch.no_grad():
                next(self.model.parameters()).flatten()[:] = 1e38
        return original(self, *arguments)

    monkeypatch.setattr(Trainer, "train_step", train_step)
    with pytest.raises(RunError, match=r"step 3: loss or gradient is not finite.*remove \S*step-00000002,"):
        train(tmp_path, "run", "trainer.evaluate_every=0")


def test_a_checkpoint_whose_evaluation_overflows_is_named(tmp_path, monkeypatch):
    """Its weights are finite: whatever the learning rate, --resume would score it again."""
    real = Validation.measure

    def measure(self, *arguments):
        raise OSError("no disk")

    def overflowing(self, *arguments):
        evaluation = real(self, *arguments)
        evaluation.scores["loss"] = float("inf")
        return evaluation

    monkeypatch.setattr(Validation, "measure", measure)
    with pytest.raises(OSError):
        train(tmp_path, "run", "trainer.keep=9")
    monkeypatch.setattr(Validation, "measure", overflowing)
    with pytest.raises(
        RunError, match=r"step 2: the loss of the evaluation is inf.*remove \S*step-00000002, whose"
    ) as raised:
        train(tmp_path, "run", "trainer.keep=9", resume=True)
    assert "samples" not in str(raised.value)


# --- scorers ----------------------------------------------------------------------------------------------------------


def rescored(run: Path, **changes) -> None:
    """Give the newest checkpoint another record, as another version would have written it; None takes a field out."""
    newest = Checkpoints(run / "checkpoints").latest()
    assert newest is not None
    state = json.loads((newest / "state.json").read_bytes()) | changes
    content = json.dumps({name: value for name, value in state.items() if value is not None}).encode()
    (newest / "state.json").write_bytes(content)
    manifest = json.loads((newest / "manifest.json").read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"]["state.json"] = {"bytes": len(content), "sha256": digest}
    (newest / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("family", "changes", "said"),
    [
        ("token tagging", {"signature": None}, "f1 before, f1 (seqeval, strict, IOB2) now"),
        ("token tagging", {"metric": "accuracy"}, "accuracy (seqeval, strict, IOB2) before, f1 (seqeval"),
        ("token tagging", {}, ""),
        ("token tagging", {"signature": "seqeval, strict, IOB2"}, ""),  # as versions without the extent of decoding
        ("text classification", {"signature": None}, ""),
        (
            "text classification",
            {"signature": "|decoded:4|decode:0123abcd"},
            "",
        ),  # as versions that recorded the extent
        ("text classification", {"signature": "another"}, "accuracy (another) before, accuracy now"),
    ],
)
def test_scores_of_another_scorer_are_not_compared(tmp_path, capsys, family, changes, said):
    """The best of before is no measure any more: the comparison begins anew, and says so."""
    chosen = family_named(family)
    settings = ["trainer.steps=4", "trainer.checkpoint_every=2", "trainer.evaluate_every=2", "trainer.average=none"]
    run = tmp_path / "run"
    launch(chosen.config(tmp_path, *settings), run)
    rescored(run, best=1000.0, best_loss=0.0, best_step=2, **changes)
    capsys.readouterr()
    launch(chosen.config(tmp_path, *settings, "trainer.steps=6"), run, resume=True)
    err = capsys.readouterr().err
    assert ("scores are computed in another way than before" in err) == bool(said) and said in err
    state = json.loads((run / "checkpoints" / "step-00000006" / "state.json").read_bytes())
    assert (state["best"] == 1000) == (not said) and state["compared_from"] == (6 if said else 0)
    assert Checkpoints(run / "checkpoints").best().name == ("step-00000006" if said else "step-00000002")


@pytest.mark.parametrize(
    ("name", "metric", "change", "anew"),
    [
        ("translation", "bleu", "trainer.evaluate_limit=2", True),
        ("translation", "bleu", "decode.beam=3", True),
        ("translation", "bleu", "decode.batch=1", False),  # affects the speed alone
        ("translation", "loss", "trainer.evaluate_limit=2", False),  # the loss is that of all examples
        ("text classification", "accuracy", "trainer.evaluate_limit=2", False),  # so are these scores
        ("gpt", "perplexity", "decode.beam=3", False),
    ],
)
def test_scores_of_other_examples_or_another_search_are_not_compared(tmp_path, capsys, name, metric, change, anew):
    family, run = family_named(name), tmp_path / "run"
    settings = ["trainer.evaluate_every=2", "trainer.checkpoint_every=2", f"trainer.metric={metric}"]
    settings += ["decode.max_length=6", "decode.beam=1"] if name == "translation" else []
    launch(family.config(tmp_path, *settings, "trainer.steps=4"), run)
    capsys.readouterr()
    launch(family.config(tmp_path, *settings, "trainer.steps=6", change), run, resume=True)
    assert ("scores are computed in another way than before: " in capsys.readouterr().err) is anew
    state = json.loads((run / "checkpoints" / "step-00000006" / "state.json").read_bytes())
    assert state["compared_from"] == (6 if anew else 0)


def test_the_result_of_a_finished_run_names_the_score_of_its_checkpoint(tmp_path, monkeypatch, capsys):
    """The average of an earlier call stays the best checkpoint if the run is called again without averaging."""
    run = tmp_path / "run"
    settings = ["trainer.steps=4", "trainer.checkpoint_every=2", "trainer.evaluate_every=2", "trainer.metric=loss"]
    monkeypatch.setattr(Validation, "better", lambda *_: True)  # so that the average is the best
    for average in ("last", "none"):
        launch(family_named("gpt").config(tmp_path, *settings, f"trainer.average={average}"), run, resume=True)
        result = json.loads((run / "result.json").read_bytes())
        state = json.loads((run / "checkpoints" / result["checkpoint"] / "state.json").read_bytes())
        assert result["best"] == state["score"] and result["step"] == 4
        assert f": best loss {state['score']:.4g} by the average of checkpoints\n" in capsys.readouterr().err
    assert result["checkpoint"] == "averaged"


@pytest.mark.parametrize(("average", "steps"), [("last", [3, 4]), ("best", [1, 3])])
def test_the_chosen_checkpoints_are_averaged(tmp_path, monkeypatch, average, steps):
    """Steps 1, 3 and 4 are kept. The result is step 1, since its score is better than that of the average."""
    scores = iter([0.9, 0.5, 0.8, 0.6, 0.7])
    monkeypatch.setattr(Validation, "score", lambda self, _: next(scores))
    run = train(tmp_path, "run", "trainer.evaluate_every=1", "trainer.checkpoint_every=1", f"trainer.average={average}")
    state = read_state(run / "checkpoints" / "averaged")
    assert state["averaged"] == [f"step-{step:08d}" for step in steps]
    assert (state["score"], state["better"]) == (0.7, False)
    result = json.loads((run / "result.json").read_bytes())
    assert (result["best"], result["step"], result["checkpoint"]) == (0.9, 1, "step-00000001")


def test_the_score_of_an_average_is_that_of_its_weights(tmp_path):
    run = train(tmp_path, "run", "trainer.average=last", "trainer.metric=loss", "optim.lr=0.1")
    averaged, last = (run / "checkpoints" / name for name in ("averaged", "step-00000004"))
    expected = evaluate_run(averaged, "validation").evaluation.scores["loss"]
    assert read_state(averaged)["score"] == read_state(averaged)["loss"] == expected != read_state(last)["loss"]


def test_the_result_is_of_the_best_step_of_all_calls(tmp_path, monkeypatch):
    """Step 2 is the best one: two calls later the result still names its score, and counts the time of all calls."""
    scores = iter([0.9, 0.5, 0.7, 0.6])
    monkeypatch.setattr(Validation, "score", lambda self, _: next(scores))
    for steps in (4, 6, 8):
        run = train(tmp_path, "run", f"trainer.steps={steps}", "trainer.average=none", resume=steps > 4)
        if steps == 4:
            rescored(run, seconds=600.0)
    result = json.loads((run / "result.json").read_bytes())
    assert (result["best"], result["step"], result["checkpoint"]) == (0.9, 2, "step-00000002")
    assert result["metric"] == "accuracy" and 10 <= result["minutes"] < 12


@pytest.mark.parametrize(("language", "earlier"), [("zh", "tok:char"), ("zh-CN", "tok:13a"), ("de", "tok:13a")])
def test_version_0_1_knew_four_languages_without_spaces_by_their_codes(tmp_path, language, earlier):
    family = family_named("translation")
    task = tasks.build(family.config(tmp_path, f"data.target_language={language}"))
    assert f"|{earlier}|" in (task.evaluator.first_scorer("bleu") or "") and task.evaluator.first_scorer("loss") is None


def test_nothing_starts_from_weights_that_are_not_finite(tmp_path):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(RunError, match="somewhere: weight is not finite"):
        weight = torch.tensor([[0.0, float("nan")], [1.0, 2.0]])
        load_model_tensors(model, {"weight": weight, "bias": torch.zeros(2)}, "somewhere")


def test_a_damaged_checkpoint_is_left_out_of_the_average_and_named(tmp_path, capsys):
    run = train(tmp_path, "run", "trainer.steps=4")
    first = Checkpoints(run / "checkpoints").steps()[0]
    weights = bytearray((first / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (first / "model.safetensors").write_bytes(weights)
    launch(FAMILY.config(tmp_path, *SETTINGS), run, resume=True)
    assert f"not averaged: {first.name} model.safetensors does not match" in capsys.readouterr().err
    assert json.loads((run / "checkpoints" / "averaged" / "state.json").read_bytes())["averaged"] == ["step-00000004"]


def test_a_result_is_of_all_steps_or_not_there(tmp_path, monkeypatch):
    run = train(tmp_path, "run")
    with monkeypatch.context() as patch:
        at_step(patch, 7, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, "run", "trainer.steps=8", resume=True)
    assert not (run / "result.json").exists()


def test_data_that_moved_is_the_same_data(tmp_path):
    run = train(tmp_path, "run")
    source = Path(FAMILY.config(tmp_path).data.path)
    moved = tmp_path / "moved.tsv"
    moved.write_bytes(source.read_bytes())
    train(tmp_path, "run", f"data.path={moved}", "trainer.steps=6", resume=True)
    moved.write_bytes(source.read_bytes().replace(b"good", b"fine", 1))
    with pytest.raises(RunError, match=r"data.(train.*|validation) changed since this checkpoint was saved"):
        train(tmp_path, "run", f"data.path={moved}", "trainer.steps=8", resume=True)
    assert evaluate_run(run, "validation", [f"data.path={source}"]).evaluation.scores
