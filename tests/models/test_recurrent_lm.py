"""A recurrent language model equals torch's layers, and its state is reset between documents."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tformer_cli.config.schema import Cell, DecodeConfig
from tformer_cli.decode.search import search
from tformer_cli.models.recurrent_lm import RecurrentLMConfig
from tformer_cli.models.recurrent_lm.model import RecurrentLM, document_groups

VOCABULARY, EOS = 17, 2


def build(**settings) -> RecurrentLM:
    """A small model in evaluation mode with random weights."""
    model = RecurrentLM(RecurrentLMConfig(**{"dim": 8, "depth": 2, "dropout": 0.1} | settings), VOCABULARY)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


@torch.no_grad()
@pytest.mark.parametrize("cell", Cell)
def test_it_equals_torchs_layers(cell: Cell) -> None:
    model = build(cell=cell)
    layers = (nn.LSTM if cell is Cell.lstm else nn.GRU)(8, 8, 2, batch_first=True).double()
    for number, block in enumerate(model.stack.blocks):
        names = (f"{name}_l{number}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        for name, value in zip(names, block.weights, strict=True):
            getattr(layers, name).copy_(value)
    tokens = torch.randint(VOCABULARY, (3, 7))
    expected, _ = layers(model.embedding(tokens) * 8**0.5)
    torch.testing.assert_close(model(tokens), expected)
    torch.testing.assert_close(model.logits(expected), expected @ model.embedding.weight.T)


@torch.no_grad()
@pytest.mark.parametrize("cell", Cell)
def test_the_state_is_zero_at_the_start_of_each_document(cell: Cell) -> None:
    model, tokens = build(cell=cell), torch.randint(VOCABULARY, (2, 7))
    documents = torch.tensor([[0, 0, 0, 1, 1, 2, 3], [0, 0, 0, 0, 0, -1, -1]])
    hidden = model(tokens, documents)
    for row, start, stop in ((0, 0, 3), (0, 3, 5), (0, 5, 6), (0, 6, 7), (1, 0, 5)):
        alone = model(tokens[row : row + 1, start:stop])
        torch.testing.assert_close(hidden[row, start:stop], alone[0])
    assert not torch.allclose(hidden[0, 3:], model(tokens)[0, 3:])
    one = torch.zeros_like(documents)
    torch.testing.assert_close(model(tokens, one), model(tokens))


def test_documents_of_similar_lengths_are_a_group() -> None:
    groups, places = document_groups(torch.tensor([[0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 1, 2]]))
    assert [group.tolist() for group in groups] == [[[3], [6], [11]], [[0, 1, 2], [4, 5, 5]], [[7, 8, 9, 10]]]
    assert places.tolist() == [3, 4, 5, 0, 6, 7, 1, 9, 10, 11, 12, 2]


def test_unequal_documents_have_little_padding() -> None:
    """Documents of 1 to 64 tokens in turn: each token has its place, and less than half of the steps are padding."""
    lengths = torch.arange(1, 65)
    documents = torch.arange(64).repeat_interleave(lengths)[None]
    groups, places = document_groups(documents)
    indices = torch.cat([group.flatten() for group in groups])
    assert torch.equal(indices[places], torch.arange(documents.numel()))
    assert documents.numel() <= len(indices) < 2 * documents.numel()


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 4])
def test_steps_after_a_prompt_equal_the_full_pass(length: int) -> None:
    model, tokens = build(), torch.randint(VOCABULARY, (3, 8))
    state = model.start(tokens[:, :length], 1, 9)
    steps = [model.step(tokens[:, step : step + 1], state) for step in range(length - 1, 8)]
    torch.testing.assert_close(torch.cat(steps, 1), model(tokens)[:, length - 1 :])


@torch.no_grad()
def test_scores_of_beams_are_those_of_the_full_pass() -> None:
    model, prompt = build(), torch.randint(3, VOCABULARY, (2, 3))
    results = search(
        model, model.start(prompt, 4, 5), config=DecodeConfig(beam=4, n_best=4), bos_id=prompt[:, -1], eos_id=EOS,
        max_lengths=torch.full((2,), 5), cached=2,
    )  # fmt: skip
    for row, hypotheses in zip(prompt, results, strict=True):
        for hypothesis in hypotheses:
            outputs = torch.tensor([*hypothesis.tokens, EOS])
            log_probs = model.logits(model(torch.cat((row, outputs[:-1]))[None]))[0, 2:].log_softmax(-1)
            total = log_probs[torch.arange(len(outputs)), outputs].sum()
            assert hypothesis.log_probability == pytest.approx(float(total), abs=1e-5)


def test_the_output_layer_may_have_weights_of_its_own() -> None:
    tied = build()
    assert tied.output_layer()[0] is tied.embedding.weight
    model = build(tie_embeddings=False)
    assert model.output_layer()[0] is not model.embedding.weight
