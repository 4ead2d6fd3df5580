"""The losses of an editor in closed form, and the states that it is trained in."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import TranslationDecodeConfig
from tformer_cli.data.text.pairs import Pair, Pairs
from tformer_cli.decode.refine import refine
from tformer_cli.objectives.dual_policy import COUNT_SMOOTHING, DualPolicy, oracle_deletions

PAD, UNK, BOS, EOS = 0, 1, 2, 3
TOKENIZER = SimpleNamespace(pad_id=PAD, unk_id=UNK, bos_id=BOS, eos_id=EOS)
VOCABULARY, COUNTS = 9, 256


def pairs() -> Pairs:
    """Data with a tokenizer alone."""
    data = Pairs(SimpleNamespace(data=SimpleNamespace(source_language="en", target_language="de")))
    data.tokenizer = TOKENIZER  # type: ignore[assignment]
    return data


class Table(nn.Module):
    """An editor whose logits are constants; it fills each placeholder by its position. It records what it reads."""

    placeholder_id = VOCABULARY

    def __init__(self, best: list[int]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.deletions, self.counts = nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(COUNTS))
        self.weight = nn.Parameter(torch.eye(VOCABULARY))
        self.best, self.seen = best, []

    def read(self, name: str, tokens: Tensor, lengths: Tensor) -> None:
        self.seen.append((name, [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]))

    def encode(self, source: Tensor, lengths: Tensor) -> SimpleNamespace:
        return SimpleNamespace(states=source, select=lambda rows: SimpleNamespace(states=source[rows]))

    def delete(self, memory, tokens: Tensor, lengths: Tensor) -> Tensor:
        self.read("delete", tokens, lengths)
        return self.deletions.expand(*tokens.shape, 2)

    def insert(self, memory, tokens: Tensor, lengths: Tensor) -> Tensor:
        self.read("insert", tokens, lengths)
        return self.counts.expand(len(tokens), tokens.shape[1] - 1, COUNTS)

    def fill(self, memory, tokens: Tensor, lengths: Tensor) -> Tensor:
        self.read("fill", tokens, lengths)
        hidden = torch.zeros(*tokens.shape, VOCABULARY)
        for column, token in enumerate(self.best[: tokens.shape[1]]):
            hidden[:, column, token] = 5.0
        return hidden

    def output_layer(self) -> tuple[Tensor, None]:
        return self.weight, None


def batch_of(data: Pairs, drafts: list[list[int]], targets: list[list[int]], counts: list[list[int]]):
    rows = [
        Pair(np.array([5]), np.array(target), np.array(draft, dtype=np.int64), np.array(gaps))
        for draft, target, gaps in zip(drafts, targets, counts, strict=True)
    ]
    return data.collate(rows, torch.arange(len(rows)))


def log_softmax(logits: Tensor) -> list[float]:
    values = logits.detach().double().tolist()
    total = math.log(sum(math.exp(value) for value in values))
    return [value - total for value in values]


@pytest.mark.parametrize("training", [True, False])
def test_the_losses_are_means_over_their_own_places_with_their_own_smoothing(training):
    """Two pairs: 4 5 6 of which 5 is kept, and 7 of which nothing is; the fills are 4, 8 and 7: one is wrong."""
    data = pairs()
    model, objective = Table([0, 4, 0, 8]).train(training), DualPolicy(data, label_smoothing=0.1)
    model.best[1] = 4
    batch = batch_of(data, [[5], []], [[4, 5, 6], [7]], [[1, 1], [1]])
    loss = objective.loss(model, objective.outputs(model, batch), batch)
    assert {name: int(value) for name, value in loss.counts.items()} == {
        "delete_loss": 4, "placeholder_loss": 3, "token_loss": 3
    }  # fmt: skip
    assert int(loss.count) == 6
    # the fills are 4, 8 of the first and 4 of the second pair: against 4 5 6 and 7, two are deleted
    keep, delete = log_softmax(model.deletions)
    assert float(loss.parts["delete_loss"].detach()) == pytest.approx(-2 * keep - 2 * delete, rel=1e-5)

    counts, share = log_softmax(model.counts), COUNT_SMOOTHING if training else 0.0
    smoothed = -(1 - share) * counts[1] - share * sum(counts) / COUNTS
    assert float(loss.parts["placeholder_loss"].detach()) == pytest.approx(3 * smoothed, rel=1e-5)

    share, total = 0.1 if training else 0.0, 0.0
    for best, target in ((4, 4), (8, 6), (4, 7)):
        log_probs = log_softmax(5.0 * torch.eye(VOCABULARY)[best])
        total += -(1 - share) * log_probs[target] - share * sum(log_probs) / VOCABULARY
    assert float(loss.parts["token_loss"].detach()) == pytest.approx(total, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(sum(float(part.detach()) for part in loss.parts.values()))


def test_a_shifted_fill_is_kept_where_it_is_on_a_longest_common_subsequence():
    """The fills 5 6 7 8 for 4 5 6 7 are all beside their places, and only 8 has to go."""
    data = pairs()
    model, objective = Table([0, 5, 6, 7, 8]), DualPolicy(data)
    batch = batch_of(data, [[]], [[4, 5, 6, 7]], [[4]])
    outputs = objective.outputs(model, batch)
    assert model.seen[-1] == ("delete", [[BOS, 5, 6, 7, 8, EOS]])
    assert outputs.oracle_deletions.tolist() == [0, 0, 0, 1]
    assert outputs.oracle_tokens.tolist() == [4, 5, 6, 7]


def test_the_states_of_deletion_are_the_models_own_tokens_never_special_ones_and_without_gradient():
    data = pairs()
    model, objective = Table([0, EOS, 6, PAD, BOS, UNK]), DualPolicy(data)
    batch = batch_of(data, [[]], [[4, 5, 6, 7, 8]], [[5]])
    outputs = objective.outputs(model, batch)
    (filled,) = model.seen[-1][1]
    assert filled[0] == BOS and filled[-1] == EOS and filled[2] == 6
    assert not {PAD, UNK, BOS, EOS, model.placeholder_id} & set(filled[1:-1])
    outputs.deletions.sum().backward()
    assert model.deletions.grad is not None and model.weight.grad is None


def test_training_and_decoding_from_nothing_read_the_same_sequences():
    """The start of decoding is the empty state of training, with the same marks; so are placeholders and fills."""
    data = pairs()
    model, objective = Table([0, 4, 5]), DualPolicy(data)
    nn.init.zeros_(model.counts)
    model.counts.data[2] = 5  # two placeholders in every gap
    objective.outputs(model, batch_of(data, [[]], [[4, 5]], [[2]]))
    trained = list(model.seen)
    model.seen.clear()
    config = TranslationDecodeConfig(iterations=1)
    refine(model, model.encode(torch.ones(1, 1), torch.ones(1)), [np.zeros(0, np.int64)], config=config,
           tokenizer=TOKENIZER, max_lengths=torch.tensor([10]))  # type: ignore[arg-type]  # fmt: skip
    assert model.seen == trained[:2] == [("insert", [[BOS, EOS]]), ("fill", [[BOS, VOCABULARY, VOCABULARY, EOS]])]


def test_the_kept_tokens_are_a_subsequence_of_every_length_but_the_full_one():
    objective, target = DualPolicy(pairs()), np.array([4, 5, 6, 7, 8])
    sizes = np.zeros(6, int)
    for seed in range(3000):
        pair = objective.example(Pair(target, target), np.random.default_rng(seed))
        assert pair.draft is not None and pair.counts is not None
        assert (np.diff(pair.draft) > 0).all() and len(pair.draft) + pair.counts.sum() == 5
        sizes[len(pair.draft)] += 1
    assert sizes[5] == 0 and (np.abs(sizes[:5] / 3000 - 0.2) < 0.03).all()


def test_a_state_is_a_function_of_its_generator_and_an_empty_target_has_none():
    objective, target = DualPolicy(pairs()), np.arange(4, 30)
    first, again, other = (
        objective.example(Pair(target, target), np.random.default_rng(seed)).draft.tolist() for seed in (1, 1, 2)
    )
    assert first == again != other
    empty = objective.example(Pair(target, target[:0]), np.random.default_rng(1))
    assert empty.draft.tolist() == [] and empty.counts.tolist() == [0]


def test_deletions_ignore_the_marks_and_the_padding():
    tokens = torch.tensor([[BOS, 4, 5, EOS, PAD], [BOS, 6, 7, 8, EOS]])
    references = torch.tensor([[BOS, 5, 4, EOS, PAD], [BOS, 6, 6, 8, EOS]])
    labels = oracle_deletions(tokens, references, torch.tensor([4, 5])).tolist()
    assert sum(labels[:2]) == 1 and labels[2:] == [0, 1, 0]
