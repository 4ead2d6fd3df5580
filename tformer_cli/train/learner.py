"""The update of weights in a step: the loss of a micro-batch, the optimisers and the moving average.

The gradient of the summed loss is divided by the global count and clipped. Then the optimiser updates the weights, and
the moving average follows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import OptimConfig
from tformer_cli.data.core.batch import Batch
from tformer_cli.objectives.base import Loss, Objective
from tformer_cli.runs.checkpoint import load_model_tensors, model_tensors, tensors_to_bytes
from tformer_cli.tasks.task import Phase
from tformer_cli.train.averaging import MovingAverage
from tformer_cli.train.budget import Budget
from tformer_cli.train.finite import all_finite
from tformer_cli.train.optim import build_optimizer, load_optimizer_tensors, optimizer_tensors
from tformer_cli.train.schedule import LearningRate
from tformer_cli.train.strategy import Strategy

RAW = "raw."
"""Prefix of the raw weights that a checkpoint stores in addition to their average."""


class TrainingStep(nn.Module):
    """A module whose forward pass is the loss of an objective, to be wrapped by `Strategy.wrap`."""

    def __init__(self, objective: Objective, model: nn.Module) -> None:
        super().__init__()
        self.objective, self.model = objective, model

    def forward(self, batch: Batch, counts: Mapping[str, Tensor] | None = None) -> Loss:
        """Return the loss of one micro-batch.

        Args:
            batch: the micro-batch on the model's device.
            counts: the counts of the complete step, for a loss that sums several means; empty or None: the loss is a
                single mean.
        """
        loss = self.objective.loss(self.model, self.objective.outputs(self.model, batch), batch)
        loss = loss.over(counts) if counts else loss
        if not batch.idle:
            return loss
        return Loss(0 * loss.total, 0 * loss.count, {name: 0 * part for name, part in loss.parts.items()})


def seed_step(seed: int, step: int, rank: int, update: int = 0) -> None:
    """Seed torch's generators (dropout) from (seed, step, rank); in a step of several updates, also from `update`."""
    key = (seed, step, rank, update) if update else (seed, step, rank)
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


class PhaseLearner:
    """One phase of training: the part of the model that it trains, with an optimiser and a learning rate.

    Args:
        phase: the phase.
        model: the model on its device.
        config: settings of the optimiser.
        budget: budget of the run.
        strategy: distribution of the work among ranks.
    """

    def __init__(self, phase: Phase, model: nn.Module, config: OptimConfig, budget: Budget, strategy: Strategy) -> None:
        self.phase, self.model, self.config, self.strategy = phase, model, config, strategy
        self.part = phase.part(model)
        self.optimizer = build_optimizer(self.part, config)
        self.schedule = LearningRate(config, budget)
        self._step: nn.Module | None = None

    def step_module(self) -> nn.Module:
        """Return the training step, which is wrapped on first use; call it inside `training`."""
        if self._step is None:
            self._step = self.strategy.wrap(TrainingStep(self.phase.objective, self.model))
        return self._step

    def counts(self, micro_batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Return the counts of this rank's micro-batches by name; empty if the loss is a single mean."""
        counts: dict[str, Tensor] = {}
        for batch in micro_batches:
            for name, value in self.phase.objective.counts(batch).items():
                value = 0 * value if batch.idle else value
                counts[name] = counts[name] + value if name in counts else value
        return counts

    @contextmanager
    def training(self) -> Iterator[None]:
        """Let only the part of the phase require gradients inside the context."""
        trained = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        frozen = [
            parameter
            for parameter in self.model.parameters()
            if parameter.requires_grad and id(parameter) not in trained
        ]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)

    def update(self, rate: float, count: Tensor, world: int) -> Tensor:
        """Take one optimiser step with the part's gradients, and clear them.

        A gradient that is not finite leaves weights and moments unchanged.

        Args:
            rate: the learning rate.
            count: number of summands of the loss on all ranks; a scalar.
            world: number of ranks over which the gradients were averaged.

        Returns:
            The global norm of the gradient before clipping; a scalar on the device.
        """
        # The true gradient is the sum over all ranks, divided by the global count.
        scale = world / count.float().clamp(min=1)
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = self.strategy.norm(gradients) * scale
        clip = (self.config.clip_norm / norm).clamp(max=1.0) if self.config.clip_norm else torch.ones_like(norm)
        self.optimizer.grad_scale = 1 / (scale * clip)
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()  # then the kernel changes nothing
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Return the optimiser's state by the names of the model's parameters, prefixed by the name of the phase."""
        tensors = optimizer_tensors(self.model, self.optimizer)
        return {f"{self.prefix}{name}": value for name, value in tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the optimiser's state from the tensors of a checkpoint."""
        prefix = self.prefix
        of_phase = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        load_optimizer_tensors(self.model, self.optimizer, of_phase)

    @property
    def prefix(self) -> str:
        """The prefix of the phase's names in checkpoints and logs; empty for an unnamed phase."""
        return f"{self.phase.name}/" if self.phase.name else ""


class Learner:
    """A model's weights in training: a learner for each phase, and an optional moving average.

    Args:
        model: the model on its device.
        phases: the learners of its phases.
        averaged: the part of the model that a moving average covers.
        decay: decay of the moving average; 0: no average.
    """

    def __init__(self, model: nn.Module, phases: Sequence[PhaseLearner], averaged: nn.Module, decay: float) -> None:
        self.model, self.phases, self.averaged_part, self.decay = model, phases, averaged, decay
        self.average: MovingAverage | None = None
        self.start_average()

    def start_average(self) -> None:
        """Start the moving average at the current weights of the model."""
        self.average = MovingAverage(self.averaged_part, self.decay) if self.decay else None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the model's weights by their average inside the context, if there is an average."""
        if self.average is None:
            yield
            return
        with self.average.replacing():
            yield

    def finish_step(self, step: int) -> None:
        """Update the moving average after a step."""
        if self.average is not None:
            self.average.update(step)

    def all_finite(self) -> bool:
        """Return whether weights, average and optimiser state are finite; it waits for the device."""
        tensors = [*model_tensors(self.model).values(), *self._optimizer_tensors().values()]
        return all_finite([*tensors, *(self.average.average if self.average is not None else [])])

    def to_bytes(self) -> tuple[bytes, bytes]:
        """Return the contents of a checkpoint's `model.safetensors` and `optimizer.safetensors`."""
        optimizer = self._optimizer_tensors()
        if self.average is not None:
            raw = {id(value) for value in self.average.replaced}
            named = model_tensors(self.model).items()
            optimizer |= {f"{RAW}{name}": value for name, value in named if id(value) in raw}
        with self.averaged():
            weights = tensors_to_bytes(model_tensors(self.model))
        return weights, tensors_to_bytes(optimizer)

    def load(self, weights: Mapping[str, Tensor], optimizer: dict[str, Tensor], checkpoint: str) -> None:
        """Restore weights, average and optimiser state of a checkpoint.

        Args:
            weights: tensors of `model.safetensors` by name.
            optimizer: tensors of `optimizer.safetensors` by name.
            checkpoint: name of the checkpoint in errors.

        Raises:
            RunError: if it belongs to another model, or is not finite.
        """
        if self.average is not None:
            load_model_tensors(self.model, weights, checkpoint)
            self.start_average()
            raw = {name.removeprefix(RAW): value for name, value in optimizer.items() if name.startswith(RAW)}
            weights = {**weights, **raw}
        load_model_tensors(self.model, weights, checkpoint)
        for phase in self.phases:
            phase.load(optimizer)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {name: value for phase in self.phases for name, value in phase.tensors().items()}
