"""The editor's three heads: parity with torch's decoder layers, padding, early exit, and the placeholder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Norm, Positions, TieEmbeddings
from tformer_cli.errors import ConfigError
from tformer_cli.models.levenshtein import LevenshteinConfig
from tformer_cli.models.levenshtein.model import LevenshteinTransformer

SOURCE_VOCABULARY, VOCABULARY = 23, 19
SETTINGS = {
    "shared": {},
    "separate": {"shared_decoder": False},
    "early exit": {"delete_depth": 1, "placeholder_depth": 2},
    "separate with early exit": {"shared_decoder": False, "delete_depth": 1, "placeholder_depth": 2},
    "post-norm, t5, untied": {"norm": Norm.post, "positions": Positions.t5, "tie_embeddings": TieEmbeddings.none},
}


def build(**settings) -> LevenshteinTransformer:
    """A small model in evaluation mode, in float64, with random weights."""
    values = {
        "dim": 16, "heads": 2, "ffn_dim": 24, "encoder_depth": 1, "decoder_depth": 3, "max_length": 16,
        "tie_embeddings": TieEmbeddings.decoder,
    }  # fmt: skip
    torch.manual_seed(0)
    model = LevenshteinTransformer(LevenshteinConfig(**values | settings), SOURCE_VOCABULARY, VOCABULARY)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval().requires_grad_(False)


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sources and sequences of different lengths, with placeholders; the padding is noise."""
    tokens = torch.randint(VOCABULARY + 1, (3, 6))
    tokens[:, 1] = VOCABULARY
    return torch.randint(SOURCE_VOCABULARY, (3, 7)), torch.tensor([7, 3, 1]), tokens, torch.tensor([4, 6, 2])


def heads(model: LevenshteinTransformer, source: Tensor, lengths: Tensor, *sequence: Tensor) -> tuple[Tensor, ...]:
    memory = model.encode(source, lengths)
    return model.delete(memory, *sequence), model.insert(memory, *sequence), model.logits(model.fill(memory, *sequence))


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS.keys())
def model(request: pytest.FixtureRequest) -> LevenshteinTransformer:
    return build(**request.param)


def test_padding_and_batch_mates_change_nothing(model):
    source, source_lengths, tokens, lengths = batch()
    together = heads(model, source, source_lengths, tokens, lengths)
    assert [part.shape for part in together] == [(3, 6, 2), (3, 5, 256), (3, 6, VOCABULARY)]
    memory = model.encode(source, source_lengths)
    for row in range(3):
        length, size = int(lengths[row]), slice(int(source_lengths[row]))
        rows = slice(row, row + 1)
        alone = heads(model, source[rows, size], source_lengths[rows], tokens[rows, :length], lengths[rows])
        selected = model.delete(memory.select(torch.tensor([row])), tokens[rows], lengths[rows])
        torch.testing.assert_close(selected, together[0][rows], atol=1e-12, rtol=1e-9)
        for part, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(part[rows, : expected.shape[1]], expected, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_only_changed_sequences_are_read_again_without_gradients(monkeypatch):
    """A shorter row, a row of the same length and an unchanged one; and the same batch in another width."""
    model, counts = build(), []
    source, source_lengths, tokens, lengths = batch()
    read = model._read
    monkeypatch.setattr(model, "_read", lambda *inputs: (counts.append(len(inputs[3])), read(*inputs))[1])
    memory = model.encode(source, source_lengths)
    model.delete(memory, tokens, lengths)
    tokens, lengths = tokens.clone(), lengths.clone()
    lengths[0] -= 1
    tokens[1, 2] = (tokens[1, 2] + 1) % VOCABULARY
    for rows, width in (([0, 1, 2], 6), ([0, 2], 3), ([1], 6)):
        part, sequence = memory.select(torch.tensor(rows)), (tokens[rows, :width], lengths[rows])
        repeated = model.insert(part, *sequence)
        expected = model.insert(model.encode(source, source_lengths).select(torch.tensor(rows)), *sequence)
        real = torch.arange(width - 1) < lengths[rows][:, None] - 1
        torch.testing.assert_close(repeated[real], expected[real], atol=1e-12, rtol=1e-9)
    assert counts == [3, 2, 3, 1, 2, 1, 1]  # each insertion after deletion, and from the beginning


def test_every_token_sees_those_on_both_sides_and_the_source(model):
    source, source_lengths, tokens, lengths = batch()
    before = heads(model, source, source_lengths, tokens, lengths)
    for column in (0, 5):
        changed = tokens.clone()
        changed[1, column] = (changed[1, column] + 1) % VOCABULARY
        for part, other in zip(before, heads(model, source, source_lengths, changed, lengths), strict=True):
            assert ((part[1] - other[1]).abs().amax(-1) > 1e-9).all() and torch.equal(part[[0, 2]], other[[0, 2]])
    other_source = (source + 1) % SOURCE_VOCABULARY
    for part, other in zip(before, heads(model, other_source, source_lengths, tokens, lengths), strict=True):
        assert ((part[1] - other[1]).abs().amax(-1) > 1e-9).all()


def torch_layers(model: LevenshteinTransformer, stack, depth: int) -> nn.TransformerDecoder:
    """The first blocks of a stack as torch's own layers, with its last normalisation."""
    layer = nn.TransformerDecoderLayer(16, 2, 24, dropout=0.0, norm_first=True, batch_first=True)
    decoder = nn.TransformerDecoder(layer, depth, norm=nn.LayerNorm(16)).double().eval()
    decoder.norm.load_state_dict(stack.norm.state_dict())
    for copy, block in zip(decoder.layers, stack.blocks, strict=False):
        attention, cross, feed_forward = block.attention, block.cross, block.feed_forward
        copy.norm1.load_state_dict(attention.norm.state_dict())
        copy.norm2.load_state_dict(cross.norm.state_dict())
        copy.norm3.load_state_dict(feed_forward.norm.state_dict())
        copy.linear1.load_state_dict(feed_forward.sublayer.project_in.state_dict())
        copy.linear2.load_state_dict(feed_forward.sublayer.project_out.state_dict())
        copy.self_attn.out_proj.load_state_dict(attention.sublayer.project_out.state_dict())
        copy.multihead_attn.out_proj.load_state_dict(cross.sublayer.project_out.state_dict())
        for name in ("weight", "bias"):
            getattr(copy.self_attn, f"in_proj_{name}").data = getattr(attention.sublayer.project_qkv, name)
            parts = (getattr(cross.sublayer.project_q, name), getattr(cross.sublayer.project_kv, name))
            getattr(copy.multihead_attn, f"in_proj_{name}").data = torch.cat(parts)
    return decoder


@pytest.mark.parametrize("name", list(SETTINGS)[:4])
def test_the_heads_are_those_of_the_paper_over_torchs_layers(name):
    """Section 3.1: h A, [h_i; h_{i+1}] B and h C, over states of the depth that each head reads."""
    model = build(**SETTINGS[name])
    source, source_lengths, tokens, lengths = batch()
    memory = model.encode(source, source_lengths)
    x = model.target_embedding(tokens) * 16**0.5 + model.target_positions.table[:6]
    padding = torch.arange(6) >= lengths[:, None]
    source_padding = torch.arange(7) >= source_lengths[:, None]
    exits = [model.config.delete_depth or 3, model.config.placeholder_depth or 3, 3]
    stacks = [model.decoder] * 3
    if not model.config.shared_decoder:
        stacks = [model.delete_decoder, model.placeholder_decoder, model.decoder]
    h_delete, h_insert, h_fill = (
        torch_layers(model, stack, depth)(
            x, memory.states, tgt_key_padding_mask=padding, memory_key_padding_mask=source_padding
        )
        for stack, depth in zip(stacks, exits, strict=True)
    )
    expected = (
        h_delete @ model.delete_head.weight.T,
        torch.cat((h_insert[:, :-1], h_insert[:, 1:]), -1) @ model.placeholder_head.weight.T,
        h_fill @ model.target_embedding.weight[:VOCABULARY].T,
    )
    real = ~padding
    for part, other in zip(heads(model, source, source_lengths, tokens, lengths), expected, strict=True):
        torch.testing.assert_close(part[real[:, : part.shape[1]]], other[real[:, : part.shape[1]]])


def test_the_placeholder_is_beyond_the_vocabulary_and_never_predicted():
    for tied in TieEmbeddings:
        model = build(tie_embeddings=tied)
        assert model.placeholder_id == VOCABULARY and len(model.target_embedding.weight) == VOCABULARY + 1
        assert len(model.output_layer()[0]) == VOCABULARY
    assert build(tie_embeddings=TieEmbeddings.all).source_embedding is not None


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_every_weight_has_a_gradient(settings):
    """Otherwise ranks would wait for it."""
    model = build(**settings).requires_grad_(True)
    source, source_lengths, tokens, lengths = batch()
    sum(part.square().sum() for part in heads(model, source, source_lengths, tokens, lengths)).backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_counts_beyond_255_are_refused():
    with pytest.raises(ConfigError, match="257 tokens could need a placeholder count beyond 255") as error:
        LevenshteinConfig(max_length=257).check()
    assert error.value.remedy == "model.max_length=256"
    LevenshteinConfig(max_length=256).check()


def test_an_exit_above_the_last_block_is_refused():
    with pytest.raises(ConfigError, match="model.delete_depth: 7 is more than model.decoder_depth 6"):
        LevenshteinConfig(delete_depth=7).check()
