"""Connectionist temporal classification (Graves et al. 2006) in use: the best outputs, and when each token was said.

Of T frames each names a token or the blank; an output is what is left when repetitions are merged and then blanks
dropped. Its probability is the sum over all such alignments.

Shapes: B utterances, T frames, V vocabulary with the blank, K prefixes kept, L tokens of a target, S = 2 L + 1 states.
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
    """The most probable token of each frame, repetitions merged, blanks dropped (best path; Graves et al. 2006, 3.2).

    Args:
        log_probs: (B, T, V); logits do as well.
        lengths: frames of each, (B,) int64.
        blank: the blank's id.

    Returns:
        Tokens of each utterance.
    """
    best = log_probs.argmax(-1)
    kept = best != blank
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    kept &= torch.arange(best.shape[1], device=best.device) < lengths.to(best.device)[:, None]
    best, kept = best.cpu(), kept.cpu()
    return [row[mask].tolist() for row, mask in zip(best, kept, strict=True)]


# --- prefix beam search ----------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Prefix:
    """An output so far; there is one object of each."""

    token: int
    parent: _Prefix | None
    added: float
    """By all scorers, weights included, since the start."""
    states: list[Any]
    children: dict[int, _Prefix] = field(default_factory=dict)

    def tokens(self) -> list[int]:
        """From the first to the last."""
        found, here = [], self
        while here.parent is not None:
            found.append(here.token)
            here = here.parent
        return found[::-1]


def prefix_beam(
    log_probs: Tensor,
    lengths: Tensor,
    *,
    beam: int,
    n_best: int = 1,
    scorers: Sequence[tuple[float, LanguageModel]] = (),
    blank: int = 0,
) -> list[list[Hypothesis]]:
    """The outputs of highest score: log p_ctc + the sum of weight * scorer (Graves 2012, 7.5; Hannun et al. 2014).

    Frame by frame the `beam` best prefixes are kept, each with the probability of all alignments that end in a blank
    and of all that end in its last token. It is exact as long as nothing falls out of the beam.

    Args:
        log_probs: natural, (B, T, V).
        lengths: frames of each, (B,) int64.
        beam: prefixes kept.
        n_best: outputs of each utterance.
        scorers: language models with their weights, as in shallow fusion; `fusion.WordCount` with a word bonus.
        blank: the blank's id.

    Returns:
        For each utterance its outputs, best first; `log_probability` is CTC's own, over the alignments that stayed in
        the beam; `score` adds the scorers; no length penalty.
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
        last, added = np.array([one.token for one in live]), np.array([one.added for one in live])
        stay_blank, stay_token = total + frame[blank], after_token + frame[last]
        # a token that takes even the best prefix to no place in the beam need not be looked at: most frames have none
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
                new += weight * model.scores([one.states[number] for one in live], tokens)
            ranked = np.concatenate((ranked, grown + new), axis=1)
        rows, columns = np.divmod(_best(ranked.T.ravel(), beam), len(live))[::-1]  # of equals, those that stay
        is_new, column = columns > 0, np.maximum(columns - 1, 0)
        after_blank = np.where(is_new, -np.inf, stay_blank[rows])
        after_token = np.where(is_new, grown[rows, column] if len(tokens) else -np.inf, stay_token[rows])
        live = [
            _child(live[row], int(tokens[place]), float(new[row, place]), scorers) if grows else live[row]
            for row, place, grows in zip(rows, column, is_new, strict=True)
        ]
    total = np.logaddexp(after_blank, after_token)
    scores = total + np.array([one.added for one in live])
    for number, (weight, model) in enumerate(scorers):
        scores += weight * model.ends([one.states[number] for one in live])
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
    """A prefix that is another one's extension takes that extension's alignments, in place.

    Args:
        live: the prefixes, K.
        tokens: those that are looked at, ascending.
        grown: log-probability of each extension, (K, tokens); those that are taken become minus infinity.
        before: of each prefix before this frame: after a blank, and in all.
        stay_token: of each prefix after this frame, if it ends in its token; they grow.
        frame: log-probabilities, (V,).
    """
    after_blank, total = before
    places = {id(one): place for place, one in enumerate(live)}
    for place, one in enumerate(live):
        parent = places.get(id(one.parent))
        if parent is None:
            continue
        repeated = live[parent].token == one.token
        value = (after_blank if repeated else total)[parent] + frame[one.token]
        stay_token[place] = np.logaddexp(stay_token[place], value)
        column = np.searchsorted(tokens, one.token)
        if column < len(tokens) and tokens[column] == one.token:
            grown[parent, column] = -np.inf


def _best(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest finite values, best first; of equals the first."""
    least = np.partition(values, -count)[-count] if len(values) > count else -np.inf
    places = np.flatnonzero((values >= least) & (values > -np.inf))
    return places[np.argsort(-values[places], kind="stable")][:count]


def _child(parent: _Prefix, token: int, added: float, scorers: Sequence[tuple[float, LanguageModel]]) -> _Prefix:
    if token not in parent.children:
        states = [model.follow(state, token) for (_, model), state in zip(scorers, parent.states, strict=True)]
        parent.children[token] = _Prefix(token, parent, added, states)
    return parent.children[token]


# --- alignment -------------------------------------------------------------------------------------------------------


@dataclass
class Span:
    """When a token was said.

    Attributes:
        token: its id.
        start: first frame of the best alignment that names it.
        end: the frame after the last.
        confidence: mean posterior of the token over these frames, 0 to 1.
    """

    token: int
    start: int
    end: int
    confidence: float


@dataclass
class Word:
    """When a word was said.

    Attributes:
        text: the word.
        start_seconds: where its first token starts.
        end_seconds: where its last one ends.
        confidence: mean of its tokens', 0 to 1; no probability that the word is right.
    """

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float


@torch.inference_mode()
def align(
    log_probs: Tensor, lengths: Tensor, targets: Sequence[Sequence[int]], *, blank: int = 0
) -> list[list[Span] | None]:
    """Forced alignment: the most probable alignment of each target (Viterbi over Graves et al. 2006, 4.1).

    CTC's tokens are peaks: a token's frames are where the model names it, often one alone, and less than its sound
    lasts (Kuerzinger et al. 2020, section 2).

    Args:
        log_probs: natural, (B, T, V).
        lengths: frames of each, (B,) int64.
        targets: tokens of each utterance.
        blank: the blank's id.

    Returns:
        For each utterance its tokens' spans in order; None if it has fewer frames than the target needs, or the target
        is impossible.
    """
    batch, frames, _ = log_probs.shape
    device = log_probs.device
    sizes = torch.tensor([len(target) for target in targets], device=device)
    states = torch.full((batch, 2 * max(map(len, targets), default=0) + 1), blank, device=device)
    for row, target in zip(states, targets, strict=True):
        row[1 : 2 * len(target) : 2] = torch.tensor(target, dtype=torch.int64)
    can_skip = torch.zeros_like(states, dtype=torch.bool)  # the blank between two tokens that differ
    can_skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])

    lengths = lengths.to(device)
    score = log_probs.new_full(states.shape, -torch.inf, dtype=torch.float64)
    score[:, 0] = 0.0  # before the first frame: a blank of no length
    moves = torch.zeros(frames, *states.shape, dtype=torch.uint8, device=device)
    for frame in range(frames):
        best, move = score, moves[frame]
        stepped = torch.nn.functional.pad(score[:, :-1], (1, 0), value=-torch.inf)
        skipped = torch.nn.functional.pad(score[:, :-2], (2, 0), value=-torch.inf)[:, : states.shape[1]]
        for number, (other, allowed) in enumerate(((stepped, None), (skipped, can_skip)), 1):
            better = other > best if allowed is None else (other > best) & allowed
            best = torch.where(better, other, best)
            move.masked_fill_(better, number)
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
    """The runs of a path that stand in a token's state."""
    spans, start = [], 0
    for state, run in itertools.groupby(path):
        size = len(list(run))
        if state % 2:
            confidence = sum(posterior[start : start + size]) / size
            spans.append(Span(target[state // 2], start, start + size, confidence))
        start += size
    return spans


def words(spans: Sequence[Span], spelling: Spelling, frame_seconds: float) -> list[Word]:
    """The words that aligned tokens write.

    Args:
        spans: of `align`.
        spelling: of the vocabulary.
        frame_seconds: from one frame of the model's output to the next.
    """
    found: list[tuple[str, list[Span]]] = []
    open_word = False
    for span in spans:
        for number, part in enumerate(spelling.texts[span.token].split(" ")):
            open_word &= number == 0
            if part and open_word:
                text, parts = found[-1]
                found[-1] = text + part, [*parts, span]
            elif part:
                found.append((part, [span]))
            open_word |= bool(part)
    return [
        Word(
            text, parts[0].start * frame_seconds, parts[-1].end * frame_seconds,
            sum(span.confidence for span in parts) / len(parts),
        )
        for text, parts in found
    ]  # fmt: skip
