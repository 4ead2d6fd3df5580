"""Recordings: the features that a model reads, the tokens that CTC emits, and the attention of the decoder.

Shapes: T frames, T' frames after subsampling, N output tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.speech.times import FrameTimes
from tformer_cli.draw import Spectrogram, Strip
from tformer_cli.figures.base import Figure, Kind, Layer, Subject, readable
from tformer_cli.inspectors.base import Emissions, Example

MAX_TOKENS = 64
"""Output tokens whose attention is drawn."""


def emitted(emissions: Emissions) -> list[tuple[int, str]]:
    """Return the frames in which CTC's best path emits a token, and the tokens: blank and repetitions are merged."""
    marks: list[tuple[int, str]] = []
    last, names = "", readable(emissions.tokens)
    for frame, (token, probability, blank) in enumerate(
        zip(emissions.tokens, emissions.probabilities, emissions.blank, strict=True)
    ):
        best = token if probability > blank else ""
        if best and best != last:
            marks.append((frame, names[frame]))
        last = best
    return marks


def attention_over_time(subject: Subject, example: Example) -> tuple[Layer, np.ndarray] | None:
    """Return the last layer of cross-attention and its weights averaged over heads, (N, T'); None if there is none."""
    last = None
    for layer, weights in subject.weights(example, AttentionKind.cross):
        last = layer, weights[subject.heads(layer)].mean(0)
    return last


def figure_of(subject: Subject, example: Example, name: str) -> Figure:
    """Return the figure of a recording."""
    assert example.features is not None and example.encoder is not None
    times = FrameTimes(example.frame_seconds, example.begin_seconds)
    positions = [times.position(seconds) for seconds in example.encoder.coordinates[:2, 0].tolist()]
    begin, step = positions[0] if positions else 0.0, positions[1] - positions[0] if len(positions) > 1 else 1.0
    marks = [(round(times.position(seconds)), word) for seconds, word in example.words]
    strips: list[Strip] = []
    numbers = {
        "features": example.features,
        "frame_seconds": example.frame_seconds,
        "begin_seconds": example.begin_seconds,
        "words": example.words,
    }
    captions = []
    if example.emissions is not None:
        emissions = example.emissions
        values = np.stack((emissions.probabilities, emissions.blank))
        title = "CTC: best token, and blank"
        strips.append(Strip(values, ["token", "blank"], step, title, emitted(emissions), begin))
        numbers |= {"ctc_tokens": emissions.tokens, "ctc_probabilities": values[0], "ctc_blank": values[1]}
        captions.append("Above the strip of CTC: the tokens of its best path.")
    attention = attention_over_time(subject, example)
    if attention is not None:
        layer, weights = attention
        tokens = readable(example.outputs)
        numbers |= {"tokens": tokens, "attention": layer.kind_name, "layers": [layer.number], "weights": weights}
        drawn = weights[:MAX_TOKENS] / weights.max(initial=1e-12)
        title = f"{layer.title}, mean over heads"
        strips.append(Strip(drawn, tokens[: len(drawn)], step, title, begin_frames=begin))
        captions.append(f"Below: attention of each output token; the strongest colour is {100 * weights.max():.0f} %.")
        if len(tokens) > MAX_TOKENS:
            captions.append(f"The first {MAX_TOKENS} of {len(tokens):,} tokens are drawn.")
    picture = Spectrogram(
        example.features,
        marks,
        example.answer,
        example.frame_seconds,
        begin_seconds=example.begin_seconds,
        strips=strips,
    )
    return Figure(name, "What the model hears", picture, numbers, " ".join(captions), example.name)


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield a figure for each recording."""
    for number, example in enumerate(subject.examples, 1):
        if example.features is not None:
            yield figure_of(subject, example, f"spectrogram-{number}")


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no spectrograms; empty: it has some."""
    has = any(example.features is not None for example in subject.examples)
    return "" if has else "the inputs are not recordings"


KIND = Kind(
    "spectrogram",
    "Spectrogram",
    "The features of a recording, time to the right and frequency upwards, with the words that the model recognises at"
    " their times. Below, on the same axis of time: what CTC emits, and where each token of the decoder attends.",
    draw,
    missing,
    "softmax(W hₜ) for CTC",
    "Graves et al. 2006, figure 1; Watanabe et al. 2017, figure 2",
)
