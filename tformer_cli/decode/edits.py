"""Edits of padded sequences of tokens, in training and in decoding: deletions and insertions of placeholders.

Shapes: B sequences, T tokens with <s> and </s>, padded at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor


def delete_tokens(tokens: Tensor, lengths: Tensor, deleted: Tensor, pad_id: int) -> tuple[Tensor, Tensor]:
    """Delete tokens.

    Args:
        tokens: (B, T), int64.
        lengths: number of real tokens of each row, (B,), int64.
        deleted: whether each token is deleted, (B, T), bool; values at padding are ignored.
        pad_id: id of padding.

    Returns:
        The remaining tokens, (B, T'), and their numbers, (B,).
    """
    kept = (torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]) & ~deleted
    order = kept.int().argsort(dim=1, descending=True, stable=True)
    lengths = kept.sum(1)
    tokens = tokens.gather(1, order)[:, : int(lengths.max())]
    padding = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
    return tokens.masked_fill(padding, pad_id), lengths


def insert_placeholders(
    tokens: Tensor, lengths: Tensor, counts: Tensor, placeholder_id: int, pad_id: int
) -> tuple[Tensor, Tensor]:
    """Insert placeholders between tokens.

    Args:
        tokens: (B, T), int64.
        lengths: number of real tokens of each row, (B,), int64.
        counts: number of placeholders between each token and the next, (B, T - 1), int64; values beyond the last real
            token are ignored.
        placeholder_id: id of a placeholder.
        pad_id: id of padding.

    Returns:
        The tokens with placeholders, (B, T'), and their numbers, (B,).
    """
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    counts = counts * (columns[1:] < lengths[:, None])
    longer = lengths + counts.sum(1)
    width = int(longer.max())
    places = torch.arange(width + 1, device=tokens.device)  # the last column receives the padding
    result = torch.where(places < longer[:, None], placeholder_id, pad_id)
    moved = columns + torch.nn.functional.pad(counts.cumsum(1), (1, 0))
    result.scatter_(1, moved.where(columns < lengths[:, None], width), tokens)
    return result[:, :width], longer


def limit_counts(counts: Tensor, room: Tensor) -> Tensor:
    """Return counts of placeholders (B, T - 1), reduced from the end so that at most `room`, (B,), are inserted."""
    inserted = counts.cumsum(1).minimum(room.clamp(min=0)[:, None])
    return inserted.diff(dim=1, prepend=torch.zeros_like(inserted[:, :1]))
