"""A causal language model as an encoder of tokens: its hidden states are the inputs of a head of `token_heads`.

The vector of a token depends on this token and those before it (Radford et al. 2018, section 3.2; one direction of the
features of Peters et al. 2018).

Shapes: B sequences, T tokens, D model width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class CausalEncoder(nn.Module):
    """A language model without its output layer, which implements `interfaces.TokenEncoder`.

    Args:
        decoder: a `gpt.model.GPT` or a `recurrent_lm.model.RecurrentLM`.
    """

    decoder: Any

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.config = self.decoder.config
        self.decoder.output = None

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding, (V, D)."""
        return self.decoder.embedding

    @property
    def stack(self) -> nn.Module:
        """The blocks or recurrent layers."""
        return self.decoder.stack

    @property
    def width(self) -> int:
        """The width D of the vectors."""
        return self.config.dim

    def forward(
        self, tokens: Tensor, lengths: Tensor, segments: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        """Return the vectors of all tokens, (B, T, D).

        Args:
            tokens: (B, T), int64, padded at the end; causality masks the padding.
            lengths: number of real tokens of each row, (B,).
            segments: None, since there are no segment embeddings.
            documents: number of each token's document, (B, T), or None.

        Raises:
            ValueError: if `segments` are given.
        """
        if segments is not None:
            raise ValueError("a causal language model has no segments")
        return self.decoder(tokens, documents)
