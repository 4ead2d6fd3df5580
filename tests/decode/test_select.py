"""The best tokens and their normaliser: exactly what a full log-softmax and a full sort give."""

from __future__ import annotations

import pytest
import torch

from tformer_cli.decode import select
from tformer_cli.decode.select import Head
from tformer_cli.nn.int8 import Int8Linear, available


class Scaled(Int8Linear):
    """The interface of an 8-bit layer on any CPU: its products lack a factor of each row."""

    def __init__(self, weight: torch.Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.weight, self.scale, self.bias = weight, torch.ones(len(weight)), None

    def product(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scale = x.abs().amax(-1, keepdim=True) / 127
        return x @ self.weight.t() / scale, scale


def make(vocab_size: int, sentences: int, rows: int, *, bias: bool, scale: float, dtype: torch.dtype) -> tuple:
    generator = torch.Generator().manual_seed(vocab_size + rows)
    weight = (torch.randn(vocab_size, 16, generator=generator) * scale).to(dtype)
    added = torch.randn(vocab_size, generator=generator).to(dtype) if bias else None
    hidden = torch.randn(sentences, rows, 16, generator=generator).to(dtype)
    return weight, added, hidden


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [0.3, 60.0])  # 60: exponentials leave the range of float32
@pytest.mark.parametrize(
    ("vocab_size", "rows", "count"),
    [(5, 1, 9), (5, 3, 2), (97, 2, 4), (1000, 5, 5), (2051, 4, 1), (4096, 1, 80)],
)
def test_equals_a_full_sort(vocab_size: int, rows: int, count: int, scale: float, bias: bool) -> None:
    weight, added, hidden = make(vocab_size, 3, rows, bias=bias, scale=scale, dtype=torch.float32)
    so_far = -torch.rand(3, rows) * 3
    if rows > 2:
        so_far[1, 1] = -torch.inf
    forbidden = torch.tensor([0, vocab_size - 1])
    head = Head((weight, added), 3 * rows + 2, forbidden)
    head.project(hidden)
    full = torch.nn.functional.linear(hidden, weight, added).log_softmax(-1)
    requested = torch.randint(vocab_size, (3, rows))
    expected = full.gather(2, requested[..., None])[..., 0]
    torch.testing.assert_close(head.log_probability(requested), expected, atol=2e-4, rtol=1e-5)
    full[..., forbidden] = -torch.inf
    head.forbid()
    values, parents, tokens = head.best(so_far, count)
    extended = (so_far[..., None] + full).flatten(1)
    size = min(count, extended.shape[1])
    expected, index = extended.topk(size)
    assert values.shape == parents.shape == tokens.shape == (3, count)
    torch.testing.assert_close(values[:, :size], expected, atol=2e-4, rtol=1e-5)
    assert bool((values[:, size:] == -torch.inf).all())
    there = expected > -torch.inf
    assert torch.equal((parents * vocab_size + tokens)[:, :size][there], index[there])
    assert int(tokens.max()) < vocab_size and int(parents.max()) < rows


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("vocab_size", [1024, 1027])  # 1027 is no multiple of the size of a block
def test_products_of_both_libraries_give_the_same_answers(vocab_size: int, bias: bool, monkeypatch) -> None:
    weight, added, hidden = make(vocab_size, 3, 2, bias=bias, scale=0.3, dtype=torch.float32)
    answers = []
    for library in (True, False):
        monkeypatch.setattr(select, "has_library_product", lambda *_, library=library: library)
        head = Head((weight, added), 8, torch.tensor([3]))
        head.project(hidden)
        first = [head.logits.clone(), head.normalizer]
        head.forbid()
        answers.append([*first, head.highest(), *head.best(torch.zeros(3, 2), 4)])
    for first, second in zip(*answers, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_summed_in_float32() -> None:
    weight, added, hidden = make(3000, 2, 3, bias=True, scale=0.3, dtype=torch.bfloat16)
    head = Head((weight, added), 6, torch.tensor([], dtype=torch.int64))
    head.project(hidden)
    torch.testing.assert_close(head.normalizer, head.logits.double().logsumexp(-1).float(), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("part", [1, 100, 250, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_large_vocabulary_is_summed_in_parts(part: int, dtype: torch.dtype, monkeypatch) -> None:
    monkeypatch.setattr(select, "CACHED_LOGITS", part)  # of 97 tokens: a row at once, two, all six
    weight, added, hidden = make(97, 2, 3, bias=True, scale=0.3, dtype=dtype)
    head = Head((weight, added), 6, torch.tensor([], dtype=torch.int64))
    head.project(hidden)
    torch.testing.assert_close(head.normalizer, head.logits.double().logsumexp(-1).float(), atol=1e-5, rtol=1e-6)


def test_buffers_serve_fewer_rows_later() -> None:
    weight, added, hidden = make(500, 4, 2, bias=False, scale=0.5, dtype=torch.float32)
    head = Head((weight, added), 8, torch.tensor([1]))
    results = []
    for sentences in (4, 2):
        head.project(hidden[:sentences])
        head.forbid()
        results.append(head.best(torch.zeros(sentences, 2), 3))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first[:2], second)


def test_products_up_to_a_scale_give_the_same_answers() -> None:
    weight, _, hidden = make(1024, 2, 3, bias=False, scale=0.3, dtype=torch.float32)
    so_far, requested = -torch.rand(2, 3) * 3, torch.randint(1024, (2, 3))
    answers = []
    for output in ((weight, None), Scaled(weight)):
        head = Head(output, 8, torch.tensor([3]))
        head.project(hidden)
        assert (head.scale is not None) == isinstance(output, Scaled)
        first = [head.normalizer, head.scaled().clone(), head.log_probability(requested)]
        head.forbid()
        answers.append([*first, head.highest(), *head.best(so_far, 5)])
    for exact, scaled in zip(*answers, strict=True):
        torch.testing.assert_close(scaled, exact, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "scaled", "int8"])
def test_added_scores_count_in_every_answer(kind: str) -> None:
    if kind == "int8" and not available():
        pytest.skip("this CPU does not multiply bytes")
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    weight, _, hidden = make(1024, 2, 3, bias=False, scale=0.3, dtype=dtype)
    outputs = {"int8": lambda: Int8Linear(weight, None), "scaled": lambda: Scaled(weight)}
    head = Head(outputs.get(kind, lambda: (weight, None))(), 8, torch.tensor([3]))
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):  # the buffers are used again
        head.project(hidden)
        full = head.scaled().float().log_softmax(-1).view(2, 3, -1)
        added = [-torch.rand(2, 3, 1024, generator=generator, dtype=torch.float64) * 5 for _ in range(2)]
        added[1][:, :, 7] = -torch.inf
        for scores in added:
            head.add(scores)
        full = (full + added[0] + added[1]).float()
        requested = torch.randint(7, (2, 3), generator=generator)
        expected = full.gather(2, requested[..., None])[..., 0]
        torch.testing.assert_close(head.log_probability(requested), expected, atol=1e-4, rtol=1e-5)
        head.forbid()
        full[..., 3] = -torch.inf
        torch.testing.assert_close(head.highest(), full.amax(-1), atol=1e-4, rtol=1e-5)
        values, parents, tokens = head.best(torch.zeros(2, 3), 5)
        expected, index = full.flatten(1).topk(5)
        torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-5)
        assert torch.equal(parents * 1024 + tokens, index)
