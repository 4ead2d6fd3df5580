"""Edits of padded sequences equal those of lists, whatever the padding holds."""

from __future__ import annotations

import random

import torch

from tformer_cli.decode.edits import delete_tokens, insert_placeholders, limit_counts

PAD, PLACEHOLDER = 0, 99


def padded(rows: list[list[int]], width: int, value: int) -> torch.Tensor:
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def unpadded(tokens: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
    """The rows; the rest is padding, and at least one row has none."""
    assert tokens.shape[1] == int(lengths.max())
    for row, length in zip(tokens, lengths, strict=True):
        assert (row[length:] == PAD).all()
    return [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]


def test_edits_of_padded_sequences_are_those_of_lists():
    draw = random.Random(5)
    for _ in range(100):
        rows = [[draw.randint(1, 9) for _ in range(draw.randint(2, 7))] for _ in range(4)]
        lengths = torch.tensor([len(row) for row in rows])
        tokens = padded(rows, 8, PAD)
        deleted = [[draw.random() < 0.4 for _ in row] for row in rows]
        counts = [[draw.choice([0, 0, 1, 3]) for _ in row[1:]] for row in rows]

        marks = torch.tensor([[*row, *(draw.random() < 0.5 for _ in range(8 - len(row)))] for row in deleted])
        remaining = [
            [token for token, is_deleted in zip(row, marked, strict=True) if not is_deleted]
            for row, marked in zip(rows, deleted, strict=True)
        ]
        assert unpadded(*delete_tokens(tokens, lengths, marks, PAD)) == remaining

        longer = [
            [row[0], *(t for token, count in zip(row[1:], gaps, strict=True) for t in [*[PLACEHOLDER] * count, token])]
            for row, gaps in zip(rows, counts, strict=True)
        ]
        inserted = insert_placeholders(tokens, lengths, padded(counts, 7, 5), PLACEHOLDER, PAD)
        assert unpadded(*inserted) == longer


def test_counts_are_reduced_from_the_end_to_what_fits():
    counts = torch.tensor([[2, 0, 3, 1], [2, 0, 3, 1], [2, 0, 3, 1], [0, 0, 0, 0]])
    limited = limit_counts(counts, torch.tensor([9, 4, -1, 4]))
    assert limited.tolist() == [[2, 0, 3, 1], [2, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
