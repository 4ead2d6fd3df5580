"""The encoder and the states that recurrent families share.

Shapes: B batch, S source length, E width of the embeddings, M width of the memory, L layers, P parts of a layer's
state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tformer_cli.models.decoding import Memory
from tformer_cli.models.decoding import initialise as initialise_projections
from tformer_cli.nn.attention import Mask
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.recurrent import (
    RecurrentEncoderStack,
    RecurrentLayer,
    States,
    flipped,
    full_precision,
    gather_steps,
)


def initialise(module: nn.Module) -> None:
    """Initialise a module: recurrent layers as in `RecurrentLayer.initialise`, others as in a Transformer."""
    if isinstance(module, RecurrentLayer):
        module.initialise()
    else:
        initialise_projections(module)


class RecurrentEncoder(nn.Module):
    """Embeddings and a recurrent stack, as an `Encoder` of tokens.

    Args:
        embedding: token embedding, (V, E).
        stack: recurrent layers.
        dropout: dropout of the embeddings.
        reverse: whether to read the source from its end, but </s> last (Sutskever et al. 2014, section 3.3).
    """

    def __init__(
        self, embedding: nn.Embedding, stack: RecurrentEncoderStack, *, dropout: float, reverse: bool = False
    ) -> None:
        super().__init__()
        self.embedding, self.stack, self.reverse = embedding, stack, reverse
        self.scale = embedding.embedding_dim**0.5
        self.dropout = Dropout(dropout)

    @property
    def width(self) -> int:
        """The width M of the states."""
        return self.stack.width

    def encode(self, source: Tensor, source_lengths: Tensor) -> Memory:
        """Encode the source.

        Args:
            source: tokens, (B, S), padded at the end.
            source_lengths: number of real tokens of each row, (B,).

        Returns:
            The state of each token in the order of the source, also with `reverse`, (B, S, M); and the final states of
            all layers, (B, L, P, M).
        """
        with full_precision(self.embedding.weight):
            x = self.dropout(self.embedding(source) * self.scale)
            flip = flipped((source_lengths - 1).clamp(min=0), source.shape[1]) if self.reverse else None
            states, final = self.stack(x if flip is None else gather_steps(x, flip), source_lengths)
            states = states if flip is None else gather_steps(states, flip)
        return Memory(states, Mask.from_lengths(source_lengths, source.shape[1]), source_lengths, final)


def follow(states: Tensor, parents: Tensor) -> Tensor:
    """Return the state of the row that each new row continues, (B, R, D); see `nn.stepping.State.follow`.

    Args:
        states: (B, R', D).
        parents: (B, R), int64.
    """
    if parents.shape[1] == states.shape[1] == 1:
        return states
    return torch.gather(states, 1, parents[:, :, None].expand(-1, -1, states.shape[2]))


@dataclass
class LayerStates:
    """The state of recurrent layers between two steps of a search; it is reordered with the hypotheses.

    Attributes:
        layers: states of the layers, (B, R, D) each, for R hypotheses of each of B sentences.
    """

    layers: States

    def follow(self, parents: Tensor) -> None:
        """Reorder the hypotheses: see `nn.stepping.State.follow`."""
        self.layers = [tuple(follow(part, parents) for part in layer) for layer in self.layers]

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64."""
        self.layers = [tuple(part[sentences] for part in layer) for layer in self.layers]


def with_hypothesis_axis(states: States) -> States:
    """Return states (B, D) with an axis for a single hypothesis of each sentence, (B, 1, D)."""
    return [tuple(part[:, None] for part in layer) for layer in states]


def without_hypothesis_axis(states: States) -> States:
    """Return the states (B, D) of the only hypothesis of each sentence, (B, 1, D)."""
    return [tuple(part[:, 0] for part in layer) for layer in states]
