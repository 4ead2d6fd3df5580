"""Masked language modelling, optionally with next-sentence prediction (Devlin et al. 2019, section 3.1).

Let M be the set of a sequence's masked positions, x' its masked sequence, and y whether text B follows text A:

    L = sum over sequences of [- sum_{i in M} log p(x_i | x') - |M| log p(y | x')]

The second term is present only with next-sentence prediction. The paper adds the mean of the first term over tokens and
the mean of the second over sequences. Here a sequence's next-sentence loss is weighted by its number of masked tokens.
Both terms then have one count, so that a step does not depend on the division into micro-batches and ranks.

Label smoothing (Szegedy et al. 2016, section 7) mixes the target distribution of a masked token with the uniform one in
training. Next-sentence prediction is not smoothed.

Shapes: B sequences, T tokens, D model width, N masked tokens of a batch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import AttentionKind, MaskingConfig
from tformer_cli.data.text.masked import MaskedBatch, MaskedText, TokenSequence
from tformer_cli.data.text.masking import Masking
from tformer_cli.models.token_heads import MaskedLanguageModel
from tformer_cli.nn.cross_entropy import head_cross_entropy
from tformer_cli.objectives.base import Lengths, Loss, Objective, with_settings

Outputs = tuple[Tensor, Tensor]
"""Hidden states of the masked tokens, (N, D), for the output layer; and of all tokens, (B, T, D)."""


class MaskedTokens(Objective[MaskedLanguageModel, MaskedBatch]):
    """Cross-entropy of the masked tokens, and of whether B follows A if the batches have sentence pairs.

    Args:
        data: sequences of text; `example` masks them as they are loaded.
        config: how many tokens are masked, and by what.
        label_smoothing: label smoothing of the masked tokens in training.
    """

    data: MaskedText

    def __init__(self, data: MaskedText, config: MaskingConfig, label_smoothing: float = 0.0) -> None:
        super().__init__(data, label_smoothing)
        self.config = config
        data.example = self.example

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return with_settings("cross-entropy of masked tokens", "bert", self.config)

    @cached_property
    def masking(self) -> Masking:
        """The masking of tokens for the vocabulary of the prepared or loaded data."""
        tokenizer, mask_id = self.data.tokenizer, self.data.mask_id
        special = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, mask_id]
        return Masking(self.config, mask_id, special, np.array(tokenizer.word_starts()))

    def example(self, sequence: TokenSequence, random: np.random.Generator) -> TokenSequence:
        """Return a sequence with masked tokens, drawn with the sequence's own generator."""
        masked = self.masking(sequence.tokens, random)
        return replace(sequence, tokens=masked.tokens, indices=masked.indices, targets=masked.targets)

    def lengths(self, outputs: Outputs, batch: MaskedBatch) -> Lengths:
        """Return the lengths of the sequences; there is no decoder."""
        return {AttentionKind.encoder: batch.lengths}

    def example_counts(self, outputs: Outputs, batch: MaskedBatch) -> Tensor:
        """Return the number of masked tokens of each sequence."""
        return torch.bincount(batch.rows, minlength=len(batch.lengths))

    def loss(self, model: MaskedLanguageModel, outputs: Outputs, batch: MaskedBatch) -> Loss:
        """Return the loss, and in evaluation the numbers of correct predictions too."""
        masked, hidden = outputs
        weight, bias = model.output_layer()
        total, log_likelihood = head_cross_entropy(
            masked, weight, batch.targets, bias=bias, label_smoothing=self.smoothing(model)
        )
        count = torch.full((), len(batch.targets), device=hidden.device)
        parts = {"mlm_loss": -log_likelihood}
        if not model.training:
            parts["mlm_correct"] = (model.logits(masked).argmax(-1) == batch.targets).sum()
        if batch.follows is not None:
            scores = model.follows(hidden).float()
            losses = nn.functional.cross_entropy(scores, batch.follows, reduction="none")
            weights = torch.bincount(batch.rows, minlength=len(losses))
            parts["nsp_loss"] = (losses * weights).sum()
            total = total + parts["nsp_loss"]
            if not model.training:
                parts["nsp_correct"] = (scores.argmax(-1) == batch.follows).sum()
        return Loss(total, count, parts)
