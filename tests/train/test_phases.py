"""Several phases in a step: a toy generator and discriminator, which have an objective and an optimiser each."""

from __future__ import annotations

import copy
import json
import os
import socket
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from tformer_cli.config.compose import compose
from tformer_cli.config.schema import OptimConfig
from tformer_cli.console import Console
from tformer_cli.data.core.batch import Batch
from tformer_cli.data.core.dataset import Data
from tformer_cli.data.core.view import View
from tformer_cli.evaluators.base import Evaluation, Evaluator
from tformer_cli.inspectors.base import Inspector
from tformer_cli.machine import Machine
from tformer_cli.objectives.base import Loss, Objective
from tformer_cli.predictors.base import Predictor
from tformer_cli.runs.checkpoint import read_tensors
from tformer_cli.tasks.task import Phase, Task
from tformer_cli.train import parallel
from tformer_cli.train.learner import seed_step
from tformer_cli.train.loop import Trainer
from tformer_cli.train.parallel import Ranks
from tformer_cli.train.processes import run_ranks
from tformer_cli.train.saving import restore

RATES = {"discriminator": 0.02, "generator": 0.01}
ROWS, BATCH_ROWS = 24, 4


@dataclass
class PointBatch(Batch):
    """Points of a plane (B, 2) and noise (B, 3)."""

    points: Tensor
    noise: Tensor

    def sizes(self) -> tuple[int, int]:
        return len(self.points), len(self.points)


class Points(View[PointBatch]):
    num_batches = ROWS // BATCH_ROWS  # type: ignore[assignment]

    def rows(self, epoch: int, index: int) -> np.ndarray:
        return np.arange(index * BATCH_ROWS, (index + 1) * BATCH_ROWS)

    def collate(self, epoch: int, rows: np.ndarray) -> PointBatch:
        draws = np.stack([np.random.default_rng((epoch, row)).normal(size=5) for row in rows]).astype(np.float32)
        points = torch.from_numpy(draws[:, :2]) * 0.3 + 1
        return PointBatch(torch.from_numpy(rows), points, torch.from_numpy(draws[:, 2:]))


class PointData(Data):
    def fingerprint(self) -> dict[str, str]:
        return {}

    def _make_view(self, split: str, *, training: bool) -> Points:
        return Points(split, training=training)


class Adversaries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(3, 2)
        self.discriminator = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


class Discriminate(Objective):
    """-log D(x) - log(1 - D(G(z))), summed over the batch."""

    def outputs(self, model: Adversaries, batch: PointBatch) -> tuple[Tensor, Tensor]:
        return model.discriminator(batch.points), model.discriminator(model.generator(batch.noise))

    def loss(self, model: Adversaries, outputs: tuple[Tensor, Tensor], batch: PointBatch) -> Loss:
        real, made = outputs
        total = softplus(-real).sum() + softplus(made).sum()
        return Loss(total, torch.tensor(len(real)), {"real": (real > 0).sum()})


class Deceive(Objective):
    """-log D(G(z)), summed over the batch."""

    def outputs(self, model: Adversaries, batch: PointBatch) -> Tensor:
        return model.discriminator(model.generator(batch.noise))

    def loss(self, model: Adversaries, outputs: Tensor, batch: PointBatch) -> Loss:
        return Loss(softplus(-outputs).sum(), torch.tensor(len(outputs)))


class Distance(Evaluator):
    """The distance between the means of real and generated points; there is no score named loss."""

    metric = "distance"
    lower_is_better = frozenset({"distance"})

    def evaluate(self, model, view, scoring, share=None) -> Evaluation:
        def of_batch(index: int) -> Tensor:
            batch = view.batch(0, index)
            return batch.points.mean(0) - model.generator(batch.noise).mean(0)

        gaps = list(share(lambda indices: map(of_batch, indices), range(view.num_batches)))
        return Evaluation({"distance": float(torch.stack(gaps).mean(0).norm())}, data_sha256="")


def settings(steps: int, *more: str):
    trainer = [f"trainer.steps={steps}", "trainer.minutes=0", "trainer.evaluate_every=2", "trainer.checkpoint_every=2"]
    trainer += ["trainer.log_every=1", "trainer.accumulate=2", "trainer.samples=0", "trainer.device=cpu"]
    config = compose("quickstart/translation", [*trainer, *more])
    for name, rate in RATES.items():
        optim = OptimConfig(lr=rate, warmup_steps=0, schedule=type(config.optim.schedule).constant, clip_norm=0)
        setattr(config, name, optim)
    return config


def toy(config) -> Task:
    data = PointData(config)
    phases = [
        Phase(Discriminate(data), lambda m: m.discriminator, "discriminator", "discriminator", repeats=2),
        Phase(Deceive(data), lambda m: m.generator, "generator", "generator"),
    ]
    predictor = Predictor(data)
    return Task(
        config, data, body=Adversaries, phases=phases, evaluator=Distance(phases[0].objective), predictor=predictor,
        inspector=Inspector(predictor), averaged=lambda m: m.generator,
    )  # fmt: skip


def trained(run, steps: int, *more: str, resume: bool = False, ranks: Ranks | None = None) -> Trainer:
    run.mkdir(exist_ok=True)
    task = toy(settings(steps, *more))
    seed_step(1, 0, 0)
    machine = Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9)
    trainer = Trainer(task, task.model(), run, machine, ranks or Ranks(), Console(quiet=True))
    if resume:
        restore(trainer, sorted((run / "checkpoints").glob("step-*"))[-1])
    trainer.fit()
    return trainer


def by_hand(model: Adversaries, steps: int) -> None:
    """Train with torch.optim alone: two updates of the discriminator and one of the generator from six batches."""
    view = Points("train", training=True)
    parts = {name: getattr(model, name) for name in RATES}
    matrices = {name: [p for p in part.parameters() if p.dim() > 1] for name, part in parts.items()}
    vectors = {name: [p for p in part.parameters() if p.dim() == 1] for name, part in parts.items()}
    decay, betas = OptimConfig().weight_decay, (OptimConfig().beta1, OptimConfig().beta2)
    optimizers = {
        name: torch.optim.AdamW(
            [{"params": matrices[name], "weight_decay": decay}, {"params": vectors[name], "weight_decay": 0.0}],
            lr=RATES[name], betas=betas, eps=OptimConfig().eps,
        )
        for name in RATES
    }  # fmt: skip
    ones, zeros = torch.ones(2 * BATCH_ROWS, 1), torch.zeros(2 * BATCH_ROWS, 1)
    for step in range(steps):
        for update, name in enumerate(("discriminator", "discriminator", "generator")):
            numbers = [6 * step + 2 * update + place for place in range(2)]
            batches = [view.batch(*divmod(number, Points.num_batches)) for number in numbers]
            points, noise = (torch.cat([getattr(batch, key) for batch in batches]) for key in ("points", "noise"))
            made = model.discriminator(model.generator(noise))
            if name == "discriminator":
                loss = binary_cross_entropy_with_logits(model.discriminator(points), ones)
                loss = loss + binary_cross_entropy_with_logits(made, zeros)
            else:
                loss = binary_cross_entropy_with_logits(made, ones)
            for part in parts.values():
                part.zero_grad()
            loss.backward()
            optimizers[name].step()


def test_a_step_is_the_updates_of_all_phases_in_order(tmp_path):
    trainer = trained(tmp_path / "run", 5)
    seed_step(1, 0, 0)
    expected = Adversaries()
    by_hand(expected, 5)
    for (name, value), reference in zip(trainer.model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(value, reference, rtol=2e-4, atol=1e-6, msg=lambda text, at=name: f"{at}: {text}")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line}
    assert {"train/discriminator/loss", "train/discriminator/real", "train/generator/loss"} <= names
    assert {"train/generator/gradient_norm", "train/discriminator/learning_rate"} <= names and "train/loss" not in names
    assert all(0 <= line["train/discriminator/real"] <= 1 for line in lines if "train/discriminator/real" in line)


def test_only_the_part_of_a_phase_requires_gradients_while_it_runs(tmp_path):
    trainer = toy(settings(1))
    model = trainer.model()
    model.discriminator[0].bias.requires_grad_(False)  # frozen by the model itself
    run = Trainer(
        trainer, model, tmp_path, Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9), Ranks(), Console()
    )
    before = [parameter.requires_grad for parameter in model.parameters()]
    for phase in run.phases:
        with phase.training():
            part = {id(parameter) for parameter in phase.part.parameters()}
            assert all(id(p) in part for p in model.parameters() if p.requires_grad)
    assert [parameter.requires_grad for parameter in model.parameters()] == before


def test_each_update_of_each_step_and_rank_has_its_own_random_numbers(tmp_path, monkeypatch):
    def draw(*key: int) -> float:
        seed_step(*key)
        return float(torch.rand(()))

    keys = [(1, 1, 0), (2, 1, 0), (1, 2, 0), (1, 1, 1), (1, 1, 0, 1), (1, 1, 0, 2), (1, 1, 1, 1)]
    assert len({draw(*key) for key in keys}) == len(keys) and draw(1, 1, 0, 0) == draw(1, 1, 0)
    seeds = []
    monkeypatch.setattr("tformer_cli.train.loop.seed_step", lambda *key: seeds.append(key))
    trainer = trained(tmp_path / "run", 2, ranks=Ranks(rank=3))
    assert seeds == [(trainer.config.seed, step, 3, update) for step in (1, 2) for update in range(3)]


def test_a_moving_average_follows_each_step(tmp_path):
    """The weights of a checkpoint are an average of the initial ones and the raw ones after each step."""
    trained(tmp_path / "run", 3, "trainer.ema=0.25", "trainer.checkpoint_every=1", "trainer.keep=3")
    seed_step(1, 0, 0)
    average = Adversaries().generator.weight.detach()
    for step in (1, 2, 3):
        folder = tmp_path / "run" / "checkpoints" / f"step-{step:08d}"
        raw = read_tensors(folder / "optimizer.safetensors")["raw.generator.weight"]
        average = average.lerp(raw, 1 - min(0.25, (1 + step) / (10 + step)))
        torch.testing.assert_close(read_tensors(folder / "model.safetensors")["generator.weight"], average)


@pytest.mark.parametrize("ema", ["0", "0.5"])
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, ema):
    complete, parts = tmp_path / "complete", tmp_path / "parts"
    trained(complete, 4, f"trainer.ema={ema}")
    trained(parts, 2, f"trainer.ema={ema}")
    trained(parts, 4, f"trainer.ema={ema}", resume=True)
    for name in ("model.safetensors", "optimizer.safetensors"):
        first, second = (run / "checkpoints" / "step-00000004" / name for run in (complete, parts))
        assert first.read_bytes() == second.read_bytes(), name
    tensors = read_tensors(complete / "checkpoints" / "step-00000004" / "optimizer.safetensors")
    assert "generator/exp_avg.generator.weight" in tensors
    assert "discriminator/exp_avg.discriminator.0.weight" in tensors
    raw = {name for name in tensors if name.startswith("raw.")}
    assert raw == ({"raw.generator.weight", "raw.generator.bias"} if float(ema) else set())


def one_rank(run, port: int) -> None:
    os.environ["MASTER_PORT"] = str(port)
    ranks = parallel.join("cpu", 60)
    trained(run, 4, ranks=ranks)
    ranks.wait()
    parallel.leave(ranks, failed=False)


def test_two_ranks_take_the_same_steps_and_score_alike(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    alone = trained(tmp_path / "one", 4)
    run_ranks(2, one_rank, (tmp_path / "two", port))
    first, second = (
        read_tensors(tmp_path / name / "checkpoints" / "step-00000004" / "model.safetensors") for name in ("one", "two")
    )
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)
    assert copy.copy(alone.progress.best) == pytest.approx(
        json.loads((tmp_path / "two" / "checkpoints" / "step-00000004" / "state.json").read_text())["best"], rel=1e-3
    )
