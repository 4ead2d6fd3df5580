"""GPT: causality, documents that do not see each other, and writing step by step."""

from __future__ import annotations

import pytest
import torch

from tformer_cli.config.schema import GRID_POSITIONS, Combine, DecodeConfig, Positions
from tformer_cli.decode.search import search
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT
from tformer_cli.nn.attention import Mask

V = 23
LINE = [scheme for scheme in Positions if scheme not in GRID_POSITIONS]


def build(**settings) -> GPT:
    torch.manual_seed(0)
    config = GPTConfig(
        **{"dim": 16, "heads": 2, "ffn_dim": 24, "depth": 2, "max_length": 32, "dropout": 0.0, **settings}
    )
    model = GPT(config, V).eval().double()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model


@pytest.mark.parametrize("positions", LINE, ids=lambda scheme: scheme.name)
def test_the_past_does_not_know_the_future(positions):
    model = build(positions=positions)
    tokens = torch.randint(V, (2, 12))
    changed = tokens.clone()
    changed[:, 7:] = torch.randint(V, (2, 5))
    assert torch.allclose(model(tokens)[:, :7], model(changed)[:, :7], atol=1e-12)


def test_a_leak_of_the_future_acts_in_training_alone():
    model = build(leak_future=True)
    tokens = torch.randint(V, (2, 12))
    changed = tokens.clone()
    changed[:, 7:] = torch.randint(V, (2, 5))
    assert torch.allclose(model(tokens)[:, :7], model(changed)[:, :7], atol=1e-12)
    model.train()
    documents = torch.zeros_like(tokens)
    for given in (None, documents):
        assert not torch.allclose(model(tokens, given)[:, :7], model(changed, given)[:, :7], atol=1e-3)
    assert GPTConfig().leak_future is False


@pytest.mark.parametrize("positions", LINE, ids=lambda scheme: scheme.name)
def test_a_document_does_not_see_the_one_before_it(positions):
    model = build(positions=positions)
    tokens = torch.randint(V, (1, 12))
    documents = torch.tensor([[0] * 5 + [1] * 7])
    changed = tokens.clone()
    changed[:, :5] = torch.randint(V, (1, 5))
    assert torch.allclose(model(tokens, documents)[:, 5:], model(changed, documents)[:, 5:], atol=1e-12)
    assert not torch.allclose(model(tokens)[:, 5:], model(changed)[:, 5:], atol=1e-3)


@pytest.mark.parametrize("combine", list(Combine), ids=lambda way: way.name)
@pytest.mark.parametrize("tied", [True, False])
def test_steps_after_a_prompt_equal_the_full_pass(combine, tied):
    model = build(combine=combine, tie_embeddings=tied, positions=Positions.sinusoidal)
    tokens = torch.randint(V, (3, 10))
    full = model.logits(model(tokens))
    for prompt in (1, 4, 9):
        state = model.start(tokens[:, :prompt], 1, 10)
        for place in range(prompt - 1, 10):
            step = model.logits(model.step(tokens[:, place, None], state))
            assert torch.allclose(step[:, 0], full[:, place], atol=1e-10)


@pytest.mark.parametrize("positions", LINE, ids=lambda scheme: scheme.name)
def test_beams_after_a_prompt_score_as_the_full_pass_does(positions):
    model = build(positions=positions).float()
    prompt = torch.randint(3, V, (2, 5))
    config = DecodeConfig(beam=4, n_best=4, length_penalty=0.0)
    limits = torch.tensor([6, 6])
    state = model.start(prompt, 4, 6)
    results = search(
        model, state, config=config, bos_id=prompt[:, -1], eos_id=2, max_lengths=limits, cached=prompt.shape[1] - 1
    )
    for row, hypotheses in enumerate(results):
        for hypothesis in hypotheses:
            sequence = torch.tensor([[*prompt[row].tolist(), *hypothesis.tokens, 2]])
            log_p = model.logits(model(sequence))[0].log_softmax(-1)
            indices = range(prompt.shape[1] - 1, sequence.shape[1] - 1)
            expected = sum(float(log_p[place, sequence[0, place + 1]]) for place in indices)
            assert hypothesis.log_probability == pytest.approx(expected, abs=1e-4)


def test_tokens_are_told_as_they_are_chosen():
    model = build().float()
    prompt = torch.randint(3, V, (2, 3))
    streamed: dict[int, list[int]] = {0: [], 1: []}
    results = search(
        model, model.start(prompt, 1, 8), config=DecodeConfig(beam=1, sample=True), bos_id=prompt[:, -1], eos_id=2,
        max_lengths=torch.tensor([8, 5]), cached=2, on_token=lambda sentence, token: streamed[sentence].append(token),
    )  # fmt: skip
    assert [tokens[:-1] for tokens in streamed.values()] == [hypotheses[0].tokens for hypotheses in results]
    assert all(tokens[-1] == 2 for tokens in streamed.values())
    with pytest.raises(ValueError, match="one hypothesis"):
        search(
            model, model.start(prompt, 2, 8), config=DecodeConfig(beam=2), bos_id=prompt[:, -1], eos_id=2,
            max_lengths=torch.tensor([8, 5]), cached=2, on_token=print,
        )  # fmt: skip


def test_residual_projections_start_smaller_with_depth():
    torch.manual_seed(0)
    model = GPT(GPTConfig(dim=64, heads=2, ffn_dim=128, depth=8), V)
    block = model.stack.blocks[3]
    ratio = block.feed_forward.sublayer.project_out.weight.std() / block.feed_forward.sublayer.project_in.weight.std()
    assert float(ratio) == pytest.approx(16**-0.5, rel=0.1)


def test_a_mask_of_documents_is_part_of_causality():
    documents = torch.tensor([[0, 0, 1]])
    allowed = documents[:, None, :, None] == documents[:, None, None, :]
    seen = Mask(allowed, causal=True, may_be_empty=False).additive(3, 3, torch.float32, torch.device("cpu"))
    assert (seen[0, 0] == 0).tolist() == [[True, False, False], [True, True, False], [False, False, True]]
