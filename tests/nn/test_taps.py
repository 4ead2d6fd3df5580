"""What attention layers record, against equations written a second time; and that nobody else notices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_attention import CLOSE, DIM, HEADS, SELF_SCHEMES, attention, heads_by_loops, places, torch_attention
from torch import Tensor

from tformer_cli.config.schema import Positions
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.nn import attention as attention_module
from tformer_cli.nn import backend as backends
from tformer_cli.nn.attention import Mask
from tformer_cli.nn.taps import KINDS, Records, Tappable, attention_weights, tapped

VOCABULARY = 19
LINE = [scheme for scheme in Positions if not scheme.name.endswith("_2d")]


def entropy(weights: Tensor) -> Tensor:
    """Of each row, in nats: (..., K) to (...). Weights that are exactly 0 add nothing, in gradient too."""
    return -(weights * weights.clamp(min=torch.finfo(weights.dtype).tiny).log()).sum(-1)


def penalty(weights: Tensor, values: Tensor, outputs: Tensor) -> Tensor:
    """Some function of all that is recorded of a layer, without symmetries between heads and positions."""
    scale = torch.arange(1.0, weights.shape[1] + 1, dtype=weights.dtype)[:, None]
    heads = F.normalize(outputs.transpose(1, 2), dim=-1)
    disagreement = -(heads @ heads.mT).mean()  # on outputs (Li et al. 2018, eq. 9)
    return (scale * entropy(weights)).sum() + (scale * values.tanh().sum(-1)).sum() + 10 * disagreement


def small(positions: Positions = Positions.rotary, **settings) -> Seq2Seq:
    values = {"dim": 16, "heads": 2, "ffn_dim": 24, "encoder_depth": 2, "decoder_depth": 2, "max_length": 16}
    settings = values | {"dropout": 0.0, "relative_distance": 4, "positions": positions} | settings
    return Seq2Seq(Seq2SeqConfig(**settings), VOCABULARY, VOCABULARY)


def language_model() -> GPT:
    return GPT(GPTConfig(dim=16, heads=2, ffn_dim=24, depth=2), VOCABULARY).eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randint(VOCABULARY, (3, 7)), torch.tensor([7, 3, 1]), torch.randint(VOCABULARY, (3, 6))


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)  # angles of rotary positions are float32


def every(records: Records, kind: str) -> list[Tensor]:
    return [tensor for tensors in records.values() for tensor in tensors[kind]]


# --- what is recorded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SELF_SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("causal", [False, True], ids=["both-sides", "causal"])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
def test_gradients_are_those_of_the_equations(backend: str, scheme: Positions, causal: bool, biased: bool) -> None:
    module = attention(scheme)
    x = torch.randn(2, 5, DIM, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(HEADS, 5, 5, dtype=torch.float64, requires_grad=True) if biased else None
    leaves = [x, *module.parameters(), *([bias] if bias is not None else [])]
    with tapped(module, KINDS) as records:
        module(x, mask=Mask(causal=causal), bias=bias, positions=places(5))
    recorded = [records[""][kind][0] for kind in KINDS]
    allowed = torch.ones(5, 5, dtype=torch.bool)
    allowed = allowed.tril() if causal else allowed
    rows = [heads_by_loops(module, row, allowed, bias) for row in x]
    expected = [torch.stack(parts) for parts in zip(*rows, strict=True)]
    assert [tensor.shape for tensor in recorded] == [(2, 3, 5, 5), (2, 3, 5, 8), (2, 3, 5, 8)]
    for one, other in zip(recorded, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(penalty(*parts), leaves, allow_unused=True) for parts in (recorded, expected)]
    reached = 0
    for one, other in zip(*gradients, strict=True):
        if one is None or other is None:  # the output projection comes later
            assert one is None and other is None
            continue
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        reached += bool(one.abs().max() > 1e-3)
    assert reached >= len(leaves) - 2


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
def test_gradients_through_cross_attention_are_those_of_torch(backend: str, dtype: torch.dtype) -> None:
    ours = attention(dtype=dtype, cross=True)
    theirs = torch_attention(ours, dtype)
    x, memory = torch.randn(3, 4, DIM, dtype=dtype), torch.randn(3, 7, DIM, dtype=dtype)
    hidden = torch.arange(7) >= torch.tensor([7, 2, 4])[:, None]
    leaves = [tensor.requires_grad_() for tensor in (x, memory)]
    with tapped(ours, {"weights"}) as records:
        ours(x, memory, mask=Mask(~hidden[:, None, None, :]))
    (weights,) = records[""]["weights"]
    _, expected = theirs(x, memory, memory, key_padding_mask=hidden, average_attn_weights=False)
    for one, other in zip(
        torch.autograd.grad(entropy(weights).sum(), leaves),
        torch.autograd.grad(entropy(expected).sum(), leaves),
        strict=True,
    ):
        assert one.isfinite().all() and one.abs().max() > 1e-3
        torch.testing.assert_close(one, other, atol=100 * CLOSE[dtype], rtol=1e-4)


@pytest.mark.parametrize("scheme", LINE, ids=lambda scheme: scheme.name)
def test_weights_times_values_are_outputs(backend: str, scheme: Positions) -> None:
    model, (source, lengths, target) = small(scheme).double(), batch()
    plain = model(source, lengths, target)
    with tapped(model, KINDS) as records:
        out = model(source, lengths, target)
    torch.testing.assert_close(out, plain, atol=1e-12, rtol=1e-9)
    parts = [f"encoder.blocks.{i}.attention" for i in range(2)]
    parts += [f"decoder.blocks.{i}.{kind}" for i in range(2) for kind in ("attention", "cross")]
    assert list(records) == parts
    for name, tensors in records.items():
        ((weights,), (values,), (outputs,)) = (tensors[kind] for kind in KINDS)
        shaw = model.get_submodule(name).sublayer.shaw
        expected = weights @ values
        if shaw is not None:
            expected = expected + shaw.mix(weights, shaw.index(*places(weights.shape[2])))
        torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    total = sum(entropy(weights).sum() for weights in every(records, "weights"))
    last = model.decoder.blocks[1]
    leaves = [last.attention.sublayer.project_qkv.weight, last.cross.sublayer.project_q.weight]
    gradients = torch.autograd.grad(total, [*leaves, model.target_embedding.weight])
    assert all(gradient.isfinite().all() and gradient.abs().max() > 1e-6 for gradient in gradients)


def test_only_what_is_asked_for_is_recorded(backend: str) -> None:
    module, x = attention(), torch.randn(1, 4, DIM, dtype=torch.float64)
    for kind in KINDS:
        with tapped(module, [kind]) as records:
            module(x)
        assert {name: list(tensors) for name, tensors in records.items()} == {"": [kind]}
    with tapped(module, ()) as records:
        module(x)
    assert records == {"": {}}
    refused = pytest.raises(ValueError, match="attention records weights, values, outputs, not keys, queries")
    with refused, tapped(module, {"weights", "queries", "keys"}):
        pass
    assert module.taps == ()


def test_weights_are_recorded_before_dropout_and_outputs_after(backend: str) -> None:
    module = attention(dropout=0.5).train()
    x = torch.randn(2, 6, DIM, dtype=torch.float64)
    module.eval()
    expected = attention_weights(module, lambda: module(x))[""]
    module.train()
    with tapped(module, KINDS) as records:
        torch.manual_seed(3)
        out = module(x)
        module(x)
    for weights in records[""]["weights"]:
        torch.testing.assert_close(weights, expected)
    first, second = records[""]["outputs"]
    assert (first - second).abs().max() > 1e-3
    assert (first - expected @ records[""]["values"][0]).abs().max() > 1e-3
    torch.testing.assert_close(module.project_out(first.transpose(1, 2).flatten(2)), out)
    if backend == "explicit":  # nothing is drawn for the records
        torch.manual_seed(3)
        assert torch.equal(module(x), out)


def test_rows_that_attend_to_nothing_have_finite_gradients(backend: str) -> None:
    module = attention(Positions.shaw)
    x = torch.randn(2, 4, DIM, dtype=torch.float64, requires_grad=True)
    allowed = torch.ones(2, 1, 1, 4, dtype=torch.bool)
    allowed[1] = False
    with tapped(module, {"weights"}) as records:
        module(x, mask=Mask(allowed), positions=places(4))
    (weights,) = records[""]["weights"]
    assert not weights[1].any() and weights[0].all()
    (gradient,) = torch.autograd.grad(entropy(weights).sum(), x)
    assert gradient[0].abs().max() > 1e-3 and not gradient[1].any()


def test_under_autocast_records_have_the_type_of_the_computation(backend: str) -> None:
    model, (source, lengths, target) = small(), batch()
    expected = [
        entropy(weights) for weights in attention_weights(model, lambda: model(source, lengths, target)).values()
    ]
    with torch.autocast("cpu", torch.bfloat16), tapped(model, KINDS) as records:
        model(source, lengths, target)
    assert {tensor.dtype for tensor in every(records, "values")} == {torch.bfloat16}
    entropies = [entropy(weights.float()) for weights in every(records, "weights")]
    torch.testing.assert_close(entropies, expected, atol=0.05, rtol=0.05)
    sum(value.sum() for value in entropies).backward()
    gradient = model.encoder.blocks[0].attention.sublayer.project_qkv.weight.grad
    assert gradient is not None and gradient.dtype is torch.float32 and gradient.isfinite().all() and gradient.any()


# --- calls ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("scheme", LINE, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("beams", [1, 2])
def test_a_stepped_decoder_has_a_record_for_each_step(backend: str, scheme: Positions, beams: int) -> None:
    """With two beams, both write the same: beam 0 sees its own keys, which lie at every second place of the cache."""
    model, (source, lengths, target) = small(scheme).double(), batch()
    rows_to_keep = torch.tensor([0, 2])
    with tapped(model, KINDS) as expected:
        model(source, lengths, target)
    memory = model.encode(source, lengths)
    state = model.start(memory, beams, 6)
    with tapped(model, KINDS) as records:
        for step in range(6):
            if step == 4:
                state.keep(rows_to_keep)
            tokens = target[:, step] if step < 4 else target[rows_to_keep, step]
            own_beam = torch.eye(beams, dtype=torch.bool).repeat(1, step + 1)[None, None]
            model.step(tokens[:, None].expand(-1, beams), state, Mask(own_beam) if beams > 1 else Mask())
    assert not any(records[f"encoder.blocks.{i}.attention"]["weights"] for i in range(2))
    for i in range(2):
        for part in ("attention", "cross"):
            name = f"decoder.blocks.{i}.{part}"
            (weights,), (values,), (outputs,) = (expected[name][kind] for kind in KINDS)
            assert [len(records[name][kind]) for kind in KINDS] == [6, 6, 6]
            for step in range(6):
                rows = torch.arange(3) if step < 4 else rows_to_keep
                got = {kind: records[name][kind][step] for kind in KINDS}
                keys = 7 if part == "cross" else step + 1
                own_beam = slice(None) if part == "cross" else slice(None, None, beams)
                expected_weights = weights[rows, :, step : step + 1, :keys]
                close(got["weights"][:, :, :1, own_beam], expected_weights)
                close(got["values"][:, :, own_beam], values[rows, :, :keys])
                close(got["outputs"][:, :, :1], outputs[rows, :, step : step + 1])


def test_each_call_has_its_own_records(backend: str) -> None:
    model, (source, lengths, target) = small().double(), batch()
    with tapped(model, {"weights"}) as records:
        first = [model(source[i : i + 1], lengths[i : i + 1], target[i : i + 1]) for i in range(3)]
    assert len(first) == 3 and all(len(tensors["weights"]) == 3 for tensors in records.values())
    with tapped(model, {"weights"}) as expected:
        model(source, lengths, target)
    for name, tensors in records.items():
        for row, weights in enumerate(tensors["weights"]):
            torch.testing.assert_close(weights[0], expected[name]["weights"][0][row])


def test_the_first_queries_alone_are_recorded(backend: str) -> None:
    module, x = attention(), torch.randn(2, 5, DIM, dtype=torch.float64)
    with tapped(module, KINDS) as records:
        module(x)
        module(x, queries=2)
    for kind in ("weights", "outputs"):
        full, first = records[""][kind]
        torch.testing.assert_close(first, full[:, :, :2])
    torch.testing.assert_close(*records[""]["values"])


# --- the contexts -----------------------------------------------------------------------------------------------------


def test_contexts_nest_and_end_in_any_order() -> None:
    module, x = attention(), torch.randn(1, 4, DIM, dtype=torch.float64)
    with tapped(module, {"weights"}) as outer:
        module(x)
        with tapped(module, {"weights", "outputs"}) as inner:
            module(x)
        module(x)
    assert len(outer[""]["weights"]) == 3 and len(inner[""]["weights"]) == len(inner[""]["outputs"]) == 1
    assert inner[""]["weights"][0] is outer[""]["weights"][1]
    first, second = tapped(module, {"weights"}), tapped(module, {"weights"})
    first.__enter__()
    records = second.__enter__()
    first.__exit__(None, None, None)
    module(x)
    assert len(records[""]["weights"]) == 1
    second.__exit__(None, None, None)
    assert module.taps == ()


def test_an_exception_ends_the_context() -> None:
    model = small()
    with pytest.raises(RuntimeError, match="stop"), tapped(model, KINDS):
        assert all(len(layer.taps) == 1 for layer in model.modules() if isinstance(layer, Tappable))
        raise RuntimeError("stop")
    assert not any(layer.taps for layer in model.modules() if isinstance(layer, Tappable))


def test_models_do_not_mix() -> None:
    one, other, (source, lengths, target) = small(), language_model(), batch()
    with tapped(one, {"weights"}) as of_one, tapped(other, {"weights"}) as of_other:
        one(source, lengths, target)
        other(target)
        other(target)
    assert {name: len(tensors["weights"]) for name, tensors in of_other.items()} == {
        "stack.blocks.0.attention": 2, "stack.blocks.1.attention": 2,
    }  # fmt: skip
    assert all(len(tensors["weights"]) == 1 for tensors in of_one.values()) and len(of_one) == 6
    with tapped(one.encoder, {"weights"}) as part:
        one(source, lengths, target)
    assert list(part) == ["blocks.0.attention", "blocks.1.attention"]


@pytest.mark.parametrize(("kind", "calls"), [(None, 6), ("values", 6), ("outputs", 6), ("weights", 0)])
def test_the_fused_kernel_runs_unless_weights_are_tapped(
    kind: str | None, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "attention", "fused")
    model, (source, lengths, target) = small(), batch()
    plain = model(source, lengths, target)
    seen = []

    def counted(*args, kernel: Callable = F.scaled_dot_product_attention, **kwargs) -> Tensor:
        seen.append(1)
        return kernel(*args, **kwargs)

    monkeypatch.setattr(attention_module.F, "scaled_dot_product_attention", counted)
    with tapped(model, [] if kind is None else [kind]):
        out = model(source, lengths, target)
    assert len(seen) == calls and torch.equal(out, plain) is bool(calls)
    assert torch.equal(model(source, lengths, target), plain) and len(seen) == calls + 6


@pytest.mark.slow
def test_a_compiled_block_is_tapped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "attention", "fused")
    torch.compiler.reset()
    model = language_model()
    tokens = torch.randint(VOCABULARY, (3, 6))

    def run() -> tuple[Tensor, list[Tensor], list[Tensor]]:
        with tapped(model, KINDS) as records:
            hidden = model(tokens)
        loss = sum(entropy(weights).sum() for weights in every(records, "weights"))
        gradients = torch.autograd.grad(loss, list(model.stack.blocks[0].attention.parameters())[:2])
        return hidden, [tensor for kind in KINDS for tensor in every(records, kind)], list(gradients)

    plain, expected = model(tokens), run()
    for block in model.stack.blocks:
        block.compile(backend="aot_eager")
    for stance in ("default", "fail_on_recompile", "fail_on_recompile"):
        with torch.compiler.set_stance(stance):
            torch.testing.assert_close(model(tokens), plain)
            torch.testing.assert_close(run(), expected)


# --- use --------------------------------------------------------------------------------------------------------------


def test_a_penalty_on_entropy_makes_attention_peakier() -> None:
    """A tiny Transformer learns to copy, with and without a penalty on the entropy of its attention."""

    def entropy_after(weight: float) -> tuple[float, float]:
        torch.manual_seed(0)
        model = small(Positions.learned, attention_dropout=0.1, encoder_depth=1, decoder_depth=1)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        source, lengths = torch.randint(VOCABULARY, (16, 5)), torch.full((16,), 5)
        inputs = F.pad(source[:, :-1], (1, 0))
        for _ in range(60):
            with tapped(model, {"weights"}) as records:
                logits = model.logits(model(source, lengths, inputs))
            loss = F.cross_entropy(logits.flatten(0, 1), source.flatten())
            total = loss + weight * sum(entropy(weights).mean() for weights in every(records, "weights"))
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        weights = attention_weights(model.eval(), lambda: model(source, lengths, inputs))
        return float(loss.detach()), sum(float(entropy(value).mean()) for value in weights.values()) / len(weights)

    (loss, without), (penalised_loss, with_penalty) = entropy_after(0.0), entropy_after(0.3)
    assert with_penalty < 0.5 * without
    assert loss < 2.0 and penalised_loss < 2.5  # ln 19 = 2.94, of a model that has learned nothing
