"""A recurrent language model (Mikolov et al. 2010; Sundermeyer et al. 2012).

h_t = f(h_{t-1}, y_t) and p(y_{t+1}) = softmax(E h_t), where f is an LSTM or a GRU of one or more layers. The state is
zero at the start of each block of text, so that a batch does not depend on the batch before it.

Shapes: B batch, T tokens, R hypotheses of each prompt, D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.data.core.device import to_device
from tformer_cli.models.recurrent import LayerStates, initialise, with_hypothesis_axis
from tformer_cli.models.recurrent_lm import RecurrentLMConfig
from tformer_cli.nn.attention import EVERYTHING, Mask
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.recurrent import RecurrentStack, full_precision


class RecurrentLM(nn.Module):
    """A recurrent language model.

    Args:
        config: settings of the model.
        vocab_size: size of the vocabulary, V.
    """

    def __init__(self, config: RecurrentLMConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocab_size, config.dim)
        self.dropout = Dropout(config.dropout)
        self.stack = RecurrentStack(config.cell, config.dim, config.dim, config.depth, config.dropout)
        self.output = None if config.tie_embeddings else nn.Linear(config.dim, vocab_size, bias=False)
        self.apply(initialise)

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        """Return the weights (V, D) of the output projection, and None since there is no bias."""
        return (self.embedding if self.output is None else self.output).weight, None

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.embedding(tokens) * self.config.dim**0.5)

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Return the hidden states of all tokens.

        Args:
            tokens: (B, T), int64, padded at the end.
            documents: number of each token's document, (B, T); the state is zero at the start of each document. None:
                only at the start of each row.

        Returns:
            Hidden states that predict the next token, (B, T, D).
        """
        with full_precision(self.embedding.weight):
            x = self._embed(tokens)
            if documents is None:
                hidden, _ = self.stack(x, self.stack.zero_states(x))
                return self.dropout(hidden)
            groups, places = document_groups(documents.cpu())
            outputs = []
            for tokens_of_group in groups:
                inputs = x.flatten(0, 1)[to_device(tokens_of_group, x.device)]
                outputs.append(self.stack(inputs, self.stack.zero_states(inputs))[0].flatten(0, 1))
            return self.dropout(torch.cat(outputs)[to_device(places, x.device)].view_as(x))

    def start(self, prompt: Tensor, beams: int, max_steps: int) -> LayerStates:
        """Read a prompt except its last token, and return a state to continue it.

        Args:
            prompt: tokens, (B, T) with T at least 1.
            beams: number of hypotheses per prompt; not used, since the size of the state does not depend on it.
            max_steps: maximum number of tokens to generate; not used either.
        """
        with full_precision(self.embedding.weight):
            x = self._embed(prompt[:, :-1])
            states = self.stack.zero_states(x)
            return LayerStates(with_hypothesis_axis(self.stack(x, states)[1] if prompt.shape[1] > 1 else states))

    def step(self, tokens: Tensor, state: LayerStates, mask: Mask = EVERYTHING) -> Tensor:
        """Return hidden states (B, R, D) after one more token of each hypothesis: see `Stepper.step`."""
        with full_precision(self.embedding.weight):
            state.layers = self.stack.step(self._embed(tokens), state.layers)
            return state.layers[-1][0]


def document_groups(documents: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the documents of each row in groups of similar lengths, so that less than half of a group is padding.

    Args:
        documents: number of each token's document, (B, T), on the CPU.

    Returns:
        For each group the indices of its documents' tokens in the flattened rows, (R, S) for R documents of up to S
        tokens, where padding repeats the last token. And the place of each token in the concatenation of all flattened
        groups, (B * T,).
    """
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    firsts = starts.flatten().nonzero()[:, 0]
    lengths = torch.diff(firsts, append=torch.tensor([documents.numel()]))
    digits = torch.frexp(lengths.float()).exponent  # binary digits of the length
    groups, places, begin = [], torch.empty(documents.numel(), dtype=torch.int64), 0
    for count in digits.unique():
        first, length = firsts[digits == count, None], lengths[digits == count, None]
        steps = torch.arange(int(length.max()))
        groups.append(first + steps.minimum(length - 1))
        real = steps < length
        places[groups[-1][real]] = begin + real.flatten().nonzero()[:, 0]
        begin += real.numel()
    return groups, places


def build(config: RecurrentLMConfig, sizes: Sizes) -> RecurrentLM:
    """Return a language model for this vocabulary."""
    (vocabulary,) = sizes.vocabularies
    return RecurrentLM(config, vocabulary)
