"""GPT (Radford et al. 2018): a causal language model.

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
"""Standard deviation of initial weights (Radford et al. 2018, section 4.1)."""


class GPT(nn.Module):
    """A causal language model.

    Args:
        config: settings of the model.
        vocab_size: size of the vocabulary, V.
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
        for name, weight in self.named_parameters():  # so that the variance of hidden states does not grow with depth
            if name.endswith(("attention.sublayer.project_out.weight", "feed_forward.sublayer.project_out.weight")):
                nn.init.normal_(weight, std=INITIAL_STD * (2 * config.depth) ** -0.5)  # Radford et al. 2019, 2.3

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=INITIAL_STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        """Return the weights (V, D) of the output projection, and None since there is no bias."""
        return (self.embedding if self.output is None else self.output).weight, None

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return self.dropout(self.positions(self.embedding(tokens), positions))

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Return the hidden states of all tokens.

        In training with `leak_future` there is no look-ahead mask.

        Args:
            tokens: (B, T), int64; causality masks padding at the end.
            documents: number of each token's document, (B, T); tokens attend only to previous tokens of the same
                document. None: to all previous tokens.

        Returns:
            Hidden states that predict the next token, (B, T, D).
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        causal = not (self.training and self.config.leak_future)
        mask = Mask(causal=causal) if documents is None else Mask.from_documents(documents, causal=causal)
        return self.stack(self._embed(tokens, positions), mask=mask)

    def start(self, prompt: Tensor, beams: int, max_steps: int) -> DecoderState:
        """Read a prompt except its last token, and return a state to continue it.

        Args:
            prompt: tokens, (B, T) with T at least 1.
            beams: number of hypotheses per prompt.
            max_steps: maximum number of tokens to generate.
        """
        weight = self.embedding.weight
        state = DecoderState.new(self.stack, len(prompt), prompt.shape[1] + beams * (max_steps + 1), weight, beams)
        if prompt.shape[1] > 1:
            queries, keys = state.advance(prompt.shape[1] - 1)
            x = self._embed(prompt[:, :-1], queries)
            self.stack(x, mask=Mask(causal=True), positions=(queries, keys), caches=state.caches)
        return state

    def step(self, tokens: Tensor, state: DecoderState, mask: Mask = EVERYTHING) -> Tensor:
        """Read one more token of each hypothesis.

        Args:
            tokens: last token of each hypothesis, (B, R); R is 1 until the hypotheses of a prompt diverge.
            state: state from `start`, which is advanced.
            mask: mask (B, 1, R, K) of the cached keys, including those of this step, that each hypothesis attends to.

        Returns:
            Hidden states, (B, R, D).
        """
        queries, keys = state.advance(1, rows=tokens.shape[1])
        return self.stack(self._embed(tokens, queries), mask=mask, positions=(queries, keys), caches=state.caches)


def build(config: GPTConfig, sizes: Sizes) -> GPT:
    """Return a language model for this vocabulary."""
    (vocabulary,) = sizes.vocabularies
    return GPT(config, vocabulary)
