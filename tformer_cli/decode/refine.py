"""Decoding by edits: a Levenshtein Transformer refines sequences in rounds (Gu et al. 2019, section 3.3).

A round deletes tokens, inserts placeholders and fills them, by the model's most probable actions. A sentence is
complete when a round does not change it. Otherwise, as when it alternates between two sequences, it ends after
`decode.iterations` rounds. Its result does not depend on its batch; docs/editing.md has the rules.

Shapes: B sentences, T tokens with <s> and </s>, N placeholders, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from tformer_cli.config.schema import TranslationDecodeConfig
from tformer_cli.data.text.encoded import pad
from tformer_cli.decode.edits import delete_tokens, insert_placeholders, limit_counts
from tformer_cli.decode.select import finite_scores
from tformer_cli.nn.cross_entropy import chunk_rows
from tformer_cli.tokenizers.tokenizer import Vocabulary

if TYPE_CHECKING:
    from tformer_cli.models.interfaces import TokenEditor

SHORTEST_LIMIT, LIMIT_RATIO = 10, 2
"""An output has at most max(10, 2 x source tokens) tokens, unless `decode.max_length` is set."""


@dataclass
class Refined:
    """The result for a sentence.

    Attributes:
        tokens: tokens without <s> and </s>.
        rounds: number of rounds, including the last one, which may have changed nothing.
        finished: False if a limit ended it: the last round changed it, or would have inserted more tokens than fit.
    """

    tokens: list[int]
    rounds: int
    finished: bool


def special_tokens(tokenizer: Vocabulary) -> list[int]:
    """Return the ids that no placeholder is filled with: padding, unknown, <s> and </s>."""
    return sorted({tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id})


@torch.no_grad()
def best_tokens(hidden: Tensor, weight: Tensor, bias: Tensor | None, forbidden: Sequence[int]) -> Tensor:
    """Return the most probable token of each placeholder, (N,) int64.

    Args:
        hidden: hidden states of the placeholders, (N, D).
        weight: output layer, (V, D).
        bias: (V,) or None.
        forbidden: ids that are never returned.
    """
    best = []
    for rows in hidden.split(chunk_rows(hidden.device, len(weight))):
        logits = linear(rows, weight, bias).float()
        logits[:, forbidden] = -torch.inf
        best.append(logits.argmax(-1))
    return torch.cat(best)


@torch.inference_mode()
def refine(
    editor: TokenEditor[Any],
    memory: Any,
    drafts: Sequence[np.ndarray],
    *,
    config: TranslationDecodeConfig,
    tokenizer: Vocabulary,
    max_lengths: Tensor,
) -> list[Refined]:
    """Edit drafts until nothing changes.

    Args:
        editor: the model in evaluation mode.
        memory: the result of its `encode`, for B sentences.
        drafts: initial tokens of each sentence, without <s> and </s>; usually none.
        config: maximum number of rounds, threshold of deletions, and penalty of insertions.
        tokenizer: the vocabulary of the tokens.
        max_lengths: maximum number of tokens of each sentence after insertions, (B,), int64. A longer draft is not cut.

    Raises:
        RunError: if the model's scores are not finite.
    """
    rounds = _Rounds(editor, config, tokenizer)
    tokens, lengths = pad(drafts, tokenizer.pad_id, begin=tokenizer.bos_id, end=tokenizer.eos_id)
    device = memory.states.device
    tokens, lengths, limits = tokens.to(device), lengths.to(device), max_lengths.to(device) + 2
    results: list[Refined] = [Refined([], 0, finished=False) for _ in drafts]
    active = torch.arange(len(drafts), device=device)
    for number in range(1, config.iterations + 1):
        edited, edited_lengths, cut = rounds.edit(memory, tokens, lengths, limits)
        done = _equal(tokens, lengths, edited, edited_lengths)
        complete = done.nonzero()[:, 0] if number < config.iterations else torch.arange(len(active), device=device)
        columns = [column[complete].tolist() for column in (active, edited, edited_lengths, done & ~cut)]
        for sentence, row, length, finished in zip(*columns, strict=True):
            results[sentence] = Refined(row[1 : length - 1], number, finished)
        if len(complete) == len(active):
            break
        tokens, lengths = edited, edited_lengths
        if len(complete):
            rows = (~done).nonzero()[:, 0]
            memory, active, limits, lengths = memory.select(rows), active[rows], limits[rows], lengths[rows]
            tokens = tokens[rows, : int(lengths.max())]
    return results


def _equal(tokens: Tensor, lengths: Tensor, others: Tensor, other_lengths: Tensor) -> Tensor:
    """Return whether each sequence (B, T) has the same tokens as another one (B, T'), (B,) bool."""
    width = min(tokens.shape[1], others.shape[1])
    return (lengths == other_lengths) & (tokens[:, :width] == others[:, :width]).all(1)


class _Rounds:
    """The three edits of a round, by the model's most probable actions."""

    def __init__(self, editor: TokenEditor[Any], config: TranslationDecodeConfig, tokenizer: Vocabulary) -> None:
        self.editor, self.config = editor, config
        self.pad_id, self.forbidden = tokenizer.pad_id, special_tokens(tokenizer)

    def edit(self, memory: Any, tokens: Tensor, lengths: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sequences (B, T') and their lengths (B,) after a round, and whether insertions were cut, (B,).

        Args:
            memory: memory of the sentences.
            tokens: (B, T), int64.
            lengths: (B,), int64.
            limits: maximum lengths with <s> and </s>, (B,), int64.
        """
        if tokens.shape[1] > 2:
            tokens, lengths = self._delete(memory, tokens, lengths)
        predicted_counts = self._counts(memory, tokens, lengths)
        counts = limit_counts(predicted_counts, limits - lengths)
        cut = (counts < predicted_counts).any(1)
        rows = counts.any(1).nonzero()[:, 0]
        if not len(rows):
            return tokens, lengths, cut
        tokens, lengths = insert_placeholders(tokens, lengths, counts, self.editor.placeholder_id, self.pad_id)
        if len(rows) < len(tokens):
            memory = memory.select(rows)
        tokens[rows] = self._fill(memory, tokens[rows], lengths[rows])
        return tokens, lengths, cut

    def _delete(self, memory: Any, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Delete each token with a probability of deletion above the threshold, except <s> and </s>."""
        probabilities = self.editor.delete(memory, tokens, lengths).float().softmax(-1)[..., 1]
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        inner = (columns > 0) & (columns < lengths[:, None] - 1)
        finite_scores(probabilities[inner])
        return delete_tokens(tokens, lengths, inner & (probabilities > self.config.deletion_threshold), self.pad_id)

    def _counts(self, memory: Any, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the most probable number of placeholders in each gap, (B, T - 1); 0 beyond </s>."""
        log_probs = self.editor.insert(memory, tokens, lengths).float().log_softmax(-1)
        log_probs[..., 0] -= self.config.insertion_penalty
        gaps = torch.arange(tokens.shape[1] - 1, device=tokens.device) < lengths[:, None] - 1
        highest, counts = log_probs.max(-1)
        finite_scores(highest[gaps])
        return counts * gaps

    def _fill(self, memory: Any, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Replace all placeholders by their most probable tokens."""
        missing = tokens == self.editor.placeholder_id
        hidden = finite_scores(self.editor.fill(memory, tokens, lengths)[missing])
        weight, bias = self.editor.output_layer()
        return tokens.masked_scatter(missing, best_tokens(hidden, weight, bias, self.forbidden))
