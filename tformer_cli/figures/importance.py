"""The importance of tokens, or of parts of an image, for the predicted label.

Shapes: T tokens, D width of their vectors; C channels, H and W height and width of an image in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tformer_cli.analysis.importance import (
    IntegratedGradients,
    gradient_times_input,
    integrated_gradients,
    occlusion,
    occlusion_map,
)
from tformer_cli.draw import Gallery, TokenRow, Tokens
from tformer_cli.figures.base import Figure, Kind, Subject, token_names
from tformer_cli.inspectors.base import Example, Explained

MOST_TOKENS = 512
"""Greatest number of tokens that are occluded one by one."""
SQUARES, MOST_CELLS = 8, 64
"""Number of squares along the shorter side of an image, and greatest number of drawn cells along each side."""
MAX_STEPS = 256
"""Greatest number of points of the integral."""
SIDE_PIXELS = 200
METHODS = ("occlusion", "gradient x input", "integrated gradients")


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield a figure for each example."""
    for number, example in enumerate(subject.examples, 1):
        if example.explained is None:
            continue
        subject.report(f"importance of the parts of {shortened(example.name)} ...")
        explained = example.explained()
        figure = image_figure if explained.vectors.dim() == 3 else token_figure
        yield figure(number, example, explained)


def shortened(name: str) -> str:
    """Return the beginning of a name."""
    return name if len(name) <= 40 else f"{name[:39]}…"


def completeness(result: IntegratedGradients) -> tuple[dict[str, float], str]:
    """Return the numbers and a sentence on how exact integrated gradients are."""
    numbers = {"difference": result.difference, "completeness_error": result.error, "steps": result.steps}
    sentence = (
        f"Integrated gradients add up to {result.difference + result.error:+.3g}, and the score exceeds that of the"
        f" baseline by {result.difference:+.3g} (error {result.error:+.2g}, {result.steps} points)."
    )
    return numbers, sentence


def token_figure(number: int, example: Example, explained: Explained) -> Figure:
    """Return the rows of tokens, one for each method."""
    vectors, score = explained.vectors, explained.score
    baseline = explained.baseline.expand_as(vectors)
    axis = example.encoder or example.decoder
    names = token_names(axis) if axis is not None else [""] * len(vectors)
    integral = integrated_gradients(score, vectors, baseline, max_steps=MAX_STEPS)
    values = {
        METHODS[1]: gradient_times_input(score, vectors).sum(-1),
        METHODS[2]: integral.attributions.sum(-1),
    }
    if len(vectors) <= MOST_TOKENS:
        values = {METHODS[0]: occlusion(score, vectors, baseline), **values}
    # Each row is drawn on its own scale, since the methods have different units.
    rows = [TokenRow(names, each / max(float(np.abs(each).max()), 1e-12), name) for name, each in values.items()]
    numbers, sentence = completeness(integral)
    title = f"{example.answer}: {explained.name}"
    note = "" if METHODS[0] in values else f" Texts of more than {MOST_TOKENS} tokens have no occlusion."
    return Figure(
        f"importance-{number}", title, Tokens(rows, title, diverging=True, limits=(-1.0, 1.0)),
        {"score": explained.name, "tokens": names, **values, **numbers},
        f"{sentence} Each row is divided by its highest absolute value. The baseline of a token is the zero vector;"
        f" marks such as [CLS] are not replaced.{note}",
        example=example.name,
    )  # fmt: skip


def cells(values: np.ndarray) -> np.ndarray:
    """Return the sums of values, (H, W), over square blocks, so that at most 64 rows and columns remain."""
    block = math.ceil(max(values.shape) / MOST_CELLS)
    padded = np.pad(values, [(0, -side % block) for side in values.shape])
    return padded.reshape(padded.shape[0] // block, block, -1, block).sum((1, 3))


def image_figure(number: int, example: Example, explained: Explained) -> Figure:
    """Return the image with the importance of its parts over it, by each method."""
    image, score = explained.vectors, explained.score
    size = max(1, round(min(image.shape[1:]) / SQUARES))
    hidden = occlusion_map(score, image, size, stride=max(1, size // 2), fill=explained.baseline.flatten(1)[:, 0])
    integral = integrated_gradients(score, image, explained.baseline.expand_as(image), max_steps=MAX_STEPS)
    maps = {
        METHODS[0]: hidden.pixels,
        METHODS[1]: cells(gradient_times_input(score, image).sum(0)),
        METHODS[2]: cells(integral.attributions.sum(0)),
    }
    assert example.image is not None
    title = f"{example.answer}: {explained.name}"
    picture = Gallery(
        [example.image] * (1 + len(maps)), [example.answer, *METHODS], [None] * (1 + len(maps)), [None, *maps.values()],
        columns=1 + len(maps), side=SIDE_PIXELS, diverging=True,
    )  # fmt: skip
    numbers, sentence = completeness(integral)
    return Figure(
        f"importance-{number}", title, picture,
        {"score": explained.name, **maps, "drops": hidden.drops, "tops": hidden.tops, "lefts": hidden.lefts, **numbers},
        f"{sentence} Occlusion hides squares of {size} x {size} pixels by the mean colour, which is the baseline, too."
        " Each map has a scale of its own.",
        example=example.name,
    )  # fmt: skip


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no such figure; empty: it has some."""
    if any(example.explained is not None for example in subject.examples):
        return ""
    return "the model does not predict a label or a number"


KIND = Kind(
    "importance",
    "Importance of the input's parts",
    "What the score of the predicted label rests on: blue parts raise it, orange ones lower it. Occlusion: by how much"
    " the score falls without the part. Gradient x input: the effect of the part to first order. Integrated gradients:"
    " its share of the difference from an input without information.",
    draw,
    missing,
    "f(x) − f(x without i); xᵢ ∂f/∂xᵢ; (xᵢ − bᵢ) ∫₀¹ ∂f/∂xᵢ(b + a(x − b)) da",
    "Zeiler and Fergus 2014, section 4.2; Li et al. 2016; Shrikumar et al. 2016; Sundararajan et al. 2017, equation 1",
)
