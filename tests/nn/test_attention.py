"""Attention against torch.nn.MultiheadAttention and the equations of each position scheme, on random weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Positions
from tformer_cli.nn import backend as backends
from tformer_cli.nn.attention import EVERYTHING, Attention, KeyValueCache, Mask, product, softmax
from tformer_cli.nn.taps import attention_weights, tapped

DIM, HEADS = 24, 3
SELF_SCHEMES = [Positions.none, Positions.rotary, Positions.shaw, Positions.transformer_xl]
CLOSE = {torch.float64: 1e-12, torch.float32: 2e-6}


def attention(positions: Positions = Positions.none, dtype: torch.dtype = torch.float64, **kwargs) -> Attention:
    """A layer in evaluation mode with every parameter random, those that start at zero too."""
    module = Attention(DIM, HEADS, positions=positions, relative_distance=3, **kwargs).to(dtype).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def places(queries: int, keys: int | None = None) -> tuple[Tensor, Tensor]:
    keys = queries if keys is None else keys
    return torch.arange(keys - queries, keys), torch.arange(keys)


def torch_attention(ours: Attention, dtype: torch.dtype) -> nn.MultiheadAttention:
    """torch's module with our weights."""
    theirs = nn.MultiheadAttention(DIM, HEADS, batch_first=True, dtype=dtype).eval()
    with torch.no_grad():
        if ours.cross:
            theirs.in_proj_weight.copy_(torch.cat((ours.project_q.weight, ours.project_kv.weight)))
            theirs.in_proj_bias.copy_(torch.cat((ours.project_q.bias, ours.project_kv.bias)))
        else:
            theirs.in_proj_weight.copy_(ours.project_qkv.weight)
            theirs.in_proj_bias.copy_(ours.project_qkv.bias)
        theirs.out_proj.weight.copy_(ours.project_out.weight)
        theirs.out_proj.bias.copy_(ours.project_out.bias)
    return theirs


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize(
    ("cross", "causal"), [(False, False), (False, True), (True, False)], ids=["self", "causal-self", "cross"]
)
@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_equals_torch(backend: str, dtype: torch.dtype, cross: bool, causal: bool, padded: bool) -> None:
    ours = attention(dtype=dtype, cross=cross)
    theirs = torch_attention(ours, dtype)
    x = torch.randn(3, 5, DIM, dtype=dtype, requires_grad=True)
    memory = torch.randn(3, 7, DIM, dtype=dtype) if cross else x
    lengths = torch.tensor([memory.shape[1], 2, 4])
    allowed = torch.arange(memory.shape[1]) < lengths[:, None]
    mask = Mask(allowed[:, None, None, :] if padded else None, causal=causal)
    bias = torch.randn(3, HEADS, 5, memory.shape[1], dtype=dtype)
    for extra in (None, bias):
        forbidden = torch.zeros(3, 1, 5, memory.shape[1], dtype=torch.bool)
        if padded:
            forbidden = forbidden | ~allowed[:, None, None, :]
        if causal:
            forbidden = forbidden | torch.ones(5, 5, dtype=torch.bool).triu(1)
        float_mask = torch.zeros(3, HEADS, 5, memory.shape[1], dtype=dtype).masked_fill(forbidden, -torch.inf)
        float_mask = (float_mask if extra is None else float_mask + extra).flatten(0, 1)
        expected, expected_weights = theirs(x, memory, memory, attn_mask=float_mask, average_attn_weights=False)
        got = ours(x, memory if cross else None, mask=mask, bias=extra)
        torch.testing.assert_close(got, expected, atol=CLOSE[dtype], rtol=1e-5)
        with tapped(ours, {"weights"}) as records:
            ours(x, memory if cross else None, mask=mask, bias=extra)
        (weights,) = records[""]["weights"]
        torch.testing.assert_close(weights, expected_weights, atol=CLOSE[dtype], rtol=1e-5)
        seed = torch.randn_like(expected)
        (a,) = torch.autograd.grad((got * seed).sum(), x)
        (b,) = torch.autograd.grad((expected * seed).sum(), x)
        torch.testing.assert_close(a, b, atol=10 * CLOSE[dtype], rtol=1e-4)


def heads_by_loops(
    module: Attention, x: Tensor, allowed: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Every scheme's equation as in its paper, one query, key and head at a time.

    Args:
        module: self-attention.
        x: (T, D).
        allowed: (T, T), bool.
        bias: of the scores, (H, T, T).

    Returns:
        Weights (H, T, T), values (H, T, K) and outputs before the projection (H, T, K).
    """
    size, width = x.shape[0], module.head_dim
    q, k, v = (part.view(size, HEADS, width) for part in module.project_qkv(x).chunk(3, dim=-1))

    def turned(vector: Tensor, position: int) -> Tensor:
        turned = torch.empty_like(vector)
        for i in range(width // 2):
            angle = position * 10_000 ** (-2 * i / width)
            rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            turned[2 * i : 2 * i + 2] = rotation.to(vector) @ vector[2 * i : 2 * i + 2]
        return turned

    def sinusoid(distance: int) -> Tensor:
        encoding = torch.empty(DIM, dtype=x.dtype)
        for i in range(DIM // 2):
            angle = distance / 10_000 ** (2 * i / DIM)
            encoding[2 * i], encoding[2 * i + 1] = math.sin(angle), math.cos(angle)
        return encoding

    def clipped(i: int, j: int) -> int:
        return max(-3, min(3, j - i)) + 3

    rows, outputs = [], torch.zeros(HEADS, size, width, dtype=x.dtype)
    for head in range(HEADS):
        for i in range(size):
            scores = torch.full((size,), -torch.inf, dtype=x.dtype)
            for j in range(size):
                if not allowed[i, j]:
                    continue
                query, key = q[i, head], k[j, head]
                if module.rotate is not None:
                    score = turned(query, i) @ turned(key, j)
                elif module.shaw is not None:
                    score = query @ (key + module.shaw.keys[clipped(i, j)])
                elif module.transformer_xl is not None:
                    xl = module.transformer_xl
                    relative = xl.project.weight.view(HEADS, width, DIM)[head] @ sinusoid(i - j)
                    u, v_bias = xl.content_bias[head, 0], xl.position_bias[head, 0]
                    score = query @ key + query @ relative + u @ key + v_bias @ relative  # terms (a) to (d)
                else:
                    score = query @ key
                scores[j] = score / math.sqrt(width) + (0 if bias is None else bias[head, i, j])
            weights = scores.softmax(-1)
            for j in range(size):
                value = v[j, head] if module.shaw is None else v[j, head] + module.shaw.values[clipped(i, j)]
                outputs[head, i] += weights[j] * value
            rows.append(weights)
    return torch.stack(rows).view(HEADS, size, size), v.transpose(0, 1), outputs


def by_loops(module: Attention, x: Tensor, allowed: Tensor) -> Tensor:
    """The layer's output for x (T, D), from `heads_by_loops`."""
    *_, outputs = heads_by_loops(module, x, allowed)
    return module.project_out(outputs.transpose(0, 1).flatten(1))


@pytest.mark.parametrize("scheme", SELF_SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])
@torch.no_grad()
def test_equals_the_equations(backend: str, scheme: Positions, causal: bool) -> None:
    module = attention(scheme)
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    allowed = torch.ones(6, 6, dtype=torch.bool)
    expected = torch.stack([by_loops(module, row, allowed.tril() if causal else allowed) for row in x])
    got = module(x, mask=Mask(causal=causal), positions=places(6))
    # angles are float32, as positions are integers of a few hundred at most
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scheme", SELF_SCHEMES, ids=lambda scheme: scheme.name)
@torch.no_grad()
def test_only_distance_matters(backend: str, scheme: Positions) -> None:
    module = attention(scheme)
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    here = torch.arange(6)
    moved = module(x, positions=(here + 40, here + 40))
    torch.testing.assert_close(module(x, positions=(here, here)), moved, atol=1e-5, rtol=1e-5)
    if scheme is not Positions.none:
        spread = module(x, positions=(3 * here, 3 * here))
        assert (spread - moved).abs().max() > 1e-3


@pytest.mark.parametrize("scheme", SELF_SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
def test_backends_agree_in_value_and_gradient(
    monkeypatch: pytest.MonkeyPatch, scheme: Positions, dtype: torch.dtype
) -> None:
    module = attention(scheme, dtype)
    x = torch.randn(3, 6, DIM, dtype=dtype)
    allowed = (torch.arange(6) < torch.tensor([6, 2, 4])[:, None])[:, None, None, :]
    bias = torch.randn(HEADS, 6, 6, dtype=dtype)
    for mask_arguments in ({}, {"causal": True}, {"allowed": allowed}, {"allowed": allowed, "causal": True}):
        for extra in (None, bias):
            results = []
            for name in ("explicit", "fused"):
                monkeypatch.setattr(backends, "attention", name)
                leaf = x.clone().requires_grad_()
                out = module(leaf, mask=Mask(**mask_arguments), bias=extra, positions=places(6))
                gradients = torch.autograd.grad(out.square().sum(), [leaf, *module.parameters()])
                results.append([out, *gradients])
            for explicit, fused in zip(*results, strict=True):
                scale = max(1.0, float(explicit.detach().abs().max()))
                torch.testing.assert_close(explicit / scale, fused / scale, atol=10 * CLOSE[dtype], rtol=1e-4)


def test_a_given_bias_counts_with_every_scheme(backend: str) -> None:
    far = torch.full((1, HEADS, 4, 4), -torch.inf, dtype=torch.float64)
    far[..., 0] = 0  # only the first key is left
    for scheme in SELF_SCHEMES:
        module = attention(scheme)
        x = torch.randn(2, 4, DIM, dtype=torch.float64)
        with tapped(module, {"weights"}) as records:
            module(x, bias=far, positions=places(4))
        (weights,) = records[""]["weights"]
        assert torch.equal(weights[..., 0], torch.ones_like(weights[..., 0]))


@pytest.mark.parametrize("scheme", SELF_SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])
@pytest.mark.filterwarnings("error")
def test_empty_rows_are_zero_in_value_and_gradient(backend: str, scheme: Positions, causal: bool) -> None:
    """Sentence 1 is all padding; in sentence 2 keys 0 and 1 are hidden, so that causal queries 0 and 1 see none."""
    module = attention(scheme)
    nn.init.zeros_(module.project_out.bias)
    x = torch.randn(3, 5, DIM, dtype=torch.float64, requires_grad=True)
    allowed = torch.ones(3, 1, 1, 5, dtype=torch.bool)
    allowed[1] = False
    allowed[2, ..., :2] = False
    empty = torch.zeros(3, 5, dtype=torch.bool)
    empty[1] = True
    if causal:
        empty[2, :2] = True
    out = module(x, mask=Mask(allowed, causal=causal), positions=places(5))
    assert torch.equal(out[empty], torch.zeros_like(out[empty]))
    assert (out[~empty].abs().amax(-1) > 1e-6).all()
    for rows, is_zero in ((empty, True), (~empty, False)):
        gradients = torch.autograd.grad(out[rows].sum(), [x, *module.project_out.parameters()], retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert bool((gradients[0] == 0).all()) is is_zero
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))
    mask = Mask(allowed, causal=causal)
    (weights,) = attention_weights(module, lambda: module(x, mask=mask, positions=places(5))).values()
    totals = weights.sum(-1)
    expected = (~empty).to(totals.dtype)[:, None].expand_as(totals)
    torch.testing.assert_close(totals, expected)


def test_a_mask_known_to_have_no_empty_rows_says_the_same() -> None:
    module = attention()
    x = torch.randn(2, 5, DIM, dtype=torch.float64)
    allowed = (torch.arange(5) < torch.tensor([5, 3])[:, None])[:, None, None, :]
    assert torch.equal(module(x, mask=Mask(allowed)), module(x, mask=Mask(allowed, may_be_empty=False)))
    by_lengths = module(x, mask=Mask.from_lengths(torch.tensor([5, 3]), 5))
    assert torch.equal(by_lengths, module(x, mask=Mask(allowed)))
    full = module(x, mask=Mask.from_lengths(torch.tensor([5, 5]), 5, full=True))
    torch.testing.assert_close(full, module(x, mask=Mask.from_lengths(torch.tensor([5, 5]), 5)))


@pytest.mark.parametrize("scheme", SELF_SCHEMES, ids=lambda scheme: scheme.name)
@torch.no_grad()
def test_cached_steps_equal_the_full_pass(backend: str, scheme: Positions) -> None:
    module = attention(scheme)
    x = torch.randn(2, 7, DIM, dtype=torch.float64)
    full = module(x, mask=Mask(causal=True), positions=places(7))
    for steps, rows in (([1] * 7, 1), ([3, 1, 3], 1), ([1] * 7, 2), ([3, 1, 3], 2)):
        cache, done, parts = KeyValueCache(2, HEADS, 9, DIM // HEADS, x, rows), 0, []
        for size in steps:
            new = x[:, done : done + size]
            done += size
            parts.append(module(new, mask=Mask(causal=True), positions=places(size, done), cache=cache))
        torch.testing.assert_close(torch.cat(parts, dim=1), full, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_cache_keeps_the_sentences_asked_for() -> None:
    cache = KeyValueCache(3, HEADS, 4, 2, torch.empty(0, dtype=torch.float64))
    k, v = torch.randn(2, 3, HEADS, 1, 2, dtype=torch.float64)
    cache.append(k, v)
    cache.keep(torch.tensor([2, 0]))
    keys, values = cache.append(k[[2, 0]], v[[2, 0]])
    assert cache.length == 2
    assert torch.equal(keys, torch.cat((k, k), dim=2)[[2, 0]])
    assert torch.equal(values, torch.cat((v, v), dim=2)[[2, 0]])


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("few", [0, 10**6])  # no product is small, or all are
def test_small_products_of_one_row_are_products(rows: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tformer_cli.nn.attention.FEW_PRODUCTS", few)
    a, b = torch.randn(6, rows, 5), torch.randn(6, 4, 5)
    torch.testing.assert_close(product(a, b.mT), torch.einsum("nti,nji->ntj", a, b))
    torch.testing.assert_close(product(a, b.mT.contiguous()), torch.einsum("nti,nji->ntj", a, b))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("few", [0, 10**6])  # no product is small, or all are
def test_products_with_a_float32_cache_are_rounded_once(rows: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that bfloat16 cannot represent show that the cache itself is not rounded."""
    monkeypatch.setattr("tformer_cli.nn.attention.FEW_PRODUCTS", few)
    a, b = torch.randn(6, rows, 5).bfloat16(), torch.randn(6, 5, 4)
    expected = (a.double() @ b.double()).to(torch.bfloat16)
    assert not torch.equal((a.double() @ b.bfloat16().double()).to(torch.bfloat16), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(product(a, b), expected)


@torch.no_grad()
@pytest.mark.parametrize("scheme", SELF_SCHEMES, ids=lambda scheme: scheme.name)
def test_unscaled_scores_are_those_of_queries_times_the_root_of_their_width(backend: str, scheme: Positions) -> None:
    scaled, unscaled = attention(scheme), attention(scheme, scaled=False)
    unscaled.load_state_dict(scaled.state_dict())
    root = (DIM // HEADS) ** 0.5
    for values in (scaled.project_qkv.weight, scaled.project_qkv.bias):
        values[:DIM] *= root
    if scaled.transformer_xl is not None:
        scaled.transformer_xl.content_bias *= root
        scaled.transformer_xl.position_bias *= root
    x = torch.randn(2, 5, DIM, dtype=torch.float64)
    mask = Mask(causal=True)
    results = [module(x, mask=mask, positions=places(5)) for module in (unscaled, scaled)]
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)  # rotations are computed in float32


@torch.no_grad()
def test_keys_and_values_of_a_memory_serve_many_queries(backend: str) -> None:
    module = attention(cross=True)
    x, memory = torch.randn(2, 3, DIM, dtype=torch.float64), torch.randn(2, 5, DIM, dtype=torch.float64)
    torch.testing.assert_close(module(x, module.keys_values(memory)), module(x, memory))


@pytest.mark.parametrize(
    "scheme", [s for s in SELF_SCHEMES if s is not Positions.rotary], ids=lambda scheme: scheme.name
)
def test_gradcheck(backend: str, scheme: Positions) -> None:
    """Rotary is left out, as it computes in float32; the test of the backends covers its gradient."""
    module = Attention(4, 2, positions=scheme, relative_distance=2).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    allowed = torch.tensor([[True] * 3, [True, False, False]])[:, None, None, :]
    names = [name for name, _ in module.named_parameters()]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        values = dict(zip(names, parameters, strict=True))
        arguments = {"mask": Mask(allowed, causal=True), "positions": places(3)}
        return torch.func.functional_call(module, values, (x,), arguments)

    assert torch.autograd.gradcheck(run, (x, *module.parameters()), atol=1e-6)


def test_dropout_acts_on_weights_in_training_only(backend: str) -> None:
    module = attention(dropout=0.5)
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    still = module(x)
    assert torch.equal(still, module(x))
    module.train()
    assert not torch.equal(module(x), module(x))
    with torch.no_grad():
        mean = torch.stack([module(x) for _ in range(3000)]).mean(0)
    # the output is linear in the weights, so its expectation is the output without dropout
    torch.testing.assert_close(mean, still, atol=0.1 * float(still.detach().abs().max()), rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_any_length_is_compiled_as_one_graph(monkeypatch: pytest.MonkeyPatch, causal: bool) -> None:
    """Lengths are symbolic; `fullgraph` refuses code that the compiler cannot read, such as a symbolic `is_causal`."""
    monkeypatch.setattr(backends, "attention", "fused")
    torch.compiler.reset()
    module = attention()
    compiled = torch.compile(module, backend="eager", dynamic=True, fullgraph=True)
    for stance, size in (("default", 5), ("fail_on_recompile", 6), ("fail_on_recompile", 9)):
        x = torch.randn(2, size, DIM, dtype=torch.float64)
        with torch.compiler.set_stance(stance):
            torch.testing.assert_close(compiled(x, mask=Mask(causal=causal)), module(x, mask=Mask(causal=causal)))


def test_the_shared_mask_stays_empty() -> None:
    attention()(torch.randn(1, 2, DIM, dtype=torch.float64))
    assert EVERYTHING.additive(2, 3, torch.float64, torch.device("cpu")) is None and EVERYTHING.any_allowed is None


@pytest.mark.parametrize("kind", [{"positions": scheme} for scheme in SELF_SCHEMES[1:]] + [{"cross": True}], ids=str)
def test_what_a_kind_needs_is_said(backend: str, kind: dict) -> None:
    with pytest.raises(ValueError, match="needs a memory; rotary, shaw and transformer_xl need positions"):
        attention(**kind)(torch.randn(1, 2, DIM, dtype=torch.float64))


@pytest.mark.parametrize("columns", [1, 7, 15, 16, 17, 33])
def test_short_rows_have_the_same_softmax(columns: int) -> None:
    scores = torch.randn(2, 3, columns, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(softmax(scores), torch.softmax(scores, -1), atol=1e-15)
    assert torch.autograd.gradcheck(softmax, scores)


@pytest.mark.parametrize("columns", [1, 5, 16])
def test_short_rows_of_bfloat16_have_the_rounded_softmax(columns: int) -> None:
    scores = torch.randn(40, columns).bfloat16()
    expected = torch.softmax(scores.double(), -1)
    weights = softmax(scores)
    assert weights.dtype is torch.bfloat16
    torch.testing.assert_close(weights.double(), expected, atol=0, rtol=2**-8)
    scores.requires_grad_()
    assert torch.equal(softmax(scores), weights)
