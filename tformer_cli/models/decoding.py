"""What every model that writes one token after the other keeps between steps, and the decoder that reads a memory.

Shapes: B batch, S positions of the memory, T target length, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tformer_cli.nn.attention import EVERYTHING, Attention, KeyValueCache, Mask, for_products
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.positions import AbsolutePositions


@dataclass
class Memory:
    """What an encoder understood.

    Attributes:
        states: (B, S, D).
        mask: which of them are real.
        lengths: how many of them are real, (B,), int64.
        final: the last state of a recurrent encoder, (B, D); None: the encoder has none.
    """

    states: Tensor
    mask: Mask
    lengths: Tensor
    final: Tensor | None = None


def initialise(module: nn.Module) -> None:
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
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)


@dataclass
class DecoderState:
    """Nothing in it grows but the caches' filled part."""

    caches: list[KeyValueCache]
    key_positions: Tensor
    """Place in the output of each cached key, (K,) int64."""
    memory: list[tuple[Tensor, Tensor]] | None = None
    """Keys and values of cross-attention a block, (B, H, S, K): once a sentence, not once a beam."""
    memory_mask: Mask = field(default_factory=lambda: EVERYTHING)
    step: int = 0
    """Place of the next token."""

    @classmethod
    def new(cls, stack: Stack, batch: int, size: int, like: Tensor, rows: int) -> DecoderState:
        """Empty caches for a stack.

        Args:
            stack: the decoder's blocks.
            batch: sentences.
            size: most keys a sentence: hypotheses times tokens.
            like: a tensor of the caches' device and type.
            rows: most hypotheses a sentence.
        """
        first = stack.blocks[0].attention.sublayer
        caches = [KeyValueCache(batch, first.heads, size, first.head_dim, like, rows) for _ in stack.blocks]
        return cls(caches, torch.zeros(0, dtype=torch.int64, device=like.device))

    def advance(self, tokens: int, rows: int = 1) -> tuple[Tensor, Tensor]:
        """Make room for the next tokens.

        Args:
            tokens: places that are written.
            rows: hypotheses a sentence, all at the same places; more than one with one place only.

        Returns:
            Positions of the queries, (tokens,), and of all keys, the new ones included, (K,); int64.
        """
        here = torch.arange(self.step, self.step + tokens, device=self.key_positions.device)
        new = here.expand(rows) if rows > 1 else here
        self.key_positions = torch.cat((self.key_positions, new))
        self.step += tokens
        return here, self.key_positions

    def follow(self, parents: Tensor) -> None:
        """Do nothing: masks say which of the cached keys, of all hypotheses, are whose (`nn.stepping.State`)."""

    def keep(self, sentences: Tensor) -> None:
        """Drop finished sentences: keep those of the given indices, (B',) int64."""
        for cache in self.caches:
            cache.keep(sentences)
        if self.memory is not None:  # k stays as `for_products` laid it
            self.memory = [
                (k[sentences] if k.stride(-1) == 1 else k.mT[sentences].mT, v[sentences]) for k, v in self.memory
            ]
        if self.memory_mask.allowed is not None:
            self.memory_mask = Mask(self.memory_mask.allowed[sentences])


class TransformerDecoderBase(nn.Module):
    """The token decoder of a Transformer (Vaswani et al. 2017, section 3.1): embeddings, blocks with cross-attention.

    It is a `TokenDecoder`. A subclass makes the attributes, in an order of its own. `TransformerDecoder` has no others;
    `Seq2Seq` and `Conformer` have an encoder too.

    Attributes:
        embedding_scale: of the embeddings (section 3.4).
        target_embedding: (V, D).
        target_positions: of the target's tokens.
        dropout: on the embeddings.
        decoder: blocks with cross-attention.
        output: the output projection; without it, it is the embedding.
        final_bias: (V,), of an output projection that is the embedding; may be absent.
    """

    embedding_scale: float
    target_embedding: nn.Embedding
    target_positions: AbsolutePositions
    dropout: Dropout
    decoder: Stack
    output: nn.Linear
    final_bias: nn.Parameter

    @property
    def width(self) -> int:
        """D."""
        return self.target_embedding.embedding_dim

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

    def decode(self, memory: Memory, target_inputs: Tensor) -> Tensor:
        """Teacher forcing: all next tokens at once, each from the right tokens before it.

        Args:
            memory: of an encoder, of width D.
            target_inputs: <s> and the target's tokens, (B, T), padded at the end (causality hides the padding).

        Returns:
            Hidden states that predict the next token, (B, T, D); `logits` makes scores of them.
        """
        here = torch.arange(target_inputs.shape[1], device=target_inputs.device)
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
