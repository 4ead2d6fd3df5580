"""BERT and RoBERTa in from, and out to, Hugging Face: the same numbers, the same ids."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers
from torch import Tensor

from tests.interop.folders import export_bert, import_model
from tformer_cli.config.schema import ClassifierHeadConfig, Target, TokenizerConfig, TokenizerKind
from tformer_cli.data.core.labels import LabelSet
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.interop.huggingface_tokenizer import encoder_files, prompt_files, to_huggingface
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.bert.model import BERT
from tformer_cli.models.token_heads import MaskedLanguageModel, SequenceClassifier
from tformer_cli.runs.checkpoint import load_model_tensors
from tformer_cli.tokenizers.huggingface import JsonTokenizer
from tformer_cli.tokenizers.tokenizer import Tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "un", "##known", "on", "."]
SHAPES = [
    {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20},
    {
        "hidden_size": 16,
        "num_attention_heads": 1,
        "num_hidden_layers": 5,
        "intermediate_size": 40,
        "hidden_act": "relu",
    },
    {
        "hidden_size": 20,
        "num_attention_heads": 5,
        "num_hidden_layers": 1,
        "intermediate_size": 7,
        "layer_norm_eps": 1e-2,  # a DistilBERT ignores it
    },
]
DISTILBERT = {
    "hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers",
    "intermediate_size": "hidden_dim", "hidden_act": "activation",
}  # fmt: skip


def wordpiece(folder: Path) -> None:
    """A small WordPiece vocabulary in the folder."""
    library = Library(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    library.enable_truncation(3)
    library.enable_padding(length=8)
    library.save(str(folder / "tokenizer.json"))
    roles = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    named = {f"{role}_token": {"content": piece} if role == "mask" else piece for role, piece in roles.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


def theirs_of(kind: str, shape: dict, seed: int = 0):
    torch.manual_seed(seed)
    settings = {**shape, "vocab_size": len(WORDS), "max_position_embeddings": 19, "attn_implementation": "eager"}
    if kind == "roberta":
        settings |= {"pad_token_id": 0, "type_vocab_size": 1}
        model = transformers.RobertaForMaskedLM(transformers.RobertaConfig(**settings))
    elif kind == "distilbert":
        settings = {DISTILBERT.get(name, name): value for name, value in settings.items()}
        model = transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(**settings))
    else:
        model = transformers.BertForPreTraining(transformers.BertConfig(**settings))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model.eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    tokens = torch.randint(5, len(WORDS), (4, 11))
    lengths = torch.tensor([11, 3, 7, 1])
    tokens[torch.arange(11) >= lengths[:, None]] = 0
    return tokens, lengths, (torch.arange(11) > 4).long().expand(4, -1).contiguous()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"width {shape['hidden_size']}")
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_import_computes_the_same(kind, shape, tmp_path):
    shape = {**shape, "hidden_act": "gelu"} if kind != "bert" else shape
    theirs = theirs_of(kind, shape)
    theirs.save_pretrained(tmp_path)
    wordpiece(tmp_path)
    config, weights, tokenizer = import_model(tmp_path)
    assert isinstance(tokenizer, JsonTokenizer) and tokenizer.mask_id == 4
    ours = MaskedLanguageModel(BERT(config, tokenizer.vocab_size), nsp=kind == "bert").eval()
    load_model_tensors(ours, weights, "imported")
    tokens, lengths, segments = batch()
    real = torch.arange(11) < lengths[:, None]
    with torch.no_grad():
        places = real.flatten().nonzero()[:, 0]
        segments = segments if kind == "bert" else None
        chosen, hidden = ours(tokens, lengths, segments, places)
        kinds = {"token_type_ids": segments} if kind == "bert" else {}
        outputs = theirs(tokens, attention_mask=real.long(), **kinds)
    logits = outputs.prediction_logits if kind == "bert" else outputs.logits
    torch.testing.assert_close(ours.logits(chosen), logits[real], atol=1e-5, rtol=1e-5)
    if kind == "bert":  # theirs: 0 means that B follows
        torch.testing.assert_close(ours.follows(hidden), outputs.seq_relationship_logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("nsp", [False, True])
@pytest.mark.parametrize("joint", ["sentencepiece", "wordpiece"])
def test_export_computes_the_same_and_comes_back(joint, nsp, tmp_path):
    torch.manual_seed(0)
    if joint == "wordpiece":
        (tmp_path / "words").mkdir()
        wordpiece(tmp_path / "words")
        tokenizer = JsonTokenizer.from_folder(tmp_path / "words")
    else:
        settings = TokenizerConfig(kind=TokenizerKind.bpe, vocab_size=40, user_symbols=["<mask>"])
        tokenizer = Tokenizer.train({"text": ["the cat sat on the mat", "cats sat on unknown mats"] * 20}, settings)
    config = BERTConfig(dim=24, heads=3, ffn_dim=20, depth=2, max_length=19, dropout=0.0)
    ours = MaskedLanguageModel(BERT(config, tokenizer.vocab_size), nsp=nsp).eval()
    with torch.no_grad():
        for value in ours.parameters():
            value.add_(0.1 * torch.randn_like(value))
    export_bert(ours, tokenizer, tmp_path / "out")
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = f"the cat {again.mask_token} on the mat"
    given = again(text, "cats sat", return_tensors="pt")
    ids = [tokenizer.bos_id, *tokenizer.encode("the cat <mask> on the mat"), tokenizer.eos_id]
    second = [*tokenizer.encode("cats sat"), tokenizer.eos_id]
    assert given["input_ids"][0].tolist() == ids + second
    assert given["token_type_ids"][0].tolist() == [0] * len(ids) + [1] * len(second)
    tokens = torch.tensor([ids + second])
    segments = torch.tensor([[0] * len(ids) + [1] * len(second)])
    with torch.no_grad():
        places = torch.arange(tokens.shape[1])
        chosen, _ = ours(tokens, torch.tensor([tokens.shape[1]]), segments, places)
        expected = theirs(tokens, token_type_ids=segments).logits[0]
    torch.testing.assert_close(ours.logits(chosen), expected, atol=1e-5, rtol=1e-5)
    back_config, weights, back = import_model(tmp_path / "out")
    assert back_config == config and back.hash == tokenizer.hash
    state = ours.state_dict()
    assert all(torch.equal(weights[name], state[name]) for name in weights) and len(weights) == len(state)


GAPS = [
    "the cat <mask> on the mat", "<mask> cat sat", "  <mask> cat", "the <mask> <mask> mat", "on<mask><mask> mat",
    "<mask>", " <mask> ", "the cat sat on the <mask>.", "the <mask>, sat", "the c<mask>t sat", "the  cat  <mask>  on",
    "the cat\t<mask>\u3000on", "cats \u2581<mask>\u2581 sat", "the <mask > mask <mask", "the \uff1cmask\uff1e sat",
    "(<mask>)", "the cat sat", "the </s> on<s>",
]  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": TokenizerKind.unigram},
        {"kind": TokenizerKind.bpe},
        {"kind": TokenizerKind.char},
        {"kind": TokenizerKind.bpe, "byte_fallback": True, "user_symbols": ["<sep>", "<mask>", "at"]},
        {"kind": TokenizerKind.unigram, "lossless": True},
        {"kind": TokenizerKind.bpe, "lossless": True},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_a_gap_is_the_same_there(settings, tmp_path):
    """Wherever in a line it is, and after AutoTokenizer has saved it too; special tokens in a text are text."""
    size = 320 if settings.keys() & {"byte_fallback", "lossless"} else 50
    settings = TokenizerConfig(vocab_size=size, **{"user_symbols": ["<mask>"], **settings})
    draw = random.Random(1)
    words = ["the", "cat", "cats", "sat", "on", "mat", "mask", "(mask)", "<mask>", ">", "."]
    words += [
        "".join(draw.choices(["th", "in", "er", "st", "k", "u", "i", "a"], k=draw.randint(1, 4))) for _ in range(100)
    ]
    lines = [" ".join(draw.choices(words, k=7)) + draw.choice(".,!") for _ in range(200)]
    tokenizer = Tokenizer.train({"text": lines}, settings)
    for name, files in {"encoder": encoder_files(tokenizer, 99, 2), "prompt": prompt_files(tokenizer, 99)}.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    library = transformers.AutoTokenizer.from_pretrained(tmp_path / "encoder")
    prompt = transformers.AutoTokenizer.from_pretrained(tmp_path / "prompt")
    assert library.mask_token_id == tokenizer.mask_id and len(library) == tokenizer.vocab_size
    library.save_pretrained(tmp_path / "again")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    for line, expected in zip(GAPS, tokenizer.encode_batch(GAPS), strict=True):
        ids = library(line)["input_ids"]
        assert ids == [tokenizer.bos_id, *expected, tokenizer.eos_id], (line, library.convert_ids_to_tokens(ids))
        assert again(line)["input_ids"] == ids and prompt(line)["input_ids"] == [tokenizer.eos_id, *expected]


def test_a_classifier_goes_out_with_its_labels(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "words").mkdir()
    wordpiece(tmp_path / "words")
    tokenizer = JsonTokenizer.from_folder(tmp_path / "words")
    config = BERTConfig(dim=24, heads=3, ffn_dim=20, depth=2, max_length=19, dropout=0.0)
    ours = SequenceClassifier(BERT(config, tokenizer.vocab_size), ClassifierHeadConfig(), 3).eval()
    export_bert(ours, tokenizer, tmp_path / "out", LabelSet(Target.label, ("bad", "good", "so-so")))
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert theirs.config.id2label[2] == "so-so"
    tokens, lengths, _ = batch()
    with torch.no_grad():
        expected = theirs(tokens, attention_mask=(torch.arange(11) < lengths[:, None]).long()).logits
        torch.testing.assert_close(ours(tokens, lengths), expected, atol=1e-5, rtol=1e-5)


def test_ids_are_those_of_the_library_without_its_padding(tmp_path):
    wordpiece(tmp_path)
    tokenizer = JsonTokenizer.from_folder(tmp_path)
    assert tokenizer.pieces(tokenizer.encode("The cats <mask> unknown.")) == [
        "the", "cat", "##s", "[MASK]", "un", "##known", "."
    ]  # fmt: skip
    assert tokenizer.encode_batch(["the", "cat sat"]) == [[5], [6, 7]]
    drawn = tokenizer.encode_batch_sampled(["the", "cat sat"], strength=0.5, rng=np.random.default_rng(1))
    assert drawn == [[5], [6, 7]]  # such a vocabulary has one segmentation
    assert tokenizer.word_starts()[WORDS.index("##s")] is False and tokenizer.word_starts()[5] is True
    for name, content in tokenizer.files().items():
        (tmp_path / "kept").mkdir(exist_ok=True)
        (tmp_path / "kept" / name).write_bytes(content)
    assert Tokenizer.load(tmp_path / "kept").hash == tokenizer.hash
    with pytest.raises(ConfigError, match="not written for seq2seq models"):
        to_huggingface(tokenizer, ("en", "xx"), 99)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"hidden_act": "mish"}, ConfigError, "hidden_act 'mish' is not supported"),
        ({"position_embedding_type": "relative_key"}, ConfigError, "relative_key"),
        ({"num_attention_heads": 7}, ConfigError, "no multiple of 7 heads"),
        ({"num_hidden_layers": 3}, ConfigError, "are missing"),
        ({"num_hidden_layers": 1}, ConfigError, "have no place"),
        ({"model_type": "albert"}, ConfigError, "is not supported"),
    ],
)
def test_what_does_not_fit_is_named(change, kind, message, tmp_path):
    theirs_of("bert", SHAPES[0]).save_pretrained(tmp_path)
    wordpiece(tmp_path)
    place = tmp_path / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    with pytest.raises(kind, match=message):
        import_model(tmp_path)


def test_no_tokenizer_is_said(tmp_path):
    theirs_of("bert", SHAPES[0]).save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        import_model(tmp_path)


def test_settings_without_a_counterpart_are_named(tmp_path):
    (tmp_path / "words").mkdir()
    wordpiece(tmp_path / "words")
    tokenizer = JsonTokenizer.from_folder(tmp_path / "words")
    from tformer_cli.config.schema import Norm

    config = BERTConfig(dim=24, heads=3, ffn_dim=20, depth=1, norm=Norm.pre)
    with pytest.raises(ConfigError, match=r"model\.norm: pre cannot be exported"):
        export_bert(MaskedLanguageModel(BERT(config, tokenizer.vocab_size), nsp=False), tokenizer, tmp_path / "out")
