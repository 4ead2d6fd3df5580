"""The update of weights in a step: the loss of a micro-batch, the optimiser and the moving average.

gradient of the summed loss -> divided once by the global count -> clip -> optimiser -> moving average
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import OptimConfig
from tformer_cli.data.core.batch import Batch
from tformer_cli.objectives.base import Loss
from tformer_cli.runs.checkpoint import load_model_tensors, model_tensors, tensors_to_bytes
from tformer_cli.tasks.task import Task
from tformer_cli.train.averaging import MovingAverage
from tformer_cli.train.finite import all_finite
from tformer_cli.train.optim import build_optimizer, load_optimizer_tensors, optimizer_tensors

RAW = "raw."
"""Prefix of the raw weights that a checkpoint stores in addition to their average."""


class TrainingStep(nn.Module):
    """A module whose forward pass is the task's loss, to be wrapped by DistributedDataParallel."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of one micro-batch."""
        loss = self.task.loss(self.model, batch)
        if not batch.idle:
            return loss
        return Loss(0 * loss.total, 0 * loss.count, {name: 0 * part for name, part in loss.parts.items()})


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators (dropout) from (seed, step, rank)."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]))


class Learner:
    """A model's weights in training, with their optimiser and an optional moving average.

    Args:
        model: the model on its device.
        config: settings of the optimiser.
        decay: decay of the moving average; 0: no average.
    """

    def __init__(self, model: nn.Module, config: OptimConfig, decay: float) -> None:
        self.model, self.config, self.decay = model, config, decay
        self.optimizer = build_optimizer(model, config)
        self.average: MovingAverage | None = None
        self.start_average()

    def start_average(self) -> None:
        """Begin the moving average at the model's present weights."""
        self.average = MovingAverage(self.model, self.decay) if self.decay else None

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the model the averaged weights inside the context, if there is an average."""
        if self.average is None:
            yield
            return
        self.average.swap()
        try:
            yield
        finally:
            self.average.swap()

    def update(self, step: int, rate: float, count: Tensor, world: int) -> Tensor:
        """Take one optimiser step with the model's gradients, and clear them.

        A gradient that is not finite leaves weights and moments unchanged.

        Args:
            step: number of the step.
            rate: the learning rate.
            count: number of summands of the loss on all ranks; a scalar.
            world: number of ranks over which DistributedDataParallel averaged the gradients.

        Returns:
            The global norm of the gradient before clipping; a scalar on the device.
        """
        # The true gradient is the sum over all ranks, divided by the global count.
        scale = world / count.float().clamp(min=1)
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) * scale
        clip = (self.config.clip_norm / norm).clamp(max=1.0) if self.config.clip_norm else torch.ones_like(norm)
        self.optimizer.grad_scale = 1 / (scale * clip)
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()  # the kernel then leaves everything as it is
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(step)
        return norm

    def all_finite(self) -> bool:
        """Return whether the weights, their average and the optimiser state are finite; waits for the device."""
        tensors = [*model_tensors(self.model).values(), *optimizer_tensors(self.model, self.optimizer).values()]
        return all_finite([*tensors, *(self.average.average if self.average is not None else [])])

    def to_bytes(self) -> tuple[bytes, bytes]:
        """Return the contents of a checkpoint's `model.safetensors` and `optimizer.safetensors`."""
        optimizer = optimizer_tensors(self.model, self.optimizer)
        if self.average is not None:
            optimizer |= {f"{RAW}{name}": value for name, value in self.model.named_parameters()}
        with self.averaged():
            weights = tensors_to_bytes(model_tensors(self.model))
        return weights, tensors_to_bytes(optimizer)

    def load(self, weights: Mapping[str, Tensor], optimizer: dict[str, Tensor], where: str) -> None:
        """Restore the weights, their average and the optimiser state of a checkpoint.

        Args:
            weights: of `model.safetensors`, by name.
            optimizer: of `optimizer.safetensors`, by name.
            where: name of the checkpoint in error messages.

        Raises:
            RunError: if it belongs to another model, or is not finite.
        """
        if self.average is not None:
            load_model_tensors(self.model, weights, where)
            self.start_average()
            raw = {name.removeprefix(RAW): value for name, value in optimizer.items() if name.startswith(RAW)}
            weights = {**weights, **raw}
        load_model_tensors(self.model, weights, where)
        load_optimizer_tensors(self.model, self.optimizer, optimizer)
