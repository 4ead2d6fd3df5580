"""Consistency of two passes over a batch: R-Drop for texts and labels, CR-CTC for speech.

R-Drop (Wu et al. 2021, section 2.1) computes a batch twice, with different dropout, as distributions p and q:

    L = CE(p) + CE(q) + alpha/2 [KL(p || q) + KL(q || p)]

The gradient passes through both sides. Half of L is minimised, so that the cross-entropy is a mean over passes and the
loss is comparable with that of training without R-Drop. alpha = 5 corresponds to 2.5 in code that minimises the mean of
the cross-entropies plus alpha times the mean of the divergences.

CR-CTC (Yao et al. 2025, section 3.2) computes the CTC outputs p and q of two augmented views of a batch:

    L = 1/2 [L_ctc(p) + L_ctc(q)] + alpha/2 sum_t [KL(sg(q_t) || p_t) + KL(sg(p_t) || q_t)]

over the real frames t, where sg(.) stops the gradient. The paper sets alpha to 0.2. alpha rises linearly from 0 over
the first `regularise.consistency_warmup` steps.

Both divergences are sums over the tokens or frames of one pass, and are divided by the count of the objective.

Shapes: B batch, T target length, D model width, C labels, T' frames, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import RegulariseConfig, Target
from tformer_cli.errors import ConfigError
from tformer_cli.nn.cross_entropy import paired_head_loss
from tformer_cli.nn.padding import real_positions
from tformer_cli.objectives.base import Lengths, Loss, Objective
from tformer_cli.objectives.classification import ImageClassification, TextClassification
from tformer_cli.objectives.ctc import CTC
from tformer_cli.objectives.next_token import Decoded, NextToken, TeacherForcing


class Consistency(Objective[Any, Any]):
    """An objective over two passes of each batch in training; in evaluation, the objective itself.

    Attributes:
        loss_factor: factor of L in what is minimised.

    Args:
        objective: the objective, with one count.
        config: alpha, and the number of steps after which it is reached.
    """

    loss_factor = 0.5

    def __init__(self, objective: Objective[Any, Any], config: RegulariseConfig) -> None:
        super().__init__(objective.data, objective.label_smoothing)
        self.objective, self.config, self.step = objective, config, 0

    def measure(self) -> str:
        """Return what the loss of the objective measures; evaluation has one pass."""
        return self.objective.measure()

    def begin_step(self, step: int) -> None:
        """Store the number of the step, on which the weight of the divergence depends."""
        self.objective.begin_step(step)
        self.step = step

    def check(self, model: Any) -> None:
        """Refuse a model that the objective refuses."""
        self.objective.check(model)

    @property
    def weight(self) -> float:
        """Return the weight of the divergence in the current step."""
        return self.loss_factor * self.config.consistency * min(1.0, self.step / max(1, self.config.consistency_warmup))

    def outputs(self, model: Any, batch: Any) -> Any:
        """Return the outputs of the objective; in training, of both passes."""
        outputs = self.objective.outputs(model, batch)
        return (outputs, self.objective.outputs(model, self.second(batch))) if model.training else outputs

    def second(self, batch: Any) -> Any:
        """Return the batch of the second pass, by default the same."""
        return batch

    def loss(self, model: Any, outputs: Any, batch: Any) -> Loss:
        """Return the loss; in training, of both passes, with their divergence among its parts."""
        if not model.training:
            return self.objective.loss(model, outputs, batch)
        first, second = outputs
        return self.paired_loss(model, first, second, batch)

    def paired_loss(self, model: Any, first: Any, second: Any, batch: Any) -> Loss:
        """Return the mean of the losses of two passes plus their weighted divergence."""
        losses = [self.objective.loss(model, outputs, batch) for outputs in (first, second)]
        divergence = self.divergence(first, second)
        parts = {name: (losses[0].parts[name] + losses[1].parts[name]) / 2 for name in losses[0].parts}
        total = (losses[0].total + losses[1].total) / 2 + self.weight * divergence
        return Loss(total, losses[0].count, {**parts, "consistency": divergence.detach()})

    def divergence(self, first: Any, second: Any) -> Tensor:
        """Return the mean of the divergences in both directions, summed over tokens, examples or frames; a scalar."""
        raise NotImplementedError

    def lengths(self, outputs: Any, batch: Any) -> Lengths:
        """Return the lengths of the objective, which are the same for both passes."""
        return self.objective.lengths(outputs[0], batch)

    def example_counts(self, outputs: Any, batch: Any) -> Tensor | None:
        """Return the shares of the objective's count, which are the same for both passes."""
        return self.objective.example_counts(outputs[0], batch)


class TokenConsistency(Consistency):
    """R-Drop for next-token prediction; the complete logits of the vocabulary are never stored."""

    def paired_loss(self, model: Any, first: Any, second: Any, batch: Any) -> Loss:
        """Return half of L for the hidden states, (B, T, D), of two passes."""
        hidden = [outputs.hidden if isinstance(outputs, Decoded) else outputs for outputs in (first, second)]
        real = real_positions(batch.target_lengths, hidden[0].shape[1])
        weight, bias = model.output_layer()
        total, log_likelihood, divergence = paired_head_loss(
            hidden[0][real], hidden[1][real], weight, batch.targets[real], bias=bias,
            label_smoothing=self.smoothing(model), divergence_weight=self.weight,
        )  # fmt: skip
        parts = {"nll": -log_likelihood / 2, "consistency": divergence / 2}
        return Loss(total / 2, batch.target_lengths.sum(), parts)


class LabelConsistency(Consistency):
    """R-Drop for the classification of texts and images; the outputs are scores, (B, C)."""

    data: Any

    def check(self, model: Any) -> None:
        """Refuse targets other than a single label.

        Raises:
            ConfigError: if they are numbers or several labels.
        """
        super().check(model)
        if self.data.labels.target is not Target.label:
            cause = "regularise.consistency: needs exactly one label per example"
            raise ConfigError(cause, "regularise.consistency=0")

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return 1/2 [KL(p || q) + KL(q || p)] over examples."""
        p, q = first.log_softmax(-1), second.log_softmax(-1)
        return ((p.exp() - q.exp()) * (p - q)).sum() / 2


class CTCConsistency(Consistency):
    """CR-CTC: the CTC outputs of two views of a recording, which differ in their masks and in dropout."""

    loss_factor = 1.0

    def second(self, batch: Any) -> Any:
        """Return the second augmented view of the recordings."""
        return dataclasses.replace(batch, view=1)

    def divergence(self, first: Any, second: Any) -> Tensor:
        """Return 1/2 [KL(sg(q) || p) + KL(sg(p) || q)] over the real frames of `SpeechOutputs`."""
        lengths = first.memory.lengths.to(first.log_probs.device)
        real = real_positions(lengths, first.log_probs.shape[1])
        p, q = first.log_probs[real], second.log_probs[real]  # (frames, V)
        options: Any = {"reduction": "sum", "log_target": True}
        return (functional.kl_div(p, q.detach(), **options) + functional.kl_div(q, p.detach(), **options)) / 2


CONSISTENCIES: dict[type[Objective[Any, Any]], type[Consistency]] = {
    NextToken: TokenConsistency,
    TeacherForcing: TokenConsistency,
    TextClassification: LabelConsistency,
    ImageClassification: LabelConsistency,
    CTC: CTCConsistency,
}
"""The consistency objective for each objective that has one."""


def consistent(objective: Objective[Any, Any], config: RegulariseConfig) -> Consistency:
    """Return an objective over two passes of each batch.

    Raises:
        ConfigError: if the objective has no distributions that can be compared.
    """
    for objective_type, consistency in CONSISTENCIES.items():
        if isinstance(objective, objective_type):
            return consistency(objective, config)
    raise ConfigError("regularise.consistency: not available for this task", "regularise.consistency=0")
