"""Search over the encoder-decoder: its caches, masks and positions, other company, 8 bits, alignments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tformer_cli.config.schema import GRID_POSITIONS, Combine, DecodeConfig, Norm, Positions, Stopping
from tformer_cli.decode.alignment import alignments, links
from tformer_cli.decode.search import Hypothesis, num_hypotheses, search
from tformer_cli.decode.select import Head
from tformer_cli.errors import ConfigError
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.nn import backend, int8

PAD, UNK, BOS, EOS, VOCAB = 0, 1, 2, 3, 60
BEAM = DecodeConfig(beam=4, n_best=2)
SAMPLE = DecodeConfig(sample=True, n_best=2, top_p=0.8)


def make(seed: int = 0, **settings) -> Seq2Seq:
    """A small model, sharp enough that rounding decides nothing, and that ends by itself."""
    torch.manual_seed(seed)
    shape = {"dim": 32, "heads": 4, "ffn_dim": 48, "encoder_depth": 1, "decoder_depth": 2, "max_length": 40}
    settings = shape | settings
    model = Seq2Seq(Seq2SeqConfig(final_bias=True, **settings), VOCAB, VOCAB).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.2 * torch.randn(parameter.shape)
    for block in model.decoder.blocks:  # what is written shall depend on what was read
        block.cross.sublayer.project_out.weight *= 4
        block.cross.sublayer.project_q.weight *= 2
    model.final_bias[EOS] += 3
    return model


def sentences(count: int, longest: int = 11) -> list[list[int]]:
    random = np.random.default_rng(1)
    return [random.integers(4, VOCAB, size=random.integers(1, longest)).tolist() + [EOS] for _ in range(count)]


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    source = torch.full((len(rows), max(map(len, rows))), PAD)
    for row, tokens in zip(source, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return source, torch.tensor([len(tokens) for tokens in rows])


@torch.inference_mode()
def translate(
    model: Seq2Seq, rows: list[list[int]], config: DecodeConfig, names: list[int] | None = None
) -> list[list[Hypothesis]]:
    source, lengths = padded(rows)
    limits = lengths + 8
    state = model.start(model.encode(source, lengths), num_hypotheses(config), int(limits.max()))
    return search(
        model, state, config=config, bos_id=BOS, eos_id=EOS, max_lengths=limits, forbidden=(PAD, UNK, BOS),
        sample_ids=names,
    )  # fmt: skip


LINE = [scheme for scheme in Positions if scheme not in GRID_POSITIONS]
SHAPES = [{"positions": scheme} for scheme in LINE]
SHAPES += [{"norm": Norm.post}, {"combine": Combine.concatenate}, {"bias": False}]


@pytest.mark.parametrize("attention", ["fused", "explicit"])
@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_log_probabilities_are_those_of_teacher_forcing(
    settings: dict, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "attention", attention)
    model, rows = make(**settings), sentences(7)
    source, lengths = padded(rows)
    for config in (BEAM, SAMPLE, DecodeConfig(beam=1)):
        for i, hypotheses in enumerate(translate(model, rows, config)):
            assert len(hypotheses) == num_hypotheses(config) if config.sample else config.n_best
            for hypothesis in hypotheses:
                inputs, targets = torch.tensor([[BOS, *hypothesis.tokens]]), torch.tensor([*hypothesis.tokens, EOS])
                logits = model.logits(model(source[i : i + 1, : lengths[i]], lengths[i : i + 1], inputs))[0]
                total = logits.log_softmax(-1).gather(1, targets[:, None]).sum()
                assert abs(hypothesis.log_probability - float(total)) < 2e-3


EXACT = DecodeConfig(beam=3, stopping=Stopping.longest)


@pytest.mark.parametrize(
    "config", [BEAM, SAMPLE, DecodeConfig(beam=1), EXACT], ids=["beam", "sample", "greedy", "exact"]
)
@pytest.mark.parametrize("settings", [{}, {"positions": Positions.t5}, {"positions": Positions.rotary}], ids=str)
def test_a_translation_does_not_depend_on_its_company(settings: dict, config: DecodeConfig) -> None:
    random, count = np.random.default_rng(0), 16
    for seed in (4, 6):
        model, rows = make(seed, **settings), sentences(count)
        alone = [translate(model, [row], config, [i])[0] for i, row in enumerate(rows)]
        assert len({tuple(hypotheses[0].tokens) for hypotheses in alone}) > count // 3  # else the test sees nothing
        for _ in range(6):
            names = random.permutation(count)[: random.integers(2, count + 1)].tolist()
            for name, found in zip(names, translate(model, [rows[i] for i in names], config, names), strict=True):
                assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in alone[name]]
                assert np.allclose(
                    [hypothesis.score for hypothesis in found],
                    [hypothesis.score for hypothesis in alone[name]],
                    atol=1e-4,
                )


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("cast", [False, True])
def test_bfloat16_can_be_searched(cast: bool, norm: Norm) -> None:
    model, rows = make(norm=norm), sentences(9)
    exact = translate(model, rows, BEAM)
    with torch.autocast("cpu", torch.bfloat16, enabled=cast):
        rounded = translate(model if cast else model.bfloat16(), rows, BEAM)
    differences = [a[0].score - b[0].score for a, b in zip(exact, rounded, strict=True)]
    assert 0 < np.abs(differences).mean() < 0.3


@pytest.mark.skipif(not int8.available(), reason="this CPU or build of torch has no exact 8-bit products")
def test_int8_is_near_float32_and_alone_as_in_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "MIN_WEIGHTS", 0)
    model, rows = make(), sentences(20)
    before = [parameter.clone() for parameter in model.parameters()]
    quantized = int8.Int8Decoder(model)
    config = DecodeConfig(beam=3)
    exact, rounded = translate(model, rows, config), translate(quantized, rows, config)
    scores = np.array([[a[0].score, b[0].score] for a, b in zip(exact, rounded, strict=True)])
    assert 1e-6 < np.abs(scores[:, 0] - scores[:, 1]).mean() < 0.05
    assert [translate(quantized, [row], config)[0][0].tokens for row in rows] == [
        hypotheses[0].tokens for hypotheses in rounded
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.skipif(not int8.available(), reason="this CPU or build of torch has no exact 8-bit products")
@pytest.mark.parametrize("bias", [False, True])
def test_int8_layer_rounds_each_row_by_its_own_scale(bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 40, bias=bias).requires_grad_(False)
    layer.weight[3] *= 100
    layer.weight[4] = 0
    quantized = int8.Int8Linear(layer.weight, layer.bias)
    x = torch.randn(5, 3, 64)
    x[1] *= 1000
    x[2, 0] = 0
    with torch.inference_mode():
        exact, rounded = layer(x), quantized(x)
        assert torch.equal(quantized(x[:1]), rounded[:1])
    size = (x.norm(dim=-1, keepdim=True) * layer.weight.norm(dim=1)).clamp(min=1e-20)
    assert float(((exact - rounded).abs() / size).max()) < 0.005
    assert float(((exact - rounded).abs() / size).max()) > 1e-5  # it did round


def test_int8_says_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "available", lambda: False)
    with pytest.raises(ConfigError, match="decode.precision"):
        int8.Int8Decoder(make())


def test_alignments_are_cross_attention_of_the_layer_asked_for() -> None:
    model, rows = make(), sentences(4)
    source, lengths = padded(rows)
    outputs = [[5, 6, 7], [], [8], [9, 10, 11, 12, 13]]
    for layer, block in ((-2, 0), (-1, 1), (-9, 0)):
        computed = alignments(model, source, lengths, outputs, bos_id=BOS, layer=layer)
        for i, (row, tokens) in enumerate(zip(rows, outputs, strict=True)):
            assert computed[i].shape == (len(tokens) + 1, len(row))
            torch.testing.assert_close(computed[i].sum(-1), torch.ones(len(tokens) + 1))
            inputs = source[i : i + 1, : len(row)], lengths[i : i + 1]
            (alone,) = alignments(model, *inputs, [tokens], bos_id=BOS, layer=block)
            torch.testing.assert_close(computed[i], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(computed[0], alignments(model, source, lengths, outputs, bos_id=BOS, layer=-1)[0])


class Stepwise(torch.nn.Module):
    """A model that is taught one token after the other, as recurrent decoders are."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        steps = target_inputs.shape[1]
        state = self.model.start(self.model.encode(source, lengths), 1, steps)
        return torch.cat([self.model.step(target_inputs[:, t : t + 1], state) for t in range(steps)], dim=1)


def test_a_decoder_that_makes_steps_is_aligned_at_each_of_them() -> None:
    model, rows = make(), sentences(4)
    outputs = [[5, 6, 7], [], [8], [9, 10, 11, 12, 13]]
    together, stepwise = (
        alignments(variant, *padded(rows), outputs, bos_id=BOS) for variant in (model, Stepwise(model))
    )
    for expected, alignment in zip(together, stepwise, strict=True):
        torch.testing.assert_close(alignment, expected, atol=1e-5, rtol=1e-4)


def test_links_name_the_most_attended_source_token() -> None:
    assert links(torch.tensor([[0.1, 0.9, 0.0], [0.6, 0.1, 0.3], [0.2, 0.2, 0.6]])) == [(1, 0), (0, 1), (2, 2)]


@pytest.mark.skipif(not int8.available(), reason="this CPU or build of torch has no exact 8-bit products")
@pytest.mark.parametrize(("vocab_size", "bias"), [(2048, False), (2048, True), (2051, False)])
def test_int8_head_defers_the_rows_scales_and_finds_the_same(vocab_size: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = int8.Int8Linear(torch.randn(vocab_size, 16), torch.randn(vocab_size) if bias else None)
    hidden, so_far = torch.randn(3, 4, 16), -torch.rand(3, 4)
    with torch.inference_mode():
        head = Head(layer, 12, torch.tensor([1, 7]))
        head.project(hidden)
        full = layer(hidden).log_softmax(-1)
        torch.testing.assert_close(head.log_probability(torch.full((3, 4), 7)), full[..., 7])
        full[..., [1, 7]] = -torch.inf
        head.forbid()
        torch.testing.assert_close(head.highest(), full.amax(-1))
        values, parents, tokens = head.best(so_far, 5)
        expected, index = (so_far[..., None] + full).flatten(1).topk(5)
        torch.testing.assert_close(values, expected)
        assert torch.equal(parents * vocab_size + tokens, index)
