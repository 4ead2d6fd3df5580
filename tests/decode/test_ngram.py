"""N-grams by their definition, damaged files, and language models against the scores of whole texts."""

from __future__ import annotations

import gzip
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import BOS, EOS, FORBIDDEN, ToyDecoder, plain_beam_search

from tformer_cli.config.schema import DecodeConfig, Positions, Stopping
from tformer_cli.decode import causal, ctc, fusion, ngram
from tformer_cli.decode.ngram import MISSING_LOG10, Ngrams, read_ngrams
from tformer_cli.decode.search import search
from tformer_cli.decode.spelling import Spelling
from tformer_cli.errors import DataError
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT

ARPA = """written by hand

\\data\\
ngram 1=5
ngram 2=3
ngram  3=1

\\1-grams:
-99\t<s>\t-0.5
-0.8\t</s>
-1.5\t<unk>\t-0.1
-0.7\the\t-0.2
-0.6\tyou\t-0.3

\\2-grams:
-0.25\t<s> he\t-0.05
-0.4 he you -0.15
-0.35\tyou </s>

\\3-grams:
-0.1\t<s> he you

\\end\\
"""


def read(tmp_path: Path, text: str | bytes) -> Ngrams:
    path = tmp_path / "model.arpa"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_ngrams(path)


def log10_of(ngrams: Ngrams, words: Sequence[str]) -> list[float]:
    values, context = [], ngrams.start()
    for word in (*words, "</s>"):
        value, context = ngrams.score(context, word)
        values.append(value / math.log(10))
    return values


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_words_are_scored_by_the_longest_ngram_and_back_off(tmp_path: Path, packed: bool):
    ngrams = read(tmp_path, gzip.compress(ARPA.encode()) if packed else ARPA)
    assert ngrams.order == 3 and not ngrams.of_characters
    assert log10_of(ngrams, ["he", "you"]) == pytest.approx([-0.25, -0.1, -0.15 - 0.35])
    assert log10_of(ngrams, ["you", "he"]) == pytest.approx([-0.5 - 0.6, -0.3 - 0.7, -0.2 - 0.8])
    assert log10_of(ngrams, ["he", "she", "you"]) == pytest.approx([-0.25, -0.05 - 0.2 - 1.5, -0.1 - 0.6, -0.35])
    closed = read(tmp_path, ARPA.replace("<unk>", "it"))
    assert log10_of(closed, ["she"])[0] == pytest.approx(-0.5 + MISSING_LOG10)


def test_a_model_of_highest_order_one_has_no_context(tmp_path: Path):
    ngrams = read(tmp_path, "\\data\\\nngram 1=3\n\\1-grams:\n-99 <s> 0\n-1 </s> 0\n-0.5 a 0\n\\end\\\n")
    assert log10_of(ngrams, ["a", "a"]) == pytest.approx([-0.5, -0.5, -1])


def test_probabilities_of_a_normalised_file_sum_to_one(tmp_path: Path):
    """Weights are what is left of a context's probability, over what its words have in the shorter context."""
    ngrams = {
        ("<s>",): (1e-99, 0.4 / 0.7), ("a",): (0.5, 0.3 / 0.2), ("b",): (0.3, 1), ("</s>",): (0.2, 1),
        ("a", "a"): (0.5, 1), ("a", "b"): (0.2, 1), ("<s>", "b"): (0.6, 1), ("b", "a"): (0.5, 0.4 / 0.2),
        ("b", "a", "a"): (0.3, 1), ("b", "a", "</s>"): (0.3, 1),
    }  # fmt: skip
    text = "\\data\\\n" + "".join(f"ngram {n}={sum(len(key) == n for key in ngrams)}\n" for n in (1, 2, 3))
    for n in (1, 2, 3):
        text += f"\\{n}-grams:\n"
        for key, (probability, weight) in ngrams.items():
            if len(key) == n:
                last = f"\t{math.log10(weight):.9f}" if n < 3 else ""
                text += f"{math.log10(probability):.9f}\t{' '.join(key)}{last}\n"
    model = read(tmp_path, text + "\\end\\\n")
    for history in ([], ["a"], ["b"], ["b", "a"], ["a", "b", "a"], ["b", "a", "a"]):
        context = model.start()
        for word in history:
            _, context = model.score(context, word)
        assert sum(math.exp(model.score(context, word)[0]) for word in ("a", "b", "</s>")) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("\\data\\", "data", r"no line \\data\\"),
        ("ngram 1=5\nngram 2=3\nngram  3=1\n", "", r"line 5: no line such as 'ngram 1=1000'"),
        ("ngram 2=3", "ngram 3=3", r"line 5: expected n-grams of order 2, found order 3"),
        ("ngram 2=3", "ngram 2=4", r"line 20: 3 2-grams, \\data\\ says 4"),
        ("-0.7\the", "-0,7\the", r"line 12: '-0,7' is not a number"),
        ("-0.7\the", "nan\the", r"line 12: nan is not a number"),
        ("-0.7\the", "0.7\the", r"line 12: log-probability 0.7 is above 0"),
        ("-0.7\the\t-0.2", "-0.7", r"line 12: 1 fields"),
        ("-0.1\t<s> he you", "-0.1\t<s> he you\t-0.5", r"line 21: 5 fields"),
        ("-0.4 he you", "-0.4 he we", r"line 17: 'we' is not among the 1-grams"),
        ("-0.4 he you", "-0.4 <s> he", r"line 17: '<s> he' is listed twice"),
        ("\\2-grams:", "\\4-grams:", r"line 15: expected \\2-grams:, found '\\4-grams:'"),
        ("\\end\\\n", "", r"line 22: the file ends without \\end\\"),
        ("\\end\\\n", "\\4-grams:\n", r"line 23: expected \\end\\, found '\\4-grams:'"),
        ("ngram  3=1", "ngram 3=1\nngram 4=1\nngram 5=1\nngram 6=1", r"order 6: orders up to 5"),
    ],
)
def test_a_damaged_file_is_one_line_with_its_number(tmp_path: Path, old: str, new: str, cause: str):
    assert old in ARPA
    with pytest.raises(DataError, match=cause) as raised:
        read(tmp_path, ARPA.replace(old, new))
    assert "\n" not in str(raised.value) and str(raised.value).startswith(str(tmp_path / "model.arpa"))


def test_files_that_are_not_text_or_not_there(tmp_path: Path):
    with pytest.raises(DataError, match="line 12: not UTF-8"):
        read(tmp_path, ARPA.encode().replace(b"he\t", b"h\xff\t"))
    with pytest.raises(DataError, match="gzip"):
        read(tmp_path, gzip.compress(ARPA.encode())[:-20])
    with pytest.raises(DataError, match="gzip"):
        read(tmp_path, b"\x1f\x8bnothing")
    with pytest.raises(DataError, match="absent: no such file"):
        read_ngrams(tmp_path / "absent")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ngram, "MAX_LINE_BYTES", 1000)
    with pytest.raises(DataError, match="model.arpa:2: a line of more than 1,000 bytes"):
        read(tmp_path, gzip.compress(b"\\data\\\nngram 1=" + b"9" * 5000))


# --- in a search -----------------------------------------------------------------------------------------------------

PIECES = ["<pad>", "<unk>", "<s>", "</s>", "\u2581he", "\u2581you", "\u2581", "he", "you", "\u2581a\u2581he"]
SPELLING = Spelling(PIECES, range(4))
LETTERS = """\\data\\
ngram 1=9
ngram 2=2
\\1-grams:
-99 <s> -0.2
-0.9 </s>
-1.1 h -0.3
-1.2 e
-1.3 y
-1.4 o -0.1
-1.5 u
-1.6 a
-0.7 <space> -0.4
\\2-grams:
-0.2 h e
-0.3 <space> y
\\end\\
"""


def test_spaces_are_written_as_the_vocabulary_marks_them():
    assert SPELLING.texts[:5] == ["", "", "", "", " he"] and SPELLING.texts[-1] == " a he"
    assert SPELLING.ends_word.tolist() == [False] * 4 + [True, True, True, False, False, True]
    assert Spelling(["[PAD]", "he", "##llo"], [0]).texts == ["", " he", "llo"]
    assert Spelling(["\u0120he", "##"], []).texts == [" he", "##"]


def text_of(tokens: Sequence[int]) -> str:
    return " ".join("".join(SPELLING.texts[token] for token in tokens).split())


def small_gpt(vocab_size: int, positions: Positions = Positions.rotary, max_length: int = 64) -> GPT:
    torch.manual_seed(0)
    config = GPTConfig(depth=2, dim=16, heads=2, ffn_dim=32, positions=positions, max_length=max_length)
    gpt = GPT(config, vocab_size).eval()
    for parameter in gpt.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return gpt


def gpt_total(gpt: GPT, ids: Sequence[int], *, end: bool = True) -> float:
    """The log-probability of a text by one forward pass."""
    with torch.inference_mode():
        hidden = gpt(torch.tensor([[EOS, *ids]]))
        log_probs = gpt.logits(hidden).double().log_softmax(-1)[0]
    return sum(float(log_probs[i, token]) for i, token in enumerate([*ids, EOS] if end else ids))


def encode(text: str) -> list[int]:
    """Letters of another vocabulary, in which a word's tokens depend on the word after: `he you` is one token."""
    text = text.replace("he you", "@")
    return [4 + "heyoua @".index(letter) for letter in text]


def whole(name: str, tmp_path: Path):
    """A language model, and what it should give a whole output."""
    if name == "words":
        ngrams = read(tmp_path, ARPA)
        return fusion.from_ngrams(
            ngrams, SPELLING
        ), lambda tokens: math.log(10) * sum(log10_of(ngrams, text_of(tokens).split()))
    if name == "known words":
        ngrams, penalty = read(tmp_path, ARPA), 7.5

        def of_known(tokens: Sequence[int]) -> float:
            words = text_of(tokens).split()
            return math.log(10) * sum(log10_of(ngrams, words)) - penalty * sum(w not in ("he", "you") for w in words)

        return fusion.from_ngrams(ngrams, SPELLING, penalty), of_known
    if name == "characters":
        letters = read(tmp_path, LETTERS)
        model = fusion.from_ngrams(letters, SPELLING)
        assert isinstance(model, fusion.Characters)

        def of_letters(tokens: Sequence[int]) -> float:
            text = " ".join("".join(SPELLING.texts[t] for t in tokens).split())
            trailing = bool(text) and "".join(SPELLING.texts[t] for t in tokens).endswith(" ")
            signs = ["<space>" if letter == " " else letter for letter in text + " " * trailing]
            return math.log(10) * sum(log10_of(letters, signs))

        return model, of_letters
    if name == "count":
        return fusion.WordCount(SPELLING), lambda tokens: len(text_of(tokens).split())
    if name == "tokens":
        gpt = small_gpt(len(PIECES))
        return causal.Tokens(gpt, EOS), lambda tokens: gpt_total(gpt, tokens)
    gpt = small_gpt(12, Positions.learned)
    model = fusion.Words(causal.GPTWords(causal.Tokens(gpt, EOS), encode), SPELLING)
    return model, lambda tokens: gpt_total(gpt, encode(text_of(tokens)))


MODELS = ["words", "known words", "characters", "count", "tokens", "gpt words"]


@pytest.mark.parametrize("name", MODELS)
def test_what_tokens_add_sums_to_the_score_of_the_text(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(causal, "MIN_KEYS", 8)  # so that a GPT's room is made anew now and then
    model, total = whole(name, tmp_path)
    outputs = [tuple(map(int, row)) for row in np.random.default_rng(0).integers(4, 10, size=(8, 6))]
    outputs += [(), (4,), (6,), (6, 6), (9, 9), (4, 6), (7, 8)]
    for sentences in (1, 3):
        roots = model.start(sentences)
        for number, output in enumerate(outputs):
            hypothesis, score = roots[number % sentences], 0.0
            for token in output:
                others = np.array([token, 4, 6, 9])
                score += model.scores([hypothesis, roots[0]], others)[0, 0]
                hypothesis = model.follow(hypothesis, token)
            score += model.ends([hypothesis])[0]
            assert score == pytest.approx(total(output), abs=1e-3), output


def test_a_word_that_no_longer_can_be_one_of_the_file_pays_at_once(tmp_path: Path):
    model = fusion.from_ngrams(read(tmp_path, ARPA), SPELLING, 7.5)
    (root,) = model.start(1)
    he = model.follow(root, 4)
    assert model.scores([root, he], np.array([4, 5, 7, 8])).tolist() == [
        [0, 0, 0, 0],
        [
            pytest.approx(math.log(10) * -0.25),
            pytest.approx(math.log(10) * -0.25),
            -7.5,
            -7.5,
        ],  # " he", " you"; "he", "you"
    ]
    hehe = model.follow(he, 7)
    assert model.scores([hehe], np.array([6, 7]))[0] == pytest.approx([math.log(10) * (-0.5 - 1.5), 0])  # as <unk>


@pytest.mark.parametrize("name", MODELS)
def test_prefix_beam_adds_the_language_model_and_the_word_bonus(name: str, tmp_path: Path):
    model, total = whole(name, tmp_path)
    log_probs = (2 * torch.randn(1, 3, 10, generator=torch.Generator().manual_seed(1))).log_softmax(-1)
    log_probs[:, :, 1:4] = -50.0
    bonus = fusion.WordCount(SPELLING)
    (hypotheses,) = ctc.prefix_beam(
        log_probs, torch.tensor([3]), beam=900, n_best=20, scorers=[(0.6, model), (1.5, bonus)]
    )
    plain = ctc.prefix_beam(log_probs, torch.tensor([3]), beam=900, n_best=900)[0]
    every = [
        (
            hypothesis.log_probability + 0.6 * total(hypothesis.tokens) + 1.5 * len(text_of(hypothesis.tokens).split()),
            hypothesis.tokens,
        )
        for hypothesis in plain
    ]
    every.sort(key=lambda pair: -pair[0])
    np.testing.assert_allclose(
        [hypothesis.score for hypothesis in hypotheses], [score for score, _ in every[:20]], atol=1e-3
    )
    assert [hypothesis.tokens for hypothesis in hypotheses[:3]] == [tokens for _, tokens in every[:3]]


class Joint(ToyDecoder):
    """The toy decoder and a language model, asked one hypothesis at a time."""

    def __init__(self, vocab_size: int, seed: int, model: fusion.LanguageModel, weight: float) -> None:
        super().__init__(vocab_size, seed, end=0.5)
        self.model, self.share = model, weight

    def log_probabilities(self, name: int, tokens: Sequence[int]) -> np.ndarray:
        (hypothesis,) = self.model.start(1)
        for token in tokens:
            hypothesis = self.model.follow(hypothesis, int(token))
        added = self.model.scores([hypothesis], np.arange(self.vocab_size))[0]
        added[EOS] = self.model.ends([hypothesis])[0]
        return super().log_probabilities(name, tokens) + self.share * added


@pytest.mark.parametrize("name", ["words", "characters", "tokens", "gpt words"])
def test_attention_search_with_a_language_model(name: str, tmp_path: Path):
    model, _ = whole(name, tmp_path)
    decoder, limits, beam = ToyDecoder(10, 4, end=0.5), [5, 2, 6, 4], 3
    config = DecodeConfig(beam=beam, n_best=2, length_penalty=0.5, stopping=Stopping.longest)
    scorer = fusion.Fusion(model, 4, 10, EOS, torch.device("cpu"))
    results = search(
        decoder, decoder.start(range(4)), config=config, bos_id=BOS, eos_id=EOS, max_lengths=torch.tensor(limits),
        forbidden=FORBIDDEN, scorers=[(0.5, scorer)],
    )  # fmt: skip
    plain = Joint(10, 4, model, 0.5)
    for number, limit in enumerate(limits):

        def bound(value: float, step: int, limit: int = limit) -> float:
            return value / (limit + 1) ** 0.5

        expected = plain_beam_search(plain, number, limit, beam=beam, n_best=2, alpha=0.5, bound=bound)
        assert [hypothesis.tokens for hypothesis in results[number]] == [hypothesis.tokens for hypothesis in expected]
        np.testing.assert_allclose([x.score for x in results[number]], [x.score for x in expected], atol=1e-3)


def test_a_gpt_computes_a_prefix_once_and_begins_anew_at_the_end_of_its_context():
    gpt, rows = small_gpt(10, Positions.sinusoidal, max_length=4), []
    step = gpt.step
    gpt.step = lambda tokens, state, mask: rows.append(tokens.shape[1]) or step(tokens, state, mask)  # type: ignore[method-assign, assignment]
    model = causal.Tokens(gpt, EOS)
    (root,) = model.start(1)
    nodes = [model.follow(model.follow(root, first), second) for first, second in itertools.product((4, 5), (4, 5))]
    for _ in range(3):
        model.ends(nodes)
    assert rows == [1, 2, 4] and model.follow(model.follow(root, 4), 4) is nodes[0]
    latest = model.follow(model.follow(nodes[0], 6), 7)  # </s> 4 4 6 is all that the context holds
    assert latest is model.follow(root, 7)


@pytest.mark.parametrize(
    "before, after", [("ngram 1=5", "ngram 1=" + "5" * 10_000), ("ngram 2=3", f"ngram {'2' * 5000}=3")]
)
def test_numbers_of_thousands_of_digits_are_refused(tmp_path: Path, before: str, after: str):
    with pytest.raises(DataError, match=r"model.arpa: line \d: a number of more than 18 digits"):
        read(tmp_path, ARPA.replace(before, after))
    with pytest.raises(DataError, match="not a number"):
        read(tmp_path, ARPA.replace("-0.7\the", "9" * 10_000 + "\the"))
    assert read(tmp_path, ARPA.replace("-0.7\the", "-" + "9" * 10_000 + "\the")).entries  # minus infinity: never
