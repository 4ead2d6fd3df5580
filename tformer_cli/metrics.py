"""Scores, from the libraries that the field compares with; their signatures are kept with the numbers."""

from __future__ import annotations

import functools
import string
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tformer_cli import errors
from tformer_cli.languages import script_shares, segments, unspaced_language

if TYPE_CHECKING:
    import numpy as np

BLEU_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""sacreBLEU's tokenizers for languages without spaces between words (and Korean); others use `char`."""
EXTRAS = {"ja-mecab": "ja", "ko-mecab": "ko"}
"""sacreBLEU's extras by tokenizer."""
AGREE, UNNAMED = 0.1, 0.3
"""Smallest shares of letters of scripts without spaces: to accept the named language, and to detect such a language
if none is named."""

SPEECH_SCORES = ("wer", "cer", "sentence_errors", "substitutions", "insertions", "deletions", "words")
"""What `speech_scores` gives, in order."""


def library(module: str, package: str) -> Any:
    """A module of the extra `text`.

    Raises:
        ConfigError: if it is not installed.
    """
    return errors.library(module, package, "text")


def needs_libraries(numbers: bool) -> None:
    """Notice before training that the scores of labels, or of numbers, could not be computed.

    Raises:
        ConfigError: if a library is not installed.
    """
    library("scipy.stats", "scipy") if numbers else library("sklearn.metrics", "scikit-learn")


@dataclass(frozen=True)
class Tokenization:
    """How BLEU and TER divide text.

    Attributes:
        name: of sacreBLEU's tokenizer, for BLEU.
        ter_characters: whether TER counts edits of characters, not of words.
        note: what the reader of the score should know; "" where the name says it all.
    """

    name: str
    ter_characters: bool = False
    note: str = ""


def tokenization(target_language: str, references: Sequence[str], wanted: str = "auto") -> Tokenization:
    """Return how text of a language is divided for BLEU and for TER.

    TER counts words between spaces, or characters where the references set no spaces between words, whichever tokenizer
    BLEU takes. sacreBLEU's own option, `asian_support`, leaves runs of kana, Thai and other scripts whole.
    """
    name, note = _bleu_tokenizer(target_language, references, wanted)
    language, shares = unspaced_language(target_language), script_shares(references)
    unspaced = sum(share for script, share in shares.items() if script != "hangul")  # Korean sets spaces
    least = UNNAMED if not language else AGREE if shares else 0.0
    return Tokenization(name, language != "ko" and unspaced >= least, note)


def _bleu_tokenizer(target_language: str, references: Sequence[str], wanted: str) -> tuple[str, str]:
    """Return the tokenizer of BLEU for a language, and a note for the reader of the score.

    The base language decides, in any spelling: sacreBLEU's `zh` for Chinese, `ja-mecab` and `ko-mecab` if installed,
    `char` for other languages without spaces between words, and `13a` for all others. The references are checked too,
    since their script may differ from the named language, or the name may not be that of a language.

    Args:
        target_language: code, tag or name.
        references: texts in it.
        wanted: a tokenizer set by the user; auto: by the language.

    Raises:
        ConfigError: if the tokenizer set by the user is not installed.
    """
    if wanted != "auto":
        if wanted in EXTRAS and not _installed(wanted):
            remedy = f"pip install 'sacrebleu[{EXTRAS[wanted]}]'"
            raise errors.ConfigError(f"data.bleu_tokenizer={wanted} needs a library that is not installed", remedy)
        return wanted, ""
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

    BLEU takes all four orders of n-grams. Where no reference is long enough for one of four words, it takes the orders
    that there are (`eff:yes` in its signature): a perfect translation would score 0 otherwise. TER of scripts that set
    no spaces between words is taken over characters (`tok:tercom-char`), whichever tokenizer BLEU takes.

    Args:
        hypotheses: detokenised output lines.
        references: as they lie in the data.
        target_language: says how text is divided, see `tokenization`.
        thorough: also lower-cased BLEU, chrF and TER.
        tokenizer: for BLEU, sacreBLEU's name of one; auto: by the language.
        divided: how text is divided, if that is known already, of more references than these.

    Returns:
        Scores (0 to 100; TER may be more) and sacreBLEU's signatures, by name.
    """
    from sacrebleu.metrics import BLEU, CHRF, TER

    divided = divided or tokenization(target_language, references, tokenizer)
    name = divided.name
    bleu = BLEU(tokenize=name)
    short = not any(len(bleu.tokenizer(reference.rstrip()).split()) >= bleu.max_ngram_order for reference in references)
    scorers: dict[str, Any] = {"bleu": BLEU(tokenize=name, effective_order=short)}
    if thorough:
        scorers["bleu_lowercase"] = BLEU(tokenize=name, lowercase=True, effective_order=short)
        scorers |= {"chrf": CHRF(), "ter": TER()}
    scores, signatures = {}, {}
    for metric, scorer in scorers.items():
        texts, suffix = (hypotheses, references), ""
        if metric == "ter" and divided.ter_characters:
            texts, suffix = [[" ".join("".join(text.split())) for text in side] for side in texts], "-char"
        scores[metric] = scorer.corpus_score(texts[0], [texts[1]]).score
        signatures[metric] = str(scorer.get_signature()).replace("tok:tercom", f"tok:tercom{suffix}")
    equal = sum(
        hypothesis.strip() == reference.strip() for hypothesis, reference in zip(hypotheses, references, strict=True)
    )
    scores["exact_match"] = 100 * equal / max(1, len(references))
    return scores, signatures


def bleu_by_length(
    hypotheses: Sequence[str],
    references: Sequence[str],
    lengths: Sequence[int],
    target_language: str,
    bands: int = 5,
    *,
    tokenizer: str = "auto",
) -> list[list[str]]:
    """Compute BLEU by source length: rows of (tokens, sentences, BLEU), in bands of about equally many sentences.

    A band without a reference of at least four words is scored by the orders of n-grams that exist, and marked.
    """
    divided = tokenization(target_language, references, tokenizer)
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    rows = []
    for band in range(bands):
        part = order[len(order) * band // bands : len(order) * (band + 1) // bands]
        if not part:
            continue
        scores, signatures = translation_scores(
            [hypotheses[i] for i in part], [references[i] for i in part], target_language, thorough=False,
            divided=divided,
        )  # fmt: skip
        short = " (eff:yes)" if "|eff:yes|" in signatures["bleu"] else ""
        rows.append([f"{lengths[part[0]]}-{lengths[part[-1]]}", str(len(part)), f"{scores['bleu']:.2f}{short}"])
    return rows


def labels_scores(
    targets: np.ndarray, predictions: np.ndarray, names: Sequence[str], *, thorough: bool = True
) -> tuple[dict[str, float], list[tuple[str, list[str], list[list[str]]]]]:
    """Compute accuracy, F1 and Matthews correlation of one label per example, by scikit-learn.

    Args:
        targets: (N,) int64.
        predictions: (N,) int64.
        names: names of the labels.
        thorough: whether to add a table with a row for each label.

    Returns:
        Scores and tables. Accuracy and F1 are from 0 to 100 (F1 of the second of two labels, or the mean over more
        labels), and Matthews' coefficient is from -1 to 1.
    """
    metrics = library("sklearn.metrics", "scikit-learn")

    two = len(names) == 2
    with without_warnings():
        f1 = metrics.f1_score(targets, predictions, average="binary" if two else "macro", zero_division=0)
        scores = {
            "accuracy": 100 * float(metrics.accuracy_score(targets, predictions)),
            "f1" if two else "f1_macro": 100 * float(f1),
            "matthews": float(metrics.matthews_corrcoef(targets, predictions)),
        }
        if not thorough:
            return scores, []
        numbers = list(range(len(names)))
        parts = metrics.precision_recall_fscore_support(targets, predictions, labels=numbers, zero_division=0)
    rows = [
        [name, *(f"{100 * part[number]:.1f}" for part in parts[:3]), str(int(parts[3][number]))]
        for number, name in enumerate(names)
    ]
    return scores, [("by label", ["label", "precision", "recall", "F1", "examples"], rows)]


def confusion(targets: np.ndarray, predictions: np.ndarray, labels: int, most: int) -> tuple[np.ndarray, list[int]]:
    """Compute the confusion matrix of labels, by scikit-learn.

    Args:
        targets: (N,) int64.
        predictions: (N,) int64.
        labels: number of labels.
        most: largest number of rows; if there are more labels, those with the lowest recall are kept.

    Returns:
        Shares of each row's label, (K, K) float, with correct labels as rows and predicted ones as columns; and the
        label indices of the rows.
    """
    import numpy as np

    metrics = library("sklearn.metrics", "scikit-learn")
    with without_warnings():
        counts = metrics.confusion_matrix(targets, predictions, labels=list(range(labels)))
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    kept = np.sort(np.argsort(shares.diagonal(), kind="stable")[:most])
    return shares[np.ix_(kept, kept)], kept.tolist()


def several_labels_scores(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """F1 over all labels and texts, its mean over labels, and texts with exactly the right labels, by scikit-learn.

    Args:
        targets: (N, labels), 0 or 1.
        predictions: (N, labels), 0 or 1.
    """
    metrics = library("sklearn.metrics", "scikit-learn")

    targets, predictions = targets.astype(int), predictions.astype(int)
    with without_warnings():
        return {
            "f1_micro": 100 * float(metrics.f1_score(targets, predictions, average="micro", zero_division=0)),
            "f1_macro": 100 * float(metrics.f1_score(targets, predictions, average="macro", zero_division=0)),
            "exact_match": 100 * float(metrics.accuracy_score(targets, predictions)),
        }


def number_scores(targets: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Pearson and Spearman correlation (0 where one side is constant) and mean squared error of numbers, by SciPy.

    Args:
        targets: (N,).
        found: (N,).
    """
    import numpy as np

    stats = library("scipy.stats", "scipy")

    varied = len(targets) > 1 and np.ptp(targets) > 0 and np.ptp(found) > 0
    return {
        "pearson": float(stats.pearsonr(targets, found).statistic) if varied else 0.0,
        "spearman": float(stats.spearmanr(targets, found).statistic) if varied else 0.0,
        "mean_squared_error": float(np.mean((targets - found) ** 2)),
    }


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress scikit-learn's warnings about undefined scores, which are 0 here.

    It warns about labels without predictions, about a single label, and about unusually many labels.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        yield


def speech_library() -> Any:
    """jiwer; ask before training, to notice before it that transcripts could not be scored.

    Raises:
        ConfigError: if it is not installed.
    """
    return errors.library("jiwer", "jiwer", "speech")


def speech_scores(targets: Sequence[str], predictions: Sequence[str]) -> tuple[dict[str, float], list[float]]:
    """Compute word and character error rates by jiwer: substitutions, insertions and deletions per reference length.

    The counts are summed over all utterances and divided once. Words are separated by white space, and a single space
    between words counts as a character. Case, punctuation and Unicode forms count.

    Args:
        targets: reference transcripts; for an empty one, all words of the prediction count as insertions.
        predictions: predicted transcripts, as many.

    Returns:
        Scores in percent: `wer`, `cer` (both may be more than 100), and `sentence_errors`, the share of utterances with
        an error. Counts of words: `substitutions`, `insertions`, `deletions`, `words`. Also the word error rate of each
        utterance in percent, which selects the worst; an empty reference counts as one word.
    """
    jiwer = speech_library()
    targets, predictions = ([" ".join(text.split()) for text in texts] for texts in (targets, predictions))
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} references and {len(predictions)} transcripts")
    if not targets:
        return dict.fromkeys(SPEECH_SCORES, 0.0), []
    words, characters = jiwer.process_words(targets, predictions), jiwer.process_characters(targets, predictions)
    rates = []
    for result in (words, characters):
        errors_made = result.substitutions + result.deletions + result.insertions
        length = result.hits + result.substitutions + result.deletions
        rates.append(100 * errors_made / max(1, length))
    own = [
        100 * sum(_edits(chunk) for chunk in chunks) / max(1, len(text.split()))
        for chunks, text in zip(words.alignments, targets, strict=True)
    ]
    wrong = 100 * sum(error > 0 for error in own) / len(own)
    counts = words.substitutions, words.insertions, words.deletions, sum(len(text.split()) for text in targets)
    return dict(zip(SPEECH_SCORES, (*rates, wrong, *counts), strict=True)), own


def _edits(chunk: Any) -> int:
    """Errors in a stretch of jiwer's alignment."""
    sizes = chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
    return 0 if chunk.type == "equal" else max(sizes)


JOINERS = "\u200c\u200d"
"""The zero-width joiner and non-joiner, which are parts of words."""


def normal_answer(text: str) -> list[str]:
    """Return the words of an answer as SQuAD compares them: lower case, no punctuation, no English articles.

    In scripts without spaces each character with its combining marks is a word. Composed and decomposed characters
    (NFC and NFD) are equal, and invisible marks of direction or hyphenation are ignored. An answer that consists only
    of punctuation and articles is unchanged.
    """
    text = unicodedata.normalize("NFC", text).lower()
    plain = "".join(c for c in text if c not in string.punctuation and not _passed_over(c))
    return [word for word in segments(plain) if word not in ("a", "an", "the")] or segments(text)


def _passed_over(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "P" or (category == "Cf" and character not in JOINERS)


def answer_scores(answers: Sequence[Sequence[str]], found: Sequence[str]) -> dict[str, float]:
    """Exact match and F1 of the words, the best over a question's answers (Rajpurkar et al. 2016, section 6.1).

    Args:
        answers: right answers of each question; none: it has no answer, and "" is right.
        found: one a question.

    Returns:
        Scores from 0 to 100.
    """
    exact = f1 = 0.0
    for right, text in zip(answers, found, strict=True):
        said = normal_answer(text)
        wanted = [normal_answer(answer) for answer in right] or [[]]
        exact += max(float(said == words) for words in wanted)
        f1 += max(_overlap(words, said) for words in wanted)
    number = max(1, len(found))
    return {"exact_match": 100 * exact / number, "f1": 100 * f1 / number}


def _overlap(wanted: list[str], said: list[str]) -> float:
    if not wanted or not said:
        return float(wanted == said)
    common = sum((Counter(wanted) & Counter(said)).values())
    return 2 * common / (len(wanted) + len(said))
