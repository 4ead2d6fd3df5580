"""Models composed of any encoder and any token decoder.

`Seq2Seq` and `Conformer` are not composed: each of these classes contains encoder and decoder.

Shapes: B batch, S positions of the memory, T target length, D width of the decoder, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Generic, TypeVar

from torch import Tensor, nn

from tformer_cli.config.schema import TransformerDecoderConfig
from tformer_cli.models.decoding import Memory, TransformerDecoderBase, initialise
from tformer_cli.models.interfaces import Encoder, TokenDecoder
from tformer_cli.nn.attention import EVERYTHING, Mask
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.int8 import Int8Linear
from tformer_cli.nn.positions import AbsolutePositions
from tformer_cli.nn.stepping import State

S = TypeVar("S", bound=State)


class TransformerDecoder(TransformerDecoderBase):
    """A Transformer decoder without an encoder (Vaswani et al. 2017, section 3.1).

    Args:
        config: settings of the decoder.
        vocab_size: size of the vocabulary, V.
    """

    def __init__(self, config: TransformerDecoderConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding_scale = config.dim**0.5
        self.target_embedding = nn.Embedding(vocab_size, config.dim)
        self.target_positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_length)
        self.dropout = Dropout(config.dropout)
        self.decoder = Stack(config, config.depth, cross=True, bidirectional=False)
        if not config.tie_embeddings:
            self.output = nn.Linear(config.dim, vocab_size, bias=False)
        self.apply(initialise)


class EncoderDecoder(nn.Module, Generic[S]):
    """An encoder and a token decoder, with a linear layer between them if their widths differ.

    Args:
        encoder: a module with the interface `Encoder`.
        decoder: a module with the interface `TokenDecoder`.

    Attributes:
        bridge: linear layer from the encoder's width to the decoder's; the identity if they are equal.
    """

    swaps_head = True

    def __init__(self, encoder: Encoder, decoder: TokenDecoder[S]) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.bridge = nn.Identity()
        if encoder.width != decoder.width:
            self.bridge = nn.Linear(encoder.width, decoder.width)
            initialise(self.bridge)

    def fit(self, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a checkpoint's weights, adapted to the input size of this model if its encoder depends on it."""
        fit = getattr(self.encoder, "fit", None)
        return dict(checkpoint) if fit is None else fit(self, checkpoint)

    def encode(self, *inputs: Tensor) -> Memory:
        """Encode inputs, and return a memory of the decoder's width; final states keep the encoder's width."""
        memory = self.encoder.encode(*inputs)
        return replace(memory, states=self.bridge(memory.states))

    def decode(self, memory: Memory, target_inputs: Tensor) -> Tensor:
        """Return hidden states (B, T, D) for target inputs (B, T): see `TokenDecoder.decode`."""
        return self.decoder.decode(memory, target_inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return hidden states (B, T, D), given the encoder's inputs followed by the target inputs (B, T)."""
        *source, target_inputs = inputs
        return self.decode(self.encode(*source), target_inputs)

    def start(self, memory: Memory, beams: int, max_steps: int) -> S:
        """Return a state of the decoder: see `TokenDecoder.start`."""
        return self.decoder.start(memory, beams, max_steps)

    def step(self, tokens: Tensor, state: S, mask: Mask = EVERYTHING) -> Tensor:
        """Return hidden states (B, R, D) after one more token of each hypothesis: see `Stepper.step`."""
        return self.decoder.step(tokens, state, mask)

    def output_layer(self) -> tuple[Tensor, Tensor | None] | Int8Linear:
        """Return the decoder's output projection: weights (V, D) and bias (V,)."""
        return self.decoder.output_layer()

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token: (..., D) to (..., V)."""
        return self.decoder.logits(hidden)
