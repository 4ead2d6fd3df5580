"""Exported runs: the outputs of the library's tokenizer and model equal those of `predict`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.interop.folders import export_gpt
from tests.properties.families import FAMILIES
from tformer_cli import tasks
from tformer_cli.config.schema import Cut, DecodeConfig
from tformer_cli.interop.export import export_run
from tformer_cli.interop.huggingface_weights import export_config
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.tokenizers.tokenizer import Tokenizer
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import Opened, open_run

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is not installed")

BY_NAME = {family.name: family for family in FAMILIES}


def exported(folder: Path, family: str, *more: str) -> tuple[Opened, Path]:
    """Return a run of a family, and the folder to which it is exported."""
    launch(BY_NAME[family].config(folder, "trainer.steps=20", "optim.lr=0.01", *more), folder / "run", quiet=True)
    export_run(folder / "run", folder / "out")
    return open_run(folder / "run", device="cpu"), folder / "out"


def same_text(tokenizer, prompt_ids, ids, answer: str) -> bool:
    """Return whether generated text equals tformer's output, which ends before incomplete characters."""
    texts = [tokenizer.decode(part, skip_special_tokens=True) for part in (prompt_ids, ids)]
    return texts[1].rstrip("\ufffd") == (texts[0] + answer).rstrip("\ufffd")


PROMPTS = ["The list", "", "def main(", "   spaces  and\ttabs", "a</s>b", "Zürich 日本", "x" * 9]


SEARCHES = [
    ["decode.beam=1"],
    ["decode.beam=1", "tokenizer.kind=unigram", "tokenizer.lossless=false", "model.tie_embeddings=false"],
]
MORE = [
    ["decode.beam=1", "decode.max_length=5"],
    ["decode.beam=3", "decode.stopping=longest"],
    ["decode.beam=1", "tokenizer.kind=bpe", "tokenizer.lossless=true"],
]


@pytest.mark.parametrize(
    "search", [*SEARCHES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE)], ids=" ".join
)
def test_generate_writes_on_as_predict_does(search, tmp_path):
    settings = ["decode.max_length=0", "model.max_length=24", "model.positions=learned"]
    opened, out = exported(tmp_path, "gpt", *settings, *search)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    model = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    assert model.generation_config.num_beams == opened.config.decode.beam
    answers = list(opened.task.predict(opened.model, PROMPTS))
    assert len({answer.text for answer in answers}) > 1
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        given = tokenizer(prompt, return_tensors="pt")
        assert given["input_ids"][0].tolist() == [
            opened.task.data.tokenizer.eos_id,
            *opened.task.data.tokenizer.encode(prompt),
        ]
        (written,) = model.generate(**given)
        assert same_text(tokenizer, given["input_ids"][0], written, answer.text), prompt


@torch.no_grad()
def test_a_fine_tuned_gpt_2_writes_on_as_predict_does(tmp_path):
    from tests.interop.test_huggingface_gpt import byte_level
    from tformer_cli.config.compose import compose
    from tformer_cli.models.gpt import GPTConfig
    from tformer_cli.models.gpt.model import GPT
    from tformer_cli.tokenizers.huggingface import JsonTokenizer

    byte_level(tmp_path)
    task = tasks.build(compose("quickstart/gpt", ["decode.sample=false", "decode.beam=1", "model.max_length=32"]))
    task.data.tokenizer = JsonTokenizer.from_folder(tmp_path)
    task.config.model = GPTConfig(dim=16, heads=2, ffn_dim=20, depth=2, max_length=32)
    torch.manual_seed(2)
    ours = GPT(task.config.model, task.data.tokenizer.vocab_size).eval()
    for value in ours.parameters():
        value.add_(0.3 * torch.randn_like(value))
    export_gpt(ours, task.data.tokenizer, tmp_path / "out", task.config.decode)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    prompts = ["the thing", "", " th th", "a\nb"]
    for prompt, answer in zip(prompts, task.predict(ours, prompts), strict=True):
        given = tokenizer(prompt, return_tensors="pt", return_offsets_mapping=True)
        assert given.pop("offset_mapping")[0][0].tolist() == [0, 0]
        (written,) = model.generate(**given, do_sample=False)
        assert same_text(tokenizer, given["input_ids"][0], written, answer.text), prompt
    again = JsonTokenizer.from_folder(tmp_path / "out")
    assert [again.encode(prompt) for prompt in prompts] == [task.data.tokenizer.encode(prompt) for prompt in prompts]


def test_a_tagger_goes_out_with_its_tags(tmp_path):
    opened, out = exported(tmp_path, "token tagging")
    model = transformers.AutoModelForTokenClassification.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tuple(model.config.id2label[number] for number in range(len(opened.task.data.tags))) == opened.task.data.tags
    lines = [line for line in BY_NAME["token tagging"].inputs if line]
    for line, answer in zip(lines, opened.task.predict(opened.model, lines), strict=True):
        words = line.split()
        given = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        pieces = opened.task.data.encode([words])
        assert given["input_ids"][0].tolist() == opened.task.data.join(pieces)[0][0].tolist()
        with torch.no_grad():
            shares = model(**given).logits[0].softmax(-1)
        firsts = [given.word_ids().index(number) for number in range(len(words))]
        assert [model.config.id2label[int(shares[first].argmax())] for first in firsts] == answer.details["tags"]
        expected = answer.details["probabilities"]
        assert [float(shares[first].max()) for first in firsts] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name)
def test_texts_that_are_too_long_lose_the_same_part_there(cut, tmp_path, recwarn):
    settings = ["model.norm=post", "model.positions=learned", "trainer.steps=1", f"data.cut={cut.name}"]
    opened, out = exported(tmp_path, "text classification", *settings)
    warned = [str(one.message) for one in recwarn if "data.cut" in str(one.message)]
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    text = "a good film, what a bore of a film, the best film ever, the worst film of all"
    (tokens,), _, _ = opened.task.data.join([opened.task.data.encode([text])])
    same = tokenizer(text, truncation=True)["input_ids"] == tokens.tolist()
    assert same == (cut is not Cut.middle) and len(tokens) == opened.config.model.max_length
    assert warned == ([] if same else [
        "warning: data.cut: middle is not exported: Hugging Face's tokenizers cut the end of texts that are too long"
    ])  # fmt: skip


def test_a_model_of_questions_goes_out_with_its_head(tmp_path):
    opened, out = exported(tmp_path, "question answering")
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer("Where?", "Ann lives").sequence_ids()[0] is None
    batch = opened.task.view("train").collate(0, [0, 1])
    real_tokens = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
    with torch.no_grad():
        ours = opened.model(batch.tokens, batch.lengths, batch.segments, batch.allowed)
        outputs = model(batch.tokens, attention_mask=real_tokens.long(), token_type_ids=batch.segments)
    for row, exported_logits in enumerate((outputs.start_logits, outputs.end_logits)):
        where = batch.allowed & real_tokens
        torch.testing.assert_close(ours[:, row][where], exported_logits[where], atol=1e-4, rtol=1e-4)


def test_every_dropout_of_a_translation_model_is_written():
    """Outputs at inference do not depend on dropout, so other tests cannot detect a lost setting."""
    config = Seq2SeqConfig(dropout=0.11, attention_dropout=0.12, ffn_dropout=0.13)
    exported_config = export_config(config, (9, 9), {"pad": 0, "bos": 1, "eos": 2})
    rates = [exported_config[name] for name in ("dropout", "attention_dropout", "activation_dropout")]
    assert rates == [0.11, 0.12, 0.13]


def test_the_search_goes_out_with_a_language_model(tmp_path):
    from tformer_cli.config.schema import TokenizerConfig, TokenizerKind
    from tformer_cli.models.gpt import GPTConfig
    from tformer_cli.models.gpt.model import GPT

    tokenizer = Tokenizer.train({"text": ["abc abd"]}, TokenizerConfig(kind=TokenizerKind.char, vocab_size=300))
    model = GPT(GPTConfig(dim=8, heads=2, ffn_dim=8, depth=1, max_length=20), tokenizer.vocab_size)
    drawn = DecodeConfig(sample=True, temperature=0.7, top_k=5, top_p=0.9, max_length=6)
    export_gpt(model, tokenizer, tmp_path / "out", drawn)
    saved = json.loads((tmp_path / "out" / "generation_config.json").read_bytes())
    assert (saved["do_sample"], saved["temperature"], saved["top_k"], saved["top_p"]) == (True, 0.7, 5, 0.9)
    assert (saved["max_length"], saved["max_new_tokens"], saved["eos_token_id"]) == (20, 6, tokenizer.eos_id)
    assert saved["suppress_tokens"] == sorted({tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id})
