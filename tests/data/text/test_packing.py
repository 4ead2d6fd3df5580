"""Packed blocks: everything once, in order, from documents that lie end to end."""

from __future__ import annotations

import numpy as np
import pytest

from tformer_cli.data.text.packing import PackedBlocks

LENGTHS = np.array([5, 1, 17, 3, 40, 2, 9])


def stream(packed: PackedBlocks, epoch: int, block_index: int) -> list[tuple[int, int]]:
    return [(p.document, token) for p in packed.pieces(epoch, block_index) for token in range(p.start, p.stop)]


@pytest.mark.parametrize("block", [1, 4, 7, 76, 500])
def test_evaluation_covers_every_token_but_the_first_once_as_a_target(block):
    packed = PackedBlocks(LENGTHS, block=block, rows=3, seed=1, shuffle=False)
    targets = []
    for index in range(len(packed)):
        for block_index in packed.indices(9, index):
            tokens = stream(packed, 9, int(block_index))
            assert 2 <= len(tokens) <= block + 1
            targets += tokens[1:]
    everything = [(document, token) for document, length in enumerate(LENGTHS) for token in range(length)]
    assert targets == everything[1:]


@pytest.mark.parametrize("block", [1, 4, 7, 30, 76, 500])
def test_training_blocks_are_whole_and_follow_each_other(block):
    packed = PackedBlocks(LENGTHS, block=block, rows=2, seed=1)
    seen = set()
    for epoch in range(6):
        block_indices = np.concatenate([packed.indices(epoch, index) for index in range(len(packed))])
        assert sorted(block_indices) == list(range(packed.blocks))
        blocks = [stream(packed, epoch, block_index) for block_index in range(packed.blocks)]
        assert all(len(block_tokens) == packed.block + 1 for block_tokens in blocks)
        assert all(left[-1] == right[0] for left, right in zip(blocks, blocks[1:], strict=False))
        inputs = [token for block_tokens in blocks for token in block_tokens[:-1]]
        assert len(set(inputs)) == len(inputs) > LENGTHS.sum() - 2 * packed.block - 1
        for (document, token), (after, first) in zip(inputs, inputs[1:], strict=False):
            assert (after, first) == (document, token + 1) or (token == LENGTHS[document] - 1 and first == 0)
        seen.add(tuple(inputs))
    assert len(seen) > 1 or block >= LENGTHS.sum() - 1


def test_the_order_is_of_seed_and_epoch_alone():
    first, second = (PackedBlocks(LENGTHS, block=4, rows=2, seed=seed) for seed in (1, 1))
    second.indices(5, 0)
    assert stream(first, 2, 3) == stream(second, 2, 3)
    assert any(stream(first, 2, i) != stream(PackedBlocks(LENGTHS, block=4, rows=2, seed=2), 2, i) for i in range(5))


def test_too_little_text_and_batches_that_are_not_there():
    with pytest.raises(ValueError, match="a token and one that follows"):
        PackedBlocks(np.array([1]), block=4, rows=1, seed=1)
    with pytest.raises(IndexError, match="of"):
        packed = PackedBlocks(LENGTHS, block=4, rows=2, seed=1)
        packed.indices(0, len(packed))
