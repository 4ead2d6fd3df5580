"""The encoder-decoder's invariants, with every position scheme, both norms and both attention backends."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import GRID_POSITIONS, Activation, Combine, Norm, Positions, TieEmbeddings
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.nn import backend as backends
from tformer_cli.nn.attention import Mask
from tformer_cli.nn.taps import attention_weights

SOURCE_VOCABULARY, TARGET_VOCABULARY = 23, 19

LINE = [scheme for scheme in Positions if scheme not in GRID_POSITIONS]
SETTINGS = {scheme.name: {"positions": scheme} for scheme in LINE}
SETTINGS |= {
    "post-norm": {"norm": Norm.post, "positions": Positions.sinusoidal},
    "post-norm-t5": {"norm": Norm.post, "positions": Positions.t5},
    "gated-without-bias": {"activation": Activation.swiglu, "bias": False},
    "concatenated": {"combine": Combine.concatenate},
    "untied-with-bias": {"tie_embeddings": TieEmbeddings.none, "final_bias": True},
    "unscaled": {"scale_embeddings": False, "final_bias": True},
}


def build(dtype: torch.dtype = torch.float64, **settings) -> Seq2Seq:
    """A small model in evaluation mode; every parameter is random, those that start at zero too."""
    values = {
        "dim": 16, "heads": 2, "ffn_dim": 24, "encoder_depth": 2, "decoder_depth": 2, "max_length": 16,
        "relative_distance": 4, "dropout": 0.1, "tie_embeddings": TieEmbeddings.decoder,
    }  # fmt: skip
    model = Seq2Seq(Seq2SeqConfig(**values | settings), SOURCE_VOCABULARY, TARGET_VOCABULARY)
    for name, parameter in model.named_parameters():
        if "frequency" not in name:
            nn.init.normal_(parameter, std=0.3)
    return model.to(dtype).eval()


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    return build(**request.param)


def padded_batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sources and targets of different lengths; the padding is noise, which must not matter."""
    lengths, target_lengths = torch.tensor([7, 3, 1]), torch.tensor([4, 6, 2])
    return (
        torch.randint(SOURCE_VOCABULARY, (3, 7)), lengths,
        torch.randint(TARGET_VOCABULARY, (3, 6)), target_lengths,
    )  # fmt: skip


def logits(model: Seq2Seq, *args: Tensor) -> Tensor:
    return model.logits(model(*args))


@torch.no_grad()
def test_padding_and_batch_mates_change_nothing(backend: str, model: Seq2Seq) -> None:
    source, lengths, target, target_lengths = padded_batch()
    together = logits(model, source, lengths, target)
    assert together.shape == (3, 6, TARGET_VOCABULARY) and together.isfinite().all()
    for row in range(3):
        s, t = int(lengths[row]), int(target_lengths[row])
        alone = logits(model, source[row : row + 1, :s], lengths[row : row + 1], target[row : row + 1, :t])
        torch.testing.assert_close(together[row : row + 1, :t], alone, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_the_future_changes_nothing_and_the_past_does(backend: str, model: Seq2Seq) -> None:
    source, lengths, target, _ = padded_batch()
    before = logits(model, source, lengths, target)
    changed = target.clone()
    changed[:, 3] = (changed[:, 3] + 1) % TARGET_VOCABULARY
    after = logits(model, source, lengths, changed)
    torch.testing.assert_close(after[:, :3], before[:, :3], atol=1e-12, rtol=0)
    assert ((after[:, 3:] - before[:, 3:]).abs().amax(-1) > 1e-9).all()
    changed_source = source.clone()
    changed_source[:, 0] = (changed_source[:, 0] + 1) % SOURCE_VOCABULARY
    assert ((logits(model, changed_source, lengths, target) - before).abs().amax(-1) > 1e-9).all()


@torch.no_grad()
def test_order_matters_with_every_scheme_but_none(backend: str, model: Seq2Seq) -> None:
    source = torch.tensor([[3, 4, 5, 6]])
    turned = model.encode(source.flip(1), torch.tensor([4])).states.flip(1)
    difference = (turned - model.encode(source, torch.tensor([4])).states).abs().max()
    if model.config.positions in (Positions.none, Positions.index):  # pre-norm subtracts the mean of the components
        assert difference < 1e-12
    else:
        assert difference > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("change", [{"norm": Norm.post}, {"combine": Combine.concatenate}])
def test_the_index_matters_where_no_normalisation_removes_it(change: dict) -> None:
    model = build(positions=Positions.index, **change)
    source, lengths = torch.tensor([[3, 4, 5, 6]]), torch.tensor([4])
    turned = model.encode(source.flip(1), lengths).states.flip(1)
    assert (turned - model.encode(source, lengths).states).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("training", "dropout"), [(False, 0.1), (True, 0.0), (True, 0.1)])
def test_an_added_index_has_an_effect_in_pre_norm_models_with_dropout_alone(training: bool, dropout: float) -> None:
    source, lengths = torch.arange(3, 9)[None], torch.tensor([6])
    states = []
    for positions in (Positions.index, Positions.none):
        torch.manual_seed(0)
        model = build(positions=positions, dropout=dropout).train(training)
        torch.manual_seed(0)
        states.append(model.encode(source, lengths).states)
    difference = (states[0] - states[1]).abs().max()
    assert difference > 0.1 if training and dropout else difference < 1e-12


@torch.no_grad()
def test_cached_decoding_equals_the_full_pass(backend: str, model: Seq2Seq) -> None:
    source, lengths, target, _ = padded_batch()
    full = model(source, lengths, target)
    state = model.start(model.encode(source, lengths), beams=1, max_steps=6)
    steps = torch.cat([model.step(target[:, t : t + 1], state) for t in range(6)], dim=1)
    torch.testing.assert_close(steps, full, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_beams_share_a_cache_and_sentences_can_leave(backend: str, model: Seq2Seq) -> None:
    """Two beams a sentence, which fork after two steps; then the first sentence is dropped."""
    source, lengths, _, _ = padded_batch()
    beams, steps = 2, 5
    tokens = torch.randint(TARGET_VOCABULARY, (3, beams, steps))
    tokens[:, 1, :2] = tokens[:, 0, :2]  # both beams come from beam 0 up to step 2
    state = model.start(model.encode(source, lengths), beams=beams, max_steps=steps)
    left, hidden = torch.arange(3), None
    for step in range(steps):
        if step == 3:
            left = torch.tensor([1, 2])
            state.keep(left)
        allowed = torch.zeros(len(left), 1, beams, (step + 1) * beams, dtype=torch.bool)
        for beam in range(beams):
            for past in range(step + 1):
                origin = 0 if past < 2 else beam
                allowed[:, 0, beam, past * beams + (beam if past == step else origin)] = True
        hidden = model.step(tokens[left][:, :, step], state, Mask(allowed))
    for beam in range(beams):
        expected = model(source[left], lengths[left], tokens[left][:, beam])[:, -1]
        torch.testing.assert_close(hidden[:, beam], expected, atol=1e-6, rtol=1e-6)


def test_backends_agree_in_value_and_gradient(monkeypatch: pytest.MonkeyPatch, model: Seq2Seq) -> None:
    source, lengths, target, _ = padded_batch()
    results = []
    for name in ("explicit", "fused"):
        monkeypatch.setattr(backends, "attention", name)
        out = logits(model, source, lengths, target)
        results.append([out, *torch.autograd.grad(out.square().mean(), list(model.parameters()))])
    for explicit, fused in zip(*results, strict=True):
        torch.testing.assert_close(explicit, fused, atol=1e-9, rtol=1e-7)


def test_an_empty_source_gives_finite_values_and_gradients(backend: str, model: Seq2Seq) -> None:
    source, _, target, _ = padded_batch()
    out = logits(model, source, torch.tensor([7, 0, 2]), target)
    gradients = torch.autograd.grad(out.sum(), list(model.parameters()))
    assert out.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
    other = logits(model, (source + 1) % SOURCE_VOCABULARY, torch.tensor([7, 0, 2]), target)
    torch.testing.assert_close(other[1], out[1], atol=1e-12, rtol=0)


@torch.no_grad()
def test_attention_weights_are_those_of_the_forward_pass(backend: str, model: Seq2Seq) -> None:
    source, lengths, target, _ = padded_batch()
    inputs: dict[str, tuple[Tensor, Tensor]] = {}
    outputs: dict[str, Tensor] = {}
    parts = (("encoder", "attention"), ("decoder", "attention"), ("decoder", "cross"))
    layers = [(stack, number, part) for stack, part in parts for number in range(2)]
    handles = []
    for stack, number, part in layers:
        layer = getattr(getattr(model, stack).blocks[number], part).sublayer

        def hook(module, args, kwargs, out, name=f"{stack}.blocks.{number}.{part}") -> None:
            inputs[name], outputs[name] = args, out

        handles.append(layer.register_forward_hook(hook, with_kwargs=True))
    plain = model(source, lengths, target)
    recorded = attention_weights(model, lambda: model(source, lengths, target))
    for handle in handles:
        handle.remove()
    assert set(recorded) == set(outputs)
    assert torch.equal(plain, model(source, lengths, target))
    allowed = torch.arange(7) < lengths[:, None]
    for name, weights in recorded.items():
        keys = 7 if name.startswith("encoder") or name.endswith("cross") else 6
        assert weights.shape == (3, 2, 7 if name.startswith("encoder") else 6, keys)
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        if weights.shape[-1] == 7:
            assert not weights.masked_select(~allowed[:, None, None, :].expand_as(weights)).any()
        else:
            assert not weights.triu(1).any()
        layer = model.get_submodule(name).sublayer
        if layer.shaw is not None:
            continue  # its values depend on the distance too
        if layer.cross:
            values = layer.keys_values(inputs[name][1])[1]
        else:
            size = inputs[name][0].shape[1]
            values = layer.project_qkv(inputs[name][0])[..., 32:].view(3, size, 2, 8).transpose(1, 2)
        context = (weights @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(layer.project_out(context), outputs[name])


def test_tied_embeddings_are_one_matrix() -> None:
    for tie, count in ((TieEmbeddings.all, 1), (TieEmbeddings.decoder, 2), (TieEmbeddings.none, 3)):
        model = Seq2Seq(Seq2SeqConfig(dim=8, heads=2, ffn_dim=8, tie_embeddings=tie), 11, 11)
        weights = {
            id(model.source_embedding.weight),
            id(model.target_embedding.weight),
            id(model.output_layer()[0]),
        }
        assert len(weights) == count
        assert (model.output_layer()[1] is not None) is False


def test_logits_are_those_of_the_output_layer(model: Seq2Seq) -> None:
    hidden = torch.randn(2, 3, 16, dtype=torch.float64)
    weight, bias = model.output_layer()
    expected = hidden @ weight.T + (0 if bias is None else bias)
    torch.testing.assert_close(model.logits(hidden), expected)
    assert (bias is not None) == model.config.final_bias


def test_initialisation_has_the_papers_scales() -> None:
    """Embeddings times sqrt(D) have unit variance; each of q, k and v is Glorot-uniform as a square matrix."""
    model = Seq2Seq(Seq2SeqConfig(dim=64, heads=4, ffn_dim=128, encoder_depth=1, decoder_depth=1), 500, 500)
    assert abs((model.source_embedding.weight * model.embedding_scale).std().item() - 1) < 0.05
    limit = (6 / (64 + 64)) ** 0.5
    attention, cross = model.encoder.blocks[0].attention.sublayer, model.decoder.blocks[0].cross.sublayer
    for weight in (
        *attention.project_qkv.weight.chunk(3),
        cross.project_q.weight,
        *cross.project_kv.weight.chunk(2),
    ):
        assert 0.95 * limit < weight.abs().max().item() <= limit
    assert not attention.project_qkv.bias.any()


def test_dropout_is_seeded_and_off_in_evaluation() -> None:
    model = build(dropout=0.3)
    source, lengths, target, _ = padded_batch()
    assert torch.equal(model(source, lengths, target), model(source, lengths, target))
    model.train()
    torch.manual_seed(4)
    first = model(source, lengths, target)
    assert not torch.equal(first, model(source, lengths, target))
    torch.manual_seed(4)
    assert torch.equal(first, model(source, lengths, target))
