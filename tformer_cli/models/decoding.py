"""What every model that writes one token after the other keeps between steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tformer_cli.nn.attention import EVERYTHING, KeyValueCache, Mask
from tformer_cli.nn.block import Stack


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
