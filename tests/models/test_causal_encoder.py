"""A causal language model as an encoder has the vectors, and takes the weights, of the language model."""

from __future__ import annotations

import pytest
import torch

from tests.properties.families import ENTITIES
from tformer_cli.cli.main import main
from tformer_cli.models.causal_encoder import CausalEncoder
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT
from tformer_cli.models.recurrent_lm import RecurrentLMConfig
from tformer_cli.models.recurrent_lm.model import RecurrentLM
from tformer_cli.trained.opening import open_run

V = 11


def language_model(family: str) -> torch.nn.Module:
    """Return a language model with an output layer of its own, in evaluation mode."""
    torch.manual_seed(0)
    if family == "gpt":
        return GPT(GPTConfig(dim=8, heads=2, ffn_dim=16, depth=2, max_length=12, tie_embeddings=False), V).eval()
    return RecurrentLM(RecurrentLMConfig(dim=8, depth=2, tie_embeddings=False), V).eval()


@pytest.mark.parametrize("family", ["gpt", "recurrent_lm"])
def test_the_vectors_are_the_hidden_states_and_depend_on_the_left_alone(family):
    model, tokens = language_model(family), torch.randint(V, (3, 9))
    expected = model(tokens)
    encoder = CausalEncoder(model)
    assert encoder.width == 8 and encoder.embedding.num_embeddings == V
    assert not any("output" in name for name in encoder.state_dict())
    lengths = torch.tensor([9, 9, 9])
    torch.testing.assert_close(encoder(tokens, lengths), expected)
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % V
    difference = (encoder(changed, lengths) - expected).abs().amax((0, 2))
    assert not difference[:5].any() and difference[5:].all()
    with pytest.raises(ValueError, match="no segments"):
        encoder(tokens, lengths, torch.zeros_like(tokens))


@pytest.mark.parametrize(
    "settings",
    [["model=gpt_mini", "model.heads=2", "model.ffn_dim=32", "model.positions=rotary"], ["model=recurrent_lm"]],
    ids=["gpt", "lstm"],
)
def test_a_tagger_starts_from_a_language_model_and_reads_the_last_piece_of_a_word(tmp_path, settings):
    text = tmp_path / "text.txt"
    text.write_text("Ann saw the old house in Rome\n" * 40)
    shape = [*settings, "model.dim=16", "model.depth=1", "trainer.steps=2", "--quiet"]
    language = [
        "gpt/files",
        f"data.path={text}",
        "data.validation_share=0.5",
        "tokenizer.kind=char",
        "tokenizer.lossless=false",
    ]
    assert main(["pretrain", *language, *shape, "model.max_length=8", "--run", str(tmp_path / "lm")]) == 0
    tagging = [f"data.path={ENTITIES}", "data.validation_share=0.2", "head.frozen=true", "model.max_length=24"]
    start = ["--from", str(tmp_path / "lm"), "--run", str(tmp_path / "tags")]
    assert main(["finetune", "text/tagging", *tagging, *shape, *start]) == 0
    source, tagger = open_run(tmp_path / "lm").model, open_run(tmp_path / "tags")
    for name, value in source.state_dict().items():
        if not name.startswith("output") and "positions" not in name:
            assert torch.equal(tagger.model.state_dict()[f"encoder.decoder.{name}"], value)
    data = tagger.task.data
    (pieces,) = data.encode([["house", "Rome"]])
    tokens, _, indices, _ = data.join([pieces])
    ends = [len(pieces[0]), len(pieces[0]) + len(pieces[1])]
    assert len(pieces[1]) > 1 and indices.tolist() == ends
    assert tokens[0].tolist() == [data.tokenizer.eos_id, *pieces[0], *pieces[1], data.tokenizer.eos_id]
