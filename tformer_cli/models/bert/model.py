"""BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019): a bidirectional encoder.

Shapes: B sequences, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.token_heads import initialise
from tformer_cli.nn.attention import Mask
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.positions import AbsolutePositions


class BERT(nn.Module):
    """The encoder: normalised sum of token, position and segment embeddings, then a bidirectional stack.

    Args:
        config: settings of the model.
        vocab_size: size of the vocabulary, V.
    """

    def __init__(self, config: BERTConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocab_size, config.dim)
        self.positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_length)
        self.segments = nn.Embedding(config.segments, config.dim) if config.segments else None
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps, bias=config.bias)
        self.dropout = Dropout(config.dropout)
        self.stack = Stack(config, config.depth)
        self.apply(initialise)

    def forward(
        self, tokens: Tensor, lengths: Tensor, segments: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        """Return the hidden states of all tokens.

        Args:
            tokens: (B, T), int64, padded at the end.
            lengths: number of real tokens of each row, (B,).
            segments: number of each token's segment, (B, T), int64; None: all 0.
            documents: number of each token's document, (B, T), int64, -1 for padding; tokens attend only to tokens of
                the same document. None: to all.

        Returns:
            (B, T, D).
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.positions(self.embedding(tokens), positions)
        if self.segments is not None:
            x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        mask = Mask.from_lengths(lengths, tokens.shape[1]) if documents is None else Mask.from_documents(documents)
        return self.stack(self.dropout(self.norm(x)), mask=mask)

    @property
    def width(self) -> int:
        """The width D of the hidden states."""
        return self.config.dim


def build(config: BERTConfig, sizes: Sizes) -> BERT:
    """Return an encoder for this vocabulary."""
    (vocabulary,) = sizes.vocabularies
    return BERT(config, vocabulary)
