"""GPT-2 in from, and our GPT out to, Hugging Face: the same numbers, the same ids."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from tests.interop.folders import export_gpt, import_model
from tformer_cli.config.schema import Positions, TokenizerConfig, TokenizerKind
from tformer_cli.errors import ConfigError
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT
from tformer_cli.runs.checkpoint import load_model_tensors
from tformer_cli.tokenizers.tokenizer import Tokenizer

SHAPES = [
    {"n_embd": 24, "n_head": 3, "n_layer": 2, "n_inner": None},
    {"n_embd": 16, "n_head": 1, "n_layer": 4, "n_inner": 10, "activation_function": "relu"},
    {"n_embd": 20, "n_head": 5, "n_layer": 1, "n_inner": 33, "tie_word_embeddings": False},
]
END = "<|endoftext|>"


def byte_level(folder) -> None:
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "\u0120th", END]
    library = Library(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("t", "h"), ("\u0120", "th")]))
    library.pre_tokenizer, library.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    library.save(str(folder / "tokenizer.json"))
    named = {"bos_token": END, "eos_token": END, "unk_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"width {shape['n_embd']}")
def test_import_computes_the_same(shape, tmp_path):
    torch.manual_seed(0)
    byte_level(tmp_path)
    size = Library.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size()
    settings = transformers.GPT2Config(**shape, vocab_size=size, n_positions=19)
    theirs = transformers.GPT2LMHeadModel(settings).eval()
    with torch.no_grad():
        for value in theirs.parameters():
            value.add_(0.1 * torch.randn_like(value))
    theirs.save_pretrained(tmp_path)
    config, weights, tokenizer = import_model(tmp_path)
    ours = GPT(config, tokenizer.vocab_size).eval()
    load_model_tensors(ours, weights, "imported")
    tokens = torch.randint(size, (3, 13))
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(tokens)), theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    assert tokenizer.pieces(tokenizer.encode("th th\u00e9")) == ["th", "\u0120th", "\u00c3", "\u00a9"]
    assert tokenizer.decode(tokenizer.encode("th  th\u00e9\n")) == "th  th\u00e9\n"
    assert tokenizer.eos_id == tokenizer.bos_id == size - 1


@pytest.mark.parametrize("tied", [True, False])
def test_export_computes_the_same_and_comes_back(tied, tmp_path):
    torch.manual_seed(0)
    settings = TokenizerConfig(kind=TokenizerKind.bpe, vocab_size=300, lossless=True)
    tokenizer = Tokenizer.train({"text": ["the cat sat on the mat", "cats sat on unknown mats"] * 20}, settings)
    config = GPTConfig(dim=24, heads=3, ffn_dim=20, depth=2, max_length=19, dropout=0.0, tie_embeddings=tied)
    ours = GPT(config, tokenizer.vocab_size).eval()
    with torch.no_grad():
        for value in ours.parameters():
            value.add_(0.1 * torch.randn_like(value))
    export_gpt(ours, tokenizer, tmp_path / "out")
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "the cat  sat\non mats"
    assert again(text)["input_ids"] == [tokenizer.eos_id, *tokenizer.encode(text)]
    tokens = torch.tensor([[tokenizer.eos_id, *tokenizer.encode("the cat sat")]])
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(tokens)), reference(tokens).logits, atol=1e-5, rtol=1e-5)
    back_config, weights, back = import_model(tmp_path / "out")
    assert back_config == config and back.hash == tokenizer.hash
    state = ours.state_dict()
    assert all(torch.equal(weights[name], state[name]) for name in weights) and len(weights) == len(state)


def test_settings_without_a_counterpart_are_named(tmp_path):
    config = GPTConfig(dim=24, heads=3, ffn_dim=20, depth=1, positions=Positions.rotary)
    settings = TokenizerConfig(kind=TokenizerKind.char, vocab_size=300)
    tokenizer = Tokenizer.train({"text": ["abc"]}, settings)
    with pytest.raises(ConfigError, match=r"model\.positions: rotary cannot be exported"):
        export_gpt(GPT(config, tokenizer.vocab_size), tokenizer, tmp_path / "out")
