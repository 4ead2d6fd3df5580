"""Disagreement of attention heads (Li et al. 2018): heads that differ are rewarded.

For values V_i, weights A_i and outputs O_i of head i of H (section 3), at one position,

    D_subspace = - 1/H^2 sum_ij cos(V_i, V_j)
    D_position = - 1/H^2 sum_ij sum_s |A_i(s) A_j(s)|
    D_output   = - 1/H^2 sum_ij cos(O_i, O_j)

where i = j is included. Each is the mean over the real positions of an example (of keys for the values, of queries for
weights and outputs), then over the chosen attention layers. The loss is L - sum_k weight_k D_k.

The mean over examples weights each by its share of the count of L, such as its number of target tokens. A step does not
depend on its division into micro-batches and ranks. The sums over i and j need no loop over pairs:

    sum_ij <x_i, x_j> = |sum_i x_i|^2.

Shapes: B batch, H heads, Q queries, K keys, W head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tformer_cli.config.schema import AttentionKind, RegulariseConfig
from tformer_cli.errors import ConfigError
from tformer_cli.nn.padding import real_positions
from tformer_cli.nn.taps import Records, Tappable, tappable_layers, tapped
from tformer_cli.objectives.base import Lengths, Loss, Objective
from tformer_cli.objectives.consistency import consistent


def cosine_agreement(vectors: Tensor) -> Tensor:
    """Return the mean cosine of all pairs of heads, 1/H^2 sum_ij cos(x_i, x_j): (B, H, T, W) to (B, T), float32."""
    directions = functional.normalize(vectors.float(), dim=-1, eps=1e-6)
    return directions.sum(1).square().sum(-1) / vectors.shape[1] ** 2


def weight_agreement(weights: Tensor) -> Tensor:
    """Return the mean overlap of all pairs of heads, 1/H^2 sum_ij sum_s A_i(s) A_j(s): (B, H, Q, K) to (B, Q), float32.

    Weights are not negative, so that their products need no absolute value.
    """
    return weights.float().sum(1).square().sum(-1) / weights.shape[1] ** 2


class Term(NamedTuple):
    """A disagreement.

    Attributes:
        tap: the kind of tensors that it compares.
        agreement: its negative at each position.
        compares_keys: whether its positions are those of keys; otherwise of queries.
    """

    tap: str
    agreement: Callable[[Tensor], Tensor]
    compares_keys: bool = False


TERMS = {
    "disagreement_subspace": Term("values", cosine_agreement, compares_keys=True),
    "disagreement_position": Term("weights", weight_agreement),
    "disagreement_output": Term("outputs", cosine_agreement),
}
"""The disagreements by the names of their weights in `regularise`."""


def mean_over(values: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mean over the real positions of each example: (B, T) to (B,); without lengths, (B,), all are real."""
    if lengths is None:
        return values.mean(1)
    real = real_positions(lengths, values.shape[1])
    return (values * real).sum(1) / real.sum(1).clamp(min=1)


class Disagreement(Objective[Any, Any]):
    """An objective with the disagreement of attention heads, in training; in evaluation, that objective.

    Args:
        objective: an objective with one count.
        config: weights of the disagreements, and the attention whose heads disagree.
    """

    def __init__(self, objective: Objective[Any, Any], config: RegulariseConfig) -> None:
        super().__init__(objective.data, objective.label_smoothing)
        self.objective, self.config, self.weights = objective, config, config.disagreements

    def begin_step(self, step: int) -> None:
        """Pass the number of the step on."""
        self.objective.begin_step(step)

    def check(self, model: nn.Module) -> None:
        """Refuse a model without attention of the chosen kind that has several heads.

        Raises:
            ConfigError: naming the kind of attention that the model has.
        """
        self.objective.check(model)
        chosen, layers = self.config.attention, tappable_layers(model).values()
        kinds = sorted({layer.kind.name for layer in layers if layer.heads > 1})
        if not kinds:
            name = next(iter(self.weights))
            cause = f"regularise.{name}: the model has no attention with several heads"
            raise ConfigError(cause, f"regularise.{name}=0")
        if chosen.name not in ("all", *kinds):
            cause = f"regularise.attention: the model has no {chosen.name} attention"
            if any(layer.kind is chosen for layer in layers):
                cause += " with several heads"
            raise ConfigError(cause, f"regularise.attention={kinds[0] if len(kinds) == 1 else 'all'}")

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return the outputs of the objective, in training with records of what its attention layers computed."""
        if not model.training:
            return self.objective.outputs(model, batch)
        with tapped(model, {TERMS[name].tap for name in self.weights}) as records:
            outputs = self.objective.outputs(model, batch)
        return outputs, records

    def loss(self, model: nn.Module, outputs: Any, batch: Any) -> Loss:
        """Return the loss, minus the weighted disagreements in training; these are among its parts."""
        if not model.training:
            return self.objective.loss(model, outputs, batch)
        outputs, records = outputs
        loss = self.objective.loss(model, outputs, batch)
        lengths, shares = self.objective.lengths(outputs, batch), self.objective.example_counts(outputs, batch)
        assert shares is not None
        layers, total, parts = tappable_layers(model), loss.total, dict(loss.parts)
        for name, weight in self.weights.items():
            of_examples = torch.stack(list(self._disagreements(TERMS[name], records, layers, lengths))).mean(0)  # (B,)
            disagreement = (shares * of_examples).sum()
            total = total - weight * disagreement
            parts[name] = disagreement.detach()
        return Loss(total, loss.count, parts)

    def _disagreements(
        self, term: Term, records: Records, layers: Mapping[str, Tappable], lengths: Lengths
    ) -> Iterator[Tensor]:
        """Yield the mean disagreement of each example, (B,), for each call of each chosen layer.

        Raises:
            ValueError: if the objective does not know the lengths of a layer's positions.
        """
        for name, tensors in records.items():
            kind = layers[name].kind
            if self.config.attention not in (AttentionKind.all, kind):
                continue
            if kind is AttentionKind.cross:
                positions_of = AttentionKind.encoder if term.compares_keys else AttentionKind.decoder
            else:
                positions_of = kind
            if positions_of not in lengths:
                raise ValueError(f"{name}: {type(self.objective).__name__} has no lengths of the {positions_of.name}")
            for tensor in tensors[term.tap]:
                yield -mean_over(term.agreement(tensor), lengths[positions_of])


def regularised(objective: Objective[Any, Any], config: RegulariseConfig) -> Objective[Any, Any]:
    """Return an objective with the regularisers of the settings; the objective itself if all are off.

    Raises:
        ConfigError: if a regulariser has no meaning for the objective.
    """
    for name in [*config.disagreements, *(["consistency"] if config.consistency else [])]:
        if type(objective).counts is not Objective.counts:
            cause = f"regularise.{name}: the loss of this task is a sum of several means"
            raise ConfigError(cause, f"regularise.{name}=0")
    for name in config.disagreements:
        if type(objective).example_counts is Objective.example_counts:
            raise ConfigError(f"regularise.{name}: this task has none", f"regularise.{name}=0")
    if config.consistency:
        objective = consistent(objective, config)
    return Disagreement(objective, config) if config.disagreements else objective
