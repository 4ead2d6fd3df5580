"""Tests of the tokenizer: exact round trips, hashes, limits, sampling."""

from __future__ import annotations

import os
import pickle
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from tformer_cli.config.schema import TokenizerConfig, TokenizerKind
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.tokenizers.tokenizer import Tokenizer
from tformer_cli.tokenizers.training import VocabularySizeError, drawn_lines


def words(syllables: str, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(syllables.split(), k=draw.randint(1, 4))) for _ in range(150)]


WORDS = ["the", "a", "cat", "dog", "mat", "sits", "on", "what", "is", "this"] + words(
    "th in er st ou re al cat sit on i a", 1
)
GERMAN = ["die", "der", "katze", "hund", "singt", "auf", "was"] + words("sch ei en ung kat ze ö der ge st e", 2)
KINDS = list(TokenizerKind)


def lines(words: list[str], count: int = 300, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(1, 12))) + " ." for _ in range(count)]


TEXTS = {"en": lines(WORDS), "de": lines(GERMAN, seed=1)}


def config(**settings) -> TokenizerConfig:
    settings.setdefault("vocab_size", 80)
    return TokenizerConfig(**settings)


def train(**settings) -> Tokenizer:
    return Tokenizer.train(TEXTS, config(**settings), seed=1)


def write(tokenizer: Tokenizer, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, data in tokenizer.files().items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("joint", [True, False])
def test_round_trip_and_files(tmp_path: Path, kind: TokenizerKind, joint: bool) -> None:
    tokenizer = train(kind=kind, joint=joint, vocab_size=60)
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)
    assert tokenizer.languages == (() if joint else ("en", "de"))
    loaded = Tokenizer.load(write(tokenizer, tmp_path / "run" / "tokenizer"))
    assert loaded.hash == tokenizer.hash == Tokenizer.load(tmp_path / "run").hash
    assert loaded.kind == kind.name and loaded.joint == joint
    for language, texts in TEXTS.items():
        batch = tokenizer.encode_batch(texts, language)
        assert batch == [loaded.encode(text, language) for text in texts]
        assert [tokenizer.decode([2, *ids, 3, 0, 0], language) for ids in batch] == texts
        assert max(map(max, batch)) < tokenizer.vocab_size_of(language) <= tokenizer.vocab_size
        assert not {0, 2, 3} & {i for ids in batch for i in ids}
        pieces = tokenizer.pieces(batch[0], language)
        assert "".join(pieces).replace("\u2581", " ").strip() == texts[0]


def test_special_pieces_have_names() -> None:
    assert train().pieces([0, 1, 2, 3]) == ["<pad>", "<unk>", "<s>", "</s>"]


def hashes() -> list[str]:
    few_lines = TokenizerConfig(vocab_size=80, lines=150)
    drawn = [Tokenizer.train(TEXTS, few_lines, seed).hash for seed in (1, 2)]
    return [train(joint=False, vocab_size=60).hash, train(kind=TokenizerKind.bpe).hash, *drawn]


def test_same_text_same_bytes_in_another_process() -> None:
    code = """
import sys
from tests_tokenizer import *
print(*hashes())
"""
    here = Path(__file__)
    loader = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("tests_tokenizer", {str(here)!r})
sys.modules["tests_tokenizer"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
    environment = {**os.environ, "PYTHONPATH": str(here.parents[2]), "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [sys.executable, "-c", loader + code], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stderr == ""
    assert run.stdout.split() == hashes()
    assert len(set(hashes())) == 4


def test_hash_depends_on_content_and_settings() -> None:
    hashes = [train().hash, train(vocab_size=81).hash, train(joint=False, vocab_size=60).hash]
    assert len(set(hashes)) == 3


ODD_LINES = [
    " two  spaces ",
    "\ttab\r",
    "\u2581 mark \u2581\u2581",
    "\u2585 reserved",
    "<s> </s> <pad> <unk> <0x41>",
    "ﬁ Å e\u0301 é",
    "\u2028\u2029\x85\x0b\x0c\x1c",
    "日本語のテキスト 🙂👩‍👩‍👧",
    "\ufeffbom\x00nul",
    "",
    " ",
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_lossless_is_exact(kind: TokenizerKind) -> None:
    tokenizer = train(kind=kind, lossless=True, vocab_size=340)
    draw = random.Random(3)
    alphabet = "ab \u2581\u2585\t日é\u0301🙂\x00<>/s"
    odd = ODD_LINES + ["".join(draw.choices(alphabet, k=draw.randint(0, 30))) for _ in range(300)]
    odd += [
        "".join(chr(draw.choice([draw.randrange(1, 0xD800), draw.randrange(0xE000, 0x110000)])) for _ in range(20))
        for _ in range(50)
    ]
    rng = np.random.default_rng(1)
    for line, ids in zip(odd, tokenizer.encode_batch(odd), strict=True):
        assert tokenizer.decode(ids) == line
        assert ids == tokenizer.encode(line)
        assert tokenizer.decode(tokenizer.encode_sampled(line, strength=0.3, rng=rng)) == line
        assert tokenizer.unk_id not in ids


def test_without_lossless_unicode_is_normalised_and_bytes_need_asking() -> None:
    assert train(vocab_size=80).unk_id in train(vocab_size=80).encode("日本")
    tokenizer = train(vocab_size=340, byte_fallback=True)
    assert tokenizer.decode(tokenizer.encode("  the   ﬁ 日本 ")) == "the fi 日本"


@pytest.mark.parametrize(
    ("settings", "spaces"),
    [
        ({"kind": TokenizerKind.unigram}, 0),
        ({"kind": TokenizerKind.bpe}, 0),
        ({"kind": TokenizerKind.char}, 1),
        ({"kind": TokenizerKind.bpe, "lossless": True, "vocab_size": 340}, 0),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_the_space_before_a_mask_is_part_of_it_where_pieces_begin_with_theirs(settings, spaces) -> None:
    tokenizer = train(user_symbols=["<mask>"], **settings)
    assert tokenizer.mask_takes_space == (spaces == 0)
    mask, (space,) = (
        tokenizer.mask_id,
        np.flatnonzero(np.array(tokenizer.pieces(range(tokenizer.vocab_size))) == "\u2581"),
    )
    gap = [*[space] * spaces, mask]
    rng = np.random.default_rng(1)
    for line in TEXTS["en"][:50]:
        position = line.find(" ", len(line) // 2)
        before, after = line[:position], line[position + 1 :]
        first, ids = tokenizer.encode(before), tokenizer.encode(line)
        remaining = ids[len(first) :]  # begins with the space
        expected = {
            f"{before} <mask> {after}": [*first, *gap, *remaining],
            f"{before} <mask> <mask>": [*first, *gap, *gap],
            f"<mask> {after}": [*([mask] if tokenizer.lossless else gap), *remaining],
            f"{before}<mask> {after}": [*first, mask, *remaining],
            f"{before}  <mask>": [*first, *[space] * tokenizer.lossless, *gap],
        }
        assert tokenizer.encode_batch(list(expected)) == [tokenizer.encode(text) for text in expected]
        assert tokenizer.encode_batch(list(expected)) == list(expected.values())
        drawn = tokenizer.encode_sampled(f"{before} <mask> {after}", strength=0.3, rng=rng)
        position = drawn.index(mask)
        assert drawn[position - spaces : position + 1] == gap and drawn[position - spaces - 1] != space
        assert tokenizer.decode(drawn[: position - spaces]) == before


def test_user_symbols_are_never_split() -> None:
    tokenizer = train(user_symbols=["<2de>", "a,b"])
    pieces = tokenizer.pieces(tokenizer.encode("<2de> the a,b"))
    assert "<2de>" in pieces and "a,b" in pieces


def test_long_lines_are_learnt_whole() -> None:
    texts = {"en": ["the cat sits . " * 1000 + "zebra " * 3000, "x" * 10_000 + "q"]}
    tokenizer = Tokenizer.train(texts, config(vocab_size=20), seed=1)
    for character in "zebrxq":
        assert tokenizer.unk_id not in tokenizer.encode(character), character


def test_lines_with_the_reserved_character_are_not_skipped() -> None:
    texts = {"en": [*TEXTS["en"], "zz\u2585qq"]}
    tokenizer = Tokenizer.train(texts, config(), seed=1)
    assert tokenizer.unk_id not in tokenizer.encode("zzqq")


def test_training_takes_an_iterator_and_is_quiet(capfd: pytest.CaptureFixture) -> None:
    tokenizer = Tokenizer.train({"en": iter(TEXTS["en"])}, config(), seed=1)
    assert tokenizer.hash == Tokenizer.train({"en": TEXTS["en"]}, config(), seed=1).hash
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_more_lines_are_learnt_from_than_asked_for(kind: TokenizerKind) -> None:
    pieces = {}
    for most in (150, 600, 10**6):  # there are 600
        first, second = (train(kind=kind, lines=most, vocab_size=70) for _ in range(2))
        assert first.hash == second.hash
        pieces[most] = first.pieces(range(first.vocab_size))
    assert pieces[600] == pieces[10**6]
    assert pieces[150] != pieces[600]


@pytest.mark.parametrize("kind", [TokenizerKind.unigram, TokenizerKind.bpe], ids=lambda kind: kind.name)
@pytest.mark.parametrize("joint", [True, False])
def test_too_large_vocabulary_names_the_largest(kind: TokenizerKind, joint: bool, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.vocab_size.*at most \d+") as caught:
        train(kind=kind, joint=joint, vocab_size=5000)
    assert "\n" not in str(caught.value) and ("for en" in str(caught.value)) != joint
    largest = int(re.search(r"at most (\d+)", str(caught.value))[1])
    texts = TEXTS if joint else {"en": TEXTS["en"]}
    settings = config(kind=kind, joint=joint, vocab_size=largest)
    assert Tokenizer.train(texts, settings, seed=1).vocab_size == largest
    with pytest.raises(ConfigError):
        Tokenizer.train(texts, replace(settings, vocab_size=largest + 1), seed=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("largest", "remedy"),
    [(2296, "set it to 1100; at most 2296 is possible"), (499, "set it to at most 499")],
)
def test_a_smaller_vocabulary_is_advised(largest, remedy, monkeypatch):
    def fail(**settings):
        raise RuntimeError(f"Vocabulary size too high (8000). Please set it to a value <= {largest}.")

    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "train", fail)
    with pytest.raises(ConfigError) as caught:
        train(vocab_size=8000)
    assert str(caught.value) == f"tokenizer.vocab_size: the text is too small for 8000 pieces: {remedy}"


def test_the_advised_vocabulary_has_a_piece_for_each_character() -> None:
    words = [f"{chr(0x4E00 + 7 * number)}{chr(0x4E00 + 11 * number)}" for number in range(250)]
    texts = {"zh": [" ".join(words[start : start + 5]) for start in range(250)]}
    for lossless in (False, True):
        settings = config(vocab_size=8000, lossless=lossless)
        with pytest.raises(VocabularySizeError, match=r"at most \d+ is possible") as caught:
            Tokenizer.train(texts, settings)
        largest = int(re.search(r"at most (\d+)", str(caught.value))[1])
        assert largest // 200 * 100 < len(set("".join(words)) | {" "}) + 256 * lossless
        assert f"set it to {caught.value.suitable};" in str(caught.value)
        received = pickle.loads(pickle.dumps(caught.value))  # as a training process reports it to its parent
        assert (str(received), received.suitable) == (str(caught.value), caught.value.suitable)
        fitted = Tokenizer.train(texts, replace(settings, vocab_size=caught.value.suitable))
        assert fitted.vocab_size == caught.value.suitable <= largest


def test_too_small_vocabulary_names_the_smallest() -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.vocab_size.*at least \d+") as caught:
        train(vocab_size=10)
    smallest = int(re.search(r"at least (\d+)", str(caught.value))[1])
    assert train(kind=TokenizerKind.bpe, vocab_size=smallest).vocab_size == smallest


def test_characters_take_no_more_than_there_are() -> None:
    assert train(kind=TokenizerKind.char, vocab_size=8000).vocab_size < 60


@pytest.mark.parametrize("texts", [{"en": []}, {"en": ["", ""], "de": iter([])}], ids=["none", "blank"])
def test_no_text(texts: dict) -> None:
    with pytest.raises(DataError, match="no text"):
        Tokenizer.train(texts, config(), seed=1)


@pytest.mark.parametrize("symbols", [[""], ["<s>"], ["x", "x"], ["a\u2581b"]])
def test_impossible_user_symbols(symbols: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.user_symbols"):
        train(user_symbols=symbols)


def test_unknown_language_is_said() -> None:
    with pytest.raises(ConfigError, match="no vocabulary for fr: it has en, de"):
        train(joint=False, vocab_size=60).encode("le chat", "fr")
    with pytest.raises(ConfigError, match="cannot name"):
        Tokenizer.train({"../en": TEXTS["en"]}, config(joint=False), seed=1)


@pytest.mark.parametrize(
    "settings, least, named",
    [
        ({"byte_fallback": True}, 260, "special pieces and bytes"),
        ({"lossless": True}, 260, "special pieces and bytes"),
        ({"user_symbols": ["<a>", "<b>", "<c>", "<d>", "<e>"]}, 9, "special pieces and user symbols"),
        ({"user_symbols": ["<a>"], "byte_fallback": True}, 261, "special pieces and bytes and user symbols"),
    ],
)
def test_characters_without_room_for_what_is_no_character_are_refused_by_name(settings, least, named):
    with pytest.raises(ConfigError, match=f"tokenizer.vocab_size: {named} alone need {least}, more than 8: set it to"):
        train(kind=TokenizerKind.char, vocab_size=8, **settings)
    tokenizer = train(kind=TokenizerKind.char, vocab_size=least + 3, **settings)
    assert tokenizer.vocab_size == least + 3


def test_a_seed_of_many_bits_trains_a_tokenizer():
    config = TokenizerConfig(vocab_size=80)
    assert Tokenizer.train(TEXTS, config, 2**63 - 1).vocab_size == 80


# --- lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 5, 6])
def test_a_text_with_few_lines_is_read_completely(count: int) -> None:
    texts = [f"line {number}" for number in range(count)]
    assert list(drawn_lines(iter(texts), 6, seed=1)) == texts


def test_drawn_lines_are_in_order_and_all_equally_likely() -> None:
    counts = Counter()
    for seed in range(3000):
        drawn = list(drawn_lines(iter("abcdefgh"), 3, seed))
        assert drawn == sorted(set(drawn)) and len(drawn) == 3
        counts.update(drawn)
    assert all(abs(counts[letter] - 3000 * 3 / 8) < 5 * (3000 * 3 / 8 * 5 / 8) ** 0.5 for letter in "abcdefgh")


# --- sampling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TokenizerKind.unigram, TokenizerKind.bpe], ids=lambda kind: kind.name)
@pytest.mark.parametrize("lossless", [True, False])
def test_sampling_is_a_function_of_the_generator(kind: TokenizerKind, lossless: bool) -> None:
    tokenizer = train(kind=kind, lossless=lossless, vocab_size=340 if lossless else 80)
    text = TEXTS["en"][0] + " the big cat \u2581 sits on the mat"

    def draw(seed: int) -> list[int]:
        return tokenizer.encode_sampled(text, strength=0.2, rng=np.random.default_rng(seed))

    first = [draw(seed) for seed in range(20)]
    sentencepiece.set_random_generator_seed(99)
    assert [draw(seed) for seed in reversed(range(20))] == first[::-1]
    assert len(set(map(tuple, first))) > 10
    assert {tokenizer.decode(ids) for ids in first} == {tokenizer.decode(tokenizer.encode(text))}
    rng = np.random.default_rng(1)
    assert draw(1) == tokenizer.encode_sampled(text, strength=0.2, rng=rng)
    assert tokenizer.encode_sampled(text, strength=0.0, rng=rng) == tokenizer.encode(text)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("lossless", [True, False])
def test_many_lines_are_sampled_from_the_generator_alone(kind: TokenizerKind, lossless: bool) -> None:
    tokenizer = train(kind=kind, lossless=lossless, vocab_size=340 if lossless else 80)
    texts = [*TEXTS["en"][:50], "", "a \u2581 mark"]

    def draw(seed: int) -> list[list[int]]:
        return tokenizer.encode_batch_sampled(texts, strength=0.2, rng=np.random.default_rng(seed))

    first = draw(1)
    sentencepiece.set_random_generator_seed(99)
    draw(2)
    assert draw(1) == first and len(first) == len(texts)
    plain = tokenizer.encode_batch(texts)
    assert (first == plain) == (draw(2) == first) == (kind is TokenizerKind.char)
    assert [tokenizer.decode(ids) for ids in first] == [tokenizer.decode(ids) for ids in plain]
    rng = np.random.default_rng(1)
    assert tokenizer.encode_batch_sampled(texts, strength=0.0, rng=rng) == plain


def test_characters_have_one_segmentation() -> None:
    tokenizer = train(kind=TokenizerKind.char)
    rng = np.random.default_rng(1)
    assert tokenizer.encode_sampled("the cat", strength=0.5, rng=rng) == tokenizer.encode("the cat")


def test_unigram_sampling_has_the_published_distribution() -> None:
    tokenizer = train(kind=TokenizerKind.unigram)
    model = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.files()["joint.model"])
    segmentations = [tuple(ids) for ids in model.nbest_encode("katzesinger", nbest_size=500)]
    scores = np.array([sum(model.get_score(i) for i in ids) for ids in segmentations])
    expected = np.exp(0.2 * scores) / np.exp(0.2 * scores).sum()
    rng = np.random.default_rng(1)
    counts = Counter(tuple(tokenizer.encode_sampled("katzesinger", strength=0.2, rng=rng)) for _ in range(4000))
    frequencies = np.array([counts[ids] / 4000 for ids in segmentations])
    assert len(segmentations) > 3 and set(counts) <= set(segmentations)
    assert np.abs(frequencies - expected).sum() / 2 < 0.05


def test_bpe_dropout_of_all_merges_gives_characters() -> None:
    tokenizer = train(kind=TokenizerKind.bpe)
    ids = tokenizer.encode_sampled("the cat", strength=1.0, rng=np.random.default_rng(1))
    assert tokenizer.pieces(ids) == list("\u2581the\u2581cat")


def test_bpe_dropout_skips_merges_at_its_rate() -> None:
    # One merge alone: a, b -> ab, so that a word `ab` stays split as often as the merge is skipped.
    tokenizer = Tokenizer.train(
        {"en": ["ab"] * 20}, config(kind=TokenizerKind.bpe, lossless=True, vocab_size=263), seed=1
    )
    assert len(tokenizer.encode("ab")) == 1
    rng = np.random.default_rng(1)
    split = sum(len(tokenizer.encode_sampled("ab", strength=0.3, rng=rng)) == 2 for _ in range(3000))
    assert abs(split / 3000 - 0.3) < 0.04
