"""The logit lens: what each layer of a model would predict if it were the last.

Shapes: L blocks, T positions, D model width, k tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tformer_cli.analysis.lens import Lens, logit_lens
from tformer_cli.draw import Curve, Curves, HeatMap
from tformer_cli.figures.base import Figure, Kind, Subject, readable, token_names
from tformer_cli.inspectors.base import Example

MAX_POSITIONS, TOP = 60, 5
"""Positions of the table, and tokens of each cell in the numbers."""


def layer_names(count: int) -> list[str]:
    """Return names of the hidden states of a stack: the embedding, then the outputs of its blocks from 1."""
    return ["embedding", *map(str, range(1, count))]


def measured(subject: Subject, example: Example) -> tuple[Lens, list[str]]:
    """Return the logit lens of an example, and the names of its positions: the tokens that they read."""
    lens = subject.inspector.lens(subject.model)
    axis = lens and (example.decoder if lens.of_decoder else example.encoder)
    assert lens is not None and axis is not None
    return logit_lens(subject.states(example, lens.stack), lens.logits, top=TOP), token_names(axis)


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield two figures for each example: the best token of each layer, and the probability of the final ones."""
    lens = subject.inspector.lens(subject.model)
    assert lens is not None
    for number, example in enumerate(subject.examples, 1):
        result, names = measured(subject, example)
        layers = layer_names(len(result.ranks))
        best = [readable(lens.pieces(row.tolist())) for row in result.top_tokens[..., 0]]
        yield _table(f"lens-{number}", example.name, result, layers, names, best)
        yield _curves(f"lens-{number}-layers", example.name, result, layers, lens.pieces)


def _table(name: str, example: str, result: Lens, layers: list[str], names: list[str], best: list[list[str]]) -> Figure:
    """Return the figure of the best token of each layer and position."""
    probabilities = result.top_probabilities[..., 0]
    shown = slice(0, MAX_POSITIONS)
    picture = HeatMap(
        probabilities.T[shown], names[shown], layers, "Best token after each layer", "token that is read", "layer",
        texts=[list(row) for row in zip(*best, strict=True)][shown], limits=(0.0, 1.0),
    )  # fmt: skip
    caption = "The last column is the model's prediction."
    if len(names) > MAX_POSITIONS:
        caption += f" The first {MAX_POSITIONS} of {len(names):,} positions are drawn."
    numbers = {
        "layers": list(range(len(layers))), "positions": names, "best": best, "probabilities": probabilities
    }  # fmt: skip
    return Figure(name, "Best token of each layer", picture, numbers, caption, example)


def _curves(
    name: str, example: str, result: Lens, layers: list[str], pieces: Callable[[Sequence[int]], Sequence[str]]
) -> Figure:
    """Return the figure of the final predictions by layer, averaged over positions."""
    agreement = (result.top_tokens[..., 0] == result.tokens).mean(1)
    probability = result.probabilities.mean(1)
    steps = np.arange(len(layers))
    picture = Curves(
        [Curve("its probability", steps, probability), Curve("share of positions where it is best", steps, agreement)],
        "The final prediction after each layer", "layer (0: embedding)", y_limits=(0.0, 1.0),
    )  # fmt: skip
    numbers = {
        "layers": list(range(len(layers))),
        "final": list(pieces(result.tokens.tolist())),
        "probabilities": result.probabilities,
        "ranks": result.ranks,
        "divergences": result.divergences,
        "mean_probability": probability,
        "agreement": agreement,
    }
    return Figure(name, "Final prediction by layer", picture, numbers, "Means over positions.", example)


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no lens; empty: it has one."""
    if subject.inspector.lens(subject.model) is None:
        return "the model has no stack of blocks that predicts tokens"
    return ""


KIND = Kind(
    "lens",
    "Logit lens",
    "What each layer would predict if it were the last: a row is a position, a column a layer, and a strong colour is a"
    " confident prediction. It shows where in the model a prediction arises.",
    draw,
    missing,
    "softmax(output layer(norm(h))), h: output of a layer",
    "nostalgebraist 2020, interpreting GPT: the logit lens",
)
