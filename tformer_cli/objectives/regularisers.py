"""Disagreement of attention heads (Li et al. 2018): the loss rewards heads that differ.

`analysis.diversity` defines the disagreements D_k of an example, each a mean over its real positions. They are averaged
over the chosen attention layers. The loss is L - sum_k weight_k D_k.

The mean over examples weights each by its share of the count of L, such as its number of target tokens, so that a step
does not depend on its division into micro-batches and ranks.

Shapes: B batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tformer_cli.analysis.diversity import TERMS, Term, mean_over
from tformer_cli.config.schema import AttentionKind, RegulariseConfig
from tformer_cli.errors import ConfigError
from tformer_cli.nn.taps import Records, Tappable, tappable_layers, tapped
from tformer_cli.objectives.base import Lengths, Loss, Objective
from tformer_cli.objectives.consistency import consistent


class Disagreement(Objective[Any, Any]):
    """An objective with the disagreement of attention heads in training; in evaluation, the objective itself.

    Args:
        objective: an objective with one count.
        config: weights of the disagreements, and the kind of attention that they apply to.
    """

    def __init__(self, objective: Objective[Any, Any], config: RegulariseConfig) -> None:
        super().__init__(objective.data, objective.label_smoothing)
        self.objective, self.config, self.weights = objective, config, config.disagreements

    def measure(self) -> str:
        """Return what the loss of the objective measures; evaluation has no disagreements."""
        return self.objective.measure()

    def begin_step(self, step: int) -> None:
        """Pass the number of the step on."""
        self.objective.begin_step(step)

    def check(self, model: nn.Module) -> None:
        """Refuse a model without multi-head attention of the chosen kind.

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
        """Return the outputs of the objective; in training, with records of the attention layers' tensors."""
        if not model.training:
            return self.objective.outputs(model, batch)
        with tapped(model, {TERMS[name].tap for name in self.weights}) as records:
            outputs = self.objective.outputs(model, batch)
        return outputs, records

    def loss(self, model: nn.Module, outputs: Any, batch: Any) -> Loss:
        """Return the loss; in training, minus the weighted disagreements, which are among its parts."""
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
            raise ConfigError(f"regularise.{name}: not available for this task", f"regularise.{name}=0")
    if config.consistency:
        objective = consistent(objective, config)
    return Disagreement(objective, config) if config.disagreements else objective
