"""Heads of BERT for pre-training and fine-tuning (Devlin et al. 2019), on any `interfaces.TokenEncoder`.

Shapes: B sequences, T tokens, D model width, V vocabulary, N predicted tokens of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import ClassifierHeadConfig, HeadConfig, Pooling, TextModelConfig
from tformer_cli.models.encoder_head import EncoderWithHead
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.feedforward import activation_function
from tformer_cli.nn.padding import real_positions

INITIAL_STD = 0.02
"""Standard deviation of initial weights (the authors' code)."""


def initialise(module: nn.Module) -> None:
    """Initialise the weights of a layer with a normal distribution, and its bias with zeros."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=INITIAL_STD)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


class Pooler(nn.Module):
    """The vector of a sequence, tanh(W h + b) of the hidden state h of its first token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the vectors of sequences, (B, D), given their hidden states (B, T, D)."""
        return torch.tanh(self.project(hidden[:, 0]))


class MaskedLanguageHead(nn.Module):
    """The head norm(f(W h + b)) with the activation f of the blocks, as in the authors' code.

    The weights of the output projection are the token embedding.
    """

    def __init__(self, config: TextModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(config.dim, config.dim)
        self.function = activation_function(config.activation)
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform hidden states, (N, D)."""
        return self.norm(self.function(self.project(hidden)))


class MaskedLanguageModel(nn.Module):
    """The encoder with the heads of pre-training: masked tokens, and whether text B follows text A.

    Args:
        encoder: an encoder of tokens, such as `bert.model.BERT`.
        nsp: whether it has a pooler and a head for next-sentence prediction.
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
        indices: Tensor,
        documents: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden states for the prediction of masked tokens.

        Args:
            tokens: (B, T), int64, some of them masked.
            lengths: number of real tokens of each row, (B,).
            segments: number of each token's segment, (B, T), or None.
            indices: indices of the N tokens to predict among all B * T tokens, int64.
            documents: as in the encoder, (B, T) or None.

        Returns:
            Hidden states of the tokens to predict (N, D), for `output_layer`, and of all tokens (B, T, D).
        """
        hidden = self.encoder(tokens, lengths, segments, documents)
        return self.head(hidden.flatten(0, 1)[indices]), hidden

    def output_layer(self) -> tuple[Tensor, Tensor]:
        """Return the weights (V, D) of the output projection, which are the token embedding, and the bias (V,)."""
        return self.encoder.embedding.weight, self.head.bias

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of all tokens: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def follows(self, hidden: Tensor) -> Tensor:
        """Return the scores of "B does not follow A" and "B follows A": (B, T, D) to (B, 2).

        Raises:
            ValueError: if the model was built without `nsp`.
        """
        if self.pooler is None or self.next_sentence is None:
            raise ValueError("this model was built without next-sentence prediction")
        return self.next_sentence(self.pooler(hidden))


class SequenceClassifier(EncoderWithHead):
    """The encoder with a linear layer on the vector of a text (Devlin et al. 2019, section 4.1).

    Args:
        encoder: an encoder of tokens, such as `bert.model.BERT`.
        head: pooling, dropout, and whether the encoder is frozen.
        outputs: number of outputs per text.
    """

    def __init__(self, encoder: nn.Module, head: ClassifierHeadConfig, outputs: int) -> None:
        super().__init__(encoder, frozen=head.frozen)
        self.pooler = Pooler(self.encoder.width) if head.pooling is Pooling.cls else None
        self.dropout = Dropout(head.dropout)
        self.output = nn.Linear(self.encoder.width, outputs)
        for module in (self.pooler, self.output):
            if module is not None:
                module.apply(initialise)

    def forward(self, tokens: Tensor, lengths: Tensor, segments: Tensor | None = None) -> Tensor:
        """Return the outputs for tokens (B, T), lengths (B,) and segments (B, T): (B, outputs)."""
        hidden = self.encoder(tokens, lengths, segments)
        if self.pooler is not None:
            vector = self.pooler(hidden)
        else:
            real = real_positions(lengths, hidden.shape[1])
            vector = (hidden * real[..., None]).sum(1) / lengths[:, None]
        return self.output(self.dropout(vector))


class TokenClassifier(EncoderWithHead):
    """The encoder with a linear layer on a piece of each word, usually its first (Devlin et al. 2019, section 5.3).

    Args:
        encoder: an encoder of tokens, such as `bert.model.BERT`.
        head: dropout, and whether the encoder is frozen.
        outputs: number of tags.
    """

    def __init__(self, encoder: nn.Module, head: HeadConfig, outputs: int) -> None:
        super().__init__(encoder, frozen=head.frozen)
        self.dropout = Dropout(head.dropout)
        self.output = nn.Linear(self.encoder.width, outputs)
        initialise(self.output)

    def forward(self, tokens: Tensor, lengths: Tensor, indices: Tensor) -> Tensor:
        """Return the scores of the tags of words.

        Args:
            tokens: (B, T), int64.
            lengths: number of real tokens of each row, (B,).
            indices: indices of the words' pieces among all B * T tokens, (N,), int64.

        Returns:
            (N, outputs).
        """
        hidden = self.encoder(tokens, lengths)
        return self.output(self.dropout(hidden.flatten(0, 1)[indices]))


class SpanClassifier(EncoderWithHead):
    """The encoder with scores of the first and the last token of an answer (Devlin et al. 2019, section 4.2).

    Args:
        encoder: an encoder of tokens, such as `bert.model.BERT`.
        head: dropout, and whether the encoder is frozen.
    """

    def __init__(self, encoder: nn.Module, head: HeadConfig) -> None:
        super().__init__(encoder, frozen=head.frozen)
        self.dropout = Dropout(head.dropout)
        self.output = nn.Linear(self.encoder.width, 2)
        initialise(self.output)

    def forward(self, tokens: Tensor, lengths: Tensor, segments: Tensor, allowed: Tensor) -> Tensor:
        """Return the scores of first and last tokens, (B, 2, T); tokens that are not `allowed` (B, T) have -inf."""
        use = segments if self.config.limits().segments > 1 else None
        scores = self.output(self.dropout(self.encoder(tokens, lengths, use))).float()
        return scores.masked_fill(~allowed[..., None], -torch.inf).transpose(1, 2)
