"""Scores of transcripts, from jiwer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tformer_cli import errors

SPEECH_SCORES = ("wer", "cer", "sentence_errors", "substitutions", "insertions", "deletions", "words")
"""Names of the scores that `speech_scores` returns, in order."""


JIWER = errors.Library("jiwer", "jiwer", "speech")
"""The library of the scores."""


def speech_library() -> Any:
    """Import and return jiwer.

    Raises:
        ConfigError: if it is not installed.
    """
    return errors.library(*JIWER)


def speech_scores(targets: Sequence[str], predictions: Sequence[str]) -> tuple[dict[str, float], list[float]]:
    """Compute word and character error rates by jiwer: substitutions, insertions and deletions per reference length.

    The counts are summed over all utterances and divided once. Words are separated by white space, and a single space
    between words counts as a character. Case, punctuation and Unicode forms are not normalised.

    Args:
        targets: reference transcripts; for an empty one, all words of the prediction count as insertions.
        predictions: predicted transcripts, as many.

    Returns:
        Scores in percent: `wer`, `cer` (both may be more than 100), and `sentence_errors`, the share of utterances with
        an error. Counts of words: `substitutions`, `insertions`, `deletions`, `words`. Also the word error rate of each
        utterance in percent; an empty reference counts as one word.

    Raises:
        ValueError: if the numbers of references and predictions differ.
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
    utterance_rates = [
        100 * sum(_edits(chunk) for chunk in chunks) / max(1, len(text.split()))
        for chunks, text in zip(words.alignments, targets, strict=True)
    ]
    wrong = 100 * sum(rate > 0 for rate in utterance_rates) / len(utterance_rates)
    counts = words.substitutions, words.insertions, words.deletions, sum(len(text.split()) for text in targets)
    return dict(zip(SPEECH_SCORES, (*rates, wrong, *counts), strict=True)), utterance_rates


def utterance_counts(
    targets: Sequence[str], predictions: Sequence[str], *, characters: bool = False
) -> tuple[list[int], list[int]]:
    """Return the number of errors of each utterance by jiwer, and the number of words, or characters, in its reference.

    Args:
        targets: reference transcripts.
        predictions: predicted transcripts, as many.
        characters: whether to count characters instead of words.
    """
    jiwer = speech_library()
    targets, predictions = ([" ".join(text.split()) for text in texts] for texts in (targets, predictions))
    process = jiwer.process_characters if characters else jiwer.process_words
    errors_made = [sum(map(_edits, chunks)) for chunks in process(targets, predictions).alignments]
    return errors_made, [len(text if characters else text.split()) for text in targets]


def _edits(chunk: Any) -> int:
    """Return the number of errors in a chunk of jiwer's alignment."""
    sizes = chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
    return 0 if chunk.type == "equal" else max(sizes)
