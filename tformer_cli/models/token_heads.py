"""Heads on an encoder of tokens, for pre-training and for fine-tuning, as BERT has them (Devlin et al. 2019).

An encoder is any `interfaces.TokenEncoder`.

Shapes: B sequences, T tokens, D model width, V vocabulary, N predicted tokens of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import ClassifierHeadConfig, HeadConfig, Pooling, TextModelConfig
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.feedforward import FUNCTIONS

INITIAL_STD = 0.02
"""Of all weights (the authors' code)."""


def initialise(module: nn.Module) -> None:
    """Normal weights, zero biases."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=INITIAL_STD)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


class Pooler(nn.Module):
    """tanh(W h_[CLS] + b): the sequence's vector from that of its first token, (B, T, D) to (B, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) to (B, D)."""
        return torch.tanh(self.project(hidden[:, 0]))


class MaskedLanguageHead(nn.Module):
    """norm(f(W h + b)), f as in the blocks; the output weights are the token embedding's (the authors' code)."""

    def __init__(self, config: TextModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(config.dim, config.dim)
        self.function = FUNCTIONS[config.activation]
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, D) to (N, D)."""
        return self.norm(self.function(self.project(hidden)))


class MaskedLanguageModel(nn.Module):
    """The encoder with what it learns from: the hidden tokens, and whether B follows A.

    Args:
        encoder: an encoder of tokens, such as `bert.model.BERT`.
        nsp: with the pooler and the next-sentence head.
    """

    swaps_head = True
    encoder: Any

    def __init__(self, encoder: nn.Module, *, nsp: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = self.encoder.config
        self.head = MaskedLanguageHead(self.config, self.encoder.embedding.num_embeddings)
        self.pooler = Pooler(self.encoder.width) if nsp else None
        self.next_sentence = nn.Linear(self.encoder.width, 2) if nsp else None
        for module in (self.head, self.pooler, self.next_sentence):
            if module is not None:
                module.apply(initialise)

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        segments: Tensor | None,
        places: Tensor,
        documents: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Only the tokens that are to be predicted go through the head.

        Args:
            tokens: (B, T), int64, some of them hidden.
            lengths: (B,).
            segments: (B, T) or None.
            places: of the N tokens to predict, in the flat (B * T), int64.
            documents: as in the encoder, (B, T) or None.

        Returns:
            Their hidden states (N, D), for `output_layer`; all hidden states (B, T, D).
        """
        hidden = self.encoder(tokens, lengths, segments, documents)
        return self.head(hidden.flatten(0, 1)[places]), hidden

    def output_layer(self) -> tuple[Tensor, Tensor]:
        """Weights (V, D), which are the token embedding, and bias (V,)."""
        return self.encoder.embedding.weight, self.head.bias

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of tokens: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def follows(self, hidden: Tensor) -> Tensor:
        """Scores of "B is another text" and "B follows A": (B, T, D) to (B, 2).

        Raises:
            ValueError: if the model is one without `nsp`.
        """
        if self.pooler is None or self.next_sentence is None:
            raise ValueError("this model was made without next-sentence prediction")
        return self.next_sentence(self.pooler(hidden))


class SequenceClassifier(nn.Module):
    """The encoder with a linear layer on the vector of a whole text (Devlin et al. 2019, section 4.1).

    Args:
        encoder: an encoder of tokens, such as `bert.model.BERT`.
        head: pooling, dropout, and whether the encoder is trained too.
        outputs: numbers a text gets.
    """

    swaps_head = True
    encoder: Any

    def __init__(self, encoder: nn.Module, head: ClassifierHeadConfig, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = self.encoder.config
        self.pooler = Pooler(self.encoder.width) if head.pooling is Pooling.cls else None
        self.dropout = Dropout(head.dropout)
        self.output = nn.Linear(self.encoder.width, outputs)
        for module in (self.pooler, self.output):
            if module is not None:
                module.apply(initialise)
        if head.frozen:
            self.encoder.requires_grad_(False)

    def forward(self, tokens: Tensor, lengths: Tensor, segments: Tensor | None = None) -> Tensor:
        """Scores: (B, T), (B,) and (B, T) to (B, outputs)."""
        hidden = self.encoder(tokens, lengths, segments)
        if self.pooler is not None:
            vector = self.pooler(hidden)
        else:
            real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
            vector = (hidden * real[..., None]).sum(1) / lengths[:, None]
        return self.output(self.dropout(vector))


class TokenClassifier(nn.Module):
    """The encoder with a linear layer on each word's first piece (Devlin et al. 2019, section 5.3).

    Args:
        encoder: an encoder of tokens, such as `bert.model.BERT`.
        head: dropout, and whether the encoder is trained too.
        outputs: tags.
    """

    swaps_head = True
    encoder: Any

    def __init__(self, encoder: nn.Module, head: HeadConfig, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = self.encoder.config
        self.dropout = Dropout(head.dropout)
        self.output = nn.Linear(self.encoder.width, outputs)
        initialise(self.output)
        if head.frozen:
            self.encoder.requires_grad_(False)

    def forward(self, tokens: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
        """Scores of the tokens at `places` of the flat (B * T): (B, T), (B,) and (N,) to (N, outputs)."""
        hidden = self.encoder(tokens, lengths)
        return self.output(self.dropout(hidden.flatten(0, 1)[places]))


class SpanClassifier(nn.Module):
    """The encoder with two scores a token: an answer begins here, ends here (Devlin et al. 2019, section 4.2).

    Args:
        encoder: an encoder of tokens, such as `bert.model.BERT`.
        head: dropout, and whether the encoder is trained too.
    """

    swaps_head = True
    encoder: Any

    def __init__(self, encoder: nn.Module, head: HeadConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = self.encoder.config
        self.dropout = Dropout(head.dropout)
        self.output = nn.Linear(self.encoder.width, 2)
        initialise(self.output)
        if head.frozen:
            self.encoder.requires_grad_(False)

    def forward(self, tokens: Tensor, lengths: Tensor, segments: Tensor, allowed: Tensor) -> Tensor:
        """Scores of begin and end, (B, 2, T), minus infinity where not `allowed` (B, T)."""
        use = segments if self.config.limits().segments > 1 else None
        scores = self.output(self.dropout(self.encoder(tokens, lengths, use))).float()
        return scores.masked_fill(~allowed[..., None], -torch.inf).transpose(1, 2)
