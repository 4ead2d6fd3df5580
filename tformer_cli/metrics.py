"""Scores, from the libraries that the field compares with; their signatures are kept with the numbers."""

from __future__ import annotations

from collections.abc import Sequence

CHARACTER_LANGUAGES = ("ja", "zh", "ko", "th")
"""Written without spaces: BLEU is taken over characters there, which the signature says (tok:char)."""


def translation_scores(
    hypotheses: Sequence[str], references: Sequence[str], target_language: str, *, thorough: bool = True
) -> tuple[dict[str, float], dict[str, str]]:
    """BLEU, chrF and TER by sacreBLEU (Post 2018) on raw text, and the share of exact matches.

    Args:
        hypotheses: detokenised output lines.
        references: as they lie in the data.
        target_language: chooses the BLEU tokenisation: characters where words are not set apart, else sacreBLEU's 13a.
        thorough: also lower-cased BLEU, chrF and TER.

    Returns:
        Scores (0 to 100; TER may be more) and sacreBLEU's signatures, by name.
    """
    from sacrebleu.metrics import BLEU, CHRF, TER

    tokenize = "char" if target_language in CHARACTER_LANGUAGES else "13a"
    scorers = {"bleu": BLEU(tokenize=tokenize)}
    if thorough:
        scorers |= {"bleu_lowercase": BLEU(tokenize=tokenize, lowercase=True), "chrf": CHRF(), "ter": TER()}
    scores, signatures = {}, {}
    for name, scorer in scorers.items():
        scores[name] = scorer.corpus_score(hypotheses, [references]).score
        signatures[name] = str(scorer.get_signature())
    equal = sum(
        hypothesis.strip() == reference.strip() for hypothesis, reference in zip(hypotheses, references, strict=True)
    )
    scores["exact_match"] = 100 * equal / max(1, len(references))
    return scores, signatures


def bleu_by_length(
    hypotheses: Sequence[str], references: Sequence[str], lengths: Sequence[int], target_language: str, bands: int = 5
) -> list[list[str]]:
    """BLEU by source length: rows of (tokens, sentences, BLEU), in bands of about equally many sentences."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    rows = []
    for band in range(bands):
        part = order[len(order) * band // bands : len(order) * (band + 1) // bands]
        if not part:
            continue
        scores, _ = translation_scores(
            [hypotheses[i] for i in part], [references[i] for i in part], target_language, thorough=False
        )
        rows.append([f"{lengths[part[0]]}-{lengths[part[-1]]}", str(len(part)), f"{scores['bleu']:.2f}"])
    return rows
