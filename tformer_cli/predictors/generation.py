"""Texts that a token decoder generates from the memory of an encoder.

Shapes: B batch, S positions of the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import DecodeConfig
from tformer_cli.data.core.batch import Batch
from tformer_cli.decode.search import Hypothesis, num_hypotheses, search
from tformer_cli.decode.short_head import Allowed
from tformer_cli.models.decoding import Memory
from tformer_cli.predictors.base import SEARCH, Prediction
from tformer_cli.predictors.files import FilePredictor
from tformer_cli.tokenizers.tokenizer import Vocabulary


def generate(
    decoder: Any,
    memory: Memory,
    config: DecodeConfig,
    tokenizer: Vocabulary,
    max_lengths: Tensor,
    sample_ids: Sequence[int],
    allowed: Allowed | None = None,
) -> list[list[Hypothesis]]:
    """Return the hypotheses of a search for each row of a memory, best first.

    Args:
        decoder: a `TokenDecoder`.
        memory: output of an encoder, (B, S, D).
        config: settings of the search.
        tokenizer: tokenizer of the texts; its special tokens begin and end a text.
        max_lengths: maximum number of tokens of each text, (B,), int64.
        sample_ids: numbers of the rows, on which the random numbers of sampling depend.
        allowed: see `search`.
    """
    state = decoder.start(memory, num_hypotheses(config), int(max_lengths.max()))
    return search(
        decoder, state, config=config, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id,
        forbidden=(tokenizer.pad_id, tokenizer.bos_id), max_lengths=max_lengths, sample_ids=sample_ids,
        allowed=allowed,
    )  # fmt: skip


def text_of(hypotheses: Sequence[Hypothesis], tokenizer: Vocabulary, language: str) -> Prediction:
    """Return the best text, and the texts of all hypotheses with their scores."""
    texts = [hypothesis.details(tokenizer.decode(hypothesis.tokens, language)) for hypothesis in hypotheses]
    return Prediction(texts[0]["text"], {"hypotheses": texts}, hypotheses[0].tokens)


class TextGenerator(FilePredictor[Any]):
    """Texts for files, by an encoder-decoder; a subclass implements `answers`.

    The data has a `tokenizer`, a `target_language`, and a `limit` of tokens.
    """

    options = SEARCH

    @torch.inference_mode()
    def texts(self, model: Any, memory: Memory, sample_ids: Sequence[int]) -> list[Prediction]:
        """Return the texts for a memory.

        Args:
            model: in evaluation mode.
            memory: output of its encoder; without a position, as for a recording that is too short, the text is empty.
            sample_ids: see `generate`.
        """
        limit = min(self.config.decode.max_length or self.data.limit, self.data.limit)
        longest = torch.full_like(memory.lengths, limit).masked_fill(memory.lengths == 0, 0)
        rows = generate(model, memory, self.config.decode, self.data.tokenizer, longest, sample_ids)
        return [text_of(hypotheses, self.data.tokenizer, self.data.target_language) for hypotheses in rows]

    def encoded_texts(self, model: Any, batch: Any, memory: Memory) -> list[Prediction]:
        """Return the texts for a batch and its memory, as `predict` returns them."""
        return self.texts(model, memory, batch.sample_ids.tolist())

    @torch.inference_mode()
    def batch_texts(self, model: Any, batch: Batch) -> list[Prediction]:
        """Return the texts for a batch on the model's device."""
        memory = model.encode(*self.data.inputs(batch, training=False))
        return self.texts(model, memory, batch.sample_ids.tolist())
