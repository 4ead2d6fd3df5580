"""Averages of weights: the moving average of training, and the average of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from tformer_cli.errors import RunError
from tformer_cli.nn.spectral_norm import INITIAL_ITERATIONS, iterate_spectral_norms, spectral_vectors
from tformer_cli.runs.checkpoint import damage, load_model_tensors, read_tensors

RUNNING_STATISTICS = frozenset({"running_mean", "running_var"})
"""Names of running statistics in PyTorch's layers."""


class MovingAverage:
    """An exponential moving average of the weights (Polyak and Juditsky 1992), with a decay that grows at the start.

    The decay of step n is min(decay, (1 + n) / (10 + n)), so that the initial weights soon have little influence.
    Running statistics of batch normalisation are averaged too, since those of the current weights do not fit averaged
    weights: the buffers `running_mean` and `running_var` of a module, or those that it names in `averaged_buffers`.
    Other buffers are those of the last step.

    The vectors of spectral normalisation are not averaged, see `load_average`. While the average replaces the weights,
    power iterations adapt them to it. They start from the vectors of the last step, so that their result does not
    depend on earlier evaluations and checkpoints.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.vectors = list(spectral_vectors(model).values())
        self.parameters: list[Tensor] = [*model.parameters(), *_averaged_buffers(model)]
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the weights after optimiser step `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, self.parameters, 1 - decay)

    @property
    def replaced(self) -> list[Tensor]:
        """The tensors of the model that differ while the average replaces the weights."""
        return [*self.parameters, *self.vectors]

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Replace the model's weights by the average inside the context."""
        vectors = [vector.clone() for vector in self.vectors]
        self._exchange()
        iterate_spectral_norms(self.model, INITIAL_ITERATIONS)
        try:
            yield
        finally:
            self._exchange()
            for vector, value in zip(self.vectors, vectors, strict=True):
                vector.copy_(value)

    @torch.no_grad()
    def _exchange(self) -> None:
        """Exchange the model's weights and the average; a second call undoes it."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            weights = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(weights)


def _averaged_buffers(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        names = getattr(module, "averaged_buffers", RUNNING_STATISTICS)
        yield from (buffer for name, buffer in module.named_buffers(recurse=False) if name in names)


def average_tensors(models: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of the weights of several models (Vaswani et al. 2017, section 6.1).

    Args:
        models: weights of each model by name; one model is in memory at a time.

    Returns:
        The mean in float32 by name, computed in float64.
    """
    total: dict[str, Tensor] = {}
    count = 0
    for tensors in models:
        count += 1
        for name, value in tensors.items():
            total[name] = total[name] + value.double() if name in total else value.double()
    return {name: (value / count).float() for name, value in total.items()}


def average_folders(folders: Iterable[Path], say: Callable[[str], None]) -> tuple[dict[str, Tensor], list[str]]:
    """Average the weights of checkpoints; damaged ones are skipped with a message.

    Args:
        folders: folders of checkpoints.
        say: function that receives messages.

    Returns:
        The mean of the weights, and the names of the averaged checkpoints.

    Raises:
        RunError: if no checkpoint is complete.
    """
    faults = {folder: damage(folder) for folder in folders}
    for folder, fault in faults.items():
        if fault:
            say(f"not averaged: {folder.name} {fault}")
    complete = [folder for folder, fault in faults.items() if not fault]
    if not complete:
        raise RunError(f"{', '.join(map(str, faults)) or 'no checkpoint'}: nothing to average", "trainer.average=none")
    weights = average_tensors(read_tensors(folder / "model.safetensors") for folder in complete)
    return weights, [folder.name for folder in complete]


def load_average(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load the average of checkpoints into the model of the last step, and update its spectral norms.

    A mean of different unit vectors is not a unit vector. The vectors of spectral normalisation are therefore not
    averaged: the model keeps those of the last step, and power iterations adapt them to the averaged weights.

    Args:
        model: model whose weights are replaced.
        weights: weights by name; the vectors of spectral normalisation in it are replaced.

    Raises:
        RunError: if the weights do not fit the model or are not finite.
    """
    load_model_tensors(model, weights | spectral_vectors(model), "the average")
    iterate_spectral_norms(model, INITIAL_ITERATIONS)
    weights.update(spectral_vectors(model))
