"""The length of a run in the training loop, with a simulated clock."""

from __future__ import annotations

import json
import re

import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.console import Console
from tformer_cli.machine import Machine
from tformer_cli.runs.checkpoint import Checkpoints
from tformer_cli.train.budget import Budget
from tformer_cli.train.launch import launch
from tformer_cli.train.learner import seed_step
from tformer_cli.train.loop import Trainer
from tformer_cli.train.notes import length, notes
from tformer_cli.train.parallel import Ranks
from tformer_cli.train.saving import restore

TRANSLATION = family_named("translation")
QUICK = ["trainer.evaluate_decoded=false", "trainer.samples=0", "trainer.log_every=1", "optim.warmup_steps=2"]


class Clock:
    """A clock that advances only in steps and evaluations."""

    def __init__(self, step: float, evaluation: float) -> None:
        self.now, self.step, self.evaluation = 100.0, step, evaluation

    def __call__(self) -> float:
        return self.now


class Timed(Trainer):
    """A trainer with simulated durations of steps and evaluations."""

    clock: Clock  # type: ignore[assignment]
    evaluations = 0

    def train_step(self, micro_batches):
        """Advance the clock by a step."""
        self.clock.now += self.clock.step
        return super().train_step(micro_batches)

    def evaluate(self):
        """Advance the clock by an evaluation."""
        self.clock.now += self.clock.evaluation
        self.evaluations += 1
        super().evaluate()


def train(folder, *settings: str, step: float = 1.0, evaluation: float = 0.0, resume: bool = False) -> Timed:
    task = TRANSLATION.task(folder, *QUICK, *settings)
    seed_step(1, 0, 0)
    machine = Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9)
    trainer = Timed(task, task.model(), folder, machine, Ranks(), Console())
    trainer.clock = Clock(step, evaluation)
    if resume:
        newest = Checkpoints(folder / "checkpoints").newest(print)
        assert newest is not None
        restore(trainer, newest)
    trainer.fit()
    return trainer


def rates(folder) -> list[float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["train/learning_rate"] for line in lines if "train/learning_rate" in line]


def test_minutes_train_to_the_end_of_the_schedule(tmp_path):
    trainer = train(tmp_path, "trainer.steps=0", "trainer.minutes=0.5", "optim.lr=1", "optim.schedule=linear")
    assert trainer.progress.step == 30 and trainer.progress.finished
    assert rates(tmp_path) == pytest.approx([0.5, 1.0, *(1 - (step - 2) / 28 for step in range(3, 31))])
    assert trainer.evaluations == 1


@pytest.mark.parametrize("every", [0, 4, 100])
def test_a_run_ends_within_its_minutes_and_one_step_and_one_evaluation(tmp_path, every):
    """Evaluations count, and the one during which the minutes run out is the last."""
    settings = [
        "trainer.steps=0",
        "trainer.minutes=0.2",
        f"trainer.evaluate_every={every}",
        "trainer.checkpoint_every=2",
    ]
    trainer = train(tmp_path, *settings, step=1.7, evaluation=9.0)
    assert 12 <= trainer.progress.seconds <= 12 + 1.7 + 9 and trainer.progress.finished
    assert trainer.evaluations == 1


def test_a_run_whose_minutes_are_up_takes_no_more_steps(tmp_path, capsys):
    settings = ["trainer.steps=0", "trainer.minutes=0.1"]
    first = train(tmp_path, *settings)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = train(tmp_path, *settings, resume=True)
    assert (again.progress.step, again.evaluations) == (first.progress.step, 0)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert "nothing is left to train: 6 steps" in capsys.readouterr().err


def test_a_run_that_patience_ended_says_so(tmp_path, capsys):
    settings = ["trainer.steps=9", "trainer.evaluate_every=1", "trainer.patience=1", "optim.lr=0"]
    first = train(tmp_path, *settings)
    assert first.progress.step == 2  # the first step without a better score
    capsys.readouterr()
    train(tmp_path, *settings, resume=True)
    output = capsys.readouterr().err
    assert "trainer.patience=1 ended the run" in output and "trainer.steps" not in output


def test_more_minutes_train_on_smoothly_and_fewer_end_the_run(tmp_path, capsys):
    train(tmp_path, "trainer.steps=0", "trainer.minutes=1", "optim.schedule=linear", "optim.lr=1")
    capsys.readouterr()
    more = train(tmp_path, "trainer.steps=0", "trainer.minutes=2", "optim.schedule=linear", "optim.lr=1", resume=True)
    assert "the budget was 1 minute and is now 2 minutes; the learning rate was 0" in capsys.readouterr().err
    assert more.progress.step == 120
    resumed_rates = rates(tmp_path)
    assert (
        max(abs(a - b) for a, b in zip(resumed_rates[59:], resumed_rates[60:], strict=False)) < 0.1
        and max(resumed_rates[60:]) > 0.4
    )
    assert resumed_rates[-1] == 0
    fewer = train(tmp_path, "trainer.steps=90", "optim.schedule=linear", "optim.lr=1", resume=True)
    assert fewer.progress.step == 120 and "nothing is left to train" in capsys.readouterr().err


def test_a_run_that_is_cut_short_on_resume_is_evaluated(tmp_path):
    train(tmp_path, "trainer.steps=8", "trainer.evaluate_every=0", "trainer.checkpoint_every=2", "trainer.keep=9")
    import shutil

    for step in (8, 6):
        shutil.rmtree(tmp_path / "checkpoints" / f"step-{step:08d}")
    trainer = train(tmp_path, "trainer.steps=3", resume=True)
    assert (trainer.progress.step, trainer.evaluations) == (4, 1)
    assert trainer.progress.best is not None


def test_epochs_end_a_run(tmp_path, capsys):
    config = TRANSLATION.config(tmp_path, *QUICK, "trainer.steps=0", "trainer.epochs=0.5", "data.size=100")
    run = tmp_path / "run"
    launch(config, run)
    err = capsys.readouterr().err
    match = re.search(r"batches +([\d,]+) an epoch", err)
    assert match is not None
    steps = -(-int(match[1]) // 2)
    assert Checkpoints(run / "checkpoints").steps()[-1].name == f"step-{steps:08d}"
    assert re.search(rf"length +{steps} steps, ", err)


def test_an_epoch_of_two_networks_reads_each_example_once(tmp_path, capsys):
    """Each network of a GAN reads micro-batches of its own, so that a step has two."""
    config = family_named("sagan").config(tmp_path, "trainer.steps=0", "trainer.epochs=1", "trainer.minutes=0")
    launch(config, tmp_path / "run")
    match = re.search(r"batches +([\d,]+) an epoch", err := capsys.readouterr().err)
    assert match is not None and int(match[1]) > 2
    steps = -(-int(match[1]) // 2)
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps()[-1].name == f"step-{steps:08d}"
    assert re.search(rf"length +{steps} steps, 1 epoch of", err)


def test_batch_normalisation_is_noted_for_every_family(tmp_path):
    for family in ("conformer", "resnet"):
        more = ["model.convolution_norm=batch"] if family == "conformer" else []
        task = family_named(family).task(tmp_path, "trainer.accumulate=2", *more)
        lines = notes(task.config, Budget(100), task.model(), 1)
        assert any("batch normalisation" in line and "trainer.accumulate=2" in line for line in lines)


def test_the_header_says_how_long_a_run_is():
    assert length(Budget(1500), 42, 1, 0, 0.0) == "1,500 steps, 35.7 epochs of the training data"
    assert length(Budget(21), 42, 2, 0, 0.0) == "21 steps, 1 epoch of the training data"
    assert length(Budget(0, 120.0), 42, 1, 0, 0.0) == "2 minutes; the number of steps is estimated from the first ones"
    both = "21 steps or 2 minutes, whichever is first: at most 1 epoch of the training data"
    assert length(Budget(21, 120.0), 42, 2, 0, 0.0) == both
    resumed = length(Budget(10_000, 120.0), 100, 1, 50, 60.0)
    assert resumed == "10,000 steps or 2 minutes, whichever is first: about 100 steps, 1 epoch of the training data"


def test_settings_without_effect_are_named(tmp_path):
    def said(*settings: str, processes: int = 1, model: torch.nn.Module | None = None) -> str:
        config = TRANSLATION.config(tmp_path, *settings)
        return "\n".join(notes(config, Budget.of(config.trainer, 10), model or torch.nn.Linear(1, 1), processes))

    calm = ["optim.warmup_steps=9", "trainer.steps=10"]
    assert said(*calm) == ""
    assert "optim.warmup_steps=10 is not shorter than the run of 10 steps" in said("optim.warmup_steps=10")
    assert said("optim.warmup_steps=10", "trainer.steps=0", "trainer.minutes=1") == ""  # the minutes shorten it
    assert "no evaluation before the end" in said(*calm, "trainer.patience=2", "trainer.evaluate_every=0")
    assert "at step 12 at the earliest" in said(*calm, "trainer.patience=2", "trainer.evaluate_every=4")
    assert said(*calm, "trainer.patience=2", "trainer.evaluate_every=3") == ""
    decay = [*calm[:1], "trainer.steps=30", "optim.schedule=warmup_stable_decay"]
    assert "is not shorter than the 21 steps after the warm-up" in said(*decay, "optim.decay_steps=21")
    assert said(*decay, "optim.decay_steps=20") == said(*decay) == ""
    assert "optim.decay_steps=3 has no effect with optim.schedule=cosine" in said(
        *calm, "optim.schedule=cosine", "optim.decay_steps=3"
    )
    assert "trainer.steps=10 ends the run before trainer.epochs=3 are over" in said(*calm, "trainer.epochs=3")
    assert "epochs" not in said(*calm, "trainer.epochs=0.9")
    assert "epochs" not in said("trainer.steps=0", "trainer.epochs=3")
    normalised = torch.nn.BatchNorm1d(3)
    assert said(*calm, model=normalised) == ""
    assert "with 2 processes the result" in said(*calm, model=normalised, processes=2)
    assert "with 3 processes and trainer.accumulate=2" in said(
        *calm, "trainer.accumulate=2", model=normalised, processes=3
    )


@pytest.mark.parametrize("steps", [1, 2, 9, 30, 100])
@pytest.mark.parametrize("settings", [["trainer.patience=1"], ["trainer.patience=20"], ["optim.warmup_steps=200"]])
@pytest.mark.parametrize("every", [0, 50])
def test_the_remedy_of_a_note_has_an_effect(steps, settings, every, tmp_path):
    def said(*more: str) -> list[str]:
        first = ["optim.warmup_steps=0", f"trainer.steps={steps}", f"trainer.evaluate_every={every}"]
        config = TRANSLATION.config(tmp_path, *first, *settings, *more)
        return notes(config, Budget.of(config.trainer, 10), torch.nn.Linear(1, 1), 1)

    for note in said():
        remedy = re.search(r"[a-z_.]+=\d+$", note)
        assert said(remedy[0]) == [] if remedy else note.endswith("a smaller one")


def test_lines_show_the_time_left_before_the_first_metrics(capsys, monkeypatch):
    """A line is written after half a minute without one, even if metrics are logged rarely."""
    now = [1000.0]
    monkeypatch.setattr("tformer_cli.console.time.monotonic", lambda: now[0])
    console = Console()
    console.start()
    console.advance(1, 0, 0.01, None)
    assert not console.stale()
    now[0] += 31
    console.advance(2, 120, 0.02, 754.0)
    assert console.stale()
    console.step(2, {"loss": 1.5})
    assert capsys.readouterr().err == "step=2 total=120 eta=12:34 loss=1.5\n"
    assert not console.stale()


def test_the_bar_moves_with_each_step(monkeypatch):
    moves = []

    class Bar:
        def update(self, task, **values):
            moves.append(values)

    console = Console()
    console.progress, console.task = Bar(), 0
    for step in (1, 2, 3):
        console.advance(step, 1500, step / 1500, 60.0)
    assert [move["completed"] for move in moves] == [1 / 1500, 2 / 1500, 3 / 1500]
    assert moves[-1]["steps"] == "step 3/1,500 eta 1:00"


@pytest.mark.slow
def test_processes_share_one_clock(tmp_path, capfd):
    """All ranks use the first rank's clock for the learning rate and the end of the run."""
    settings = [*QUICK, "trainer.steps=0", "trainer.minutes=0.03", "trainer.threads=1", "optim.schedule=linear"]
    run = tmp_path / "run"
    launch(TRANSLATION.config(tmp_path, *settings), run, processes=2)
    shared_rates = rates(run)
    assert shared_rates[-1] == 0.0 and len(shared_rates) > 3
    assert "done in" in capfd.readouterr().err
    launch(TRANSLATION.config(tmp_path, *settings), run, processes=2, resume=True)
    assert "nothing is left to train" in capfd.readouterr().err and rates(run) == shared_rates
