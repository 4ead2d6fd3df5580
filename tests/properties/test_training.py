"""Properties of training in every family."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import shutil
import socket

import numpy as np
import pytest
import torch

from tests.properties.families import FAMILIES, REGULARISED, batch_of, family_named
from tformer_cli.console import Console
from tformer_cli.data.core.batch import Batch
from tformer_cli.errors import RunError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.machine import Machine
from tformer_cli.runs.checkpoint import read_state, read_tensors
from tformer_cli.runs.folder import Lock, locate
from tformer_cli.train.launch import launch, train
from tformer_cli.train.learner import TrainingStep, seed_step
from tformer_cli.train.loop import Trainer
from tformer_cli.train.parallel import Ranks
from tformer_cli.train.processes import run_ranks
from tformer_cli.trained.evaluate import evaluate_run


def machine() -> Machine:
    return Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9)


def trainer_of(task, folder) -> Trainer:
    seed_step(1, 0, 0)
    return Trainer(task, task.model(), folder, machine(), Ranks(), Console(quiet=True))


def weights(run, step: int) -> bytes:
    return (run / "checkpoints" / f"step-{step:08d}" / "model.safetensors").read_bytes()


def test_padding_changes_nothing(family, tmp_path):
    """The loss of a batch is the sum of the losses of its single examples."""
    task = family.task(tmp_path)
    model = task.model().eval().requires_grad_(False)
    rows = np.arange(6)
    together = task.loss(model, task.view("validation").collate(0, rows))
    alone = [task.loss(model, task.view("validation").collate(0, rows[i : i + 1])) for i in range(len(rows))]
    assert int(together.count) == sum(int(loss.count) for loss in alone)
    assert float(together.total) == pytest.approx(sum(float(loss.total) for loss in alone), rel=1e-5)


@pytest.mark.parametrize("clip_norm", [0, 0.1])  # clipping alone would hide a wrong scale
def test_accumulation_is_a_larger_batch(family, tmp_path, clip_norm):
    """One step over several micro-batches, of any sizes, is a step over their union."""
    # The learning rate is 0, since an update in one phase would amplify rounding before the next.
    settings = ("optim.warmup_steps=1", "optim.lr=0", f"optim.clip_norm={clip_norm}")
    task = family.task(tmp_path, "model.dropout=0", *settings)
    rows = np.arange(12)
    runs = []
    for cuts in ((), (6,), (1, 2, 7), tuple(range(1, 12))):
        trainer = trainer_of(task, tmp_path)
        trainer.model.train()
        trainer.progress.step = 1
        parts = [task.view("train").collate(0, part) for part in np.split(rows, cuts)]
        trainer.train_step(parts * len(trainer.updates))
        # The first moment is the clipped gradient. The step of the weights would amplify rounding where it is near 0.
        states = [phase.optimizer.state[value] for phase in trainer.phases for value in phase.part.parameters()]
        moments = [state["exp_avg" if "exp_avg" in state else "momentum"] for state in states]
        runs.append(moments)
    largest = max(float(moment.abs().max()) for moment in runs[0])
    for other in runs[1:]:
        for got, expected in zip(other, runs[0], strict=True):
            # A value can be small because large terms cancel, in this parameter or in layers above it.
            rounding = max(1e-8, 1e-7 * largest, 1e-6 * float(expected.abs().max()))
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=rounding)


def test_overfits_one_batch(family, tmp_path):
    settings = ("optim.lr=0.01", "optim.warmup_steps=1", "optim.label_smoothing=0", "optim.schedule=constant")
    task = family.task(tmp_path, "model.dropout=0", *settings, *family.same)
    trainer = trainer_of(task, tmp_path)
    batch = task.view("train").collate(0, np.arange(4))
    trainer.model.train()
    prefix, losses = trainer.phases[0].prefix, []
    for step in range(1, 151):
        trainer.progress.step = step
        sums = trainer.train_step([batch] * len(trainer.updates))
        losses.append(float(sums[f"{prefix}loss"] / sums[f"{prefix}count"]))
        if max(losses[-5:]) < 0.15 * losses[0]:  # not by chance, as a single step of an adversary could be
            break
    assert max(losses[-5:]) < 0.15 * losses[0]


def test_batches_are_a_pure_function_and_ranks_are_disjoint(family, tmp_path):
    from tformer_cli.train.data import batches

    task, again = family.task(tmp_path), family.task(tmp_path)
    count = task.view("train").num_batches
    first = [batch_of(task, "train", 0, i).sample_ids.tolist() for i in range(count)]
    assert sorted(sum(first, [])) == list(range(len(set(sum(first, [])))))
    assert batch_of(again, "train", 3, 1).sample_ids.tolist() == batch_of(task, "train", 3, 1).sample_ids.tolist()
    assert sorted(map(tuple, first)) != sorted(
        tuple(batch_of(task, "train", 1, i).sample_ids.tolist()) for i in range(count)
    )

    def stream(ranks, start, accumulate, number):
        stream_of_batches = batches(
            task.view("train"),
            start=start,
            accumulate=accumulate,
            ranks=ranks,
            device=torch.device("cpu"),
            workers=task.config.data.workers,
        )
        return [tuple(batch.sample_ids.tolist()) for batch in itertools.islice(stream_of_batches, number)]

    alone = stream(Ranks(), 0, 2, 2 * count)
    shares = [stream(Ranks(rank, 2), 0, 2, 2 * count) for rank in (0, 1)]
    assert alone == [
        tuple(itertools.chain.from_iterable(itertools.zip_longest(*both)))[: len(batch)]
        for batch, *both in zip(alone, *shares, strict=True)
    ]
    assert stream(Ranks(), 3, 2, 4) == alone[6:10]


def test_a_rank_without_a_row_of_its_own_changes_nothing(family, tmp_path):
    from tformer_cli.train.data import batches

    task = family.task(tmp_path)
    model = task.model()
    rows = len(task.view("train").rows(0, 0))
    device = torch.device("cpu")
    busy, idle = (
        next(batches(task.view("train"), start=0, accumulate=1, ranks=Ranks(r, 2 * rows), device=device, workers=0))
        for r in (0, rows)
    )
    assert len(busy.sample_ids) == len(idle.sample_ids) == 1
    assert float(TrainingStep(task.phases[0].objective, model)(busy).count) > 0
    loss = TrainingStep(task.phases[0].objective, model)(idle)
    assert float(loss.count) == 0 and all(float(part) == 0 for part in loss.parts.values())
    loss.total.backward()
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_a_batch_moves_with_all_its_tensors_and_whatever_else_it_holds(family, tmp_path):
    task = family.task(tmp_path)
    batch = dataclasses.replace(batch_of(task, "train", 0, 0), idle=True)
    assert_moved(batch, batch.to(torch.device("meta")), "meta")


def assert_moved(batch: Batch, moved: Batch, device: str) -> None:
    assert type(moved) is type(batch)
    for item in dataclasses.fields(batch):
        before, after = getattr(batch, item.name), getattr(moved, item.name)
        if isinstance(before, Batch):
            assert_moved(before, after, device)
        elif isinstance(before, torch.Tensor):
            assert (after.device.type, after.shape) == (device, before.shape)
        else:
            assert after is before


def test_resumed_run_ends_with_the_same_bytes(trained, tmp_path):
    """The run stops within an epoch, between log lines and between evaluations; dropout and averaging are on.

    The second of the three parts reads its data in worker processes.
    """
    parts = tmp_path / "parts"
    launch(trained.config("trainer.steps=3"), parts, quiet=True)
    launch(trained.config("trainer.steps=5", "data.workers=2"), parts, resume=True, quiet=True)
    launch(trained.config(), parts, resume=True, quiet=True)
    assert weights(parts, 6) == weights(trained.run, 6)
    lines = {}
    for run in (trained.run, parts):
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        lines[run] = [record for record in records if any(re.fullmatch("train/(.*/)?loss", name) for name in record)]
    assert lines[parts] == lines[trained.run] and len(lines[parts]) == 3


def test_killed_run_resumes_to_the_same_bytes(trained, tmp_path):
    """The steps after the last checkpoint are removed and taken again: the files end with the same bytes."""
    killed = trained.copy(tmp_path / "killed")
    for step in (6, 4):
        shutil.rmtree(killed / "checkpoints" / f"step-{step:08d}")
    launch(trained.config(), killed, resume=True, quiet=True)
    assert weights(killed, 6) == weights(trained.run, 6)
    assert (killed / "metrics.jsonl").read_bytes() == (trained.run / "metrics.jsonl").read_bytes()


def test_damaged_checkpoint_is_noticed_and_the_previous_used(trained, tmp_path, capsys):
    run = trained.copy(tmp_path / "run")
    newest = run / "checkpoints" / "step-00000006"
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    launch(trained.config(), run, resume=True)
    assert "skipped a damaged checkpoint: step-00000006 model.safetensors does not match" in capsys.readouterr().err
    assert weights(run, 6) == weights(trained.run, 6)
    for folder in (run / "checkpoints").glob("step-*"):
        (folder / "state.json").write_bytes(b"")
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        launch(trained.config(), run, resume=True, quiet=True)


def test_not_finite_stops_and_is_never_saved(family, trained, tmp_path, monkeypatch):
    """Steps have two micro-batches: the seventh training batch is the first of step 4."""
    run = tmp_path / "run"
    objective_type = type(family.task(tmp_path).phases[0].objective)
    calls = []
    loss = objective_type.loss

    def broken(self, model, outputs, batch):
        broken_loss = loss(self, model, outputs, batch)
        calls.append(model.training)
        if sum(calls) == 7:
            broken_loss.total = broken_loss.total * float("nan")
            broken_loss.parts |= {name: broken_loss.parts[name] * float("nan") for name in broken_loss.counts}
        return broken_loss

    monkeypatch.setattr(objective_type, "loss", broken)
    with pytest.raises(RunError, match="step 4: loss or gradient is not finite"):
        launch(trained.config(), run, quiet=True)
    assert json.loads((run / "not-finite-rank0.json").read_bytes())["sample_ids"]
    assert sorted(path.name for path in (run / "checkpoints").glob("step-*")) == ["step-00000002"]
    monkeypatch.setattr(objective_type, "loss", loss)
    launch(trained.config(), run, resume=True, quiet=True)
    assert weights(run, 6) == weights(trained.run, 6)


def test_other_settings_or_data_are_refused_on_resume(family, trained, tmp_path):
    run = trained.copy(tmp_path / "run")
    sizes = {"batch_images": 3, "batch_seconds": 7, "batch_tokens": 300}
    name = next(name for name in sizes if hasattr(family.config(tmp_path).data, name))
    batch = f"data.{name}={sizes[name]}"
    width = next(name for name in ("dim", "noise_dim") if hasattr(family.config(tmp_path).model, name))
    for change in ("optim.lr=0.5", "seed=2", f"model.{width}=32", batch):
        with pytest.raises(RunError, match=change.split("=")[0]):
            launch(trained.config("trainer.steps=8", change), run, resume=True, quiet=True)
    with pytest.raises(RunError, match="already holds a run"):
        launch(trained.config("trainer.steps=8"), run, quiet=True)
    launch(trained.config("trainer.steps=7", "trainer.log_every=1"), run, resume=True, quiet=True)
    assert weights(run, 7) != weights(run, 6)


def train_all(runs):
    """Train runs one after the other in this rank; each has a port of its own for its process group."""
    for config, run, port in runs:
        os.environ["MASTER_PORT"] = str(port)
        train(config, run, resume=False, initial=None, quiet=True)


def free_ports(count: int) -> list[int]:
    """Return different free ports of this machine."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def test_two_processes_take_the_same_steps_as_one(tmp_path):
    """Two ranks train all families in turn, since the start of a process takes longer than three steps."""
    # The gradient of a key's bias is rounding noise alone, which AdamW would scale up without a large eps.
    settings = ["model.dropout=0", "trainer.steps=3", "trainer.evaluate_decoded=false", "trainer.samples=0"]
    settings += ["optim.eps=0.01", "optim.lr=0.1", "optim.clip_norm=0"]  # clipping alone would hide a wrong scale
    families = [*FAMILIES, *REGULARISED]
    runs = []
    for number, (family, port) in enumerate(zip(families, free_ports(len(families)), strict=True)):
        config = family.config(tmp_path, *settings)
        launch(config, tmp_path / f"one-{number}", quiet=True)
        runs.append((config, tmp_path / f"two-{number}", port))
    run_ranks(2, train_all, (runs,))
    for number, family in enumerate(families):
        first, second = (
            read_tensors(tmp_path / f"{ranks}-{number}" / "checkpoints" / "step-00000003" / "model.safetensors")
            for ranks in ("one", "two")
        )
        assert first.keys() == second.keys()
        for name, value in first.items():  # three steps of up to 0.1 differ by rounding
            torch.testing.assert_close(
                second[name], value, rtol=1e-4, atol=3e-5, msg=lambda text, at=(family.name, name): f"{at}: {text}"
            )


FAST = ["optim.lr=0.1", "optim.warmup_steps=0", "trainer.metric=loss"]
BATCH_NORMALISED = {
    "sagan, batch statistics": [],
    "resnet": FAST,  # slow steps leave a loss that hardly depends on the statistics
    "conformer": [*FAST, "model.convolution_norm=batch", "trainer.evaluate_decoded=false"],
}


def test_scores_of_two_processes_are_those_of_the_checkpoint(tmp_path):
    """Each rank has its own statistics of batch normalisation after a step; a checkpoint has those of rank 0."""
    settings = ["trainer.steps=4", "trainer.evaluate_every=4", "optim.lr=0.01", "trainer.keep=9", "trainer.samples=0"]
    runs = [
        (family_named(name).config(tmp_path, *settings, *more), tmp_path / name, port)
        for port, (name, more) in zip(free_ports(len(BATCH_NORMALISED)), BATCH_NORMALISED.items(), strict=True)
    ]
    run_ranks(2, train_all, (runs,))
    recorded, expected = {}, {}
    for _, run, _ in runs:
        state = read_state(locate(run)[1])
        recorded[run.name] = state["best"]
        expected[run.name] = evaluate_run(run, "validation").evaluation.scores[state["metric"]]
    assert recorded == pytest.approx(expected, rel=1e-6)


def test_two_runs_cannot_write_one_folder(family, tmp_path, monkeypatch):
    run = tmp_path / "run"
    lock = Lock(run)
    monkeypatch.setattr("tformer_cli.runs.folder.PATIENCE", 0.1)
    with pytest.raises(RunError, match="another process is writing this run"):
        launch(family.config(tmp_path, "trainer.steps=1"), run, quiet=True)
    lock.release()


def test_prediction_does_not_depend_on_batch_mates(family, tmp_path):
    task = family.task(tmp_path)
    model = task.model().eval()
    together = [prediction.text for prediction in task.predict(model, family.inputs)]
    alone = [next(iter(task.predict(model, [text]))).text for text in family.inputs]
    assert together == alone


def test_a_split_is_scored_to_its_end_and_no_more_is_done_than_asked(family, tmp_path):
    task = family.task(tmp_path)
    model = task.model().eval().requires_grad_(False)
    losses = [task.loss(model, batch_of(task, "validation", 0, i)) for i in range(task.view("validation").num_batches)]
    assert len(losses) > 1
    evaluation = task.evaluate(model, "validation", Scoring(decoded=False, thorough=False, samples=0))
    mean = sum(float(loss.total) for loss in losses) / sum(int(loss.count) for loss in losses)
    if names := losses[0].counts:  # a sum of several means
        mean = sum(
            sum(float(loss.parts[name]) for loss in losses) / sum(int(loss.counts[name]) for loss in losses)
            for name in names
        )
    assert evaluation.scores["loss"] == pytest.approx(mean, rel=1e-6)
    assert (evaluation.samples, evaluation.tables) == ([], [])
    more = task.evaluate(model, "validation", Scoring(limit=4, samples=2))
    assert len(more.samples) == 2 and more.scores.items() >= evaluation.scores.items()


def test_finetuning_starts_from_the_weights(family, trained, tmp_path):
    settings = ("trainer.steps=1", "optim.lr=0", "trainer.evaluate_limit=4")
    launch(family.config(trained.folder, *settings), tmp_path / "run", initial=trained.run, quiet=True)
    after = read_tensors(tmp_path / "run" / "checkpoints" / "step-00000001" / "model.safetensors")
    before = read_tensors(locate(trained.run)[1] / "model.safetensors")
    assert before.keys() == after.keys()
    for name, _ in family.task(tmp_path).model().named_parameters():  # buffers may follow the data
        assert before[name].equal(after[name]), name
