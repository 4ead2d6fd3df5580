"""The chunked head against torch's cross-entropy of whole logits: value, gradients, chunk sizes, types."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tformer_cli.nn import cross_entropy
from tformer_cli.nn.cross_entropy import head_cross_entropy, paired_head_loss

ROWS, DIM, VOCABULARY = 101, 12, 37


def problem(bias: bool, dtype: torch.dtype = torch.float64) -> tuple:
    hidden = torch.randn(ROWS, DIM).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, DIM).to(dtype).requires_grad_()
    bias_vector = torch.randn(VOCABULARY).to(dtype).requires_grad_() if bias else None
    return hidden, weight, bias_vector, torch.randint(VOCABULARY, (ROWS,))


@pytest.fixture(params=[32, 50, 101, 4096], ids=lambda rows: f"{rows}-rows")
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows a chunk: the least there is, ragged ones, all but exactly and all."""
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", request.param * 4 * VOCABULARY)
    return request.param


@pytest.mark.parametrize("bias", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equals_torch(chunk: int, bias: bool, smoothing: float, dtype: torch.dtype) -> None:
    hidden, weight, bias_vector, targets = problem(bias, dtype)
    leaves = [leaf for leaf in (hidden, weight, bias_vector) if leaf is not None]
    loss, log_likelihood = head_cross_entropy(hidden, weight, targets, bias=bias_vector, label_smoothing=smoothing)
    logits = F.linear(hidden, weight, bias_vector)
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss, expected.float(), rtol=2e-6, atol=1e-4)
    plain = -F.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(log_likelihood, plain.float(), rtol=2e-6, atol=1e-4)
    # the caller's factor reaches every gradient
    got = torch.autograd.grad(loss * 0.37, leaves)
    for a, b in zip(got, torch.autograd.grad(expected * 0.37, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bfloat16_is_as_near_as_its_digits(smoothing: float) -> None:
    """Against float64 on the same rounded inputs."""
    hidden, weight, bias, targets = problem(True, torch.bfloat16)
    exact = [leaf.detach().double().requires_grad_() for leaf in (hidden, weight, bias)]
    expected = F.cross_entropy(F.linear(*exact), targets, label_smoothing=smoothing, reduction="sum")
    expected_gradients = torch.autograd.grad(expected, exact)
    loss, _ = head_cross_entropy(hidden, weight, targets, bias=bias, label_smoothing=smoothing)
    torch.testing.assert_close(loss.double(), expected, rtol=5e-3, atol=0)
    for a, b in zip(torch.autograd.grad(loss, (hidden, weight, bias)), expected_gradients, strict=True):
        assert a.dtype is torch.bfloat16
        assert float((a.double() - b).norm() / b.norm()) < 1e-2


def test_autocast_computes_in_its_type_and_gives_gradients_in_the_weights() -> None:
    hidden, weight, bias, targets = problem(True, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = head_cross_entropy(hidden, weight, targets, bias=bias, label_smoothing=0.1)
    expected = F.cross_entropy(F.linear(hidden, weight, bias), targets, label_smoothing=0.1, reduction="sum")
    assert loss.dtype is torch.float32 and loss != expected
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=0)
    leaves = (hidden, weight, bias)
    for a, b in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True):
        assert a.dtype is torch.float32
        assert float((a - b).norm() / b.norm()) < 2e-2


@pytest.mark.parametrize(("rows", "limit"), [(4096, 0.003), (256, 0.006), (32, 0.02)])
def test_rounding_over_many_chunks_stays_small(monkeypatch: pytest.MonkeyPatch, rows: int, limit: float) -> None:
    """The weights' gradient is summed over chunks in its own type, so that 128 chunks round 128 times."""
    hidden, weight = torch.randn(4096, DIM).bfloat16(), torch.randn(VOCABULARY, DIM).bfloat16()
    targets = torch.randint(VOCABULARY, (4096,))
    exact = weight.double().requires_grad_()
    loss = F.cross_entropy(hidden.double() @ exact.T, targets, reduction="sum")
    (expected,) = torch.autograd.grad(loss, exact)
    monkeypatch.setattr(cross_entropy, "CHUNK_BYTES", rows * 4 * VOCABULARY)
    weight.requires_grad_()
    (got,) = torch.autograd.grad(head_cross_entropy(hidden, weight, targets)[0], weight)
    assert float((got.double() - expected).norm() / expected.norm()) < limit


def test_large_logits_stay_finite() -> None:
    hidden = torch.full((3, 2), 200.0, requires_grad=True)
    weight = torch.tensor([[200.0, 200.0], [-200.0, -200.0], [0.0, 0.0]], requires_grad=True)
    loss, _ = head_cross_entropy(hidden, weight, torch.tensor([0, 1, 2]))
    assert loss.isfinite()
    torch.testing.assert_close(loss, torch.tensor(240_000.0))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, (hidden, weight)))


def test_no_rows_cost_nothing() -> None:
    hidden, weight, bias, _ = problem(True)
    loss, log_likelihood = head_cross_entropy(hidden[:0], weight, torch.zeros(0, dtype=torch.long), bias=bias)
    assert (loss.item(), log_likelihood.item()) == (0, 0)
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, (hidden, weight, bias)))


def test_only_wanted_gradients_are_made() -> None:
    hidden, weight, bias, targets = problem(True)
    with torch.no_grad():
        silent, _ = head_cross_entropy(hidden, weight, targets, bias=bias)
    assert not silent.requires_grad
    loss, _ = head_cross_entropy(hidden, weight.detach(), targets, bias=bias.detach())
    torch.testing.assert_close(loss, silent)
    assert [tensor is not None for tensor in loss.grad_fn.saved_tensors] == [True, False, False]
    expected = F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="sum")
    (a,) = torch.autograd.grad(loss, hidden)
    (b,) = torch.autograd.grad(expected, hidden)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("wanted", [0, 1, 2], ids=["hidden", "weight", "bias"])
def test_each_gradient_is_right_without_the_others(wanted: int, smoothing: float) -> None:
    hidden, weight, bias, targets = problem(True)
    leaves = [leaf.detach().requires_grad_(place == wanted) for place, leaf in enumerate((hidden, weight, bias))]
    loss, _ = head_cross_entropy(*leaves[:2], targets, bias=leaves[2], label_smoothing=smoothing)
    expected = F.cross_entropy(F.linear(*leaves), targets, label_smoothing=smoothing, reduction="sum")
    (got,), (right,) = (torch.autograd.grad(value, leaves[wanted]) for value in (loss, expected))
    torch.testing.assert_close(got, right, atol=1e-5, rtol=1e-5)


def test_the_counts_are_not_differentiable() -> None:
    hidden, weight, _, targets = problem(False)
    _, log_likelihood = head_cross_entropy(hidden, weight, targets)
    assert not log_likelihood.requires_grad


# --- two passes ---


@pytest.mark.parametrize("bias", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize(("smoothing", "weight"), [(0.0, 2.5), (0.1, 0.7), (0.6, 0.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_two_passes_equal_torch(chunk: int, bias: bool, smoothing: float, weight: float, dtype: torch.dtype) -> None:
    first, head, bias_vector, targets = problem(bias, dtype)
    second = (first.detach() + 0.3 * torch.randn_like(first)).requires_grad_()
    leaves = [leaf for leaf in (first, second, head, bias_vector) if leaf is not None]
    total, log_likelihood, divergence = paired_head_loss(
        first, second, head, targets, bias=bias_vector, label_smoothing=smoothing, divergence_weight=weight
    )
    logits = [F.linear(hidden, head, bias_vector) for hidden in (first, second)]
    p, q = (scores.log_softmax(-1) for scores in logits)
    expected_divergence = (p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum()
    losses = [F.cross_entropy(scores, targets, label_smoothing=smoothing, reduction="sum") for scores in logits]
    expected = sum(losses) + weight * expected_divergence
    torch.testing.assert_close(total, expected.float(), rtol=5e-6, atol=1e-4)
    torch.testing.assert_close(divergence, expected_divergence.float(), rtol=5e-6, atol=1e-4)
    plain = sum(-F.cross_entropy(scores, targets, reduction="sum") for scores in logits)
    torch.testing.assert_close(log_likelihood, plain.float(), rtol=2e-6, atol=1e-4)
    got = torch.autograd.grad(total * 0.37, leaves)
    for a, b in zip(got, torch.autograd.grad(expected * 0.37, leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-5)


def test_the_divergence_is_scipys() -> None:
    special = pytest.importorskip("scipy.special")
    first, head, _, targets = problem(False, torch.float64)
    second = torch.randn_like(first)
    _, _, divergence = paired_head_loss(first, second, head, targets, divergence_weight=1.0)
    p, q = ((hidden.detach() @ head.detach().T).softmax(-1).numpy() for hidden in (first, second))
    expected = special.rel_entr(p, q).sum() + special.rel_entr(q, p).sum()
    assert float(divergence) == pytest.approx(expected, rel=1e-6)


def test_equal_passes_do_not_diverge() -> None:
    hidden, head, bias, targets = problem(True, torch.float32)
    total, log_likelihood, divergence = paired_head_loss(
        hidden, hidden, head, targets, bias=bias, divergence_weight=3.0
    )
    alone, likelihood_alone = head_cross_entropy(hidden, head, targets, bias=bias)
    assert float(divergence) == 0.0
    torch.testing.assert_close(total, 2 * alone)
    torch.testing.assert_close(log_likelihood, 2 * likelihood_alone)
    for a, b in zip(*(torch.autograd.grad(loss, (hidden, head)) for loss in (total, 2 * alone)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_two_passes_in_bfloat16_diverge_as_in_float64() -> None:
    """The divergence is computed in float32 from the rounded logits."""
    first, head, bias, targets = problem(True, torch.bfloat16)
    second = (first.detach().float() + 0.3 * torch.randn(first.shape)).bfloat16().requires_grad_()
    exact = [leaf.detach().double().requires_grad_() for leaf in (first, second, head, bias)]
    logits = [F.linear(hidden, exact[2], exact[3]) for hidden in exact[:2]]
    p, q = (scores.log_softmax(-1) for scores in logits)
    expected = (p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum()
    total, _, divergence = paired_head_loss(first, second, head, targets, bias=bias, divergence_weight=2.0)
    torch.testing.assert_close(divergence.double(), expected, rtol=2e-2, atol=0)
    expected_total = sum(F.cross_entropy(scores, targets, reduction="sum") for scores in logits) + 2 * expected
    for a, b in zip(
        torch.autograd.grad(total, (first, second, head)), torch.autograd.grad(expected_total, exact[:3]), strict=True
    ):
        assert a.dtype is torch.bfloat16
        assert float((a.double() - b).norm() / b.norm()) < 2e-2


def test_the_divergence_of_bfloat16_is_computed_in_float32() -> None:
    """Against float64 on the same rounded inputs."""
    first = torch.randn(40, 16).bfloat16()
    second = first + 0.02 * torch.randn(40, 16).bfloat16()
    weight = torch.randn(500, 16).bfloat16()
    *_, divergence = paired_head_loss(first, second, weight, torch.randint(500, (40,)), divergence_weight=1.0)
    p, q = ((hidden @ weight.T).double().log_softmax(-1) for hidden in (first, second))
    assert float(divergence) == pytest.approx(float(((p.exp() - q.exp()) * (p - q)).sum()), rel=1e-3)
