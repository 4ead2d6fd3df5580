"""Scores of translations by sacreBLEU, with its signatures."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tformer_cli import errors
from tformer_cli.languages import script_shares, unspaced_language
from tformer_cli.metrics.bands import BANDS, length_bands
from tformer_cli.metrics.bootstrap import Statistic, mean_of

SACREBLEU = ("bleu", "bleu_lowercase", "chrf", "ter")
"""Scores of sacreBLEU; during training only the first is computed."""

BLEU_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""sacreBLEU's tokenizers for languages without spaces between words (and Korean); others use `char`."""
EXTRAS = {"ja-mecab": "ja", "ko-mecab": "ko"}
"""sacreBLEU's extras by tokenizer."""
AGREE, UNNAMED = 0.1, 0.3
"""Minimum shares of letters in scripts without spaces: to accept the named language, and to detect such a language if
none is named."""


@dataclass(frozen=True)
class Tokenization:
    """The tokenization of texts for BLEU and TER.

    Attributes:
        name: name of sacreBLEU's tokenizer for BLEU.
        ter_characters: whether TER counts edits of characters instead of words.
        note: a note for the reader of the score, or "".
    """

    name: str
    ter_characters: bool = False
    note: str = ""


def tokenization(target_language: str, references: Sequence[str], tokenizer: str = "auto") -> Tokenization:
    """Return the tokenization of a language's texts for BLEU and TER.

    TER counts words, or characters if the references have no spaces between words, independently of BLEU's tokenizer.
    sacreBLEU's option for this, `asian_support`, does not divide runs of kana, Thai and other scripts.

    Args:
        target_language: code, tag or name of the language.
        references: texts in this language.
        tokenizer: sacreBLEU's name of a tokenizer; auto: by the language.

    Raises:
        ConfigError: if the tokenizer is not installed.
    """
    name, note = _bleu_tokenizer(target_language, references, tokenizer)
    language, shares = unspaced_language(target_language), script_shares(references)
    unspaced = sum(share for script, share in shares.items() if script != "hangul")  # Korean has spaces
    threshold = UNNAMED if not language else AGREE if shares else 0.0
    return Tokenization(name, language != "ko" and unspaced >= threshold, note)


def _bleu_tokenizer(target_language: str, references: Sequence[str], tokenizer: str) -> tuple[str, str]:
    """Return the tokenizer of BLEU for a language, and a note for the reader of the score.

    The base language decides, however it is written: sacreBLEU's `zh` for Chinese, `ja-mecab` and `ko-mecab` if
    installed, `char` for other languages without spaces between words, and `13a` for all others. The references are
    checked too, since their script may not be that of the named language, or the name may not name a language.

    Args:
        target_language: code, tag or name of the language.
        references: texts in this language.
        tokenizer: a tokenizer set by the user; auto: by the language.

    Raises:
        ConfigError: if the tokenizer set by the user is not installed.
    """
    if tokenizer != "auto":
        if tokenizer in EXTRAS and not _installed(tokenizer):
            remedy = f"pip install 'sacrebleu[{EXTRAS[tokenizer]}]'"
            raise errors.ConfigError(f"data.bleu_tokenizer={tokenizer} needs a library that is not installed", remedy)
        return tokenizer, ""
    language, shares = unspaced_language(target_language), script_shares(references)
    unspaced = sum(shares.values())
    if language and shares and unspaced < AGREE:
        note = f"the references are not in the script of {target_language!r}: BLEU by 13a, on words between spaces"
        return "13a", note
    if not language:
        if unspaced < UNNAMED:
            return "13a", ""
        note = "the references are in a script that sets no spaces between words: BLEU over characters (tok:char)"
        return "char", note
    name = BLEU_TOKENIZERS.get(language, "char")
    if name not in EXTRAS or _installed(name):
        return name, ""
    install = f"pip install 'sacrebleu[{language}]' for words (tok:{name})"
    return "char", f"BLEU over characters (tok:char), as MeCab is not installed; {install}"


@functools.cache
def _installed(tokenizer: str) -> bool:
    """Return whether MeCab is installed with the dictionary that sacreBLEU requires."""
    from sacrebleu.metrics import BLEU

    try:
        BLEU(tokenize=tokenizer)
    except (ImportError, RuntimeError, AssertionError):
        return False
    return True


def translation_scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    target_language: str,
    *,
    thorough: bool = True,
    tokenizer: str = "auto",
    divided: Tokenization | None = None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Compute BLEU, chrF and TER by sacreBLEU (Post 2018) on raw text, and the share of exact matches.

    BLEU uses n-grams of orders 1 to 4. If no reference has four words, it uses the existing orders (`eff:yes` in its
    signature), since a perfect translation would otherwise score 0. In scripts without spaces between words, TER counts
    characters (`tok:tercom-char`), independently of BLEU's tokenizer.

    Args:
        hypotheses: detokenised output lines.
        references: references as in the data.
        target_language: the language, which determines the tokenization, see `tokenization`.
        thorough: whether to add lower-cased BLEU, chrF and TER.
        tokenizer: sacreBLEU's name of a tokenizer for BLEU; auto: by the language.
        divided: the tokenization, if other references determine it; None: it is determined from these.

    Returns:
        Scores (0 to 100; TER may be more) and sacreBLEU's signatures, by name.
    """
    divided = divided or tokenization(target_language, references, tokenizer)
    short = _is_short(references, divided)
    scores, signatures = {}, {}
    for metric in SACREBLEU if thorough else SACREBLEU[:1]:
        scorer = _scorer(metric, divided, short)
        texts = [_scored_texts(metric, divided, side) for side in (hypotheses, references)]
        scores[metric] = scorer.corpus_score(texts[0], [texts[1]]).score
        suffix = "-char" if divided.ter_characters else ""
        signatures[metric] = str(scorer.get_signature()).replace("tok:tercom", f"tok:tercom{suffix}")
    equal = sum(
        hypothesis.strip() == reference.strip() for hypothesis, reference in zip(hypotheses, references, strict=True)
    )
    scores["exact_match"] = 100 * equal / max(1, len(references))
    return scores, signatures


def _is_short(references: Sequence[str], divided: Tokenization) -> bool:
    """Return whether no reference has as many words as BLEU's longest n-gram."""
    bleu = _scorer("bleu", divided, short=False)
    return not any(len(bleu.tokenizer(reference.rstrip()).split()) >= bleu.max_ngram_order for reference in references)


def _scorer(metric: str, divided: Tokenization, short: bool) -> Any:
    """Return sacreBLEU's scorer for a metric of `SACREBLEU`."""
    from sacrebleu.metrics import BLEU, CHRF, TER

    if metric in ("bleu", "bleu_lowercase"):
        return BLEU(tokenize=divided.name, lowercase=metric != "bleu", effective_order=short)
    return CHRF() if metric == "chrf" else TER()


def _scored_texts(metric: str, divided: Tokenization, texts: Sequence[str]) -> Sequence[str]:
    """Return texts as the scorer of a metric reads them: TER may count characters instead of words."""
    if metric == "ter" and divided.ter_characters:
        return [" ".join("".join(text.split())) for text in texts]
    return texts


def translation_statistic(
    metric: str, hypotheses: Sequence[str], references: Sequence[str], divided: Tokenization
) -> Statistic | None:
    """Return a score of `translation_scores` as a function of examples, see `metrics.bootstrap`.

    Args:
        metric: name of the score.
        hypotheses: output lines.
        references: the references.
        divided: the tokenization.

    Returns:
        The function; None for another metric.
    """
    if metric == "exact_match":
        pairs = zip(hypotheses, references, strict=True)
        return mean_of(np.array([float(one.strip() == other.strip()) for one, other in pairs]))
    if metric not in SACREBLEU:
        return None
    scorer = _scorer(metric, divided, _is_short(references, divided))
    outputs, answers = (_scored_texts(metric, divided, side) for side in (hypotheses, references))
    counts = np.array(scorer._extract_corpus_statistics(outputs, [answers]))  # (N, counts); their sums give the score
    return lambda rows: scorer._compute_score_from_stats(counts[rows].sum(0).tolist()).score


def length_ratio(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str) -> float:
    """Return the ratio of the words in hypotheses to those in references, as BLEU's brevity penalty counts them.

    Args:
        hypotheses: detokenised output lines.
        references: references as in the data.
        tokenizer: sacreBLEU's name of a tokenizer.
    """
    from sacrebleu.metrics import BLEU

    score = BLEU(tokenize=tokenizer).corpus_score(hypotheses, [references])
    return score.sys_len / max(1, score.ref_len)


def bleu_by_length(
    hypotheses: Sequence[str],
    references: Sequence[str],
    lengths: Sequence[int],
    target_language: str,
    bands: int = BANDS,
    *,
    tokenizer: str = "auto",
) -> list[list[str]]:
    """Compute BLEU by source length: rows of (length, sentences, BLEU), in bands of about equally many sentences.

    If no reference of a band has four words, BLEU uses the orders of n-grams that exist, and the row is marked.
    """
    divided = tokenization(target_language, references, tokenizer)
    rows = []
    for name, part in length_bands(lengths, bands).items() if lengths else ():
        scores, signatures = translation_scores(
            [hypotheses[i] for i in part], [references[i] for i in part], target_language, thorough=False,
            divided=divided,
        )  # fmt: skip
        short = " (eff:yes)" if "|eff:yes|" in signatures["bleu"] else ""
        rows.append([name, str(len(part)), f"{scores['bleu']:.2f}{short}"])
    return rows
