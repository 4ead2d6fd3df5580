"""GPT (Radford et al. 2018): a stack of causal blocks that writes running text.

Shapes: B batch, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.models.decoding import DecoderState
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.nn.attention import EVERYTHING, Mask
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.positions import AbsolutePositions

INITIAL_STD = 0.02
"""Of all weights (Radford et al. 2018, section 4.1)."""


class GPT(nn.Module):
    """Causal language model.

    Args:
        config: its shape.
        vocab_size: V.
    """

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocab_size, config.dim)
        self.positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_length)
        self.dropout = Dropout(config.dropout)
        self.stack = Stack(config, config.depth, bidirectional=False)
        self.output = None if config.tie_embeddings else nn.Linear(config.dim, vocab_size, bias=False)
        self.apply(self._initialise)
        for name, weight in self.named_parameters():  # the residual stream's variance does not grow with depth
            if name.endswith(("attention.sublayer.project_out.weight", "feed_forward.sublayer.project_out.weight")):
                nn.init.normal_(weight, std=INITIAL_STD * (2 * config.depth) ** -0.5)  # Radford et al. 2019, 2.3

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=INITIAL_STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        """Weights (V, D) of the output projection, and no bias."""
        return (self.embedding if self.output is None else self.output).weight, None

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def _embed(self, tokens: Tensor, here: Tensor) -> Tensor:
        return self.dropout(self.positions(self.embedding(tokens), here))

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """What each token makes of itself and those before it.

        Args:
            tokens: (B, T), int64; padding at the end is hidden by causality.
            documents: number of the document of each, (B, T): a token attends to its own document only. None: to
                all before it.

        Returns:
            Hidden states that predict the next token, (B, T, D).
        """
        here = torch.arange(tokens.shape[1], device=tokens.device)
        mask = Mask(causal=True) if documents is None else Mask.from_documents(documents, causal=True)
        return self.stack(self._embed(tokens, here), mask=mask)

    def start(self, prompt: Tensor, beams: int, max_steps: int) -> DecoderState:
        """Read all of a prompt but its last token, and prepare to write.

        Args:
            prompt: (B, T), T at least 1.
            beams: hypotheses a prompt.
            max_steps: most tokens that will be written.
        """
        weight = self.embedding.weight
        state = DecoderState.new(self.stack, len(prompt), prompt.shape[1] + beams * (max_steps + 1), weight, beams)
        if prompt.shape[1] > 1:
            here, keys = state.advance(prompt.shape[1] - 1)
            x = self._embed(prompt[:, :-1], here)
            self.stack(x, mask=Mask(causal=True), positions=(here, keys), caches=state.caches)
        return state

    def step(self, tokens: Tensor, state: DecoderState, mask: Mask = EVERYTHING) -> Tensor:
        """One more token of each hypothesis.

        Args:
            tokens: the last token of each, (B, beams); fewer than at `start` while hypotheses are still the same.
            state: of `start`; advanced.
            mask: which of all cached keys, these included, each beam may see: (B, 1, beams, K).

        Returns:
            Hidden states, (B, beams, D).
        """
        here, keys = state.advance(1, rows=tokens.shape[1])
        return self.stack(self._embed(tokens, here), mask=mask, positions=(here, keys), caches=state.caches)


def build(config: GPTConfig, sizes: Sizes) -> GPT:
    """Return a language model for this vocabulary."""
    (vocabulary,) = sizes.vocabularies
    return GPT(config, vocabulary)
