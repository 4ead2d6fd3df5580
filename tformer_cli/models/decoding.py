"""The Transformer decoder, its state in step-by-step decoding, and the memory that an encoder returns.

Shapes: B batch, S positions of the memory, T target length, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tformer_cli.nn.attention import EVERYTHING, Attention, KeyValueCache, Mask, for_products
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.positions import AbsolutePositions


@dataclass
class Memory:
    """The output of an encoder.

    Attributes:
        states: hidden states, (B, S, D).
        mask: mask of the real states.
        lengths: number of real states of each input, (B,), int64.
        final: final states of a recurrent encoder, (B, L, P, M), for L layers with P parts of width M each; None for
            other encoders.
    """

    states: Tensor
    mask: Mask
    lengths: Tensor
    final: Tensor | None = None

    @property
    def padded_lengths(self) -> Tensor | None:
        """Return `lengths` if there is padding, on the device of the states; None: all states are real."""
        return None if self.mask.allowed is None else self.lengths.to(self.states.device)

    def select(self, rows: Tensor) -> Self:
        """Return the memory of some of the inputs.

        Args:
            rows: numbers of the inputs, (B',), int64.
        """
        mask = self.mask if self.mask.allowed is None else Mask(self.mask.allowed[rows])
        final = None if self.final is None else self.final[rows]
        return replace(self, states=self.states[rows], mask=mask, lengths=self.lengths[rows], final=final)


def initialise(module: nn.Module) -> None:
    """Initialise a module: Glorot-uniform projections (Glorot and Bengio 2010), normal embeddings of variance 1 / D."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Attention):  # visited after its projections; q, k and v are separate square matrices
        fused = module.project_kv if module.cross else module.project_qkv
        for weight in fused.weight.chunk(fused.out_features // fused.in_features):
            nn.init.xavier_uniform_(weight)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)


@dataclass
class DecoderState:
    """The state of a Transformer decoder. The caches have a fixed size, of which each step fills more."""

    caches: list[KeyValueCache]
    key_positions: Tensor
    """Position in the output of each cached key, (K,) int64."""
    memory: list[tuple[Tensor, Tensor]] | None = None
    """Keys and values of cross-attention for each block, (B, H, S, K), shared by the beams of a sentence."""
    memory_mask: Mask = field(default_factory=lambda: EVERYTHING)
    step: int = 0
    """Position of the next token."""

    @classmethod
    def new(cls, stack: Stack, batch: int, size: int, like: Tensor, rows: int) -> DecoderState:
        """Return a state with empty caches for a stack.

        Args:
            stack: blocks of the decoder.
            batch: number of sentences.
            size: maximum number of keys per sentence: hypotheses times tokens.
            like: tensor with the device and dtype of the caches.
            rows: maximum number of hypotheses per sentence.
        """
        attention = stack.blocks[0].attention
        assert attention is not None
        first = attention.sublayer
        caches = [KeyValueCache(batch, first.heads, size, first.head_dim, like, rows) for _ in stack.blocks]
        return cls(caches, torch.zeros(0, dtype=torch.int64, device=like.device))

    def advance(self, tokens: int, rows: int = 1) -> tuple[Tensor, Tensor]:
        """Advance by some tokens.

        Args:
            tokens: number of positions.
            rows: number of hypotheses per sentence at these positions; more than 1 only with one position.

        Returns:
            Positions of the queries, (tokens,), and of all keys, the new ones included, (K,); int64.
        """
        positions = torch.arange(self.step, self.step + tokens, device=self.key_positions.device)
        new = positions.expand(rows) if rows > 1 else positions
        self.key_positions = torch.cat((self.key_positions, new))
        self.step += tokens
        return positions, self.key_positions

    def follow(self, parents: Tensor) -> None:
        """Do nothing, since a mask selects the cached keys of each hypothesis (see `nn.stepping.State`)."""

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences, (B',) int64."""
        for cache in self.caches:
            cache.keep(sentences)
        if self.memory is not None:  # k keeps the memory layout of `for_products`
            self.memory = [
                (k[sentences] if k.stride(-1) == 1 else k.mT[sentences].mT, v[sentences]) for k, v in self.memory
            ]
        if self.memory_mask.allowed is not None:
            self.memory_mask = Mask(self.memory_mask.allowed[sentences])


def embed(
    model: SourceEncoderBase | TransformerDecoderBase,
    tokens: Tensor,
    embedding: nn.Embedding,
    scheme: AbsolutePositions,
    positions: Tensor,
) -> Tensor:
    """Return the scaled embeddings of tokens (B, T), combined with their positions (T,), after dropout: (B, T, D)."""
    return model.dropout(scheme(embedding(tokens) * model.embedding_scale, positions))


class SourceEncoderBase(nn.Module):
    """Base class of models with a Transformer encoder of source tokens (Vaswani et al. 2017, section 3.1).

    A subclass creates the attributes; the order of their creation determines the initial weights.

    Attributes:
        embedding_scale: factor of the embeddings (section 3.4).
        stack_inputs: submodules that count as the layer below a stack, with the names of the stacks
            (`train.layers.layer_scales`).
        source_embedding: token embedding, (V, D).
        source_positions: positions of the source's tokens.
        dropout: dropout of the embeddings.
        encoder: blocks without cross-attention.
    """

    embedding_scale: float
    stack_inputs: ClassVar[dict[str, tuple[str, ...]]] = {
        "source_embedding": ("encoder",), "source_positions": ("encoder",)
    }  # fmt: skip
    source_embedding: nn.Embedding
    source_positions: AbsolutePositions
    dropout: Dropout
    encoder: Stack

    def encode(self, source: Tensor, source_lengths: Tensor) -> Memory:
        """Encode the source.

        Args:
            source: tokens, (B, S), padded at the end.
            source_lengths: number of real tokens of each row, (B,).

        Returns:
            States (B, S, D) and the padding mask.
        """
        mask = Mask.from_lengths(source_lengths, source.shape[1])
        positions = torch.arange(source.shape[1], device=source.device)
        x = embed(self, source, self.source_embedding, self.source_positions, positions)
        return Memory(self.encoder(x, mask=mask), mask, source_lengths)


class TransformerDecoderBase(nn.Module):
    """Base class of Transformer decoders (Vaswani et al. 2017, section 3.1): embeddings, blocks with cross-attention.

    It implements `TokenDecoder`. A subclass creates the attributes; the order of their creation determines the initial
    weights. `Seq2Seq` and `Conformer` also have an encoder, `TransformerDecoder` has none.

    Attributes:
        stack_inputs: submodules that count as the layer below a stack, with the names of the stacks
            (`train.layers.layer_scales`).
        embedding_scale: factor of the embeddings (section 3.4).
        target_embedding: token embedding, (V, D).
        target_positions: positions of the target's tokens.
        dropout: dropout of the embeddings.
        decoder: blocks with cross-attention.
        output: output projection; if it is absent, `target_embedding` is the projection.
        final_bias: bias of the output projection if that is `target_embedding`, (V,); may be absent.
    """

    stack_inputs: ClassVar[dict[str, tuple[str, ...]]] = {
        "target_embedding": ("decoder",), "target_positions": ("decoder",)
    }  # fmt: skip
    embedding_scale: float
    target_embedding: nn.Embedding
    target_positions: AbsolutePositions
    dropout: Dropout
    decoder: Stack
    output: nn.Linear
    final_bias: nn.Parameter

    @property
    def width(self) -> int:
        """The width D of the decoder."""
        return self.target_embedding.embedding_dim

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        """Return weights (V, D) and bias (V,) of the output projection, for losses and searches without full logits."""
        if hasattr(self, "output"):
            return self.output.weight, self.output.bias
        return self.target_embedding.weight, getattr(self, "final_bias", None)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def decode(self, memory: Memory, target_inputs: Tensor) -> Tensor:
        """Compute the hidden states of all positions at once, given the correct previous tokens (teacher forcing).

        Args:
            memory: output of an encoder, of width D.
            target_inputs: <s> and the target's tokens, (B, T), padded at the end; causality masks the padding.

        Returns:
            Hidden states that predict the next token, (B, T, D), for `logits`.
        """
        positions = torch.arange(target_inputs.shape[1], device=target_inputs.device)
        x = embed(self, target_inputs, self.target_embedding, self.target_positions, positions)
        return self.decoder(x, memory.states, mask=Mask(causal=True), memory_mask=memory.mask)

    def start(self, memory: Memory, beams: int, max_steps: int) -> DecoderState:
        """Return a state to decode up to `max_steps` tokens after <s> with `beams` hypotheses per sentence."""
        state = DecoderState.new(self.decoder, len(memory.states), beams * (max_steps + 1), memory.states, beams)
        layers = [block.cross.sublayer for block in self.decoder.blocks if block.cross is not None]
        pairs = [layer.keys_values(memory.states) for layer in layers]
        state.memory = [(for_products(k, beams), v) for k, v in pairs]
        state.memory_mask = memory.mask
        return state

    def step(self, tokens: Tensor, state: DecoderState, mask: Mask = EVERYTHING) -> Tensor:
        """Read one more token of each hypothesis.

        Args:
            tokens: last token of each hypothesis, (B, R); R is 1 until the hypotheses of a sentence diverge.
            state: state from `start`, which is advanced.
            mask: mask (B, 1, R, K) of the cached keys, including those of this step, that each hypothesis attends to.

        Returns:
            Hidden states, (B, R, D).
        """
        queries, keys = state.advance(1, rows=tokens.shape[1])
        x = embed(self, tokens, self.target_embedding, self.target_positions, queries)
        return self.decoder(
            x, state.memory, mask=mask, memory_mask=state.memory_mask, positions=(queries, keys), caches=state.caches
        )
