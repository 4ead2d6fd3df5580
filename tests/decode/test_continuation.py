"""The continuation of a prompt is exact for every vocabulary, at once or token by token."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import sentencepiece
import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tests.properties.families import family_named
from tformer_cli.config.schema import TokenizerConfig, TokenizerKind
from tformer_cli.decode.continuation import REPLACEMENT, Continuation
from tformer_cli.tokenizers.huggingface import JsonTokenizer
from tformer_cli.tokenizers.tokenizer import JOINT, Tokenizer, Vocabulary

LINES = [
    "The cat doesn't sit on the mat, it sleeps (always).",
    "\uff26\uff35\uff2c\uff2c width and \ufb01ne ligatures 中文 and 日本",
    "Cafe\u0301s: 3.5 % of  them, isn't it?",
] * 20
PROMPTS = [
    "The cat",
    "",
    "\uff26\uff35\uff2c\uff2c \ufb01ne",
    "it ",
    "e\u0301 中",
    "cat </s> <s>mat",
    "a  b\tc",
    "😀 is",
    "it '",
]


def trained(kind: str, lossless: bool = False) -> Tokenizer:
    settings = {"byte_fallback": True, "vocab_size": 305, "lossless": lossless}
    return Tokenizer.train({"text": LINES}, TokenizerConfig(kind=TokenizerKind[kind], **settings))


def normalising(rule: str, **settings) -> Tokenizer:
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=writer, vocab_size=90, normalization_rule_name=rule, pad_id=0,
        unk_id=1, bos_id=2, eos_id=3, hard_vocab_limit=False, minloglevel=3, **settings,
    )  # fmt: skip
    return Tokenizer({JOINT: writer.getvalue()}, kind="sentencepiece")


def byte_level() -> JsonTokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet)
    )
    return JsonTokenizer(made.to_str().encode(), dict.fromkeys(("pad", "unk", "bos", "eos"), "</s>"))


def word_piece() -> JsonTokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(cleanup=True)
    made.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=90, special_tokens=special))
    return JsonTokenizer(made.to_str().encode(), dict(zip(("pad", "unk", "bos", "eos"), special, strict=True)))


VOCABULARIES = {
    "unigram": lambda: trained("unigram"),
    "bpe": lambda: trained("bpe"),
    "char": lambda: trained("char"),
    "lossless": lambda: trained("bpe", lossless=True),
    "nfkc_cf": lambda: normalising("nfkc_cf"),
    "identity": lambda: normalising("identity"),
    "suffixes": lambda: normalising("nmt_nfkc", treat_whitespace_as_suffix=True),
    "byte-level": byte_level,
    "WordPiece": word_piece,
}


@pytest.fixture(scope="module", params=list(VOCABULARIES))
def vocabulary(request) -> Vocabulary:
    return VOCABULARIES[request.param]()


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    family = family_named("gpt")
    return family.task(tmp_path_factory.mktemp("gpt"))


def drawn(vocabulary: Vocabulary, random: np.random.Generator) -> list[int]:
    """Return random tokens: pieces, single bytes and special ones."""
    return random.integers(0, vocabulary.vocab_size, random.integers(1, 20)).tolist()


def test_a_prompt_and_what_is_added_are_the_text_of_all_tokens(vocabulary):
    random = np.random.default_rng(1)
    for prompt in PROMPTS * 10:
        ids = [vocabulary.eos_id, *vocabulary.encode(prompt)]
        assert vocabulary.decode(ids) == vocabulary.decode(ids[1:])
        tokens = drawn(vocabulary, random)
        text, full_text = Continuation(vocabulary, ids).text(tokens), vocabulary.decode([*ids, *tokens])
        if vocabulary.decodes_in_steps and not text.endswith(REPLACEMENT):
            assert vocabulary.decode(ids) + text == full_text
        assert full_text.rstrip(REPLACEMENT).endswith(text.rstrip(REPLACEMENT)) or not vocabulary.decodes_in_steps


def test_what_is_settled_is_never_taken_back(vocabulary):
    random = np.random.default_rng(2)
    for prompt in PROMPTS * 10:
        continuation = Continuation(vocabulary, [vocabulary.eos_id, *vocabulary.encode(prompt)])
        tokens, streamed = drawn(vocabulary, random), ""
        final = continuation.text(tokens)
        for count in range(len(tokens) + 1):
            settled = continuation.settled(tokens[:count])
            streamed = settled if settled.startswith(streamed) else streamed
            assert final.startswith(streamed), (final, streamed)
        assert len(final) - len(streamed) < 12 or not vocabulary.decodes_in_steps


def test_a_continuation_of_a_real_text_is_its_rest(vocabulary):
    for line in LINES[:3]:
        ids = vocabulary.encode(line)
        for cut in range(len(ids)):
            rest = Continuation(vocabulary, ids[:cut]).text(ids[cut:])
            if vocabulary.decodes_in_steps and REPLACEMENT not in vocabulary.decode(ids[:cut]):
                assert vocabulary.decode(ids[:cut]) + rest == vocabulary.decode(ids)


def test_what_is_streamed_is_what_predict_gives(gpt, vocabulary, monkeypatch):
    monkeypatch.setattr(gpt.data, "tokenizer", vocabulary)
    vars(gpt.config.decode).update(beam=1, n_best=1, sample=True, top_p=1.0, max_length=12, batch=1, workers=1)
    gpt.config.model.max_length = 64
    torch.manual_seed(3)
    model = gpt.model().eval()
    for seed, prompt in enumerate(PROMPTS):
        gpt.config.decode.seed = seed
        parts: list[str] = []
        gpt.predictor.stream(model, prompt, parts.append)
        (prediction,) = gpt.predict(model, [prompt])
        assert "".join(parts) == prediction.text
        (hypothesis,) = prediction.details["hypotheses"]
        assert prediction.text == hypothesis["text"] and isinstance(hypothesis["finished"], bool)


def test_spaces_between_prompt_and_continuation_are_kept():
    vocabulary = trained("unigram")
    before, after = vocabulary.encode("The cat"), vocabulary.encode("sleeps")
    assert Continuation(vocabulary, before).text(after) == " sleeps"
    assert Continuation(vocabulary, []).text(after) == "sleeps"


def test_word_piece_alone_is_held_back_to_whole_words():
    vocabulary = word_piece()
    assert not vocabulary.decodes_in_steps and byte_level().decodes_in_steps
    content = json.loads(vocabulary.files()["tokenizer.json"])
    content["decoder"]["cleanup"] = False
    special = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "eos": "[SEP]"}
    assert JsonTokenizer(json.dumps(content).encode(), special).decodes_in_steps
