"""Next-token prediction: teacher forcing of decoders, and causal language modelling.

    L = - sum_t log p(y_t | y_1 ... y_{t-1}, x)

Label smoothing (Szegedy et al. 2016; Vaswani et al. 2017, section 5.4) mixes the target distribution with the uniform
one in training.

Shapes: B batch, T target length, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import AttentionKind
from tformer_cli.models.decoding import Memory
from tformer_cli.nn.cross_entropy import head_cross_entropy
from tformer_cli.nn.padding import real_positions
from tformer_cli.objectives.base import Lengths, Loss, Objective


def next_token_loss(
    model: Any, hidden: Tensor, targets: Tensor, lengths: Tensor, *, label_smoothing: float = 0.0
) -> Loss:
    """Return the label-smoothed cross-entropy of the next token, over real tokens only.

    Args:
        model: model with an `output_layer`.
        hidden: last hidden states, (B, T, D).
        targets: next tokens, (B, T), int64.
        lengths: number of real tokens in each row, (B,), int64.
        label_smoothing: share of the uniform distribution.
    """
    real = real_positions(lengths, hidden.shape[1])
    weight, bias = model.output_layer()
    total, log_likelihood = head_cross_entropy(
        hidden[real], weight, targets[real], bias=bias, label_smoothing=label_smoothing
    )
    return Loss(total, lengths.sum(), {"nll": -log_likelihood})


class NextToken(Objective[Any, Any]):
    """Cross-entropy of the next token; batches have `targets` (B, T) and `target_lengths` (B,)."""

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return "cross-entropy of the next token"

    def lengths(self, outputs: Any, batch: Any) -> Lengths:
        """Return the lengths of sources, if the batch has sources, and of targets."""
        lengths: Lengths = {AttentionKind.decoder: batch.target_lengths}
        if hasattr(batch, "source_lengths"):
            lengths[AttentionKind.encoder] = batch.source_lengths
        return lengths

    def example_counts(self, outputs: Any, batch: Any) -> Tensor:
        """Return the number of target tokens of each example."""
        return batch.target_lengths

    def loss(self, model: Any, outputs: Tensor, batch: Any) -> Loss:
        """Return the loss of the last hidden states, (B, T, D)."""
        smoothing = self.smoothing(model)
        return next_token_loss(model, outputs, batch.targets, batch.target_lengths, label_smoothing=smoothing)


@dataclass
class Decoded:
    """The outputs of an encoder-decoder.

    Attributes:
        memory: the encoder's states.
        hidden: the decoder's last hidden states, (B, T, D).
    """

    memory: Memory
    hidden: Tensor


class TeacherForcing(Objective[Any, Any]):
    """Cross-entropy of the next token of a text, given an image or a recording.

    The outputs include the memory, so that evaluation computes it once for the loss and for the search. A model has
    `encode`, `decode` and `output_layer`; batches have `target_inputs`, `targets` (B, T) and `target_lengths` (B,).
    """

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return "cross-entropy of the next token"

    def outputs(self, model: Any, batch: Any) -> Decoded:
        """Return the encoder's memory, and the decoder's last hidden states."""
        memory = model.encode(*self.data.inputs(batch, training=model.training))
        return Decoded(memory, model.decode(memory, batch.target_inputs))

    def lengths(self, outputs: Decoded, batch: Any) -> Lengths:
        """Return the lengths of memories, if they are padded, and of targets."""
        return {AttentionKind.encoder: outputs.memory.padded_lengths, AttentionKind.decoder: batch.target_lengths}

    def example_counts(self, outputs: Any, batch: Any) -> Tensor:
        """Return the number of target tokens of each example."""
        return batch.target_lengths

    def loss(self, model: Any, outputs: Decoded, batch: Any) -> Loss:
        """Return the loss of the decoder's hidden states."""
        smoothing = self.smoothing(model)
        return next_token_loss(model, outputs.hidden, batch.targets, batch.target_lengths, label_smoothing=smoothing)
