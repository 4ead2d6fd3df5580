"""Decoding by edits: editors with known answers, limits, and sentences that do not depend on their batch."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from tformer_cli.config.schema import TranslationDecodeConfig
from tformer_cli.decode.refine import Refined, best_tokens, refine
from tformer_cli.errors import RunError
from tformer_cli.models.levenshtein import LevenshteinConfig
from tformer_cli.models.levenshtein.model import LevenshteinTransformer
from tformer_cli.objectives.edit_script import edit_script

PAD, UNK, BOS, EOS, VOCABULARY, COUNTS = 0, 1, 2, 3, 30, 256
TOKENIZER = SimpleNamespace(pad_id=PAD, unk_id=UNK, bos_id=BOS, eos_id=EOS)


@dataclass
class Known:
    """A memory that knows each sentence's number."""

    states: Tensor

    def select(self, rows: Tensor) -> Known:
        return Known(self.states[rows])


class Oracle:
    """An editor that takes the oracle's actions towards a target of each sentence."""

    placeholder_id = VOCABULARY

    def __init__(self, targets: list[list[int]]) -> None:
        self.targets, self.sizes = targets, []

    def scripts(self, memory: Known, tokens: Tensor, lengths: Tensor):
        for row, number in enumerate(memory.states.tolist()):
            inner = tokens[row, 1 : int(lengths[row]) - 1].tolist()
            yield row, inner, self.targets[number]

    def delete(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
        self.sizes.append(len(tokens))
        logits = torch.zeros(*tokens.shape, 2)
        for row, inner, target in self.scripts(memory, tokens, lengths):
            for place, deleted in enumerate(edit_script(inner, target).deleted, 1):
                logits[row, place, int(deleted)] = 5
        logits[:, 0, 1] = logits[torch.arange(len(tokens)), lengths - 1, 1] = 9  # <s> and </s> stay nevertheless
        return logits

    def insert(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
        logits = torch.zeros(len(tokens), tokens.shape[1] - 1, COUNTS)
        logits[..., 7] = 9  # at padding
        for row, inner, target in self.scripts(memory, tokens, lengths):
            for gap, count in enumerate(edit_script(inner, target).counts):
                logits[row, gap] = torch.nn.functional.one_hot(torch.tensor(int(count)), COUNTS) * 5.0
        return logits

    def fill(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
        hidden = torch.zeros(*tokens.shape, VOCABULARY)
        for row, inner, target in self.scripts(memory, tokens, lengths):
            assert VOCABULARY in inner
            for place, token in enumerate(target[: len(inner)], 1):
                hidden[row, place, token] = 5
                hidden[row, place, [PAD, UNK, BOS, EOS]] = 9
        return hidden

    def output_layer(self) -> tuple[Tensor, None]:
        return torch.eye(VOCABULARY), None


def refined(editor, drafts: list[list[int]], limits: list[int] | None = None, numbers=None, **settings):
    rows = [np.array(draft, dtype=np.int64) for draft in drafts]
    memory = Known(torch.arange(len(drafts)) if numbers is None else torch.tensor(numbers))
    return refine(
        editor, memory, rows, config=TranslationDecodeConfig(**settings), tokenizer=TOKENIZER,  # type: ignore[arg-type]
        max_lengths=torch.tensor(limits or [20] * len(drafts)),
    )  # fmt: skip


TARGETS = [[5, 6, 7], [8], [9, 10, 9, 10, 11], [4, 4], [5, 6]]
DRAFTS = [[], [8], [10, 9, 11, 12], [4, 5, 6, 4, 7], []]


def test_an_oracle_reaches_its_targets_from_nothing_and_from_drafts():
    """The first round leads to the target, and the second one changes nothing; a correct draft needs one round."""
    results = refined(Oracle(TARGETS), DRAFTS)
    assert [result.tokens for result in results] == TARGETS
    assert [result.rounds for result in results] == [2, 1, 2, 2, 2]


def test_complete_sentences_leave_the_batch():
    editor = Oracle(TARGETS)
    refined(editor, DRAFTS)
    assert editor.sizes == [5, 4]


def test_sentences_alone_have_the_results_of_the_batch():
    together = refined(Oracle(TARGETS), DRAFTS)
    alone = [refined(Oracle(TARGETS), [draft], numbers=[number])[0] for number, draft in enumerate(DRAFTS)]
    assert alone == together


def test_the_last_round_ends_what_is_not_complete():
    results = refined(Oracle(TARGETS), DRAFTS, iterations=1)
    assert [result.tokens for result in results] == TARGETS and {result.rounds for result in results} == {1}


class Restless(Oracle):
    """An editor that deletes everything and inserts one token again, another one each time."""

    rounds = 0

    def delete(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.tensor([0.0, 5.0]).expand(*tokens.shape, 2)

    def insert(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
        return (torch.arange(COUNTS) == 1).float().expand(len(tokens), tokens.shape[1] - 1, COUNTS)

    def fill(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
        self.rounds += 1
        return (torch.arange(VOCABULARY) == 4 + self.rounds % 2).float().expand(*tokens.shape, VOCABULARY)


def test_a_cycle_ends_with_the_last_round():
    assert refined(Restless([]), [[], [9, 9]], iterations=7) == [Refined([5], 7, finished=False)] * 2


def test_no_output_grows_beyond_its_limit_and_a_longer_draft_is_not_cut():
    class Greedy(Restless):
        def delete(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
            return torch.tensor([5.0, 0.0]).expand(*tokens.shape, 2)

    results = refined(Greedy([]), [[], [7], [6] * 5], [3, 4, 2], iterations=5)
    assert [len(result.tokens) for result in results] == [3, 4, 5]
    assert results[2] == Refined([6] * 5, 1, finished=False)


def test_an_output_that_a_limit_ended_is_not_finished():
    """The oracle's targets have 3, 1, 5, 2 and 2 tokens; a sentence that was cut and then completed is finished."""
    assert [result.finished for result in refined(Oracle(TARGETS), DRAFTS)] == [True] * 5
    limited = refined(Oracle(TARGETS), DRAFTS, [2, 1, 4, 2, 2])
    assert [result.finished for result in limited] == [False, True, False, True, True]
    assert [len(result.tokens) for result in limited] == [2, 1, 4, 2, 2]
    rounds = refined(Oracle(TARGETS), DRAFTS, iterations=1)
    assert [result.finished for result in rounds] == [False, True, False, False, False]  # the second is correct


def test_the_penalty_and_the_threshold_decide():
    """log p(0) exceeds log p(1) by 1; a token is deleted with probability 0.6."""

    class Even(Restless):
        def delete(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
            return torch.tensor([0.4, 0.6]).log().expand(*tokens.shape, 2)

        def insert(self, memory: Known, tokens: Tensor, lengths: Tensor) -> Tensor:
            logits = torch.full((len(tokens), tokens.shape[1] - 1, COUNTS), -9.0)
            logits[..., 0], logits[..., 1] = 1, 0
            return logits

    assert refined(Even([]), [[8]])[0].tokens == []
    assert refined(Even([]), [[8]], deletion_threshold=0.61)[0].tokens == [8]
    assert refined(Even([]), [[]], insertion_penalty=0.99)[0].tokens == []
    assert refined(Even([]), [[]], insertion_penalty=1.01, iterations=1)[0].tokens == [5]


@pytest.mark.parametrize("head", ["delete", "insert", "fill"])
def test_scores_that_are_not_finite_are_an_error(head):
    """They would leave each sentence as it is, and an empty draft would give an empty output."""
    editor = Oracle(TARGETS)
    scores = getattr(editor, head)
    setattr(editor, head, lambda *arguments: scores(*arguments) * float("nan"))
    with pytest.raises(RunError, match="the model's scores are not finite numbers"):
        refined(editor, DRAFTS)


def test_the_best_tokens_are_found_in_chunks_without_the_forbidden_ones(monkeypatch):
    monkeypatch.setattr("tformer_cli.decode.refine.chunk_rows", lambda *_: 3)
    hidden, weight, bias = torch.randn(10, 4), torch.randn(7, 4), torch.randn(7)
    expected = (hidden @ weight.T + bias)[:, [0, 3, 4, 6]].argmax(-1)
    best = best_tokens(hidden, weight, bias, [1, 2, 5])
    assert best.tolist() == [[0, 3, 4, 6][index] for index in expected.tolist()]
    assert best_tokens(hidden[:0], weight, bias, [1]).shape == (0,)


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_of_one_equals_a_batch_of_64_with_a_real_model(shared):
    """Random weights that edit a lot: lengths, rounds and drafts differ."""
    torch.manual_seed(4)
    config = LevenshteinConfig(dim=32, heads=4, ffn_dim=48, encoder_depth=1, decoder_depth=2, shared_decoder=shared)
    model = LevenshteinTransformer(config, VOCABULARY, VOCABULARY).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.2 * torch.randn(parameter.shape)
    model.placeholder_head.weight[4:] = 0
    model.placeholder_head.weight[:4] *= 3
    draw = np.random.default_rng(1)
    sources = [torch.from_numpy(draw.integers(4, VOCABULARY, draw.integers(1, 12))) for _ in range(64)]
    drafts = [draw.integers(4, VOCABULARY, draw.integers(0, 9)) for _ in sources]

    def run(rows: range) -> list[Refined]:
        lengths = torch.tensor([len(sources[row]) for row in rows])
        source = torch.nn.utils.rnn.pad_sequence([sources[row] for row in rows], batch_first=True)
        return refine(
            model, model.encode(source, lengths), [drafts[row] for row in rows], config=TranslationDecodeConfig(),
            tokenizer=TOKENIZER, max_lengths=(2 * lengths).clamp(min=10),  # type: ignore[arg-type]
        )  # fmt: skip

    together = run(range(64))
    assert [run(range(row, row + 1))[0] for row in range(0, 64, 4)] == together[::4]
    assert len({result.rounds for result in together}) > 2 and len({len(result.tokens) for result in together}) > 4
    assert not {PAD, UNK, BOS, EOS, VOCABULARY} & {token for result in together for token in result.tokens} - {
        int(token) for draft in drafts for token in draft
    }
