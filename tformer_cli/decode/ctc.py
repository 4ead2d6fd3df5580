"""Decoding and forced alignment with connectionist temporal classification (Graves et al. 2006).

An alignment assigns a token or the blank to each of T frames. Its output results from merging repetitions and then
removing blanks. The probability of an output is the sum over all of its alignments.

Shapes: B utterances, T frames, V vocabulary with the blank, K prefixes in the beam, L tokens of a target, S = 2 L + 1
states.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tformer_cli.decode.fusion import LanguageModel
from tformer_cli.decode.search import Hypothesis
from tformer_cli.decode.spelling import Spelling


@torch.inference_mode()
def greedy(log_probs: Tensor, lengths: Tensor, *, blank: int = 0) -> list[list[int]]:
    """Return the output of the most probable alignment (best path decoding; Graves et al. 2006, section 3.2).

    Args:
        log_probs: log-probabilities or logits, (B, T, V).
        lengths: number of frames of each utterance, (B,) int64.
        blank: id of the blank.

    Returns:
        Tokens of each utterance.
    """
    best = log_probs.argmax(-1)
    is_output = best != blank
    is_output[:, 1:] &= best[:, 1:] != best[:, :-1]
    is_output &= torch.arange(best.shape[1], device=best.device) < lengths.to(best.device)[:, None]
    best, is_output = best.cpu(), is_output.cpu()
    return [tokens[mask].tolist() for tokens, mask in zip(best, is_output, strict=True)]


# --- prefix beam search ----------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Prefix:
    """A prefix of an output; equal prefixes are one object."""

    token: int
    parent: _Prefix | None
    added: float
    """Sum of the weighted scores of all scorers."""
    states: list[Any]
    children: dict[int, _Prefix] = field(default_factory=dict)

    def tokens(self) -> list[int]:
        """Return the tokens of the prefix."""
        tokens, prefix = [], self
        while prefix.parent is not None:
            tokens.append(prefix.token)
            prefix = prefix.parent
        return tokens[::-1]


def prefix_beam(
    log_probs: Tensor,
    lengths: Tensor,
    *,
    beam: int,
    n_best: int = 1,
    scorers: Sequence[tuple[float, LanguageModel]] = (),
    blank: int = 0,
) -> list[list[Hypothesis]]:
    """Search for the outputs with the highest scores (Graves 2012, section 7.5; Hannun et al. 2014).

    The score is log p_ctc plus the sum of weight * scorer. At each frame the `beam` best prefixes are kept, each with
    the probability of its alignments that end in a blank and of those that end in its last token. The search is exact
    if no prefix is dropped.

    Args:
        log_probs: natural logarithms, (B, T, V).
        lengths: number of frames of each utterance, (B,) int64.
        beam: number of prefixes to keep.
        n_best: number of outputs to return for each utterance.
        scorers: weights and language models, as in shallow fusion; the weight of `fusion.WordCount` is a word bonus.
        blank: id of the blank.

    Returns:
        For each utterance its outputs, best first. `log_probability` is that of CTC, summed over the alignments that
        stayed in the beam; `score` adds the scorers. There is no length penalty.
    """
    frames = log_probs.detach().cpu().double().numpy()
    return [
        _prefix_beam(row[:length], beam, n_best, scorers, blank)
        for row, length in zip(frames, lengths.tolist(), strict=True)
    ]


def _prefix_beam(
    frames: np.ndarray, beam: int, n_best: int, scorers: Sequence[tuple[float, LanguageModel]], blank: int
) -> list[Hypothesis]:
    most_added = sum(max(0.0, weight * model.highest) for weight, model in scorers)
    live = [_Prefix(blank, None, 0.0, [model.start(1)[0] for _, model in scorers])]
    after_blank, after_token = np.zeros(1), np.full(1, -np.inf)
    for frame in frames:
        total = np.logaddexp(after_blank, after_token)
        last, added = np.array([prefix.token for prefix in live]), np.array([prefix.added for prefix in live])
        stay_blank, stay_token = total + frame[blank], after_token + frame[last]
        # Tokens that cannot bring even the best prefix into the beam are skipped; in most frames these are all tokens.
        worst = np.min(np.logaddexp(stay_blank, stay_token) + added) if len(live) == beam else -np.inf
        reach = frame + (np.max(total + added) + most_added)
        reach[blank] = -np.inf
        tokens = np.flatnonzero(reach > worst)
        grown = np.where(last[:, None] == tokens, after_blank[:, None], total[:, None]) + frame[tokens]
        _merge(live, tokens, grown, (after_blank, total), stay_token, frame)
        ranked = (np.logaddexp(stay_blank, stay_token) + added)[:, None]
        new = np.tile(added[:, None], len(tokens))
        if len(tokens):
            for number, (weight, model) in enumerate(scorers):
                new += weight * model.scores([prefix.states[number] for prefix in live], tokens)
            ranked = np.concatenate((ranked, grown + new), axis=1)
        rows, columns = np.divmod(_best(ranked.T.ravel(), beam), len(live))[::-1]  # ties: unchanged prefixes first
        is_new, column = columns > 0, np.maximum(columns - 1, 0)
        after_blank = np.where(is_new, -np.inf, stay_blank[rows])
        after_token = np.where(is_new, grown[rows, column] if len(tokens) else -np.inf, stay_token[rows])
        live = [
            _child(live[row], int(tokens[index]), float(new[row, index]), scorers) if grows else live[row]
            for row, index, grows in zip(rows, column, is_new, strict=True)
        ]
    total = np.logaddexp(after_blank, after_token)
    scores = total + np.array([prefix.added for prefix in live])
    for number, (weight, model) in enumerate(scorers):
        scores += weight * model.ends([prefix.states[number] for prefix in live])
    order = np.argsort(-scores, kind="stable")[:n_best]
    return [Hypothesis(live[i].tokens(), float(scores[i]), float(total[i]), True) for i in order]


def _merge(
    live: list[_Prefix],
    tokens: np.ndarray,
    grown: np.ndarray,
    before: tuple[np.ndarray, np.ndarray],
    stay_token: np.ndarray,
    frame: np.ndarray,
) -> None:
    """Merge each extension that equals a prefix in the beam into this prefix, in place.

    Args:
        live: the K prefixes in the beam.
        tokens: candidate tokens, ascending.
        grown: log-probability of each extension, (K, tokens); merged ones become minus infinity.
        before: log-probabilities of the prefixes before this frame, (K,) each: of alignments that end in a blank, and
            of all alignments.
        stay_token: log-probabilities of alignments that end in the last token of the prefix, (K,); those of merged
            extensions are added.
        frame: log-probabilities of the frame, (V,).
    """
    after_blank, total = before
    rows = {id(prefix): row for row, prefix in enumerate(live)}
    for row, prefix in enumerate(live):
        parent = rows.get(id(prefix.parent))
        if parent is None:
            continue
        repeated = live[parent].token == prefix.token
        value = (after_blank if repeated else total)[parent] + frame[prefix.token]
        stay_token[row] = np.logaddexp(stay_token[row], value)
        column = np.searchsorted(tokens, prefix.token)
        if column < len(tokens) and tokens[column] == prefix.token:
            grown[parent, column] = -np.inf


def _best(values: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the largest finite values, in descending order; among equal values the first."""
    least = np.partition(values, -count)[-count] if len(values) > count else -np.inf
    indices = np.flatnonzero((values >= least) & (values > -np.inf))
    return indices[np.argsort(-values[indices], kind="stable")][:count]


def _child(parent: _Prefix, token: int, added: float, scorers: Sequence[tuple[float, LanguageModel]]) -> _Prefix:
    if token not in parent.children:
        states = [model.follow(state, token) for (_, model), state in zip(scorers, parent.states, strict=True)]
        parent.children[token] = _Prefix(token, parent, added, states)
    return parent.children[token]


# --- alignment -------------------------------------------------------------------------------------------------------


@dataclass
class Span:
    """The frames of a token in the best alignment.

    Attributes:
        token: id of the token.
        start: first frame.
        end: the frame after the last.
        confidence: mean posterior of the token over these frames, from 0 to 1.
    """

    token: int
    start: int
    end: int
    confidence: float


@dataclass
class Word:
    """The time and confidence of a word.

    Attributes:
        text: the word.
        start_seconds: start of its first token.
        end_seconds: end of its last token.
        confidence: mean confidence of its tokens, from 0 to 1; not the probability that the word is correct.
    """

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float


@torch.inference_mode()
def align(
    log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]], *, blank: int = 0
) -> list[list[Span] | None]:
    """Return the most probable alignment of each target (forced alignment by Viterbi; Graves et al. 2006, section 4.1).

    The posteriors of CTC are peaked: a token often has a single frame, which is shorter than its sound (Kuerzinger et
    al. 2020, section 2).

    Args:
        log_probs: natural logarithms, (B, T, V).
        lengths: number of frames of each utterance, (B,) int64.
        targets: tokens of each utterance.
        blank: id of the blank.

    Returns:
        For each utterance the spans of its tokens in order; None if it has fewer frames than the target needs, or the
        target has probability 0.
    """
    batch, frames, _ = log_probs.shape
    device = log_probs.device
    sizes = torch.tensor([len(target) for target in targets], device=device)
    states = torch.full((batch, 2 * max(map(len, targets), default=0) + 1), blank, device=device)
    for row, target in zip(states, targets, strict=True):
        row[1 : 2 * len(target) : 2] = torch.tensor(target, dtype=torch.int64)
    can_skip = torch.zeros_like(states, dtype=torch.bool)  # the blank between two different tokens may be skipped
    can_skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])

    lengths = lengths.to(device)
    score = log_probs.new_full(states.shape, -torch.inf, dtype=torch.float64)
    score[:, 0] = 0.0  # the state before the first frame: an empty blank
    moves = torch.zeros(frames, *states.shape, dtype=torch.uint8, device=device)
    for frame in range(frames):
        best, move = score, moves[frame]
        stepped = torch.nn.functional.pad(score[:, :-1], (1, 0), value=-torch.inf)
        skipped = torch.nn.functional.pad(score[:, :-2], (2, 0), value=-torch.inf)[:, : states.shape[1]]
        for size, (candidate, allowed) in enumerate(((stepped, None), (skipped, can_skip)), 1):
            better = candidate > best if allowed is None else (candidate > best) & allowed
            best = torch.where(better, candidate, best)
            move.masked_fill_(better, size)
        going = (frame < lengths)[:, None]
        score = torch.where(going, best + log_probs[:, frame].gather(1, states), score)
        move.masked_fill_(~going, 0)

    state = 2 * sizes
    ends = score.gather(1, torch.stack((state, (state - 1).clamp(min=0)), 1))
    possible = (ends.amax(1) > -torch.inf).tolist()
    state = torch.where(ends[:, 1] > ends[:, 0], state - 1, state)
    path = torch.empty(batch, frames, dtype=torch.int64, device=device)
    for frame in reversed(range(frames)):
        path[:, frame] = state
        state = state - moves[frame].gather(1, state[:, None]).squeeze(1).long()
    posterior = log_probs.gather(2, states.gather(1, path)[:, :, None]).squeeze(2).double().exp()
    return [
        _spans(row, values, target) if fits else None
        for row, values, target, fits in zip(
            (path.masked_fill(torch.arange(frames, device=device) >= lengths[:, None], 0)).tolist(),
            posterior.tolist(), targets, possible, strict=True,
        )
    ]  # fmt: skip


def _spans(path: list[int], posterior: list[float], target: Sequence[int]) -> list[Span]:
    """Return the spans in which a path stays in the state of a token."""
    spans, start = [], 0
    for state, run in itertools.groupby(path):
        size = len(list(run))
        if state % 2:
            confidence = sum(posterior[start : start + size]) / size
            spans.append(Span(target[state // 2], start, start + size, confidence))
        start += size
    return spans


def words(spans: Sequence[Span], spelling: Spelling, frame_seconds: float) -> list[Word]:
    """Return the words of aligned tokens.

    Args:
        spans: spans of the tokens, from `align`.
        spelling: texts of the vocabulary.
        frame_seconds: duration of an output frame of the model, in seconds.
    """
    texts: list[tuple[str, list[Span]]] = []
    open_word = False
    for span in spans:
        for number, part in enumerate(spelling.texts[span.token].split(" ")):
            open_word &= number == 0
            if part and open_word:
                text, parts = texts[-1]
                texts[-1] = text + part, [*parts, span]
            elif part:
                texts.append((part, [span]))
            open_word |= bool(part)
    return [
        Word(
            text, parts[0].start * frame_seconds, parts[-1].end * frame_seconds,
            sum(span.confidence for span in parts) / len(parts),
        )
        for text, parts in texts
    ]  # fmt: skip
