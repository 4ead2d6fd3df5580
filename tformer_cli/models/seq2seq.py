"""The Transformer (Vaswani et al. 2017): an encoder that reads, a decoder that writes one token after the other.

Shapes: B batch, S source length, T target length, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Seq2SeqConfig, TieEmbeddings
from tformer_cli.models.decoding import DecoderState
from tformer_cli.nn.attention import EVERYTHING, Attention, Mask, for_products
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.positions import AbsolutePositions


@dataclass
class Memory:
    """What the encoder understood: states (B, S, D) and which of them are real."""

    states: Tensor
    mask: Mask


class Seq2Seq(nn.Module):
    """Encoder-decoder Transformer.

    Args:
        config: its shape.
        source_vocab_size: rows of the source embedding.
        target_vocab_size: V, rows of the target embedding and of the output projection.

    With `tie_embeddings: all` the source embedding, the target embedding and the output weights are one matrix
    (section 3.4; Press and Wolf 2017).
    """

    def __init__(self, config: Seq2SeqConfig, source_vocab_size: int, target_vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding_scale = config.dim**0.5 if config.scale_embeddings else 1.0
        self.target_embedding = nn.Embedding(target_vocab_size, config.dim)
        tied = config.tie_embeddings is TieEmbeddings.all
        self.source_embedding = self.target_embedding if tied else nn.Embedding(source_vocab_size, config.dim)
        self.source_positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_length)
        self.target_positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_length)
        self.dropout = Dropout(config.dropout)
        self.encoder = Stack(config, config.encoder_depth)
        self.decoder = Stack(config, config.decoder_depth, cross=True, bidirectional=False)
        if config.tie_embeddings is TieEmbeddings.none:
            self.output = nn.Linear(config.dim, target_vocab_size, bias=config.final_bias)
        elif config.final_bias:
            self.final_bias = nn.Parameter(torch.zeros(target_vocab_size))
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        """Glorot-uniform projections (Glorot and Bengio 2010); embeddings of unit norm after scaling by sqrt(D)."""
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Attention):  # met after its projections: q, k and v are square matrices of their own
            fused = module.project_kv if module.cross else module.project_qkv
            for weight in fused.weight.chunk(fused.out_features // fused.in_features):
                nn.init.xavier_uniform_(weight)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.dim**-0.5)

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        """Weights (V, D) and bias (V,) of the output projection, for a loss or a search that needs no whole logits."""
        if hasattr(self, "output"):
            return self.output.weight, self.output.bias
        return self.target_embedding.weight, getattr(self, "final_bias", None)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def _embed(self, tokens: Tensor, embedding: nn.Embedding, places: AbsolutePositions, positions: Tensor) -> Tensor:
        return self.dropout(places(embedding(tokens) * self.embedding_scale, positions))

    def encode(self, source: Tensor, source_lengths: Tensor) -> Memory:
        """Read the source.

        Args:
            source: tokens, (B, S), padded at the end.
            source_lengths: real tokens a row, (B,).

        Returns:
            States (B, S, D) and the padding mask.
        """
        mask = Mask.from_lengths(source_lengths, source.shape[1])
        here = torch.arange(source.shape[1], device=source.device)
        x = self._embed(source, self.source_embedding, self.source_positions, here)
        return Memory(self.encoder(x, mask=mask), mask)

    def forward(self, source: Tensor, source_lengths: Tensor, target_inputs: Tensor) -> Tensor:
        """Teacher forcing: all next tokens at once, each from the right tokens before it.

        Args:
            source: tokens, (B, S), padded at the end.
            source_lengths: real tokens a row, (B,).
            target_inputs: <s> and the target's tokens, (B, T), padded at the end (causality hides the padding).

        Returns:
            Hidden states that predict the next token, (B, T, D); `logits` makes scores of them.
        """
        memory = self.encode(source, source_lengths)
        here = torch.arange(target_inputs.shape[1], device=source.device)
        x = self._embed(target_inputs, self.target_embedding, self.target_positions, here)
        return self.decoder(x, memory.states, mask=Mask(causal=True), memory_mask=memory.mask)

    def start(self, memory: Memory, beams: int, max_steps: int) -> DecoderState:
        """Prepare to decode up to `max_steps` tokens after <s>, `beams` hypotheses a sentence."""
        state = DecoderState.new(self.decoder, len(memory.states), beams * (max_steps + 1), memory.states, beams)
        layers = [block.cross.sublayer for block in self.decoder.blocks if block.cross is not None]
        pairs = [layer.keys_values(memory.states) for layer in layers]
        state.memory = [(for_products(k, beams), v) for k, v in pairs]
        state.memory_mask = memory.mask
        return state

    def step(self, tokens: Tensor, state: DecoderState, mask: Mask = EVERYTHING) -> Tensor:
        """One more token of each hypothesis.

        Args:
            tokens: the last token of each, (B, beams); fewer than at `start` while hypotheses are still the same.
            state: of `start`; advanced.
            mask: which of all beams' cached keys, these included, each beam may see: (B, 1, beams, K).

        Returns:
            Hidden states, (B, beams, D).
        """
        here, keys = state.advance(1, rows=tokens.shape[1])
        x = self._embed(tokens, self.target_embedding, self.target_positions, here)
        return self.decoder(
            x, state.memory, mask=mask, memory_mask=state.memory_mask, positions=(here, keys), caches=state.caches
        )
