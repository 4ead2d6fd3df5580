"""A bidirectional recurrent encoder of texts (Schuster and Paliwal 1997), to which heads are added.

Shapes: B sequences, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.models.recurrent import RecurrentEncoder, initialise
from tformer_cli.models.recurrent_encoder import RecurrentEncoderConfig
from tformer_cli.nn.recurrent import RecurrentEncoderStack


class RecurrentTokenEncoder(RecurrentEncoder):
    """A recurrent encoder that implements `TokenEncoder`.

    Args:
        config: settings of the model.
        vocab_size: size of the vocabulary, V.
    """

    def __init__(self, config: RecurrentEncoderConfig, vocab_size: int) -> None:
        units = config.dim // 2 if config.bidirectional else config.dim
        stack = RecurrentEncoderStack(
            config.cell, config.dim, units, config.depth, bidirectional=config.bidirectional, dropout=config.dropout
        )
        super().__init__(nn.Embedding(vocab_size, config.dim), stack, dropout=config.dropout)
        self.config = config
        self.apply(initialise)

    def forward(
        self, tokens: Tensor, lengths: Tensor, segments: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        """Return the hidden states of all tokens, (B, T, D), arbitrary on padding.

        Args:
            tokens: (B, T), int64, padded at the end.
            lengths: number of real tokens of each row, (B,).
            segments: None, since there are no segment embeddings; separators divide the texts of a pair.
            documents: None.

        Raises:
            ValueError: if `segments` or `documents` are given.
        """
        if segments is not None or documents is not None:
            raise ValueError("a recurrent encoder has neither segments nor documents")
        return self.encode(tokens, lengths).states


def build(config: RecurrentEncoderConfig, sizes: Sizes) -> RecurrentTokenEncoder:
    """Return an encoder for this vocabulary."""
    (vocabulary,) = sizes.vocabularies
    return RecurrentTokenEncoder(config, vocabulary)
