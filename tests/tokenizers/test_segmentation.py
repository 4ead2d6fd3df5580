"""Drawn segmentations: their distribution beside one that is counted out, their limits, and that a seed fixes them."""

from __future__ import annotations

import hashlib
import io
import math
import os
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from tests.tokenizers.test_tokenizer import ODD_LINES, TEXTS, train
from tformer_cli.config.schema import TokenizerKind
from tformer_cli.tokenizers import segmentation
from tformer_cli.tokenizers.segmentation import make_segmenter
from tformer_cli.tokenizers.tokenizer import SPACE_MARK, Tokenizer

KINDS = [TokenizerKind.unigram, TokenizerKind.bpe]
NO_REGULARISATION = {"unigram": 1e5, "bpe": 1e-300}  # the one best segmentation; no merge dropped
LINES = [
    *TEXTS["en"][:60],
    *TEXTS["de"][:60],
    "the katze  sits\ton a,b the mat<2de>cat a,b",
    "<2de>das<2de><2de> ist a,ba,bb",
    "日本語の cat テキスト 🙂👩‍👩‍👧 the",
    "\u2585 ﬁ Å e\u0301 <s> <unk> <0x41>",
    *ODD_LINES,
    "the cat " * 40,
]


def model_of(kind: TokenizerKind, **settings) -> bytes:
    return train(kind=kind, **settings).files()["joint.model"]


def foreign(kind: TokenizerKind, **settings) -> bytes:
    writer = io.BytesIO()
    lines = [*TEXTS["en"], *(line.replace(" ", "   ") for line in TEXTS["en"])]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=writer, vocab_size=90, model_type=kind.name, num_threads=1,
        minloglevel=3, pad_id=3, **settings,
    )  # fmt: skip
    return writer.getvalue()


SETTINGS = {
    "plain": dict(vocab_size=90),
    "bytes": dict(vocab_size=340, byte_fallback=True),
    "lossless": dict(vocab_size=340, lossless=True),
    "symbols": dict(vocab_size=90, user_symbols=["<2de>", "a,b"]),
    "symbols and bytes": dict(vocab_size=340, lossless=True, user_symbols=["<2de>", "a,b", "the k"]),
}
FOREIGN = {
    "spaces at the end": dict(treat_whitespace_as_suffix=True),
    "pieces over spaces": dict(split_by_whitespace=False),
    "runs of spaces": dict(allow_whitespace_only_pieces=True, remove_extra_whitespaces=False),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", [*SETTINGS, *FOREIGN])
def test_without_regularisation_the_segmentation_is_sentencepieces(kind: TokenizerKind, name: str) -> None:
    model = model_of(kind, **SETTINGS[name]) if name in SETTINGS else foreign(kind, **FOREIGN[name])
    processor, segmenter = sentencepiece.SentencePieceProcessor(model_proto=model), make_segmenter(model)
    assert segmenter
    for line in LINES:
        drawn = segmenter.draw(processor.normalize(line), NO_REGULARISATION[kind.name], Random(1).random)
        assert drawn == processor.encode(line), line


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", [*SETTINGS, "separate"])
def test_a_drawn_segmentation_is_of_the_same_text(kind: TokenizerKind, name: str) -> None:
    tokenizer = train(kind=kind, **SETTINGS.get(name, dict(joint=False, vocab_size=60)))
    rng = np.random.default_rng(1)
    for language in ("en", "de"):
        plain = tokenizer.encode_batch(LINES, language)
        assert tokenizer.encode_batch_sampled(LINES, language, strength=0.0, rng=rng) == plain
        drawn = tokenizer.encode_batch_sampled(LINES, language, strength=0.3, rng=rng)
        assert sum(ids != other for ids, other in zip(drawn, plain, strict=True)) > 60
        for ids, other in zip(drawn, plain, strict=True):
            assert tokenizer.decode(ids, language) == tokenizer.decode(other, language)
        if "symbols" in name:
            symbols = [tokenizer.pieces(ids).count("<2de>") for ids in drawn]
            assert symbols == [line.count("<2de>") for line in LINES]


# --- distribution -------------------------------------------------------------------------------------------


def unigram_probabilities(word: str, scores: dict[str, float], unknown: float, alpha: float) -> dict[tuple, float]:
    """Of all segmentations, one by one."""

    def segmentations(rest: str) -> list[tuple[str, ...]]:
        if not rest:
            return [()]
        starts = [rest[:stop] for stop in range(1, len(rest) + 1) if stop == 1 or rest[:stop] in scores]
        return [(piece, *others) for piece in starts for others in segmentations(rest[len(piece) :])]

    weights = {
        pieces: math.exp(alpha * sum(scores.get(piece, unknown) for piece in pieces)) for pieces in segmentations(word)
    }
    total = sum(weights.values())
    return {pieces: weight / total for pieces, weight in weights.items()}


def dropout_probabilities(word: str, scores: dict[str, float], p: float) -> dict[tuple, float]:
    """Of all that algorithm 1 of BPE-dropout can end with."""

    @lru_cache(None)
    def outcomes(pieces: tuple[str, ...]) -> dict[tuple, float]:
        merges = [at for at in range(len(pieces) - 1) if pieces[at] + pieces[at + 1] in scores]
        merges.sort(key=lambda at: -scores[pieces[at] + pieces[at + 1]])
        probabilities = Counter({pieces: p ** len(merges)})
        for rank, at in enumerate(merges):
            after = (*pieces[:at], pieces[at] + pieces[at + 1], *pieces[at + 2 :])
            for outcome, probability in outcomes(after).items():
                probabilities[outcome] += p**rank * (1 - p) * probability
        return probabilities

    return outcomes(tuple(word))


def assert_drawn_from(expected: dict[tuple, float], draw, draws: int = 20_000) -> None:
    """Pearson's chi-square over what is expected five times or more, the rest taken together."""
    counts = Counter(draw() for _ in range(draws))
    assert abs(sum(expected.values()) - 1) < 1e-9 and counts.keys() <= expected.keys()
    often = [outcome for outcome, probability in expected.items() if probability * draws >= 5]
    expected_counts = [draws * expected[outcome] for outcome in often]
    observed = [counts[outcome] for outcome in often]
    if draws - sum(expected_counts) >= 5:
        expected_counts.append(draws - sum(expected_counts))
        observed.append(draws - sum(observed))
    assert len(expected_counts) > 2
    square = sum((a - b) ** 2 / b for a, b in zip(observed, expected_counts, strict=True))
    free = len(expected_counts) - 1
    assert square < free + 4 * math.sqrt(2 * free)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("word", ["katze", "thereal", "kat日ze"])
@pytest.mark.parametrize("strength", [0.1, 0.5])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "anew"])
def test_distribution_is_the_papers(monkeypatch, kind: TokenizerKind, word: str, strength: float, kept: bool) -> None:
    if not kept:
        monkeypatch.setattr(segmentation, "CACHED_CHARACTERS", 0)
    check_distribution(model_of(kind, vocab_size=150), kind, word, strength, missing="日")


def test_a_character_that_is_unknown_by_itself_may_be_in_a_known_piece() -> None:
    kind = TokenizerKind.unigram
    model = sentencepiece_model_pb2.ModelProto.FromString(model_of(kind, vocab_size=150))
    next(piece for piece in model.pieces if piece.piece == "z").type = 5  # unused
    check_distribution(model.SerializeToString(), kind, "katze", 0.1, missing="z")


def check_distribution(model: bytes, kind: TokenizerKind, word: str, strength: float, missing: str) -> None:
    processor, segmenter = sentencepiece.SentencePieceProcessor(model_proto=model), make_segmenter(model)
    others = (processor.is_control, processor.is_unknown, processor.is_unused)
    normal = [i for i in range(processor.get_piece_size()) if not any(other(i) for other in others)]
    scores = {processor.id_to_piece(i): processor.get_score(i) for i in normal}
    marked = SPACE_MARK + word
    if kind is TokenizerKind.unigram:
        expected = unigram_probabilities(marked, scores, min(scores.values()) - 10, strength)
    else:
        expected = dropout_probabilities(marked, scores, strength)
    random = Random(5).random
    assert segmenter and processor.normalize(word) == marked

    def draw() -> tuple[str, ...]:
        pieces = processor.id_to_piece(segmenter.draw(marked, strength, random))
        return tuple(missing if piece == "<unk>" else piece for piece in pieces)

    assert_drawn_from(expected, draw)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_words_are_drawn_each_on_its_own(kind: TokenizerKind) -> None:
    model = model_of(kind, vocab_size=150)
    segmenter = make_segmenter(model)
    assert segmenter
    random = Random(2).random
    pairs = Counter(tuple(segmenter.draw("\u2581katze\u2581katze", 0.2, random)) for _ in range(4000))
    alone = Counter(tuple(segmenter.draw("\u2581katze", 0.2, random)) for _ in range(4000))
    (best, count), *_ = alone.most_common()
    assert abs(pairs[best + best] / 4000 - (count / 4000) ** 2) < 0.03


# --- randomness ---------------------------------------------------------------------------------------------


def drawn_hash(tokenizer: Tokenizer) -> str:
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([7, 1])))
    drawn = tokenizer.encode_batch_sampled(LINES, strength=0.2, rng=rng)
    return hashlib.sha256(repr(drawn).encode()).hexdigest()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_another_process_draws_the_same(tmp_path: Path, kind: TokenizerKind) -> None:
    tokenizer = train(kind=kind)
    for name, data in tokenizer.files().items():
        (tmp_path / name).write_bytes(data)
    code = f"""
from tests.tokenizers.test_segmentation import Tokenizer, drawn_hash
print(drawn_hash(Tokenizer.load({str(tmp_path)!r})))
"""
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True, cwd=root
    )
    assert run.stdout.split() == [drawn_hash(tokenizer)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_line_is_drawn_from_its_place_whatever_comes_with_it(kind: TokenizerKind) -> None:
    tokenizer = train(kind=kind)

    def draw(lines: list[str], rng: np.random.Generator) -> list[list[int]]:
        return tokenizer.encode_batch_sampled(lines, strength=0.3, rng=rng)

    together = draw(LINES, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    assert [*draw(LINES[:7], rng), *draw(LINES[7:], rng)] == together
    rng = np.random.default_rng(3)
    assert [tokenizer.encode_sampled(line, strength=0.3, rng=rng) for line in LINES] == together
    others = draw([*LINES[:5], "another line", *LINES[6:]], np.random.default_rng(3))
    assert [others[:5], others[6:]] == [together[:5], together[6:]]
    assert draw(LINES, np.random.default_rng(4)) != together
