"""Dual-policy imitation learning of a Levenshtein Transformer (Gu et al. 2019, section 3.2).

Insertion and deletion each learn the oracle's actions in states that the other produces. For a reference y of n tokens:

- Insertion: y_ins is y without randomly deleted tokens; floor(n u) are kept, with u uniform in [0, 1), so that at least
  one is missing. The oracle's numbers of placeholders p* lead to y_plh, and the tokens t* of y fill it.
- Deletion: y_del is y_plh filled with the model's own most probable tokens, without gradient. The oracle's d* deletes
  the tokens that are not on a longest common subsequence of y_del and y, so that a token in a shifted position stays.

    L = - mean log pi_plh(p* | y_ins) - mean log pi_tok(t* | y_plh) - mean log pi_del(d* | y_del)

The means are over the gaps of y_ins, the placeholders of y_plh, and the tokens of y_del without <s> and </s>. Label
smoothing applies to the numbers of placeholders and to the tokens. The paper also trains both policies on the initial
sequence. Here this is `<s></s>`: nothing in it can be deleted, and it already occurs as y_ins.

Shapes: B pairs, T tokens of the reference with <s> and </s>, D tokens of y_ins, W width, P possible numbers of
placeholders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tformer_cli.data.text.pairs import Pair, PairBatch, Pairs
from tformer_cli.decode.edits import insert_placeholders
from tformer_cli.decode.refine import best_tokens, special_tokens
from tformer_cli.nn.cross_entropy import head_cross_entropy
from tformer_cli.objectives.base import Loss, Objective
from tformer_cli.objectives.edit_script import edit_script

COUNT_SMOOTHING = 0.01
"""Label smoothing of the numbers of placeholders, if tokens are smoothed."""


@dataclass
class EditOutputs:
    """The predictions of the three heads in training, and the oracle's actions.

    Attributes:
        counts: logits of the numbers of placeholders in all gaps of y_ins, (G, P).
        oracle_counts: these numbers, (G,), int64.
        hidden: hidden states of the placeholders of y_plh, (N, W).
        oracle_tokens: their tokens in the reference, (N,), int64.
        deletions: logits of keeping and deleting each token of y_del except <s> and </s>, (M, 2).
        oracle_deletions: 1 where the token is deleted, (M,), int64.
    """

    counts: Tensor
    oracle_counts: Tensor
    hidden: Tensor
    oracle_tokens: Tensor
    deletions: Tensor
    oracle_deletions: Tensor


class DualPolicy(Objective[Any, PairBatch]):
    """The losses of deletions, numbers of placeholders, and tokens; each is a mean with its own count.

    Args:
        data: sentence pairs; `example` adds y_ins and the oracle's counts as they are loaded.
        label_smoothing: label smoothing of the tokens.
    """

    data: Pairs

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        return "cross-entropies of edits"

    def __init__(self, data: Pairs, label_smoothing: float = 0.0) -> None:
        super().__init__(data, label_smoothing)
        data.example = self.example

    def example(self, pair: Pair, random: np.random.Generator) -> Pair:
        """Return a pair with its y_ins, drawn with the pair's own generator, and the oracle's counts."""
        size = len(pair.target)
        kept = np.sort(random.permutation(size)[: int(size * random.random())])
        draft = np.asarray(pair.target)[kept]
        return replace(pair, draft=draft, counts=edit_script(draft.tolist(), pair.target.tolist()).counts)

    def counts(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the number of target tokens with </s>, and the count of each mean."""
        _, draft_lengths, counts = _state(batch)
        return {
            "count": batch.target_lengths.sum(),
            "delete_loss": (batch.target_lengths - 1).sum(),
            "placeholder_loss": (draft_lengths - 1).sum(),
            "token_loss": counts.sum(),
        }

    def outputs(self, model: Any, batch: PairBatch) -> EditOutputs:
        """Return the predictions in the states of insertion and deletion; the source is encoded once."""
        drafts, lengths, counts = _state(batch)
        references = torch.cat((batch.target_inputs[:, :1], batch.targets), dim=1)
        memory = model.encode(batch.source, batch.source_lengths)

        gaps = torch.arange(counts.shape[1], device=counts.device) < lengths[:, None] - 1
        count_logits = model.insert(memory, drafts, lengths)[gaps]

        tokenizer = self.data.tokenizer
        tokens, lengths = insert_placeholders(drafts, lengths, counts, model.placeholder_id, tokenizer.pad_id)
        missing = tokens == model.placeholder_id
        hidden = model.fill(memory, tokens, lengths)[missing]

        weight, bias = model.output_layer()
        filled = tokens.masked_scatter(missing, best_tokens(hidden, weight, bias, special_tokens(tokenizer)))
        inner = torch.arange(2, tokens.shape[1], device=tokens.device) < lengths[:, None]  # all but <s> and </s>
        deletions = model.delete(memory, filled, lengths)[:, 1:-1][inner]
        oracle = oracle_deletions(filled, references, lengths).to(tokens.device)
        return EditOutputs(count_logits, counts[gaps], hidden, references[missing], deletions, oracle)

    def loss(self, model: Any, outputs: EditOutputs, batch: PairBatch) -> Loss:
        """Return the losses of the three heads."""
        smoothing, counts = self.smoothing(model), self.counts(batch)
        weight, bias = model.output_layer()
        token_loss, _ = head_cross_entropy(
            outputs.hidden, weight, outputs.oracle_tokens, bias=bias, label_smoothing=smoothing
        )
        count_smoothing = COUNT_SMOOTHING if smoothing else 0.0
        parts = {
            "delete_loss": cross_entropy(outputs.deletions.float(), outputs.oracle_deletions, reduction="sum"),
            "placeholder_loss": cross_entropy(
                outputs.counts.float(), outputs.oracle_counts, reduction="sum", label_smoothing=count_smoothing
            ),
            "token_loss": token_loss,
        }
        return Loss(torch.stack(list(parts.values())).sum(), counts.pop("count"), parts, counts)


def _state(batch: PairBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return y_ins (B, D), its lengths (B,), and the oracle's counts of placeholders (B, D - 1)."""
    assert batch.drafts is not None and batch.draft_lengths is not None and batch.counts is not None
    return batch.drafts, batch.draft_lengths, batch.counts


def oracle_deletions(tokens: Tensor, references: Tensor, lengths: Tensor) -> Tensor:
    """Return 1 for each token that a shortest edit script to the reference deletes, without <s> and </s>.

    Args:
        tokens: (B, T), int64.
        references: (B, T), int64, of the same lengths.
        lengths: real tokens of both with <s> and </s>, (B,), int64.

    Returns:
        The values of all rows, concatenated, (M,), int64, on the CPU.
    """
    rows = zip(tokens.tolist(), references.tolist(), lengths.tolist(), strict=True)
    labels = [edit_script(row[1 : end - 1], reference[1 : end - 1]).deleted for row, reference, end in rows]
    return torch.from_numpy(np.concatenate(labels).astype(np.int64))
