"""An encoder and a decoder of different kinds as one model: a Vision Transformer with a Transformer's decoder."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import DecodeConfig, Positions, TransformerDecoderConfig
from tformer_cli.decode.search import search
from tformer_cli.models.decoding import Memory
from tformer_cli.models.encoder_decoder import EncoderDecoder, TransformerDecoder
from tformer_cli.models.vit import ViTConfig
from tformer_cli.models.vit.model import ViT
from tformer_cli.nn.attention import Mask
from tformer_cli.nn.taps import attention_weights

PAD, BOS, EOS, VOCABULARY = 0, 1, 2, 12
SCHEMES = [scheme for scheme in Positions if not scheme.name.endswith("_2d")]


def decoder(dim: int = 16, positions: Positions = Positions.sinusoidal, **settings) -> TransformerDecoder:
    values = {"heads": 2, "ffn_dim": 32, "depth": 2, "max_length": 8, "dropout": 0.0, "relative_distance": 4}
    return TransformerDecoder(TransformerDecoderConfig(dim=dim, positions=positions, **values | settings), VOCABULARY)


def build(*, width: int = 24, class_token: bool = True, **settings) -> EncoderDecoder:
    """A model of pictures of 8 x 8 pixels, in four patches."""
    config = ViTConfig(
        dim=width, heads=2, ffn_dim=32, depth=1, patch_size=4, dropout=0.0, class_token=class_token
    )  # fmt: skip
    return EncoderDecoder(ViT(config, 8, 1), decoder(**settings))


def pictures() -> tuple[Tensor, Tensor]:
    """Eight pictures of noise, (8, 1, 8, 8), and a name of three tokens for each, (8, 3); some begin alike."""
    names = torch.tensor([[3, 4, 5], [3, 4, 6], [3, 7, 5], [8, 8, 8], [9, 10, 11], [11, 10, 9], [4, 4, 3], [5, 3, 4]])
    return torch.randn(8, 1, 8, 8), names


def test_it_learns_to_name_pictures_and_search_decodes_them() -> None:
    images, names = pictures()
    inputs = F.pad(names, (1, 0), value=BOS)
    targets = F.pad(names, (0, 1), value=EOS)
    model = build()
    before = model.encoder.patches.project.weight.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(120):
        loss = F.cross_entropy(model.logits(model(images, inputs)).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05
    assert (model.encoder.patches.project.weight - before).abs().max() > 1e-3
    model.eval()
    limits = torch.full((8,), 5)
    for beam in (1, 3):
        with torch.no_grad():
            state = model.start(model.encode(images), beam, 5)
        results = search(
            model, state, config=DecodeConfig(beam=beam), bos_id=BOS, eos_id=EOS, max_lengths=limits,
            forbidden=(PAD, BOS),
        )  # fmt: skip
        assert [hypotheses[0].tokens for hypotheses in results] == names.tolist()
        assert all(hypotheses[0].finished for hypotheses in results)


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_steps_equal_the_full_pass(backend: str, scheme: Positions, tied: bool) -> None:
    model = build(positions=scheme, tie_embeddings=tied).double().eval()
    images, names = pictures()
    images = images.double()
    expected = model.logits(model(images, names))
    state = model.start(model.encode(images), 1, 3)
    steps = [model.logits(model.step(names[:, step : step + 1], state)) for step in range(3)]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, atol=1e-6, rtol=1e-6)
    assert expected.shape == (8, 3, VOCABULARY) and (expected[0] - expected[1]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("class_token", [True, False])
def test_the_memory_of_a_picture_is_all_its_tokens(class_token: bool) -> None:
    model, (images, names) = build(class_token=class_token).eval(), pictures()
    memory = model.encode(images)
    tokens = 4 + class_token
    torch.testing.assert_close(memory.states, model.bridge(model.encoder(images)))
    assert memory.states.shape == (8, tokens, 16) and memory.lengths.tolist() == [tokens] * 8
    assert memory.mask.allowed is None and memory.final is None
    weights = attention_weights(model, lambda: model(images, names))
    assert weights["decoder.decoder.blocks.1.cross"].shape == (8, 2, 3, tokens)
    assert weights["encoder.stack.blocks.0.attention"].shape == (8, 2, tokens, tokens)


def test_a_bridge_is_there_where_widths_differ() -> None:
    assert isinstance(build(width=16).bridge, nn.Identity)
    bridge = build().bridge
    assert isinstance(bridge, nn.Linear) and bridge.weight.shape == (16, 24) and not bridge.bias.any()
    limit = (6 / (16 + 24)) ** 0.5  # Glorot-uniform
    assert 0.9 * limit < bridge.weight.abs().max() <= limit


@torch.no_grad()
def test_lengths_masks_and_final_states_reach_the_decoder() -> None:
    """Of an encoder that reads vectors and their lengths, and has a final state."""

    class Vectors(nn.Module):
        width = 6

        def encode(self, vectors: Tensor, lengths: Tensor) -> Memory:
            return Memory(vectors, Mask.from_lengths(lengths, vectors.shape[1]), lengths, vectors[:, -1])

    model = EncoderDecoder(Vectors(), decoder()).eval()
    vectors, lengths, tokens = torch.randn(2, 5, 6), torch.tensor([5, 2]), torch.tensor([[1, 3], [1, 3]])
    memory = model.encode(vectors, lengths)
    torch.testing.assert_close(memory.final, vectors[:, -1])  # in the encoder's width
    assert memory.states.shape == (2, 5, 16) and memory.lengths is lengths
    hidden = model(vectors, lengths, tokens)
    changed = vectors.clone()
    changed[:, 3] += 1
    difference = (model(changed, lengths, tokens) - hidden).abs().flatten(1).amax(1)
    assert difference[0] > 1e-4 and difference[1] == 0  # vector 3 of sentence 1 is padding


def test_the_untied_decoder_has_weights_of_its_own_for_the_output() -> None:
    tied, untied = decoder(), decoder(tie_embeddings=False)
    assert tied.output_layer()[0] is tied.target_embedding.weight
    assert untied.output_layer()[0] is not untied.target_embedding.weight
    assert {*dict(untied.named_parameters())} - {*dict(tied.named_parameters())} == {"output.weight"}


def test_the_decoder_spends_all_buckets_of_t5_on_what_came_before() -> None:
    assert decoder(positions=Positions.t5).decoder.bias.bidirectional is False
