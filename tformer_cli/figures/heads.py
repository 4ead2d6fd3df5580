"""What each head does, as a table of patterns, and how much the heads of a layer differ.

Shapes: H heads, Q queries, K keys, W head width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from tformer_cli.analysis.attention import entropy, pattern_shares, strongest_of
from tformer_cli.analysis.diversity import TERMS
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Curve, Curves, HeatMap
from tformer_cli.figures.base import KIND_NAMES, Figure, Kind, Layer, Subject, needs_attention
from tformer_cli.inspectors.base import Example
from tformer_cli.nn.taps import tapped

MOST_ROWS = 64
"""Maximum number of heads in a table; of more, there are several tables."""
OF_ONE_SEQUENCE = ("previous token", "same token", "next token")
"""Patterns that compare positions of queries with those of keys."""


def measures(weights: np.ndarray, kind: AttentionKind) -> dict[str, np.ndarray]:
    """Return the share of attention of each pattern, and the entropy as a share of the largest, by name, (H,) each.

    Args:
        weights: (H, Q, K).
        kind: of the layer; patterns of cross-attention are those that do not compare positions.
    """
    shares = pattern_shares(weights)
    if kind is AttentionKind.cross:
        shares = {name: share for name, share in shares.items() if name not in OF_ONE_SEQUENCE}
    return {**shares, "entropy": entropy(weights) / max(math.log(weights.shape[-1]), 1e-12)}


def tables(subject: Subject, kind: AttentionKind) -> Iterator[tuple[list[str], list[str], np.ndarray, list[str]]]:
    """Yield tables of heads: names of rows, names of columns, shares, and the strongest pattern of each row."""
    by_layer: dict[Layer, list[dict[str, np.ndarray]]] = {}
    for example in subject.examples:
        for layer, weights in subject.weights(example, kind):
            by_layer.setdefault(layer, []).append(measures(weights[subject.heads(layer)], kind))
    rows, parts, strongest, columns = [], [], [], []
    for layer, examples in by_layer.items():
        means = {name: np.mean([given[name] for given in examples], 0) for name in examples[0]}
        rows += [f"layer {layer.number}, head {head + 1}" for head in subject.heads(layer)]
        columns, shares = list(means), {name: mean for name, mean in means.items() if name != "entropy"}
        strongest += [pattern.name for pattern in strongest_of(shares)]
        parts.append(np.stack(list(means.values()), 1))  # (H, columns)
    for start in range(0, len(rows), MOST_ROWS):
        part = slice(start, start + MOST_ROWS)
        yield rows[part], columns, np.concatenate(parts)[part], strongest[part]


def disagreements(subject: Subject, example: Example, layer: Layer) -> dict[str, float] | None:
    """Return the disagreements of the heads of a layer for an input; None: it does not use the layer."""
    with torch.no_grad(), tapped(subject.model, {term.tap for term in TERMS.values()}, [layer.name]) as records:
        example.run()
    tensors = records[layer.name]
    if not tensors["weights"]:
        return None
    return {name: -float(term.agreement(tensors[term.tap][0]).mean()) for name, term in TERMS.items()}


def diversity(subject: Subject, kind: AttentionKind) -> Figure | None:
    """Return the figure of the disagreements of the heads of each layer; None: no layer has several heads."""
    numbers: list[int] = []
    values: dict[str, list[float]] = {name: [] for name in TERMS}
    for layer in subject.layers(kind):
        if layer.heads == 1:
            continue
        found = [disagreements(subject, example, layer) for example in subject.examples]
        given = [each for each in found if each is not None]
        if given:
            numbers.append(layer.number)
            for name in TERMS:
                values[name].append(float(np.mean([each[name] for each in given])))
    if not numbers:
        return None
    names = {name: name.removeprefix("disagreement_") for name in TERMS}
    curves = [Curve(label, numbers, values[name]) for name, label in names.items()]
    title = f"{KIND_NAMES[kind]}: disagreement of heads"
    picture = Curves(curves, title, "layer", "disagreement", y_limits=(0.0,))
    shown = {"layers": numbers, **{label: values[name] for name, label in names.items()}}
    caption = "0: heads are orthogonal; -1: they are equal. Subspace: values, position: weights, output: outputs"
    return Figure(f"heads-{KIND_NAMES[kind]}-diversity", title, picture, shown, caption)


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the tables and the disagreements of each kind of attention."""
    for kind in AttentionKind:
        for number, (rows, columns, shares, strongest) in enumerate(tables(subject, kind), 1):
            title = f"{KIND_NAMES[kind]}: patterns of heads" + (f", part {number}" if number > 1 else "")
            named = [f"{row}: {name.removesuffix(' token')}" for row, name in zip(rows, strongest, strict=True)]
            headings = [f"{column} (of the largest)" if column == "entropy" else column for column in columns]
            picture = HeatMap(shares, named, headings, title, percent=True, limits=(0.0, 1.0))
            values = {"heads": rows, "strongest": strongest, "columns": columns, "shares": shares.round(4)}
            yield Figure(f"heads-{KIND_NAMES[kind]}-{number}", title, picture, values)
        figure = diversity(subject, kind)
        if figure is not None:
            yield figure


KIND = Kind(
    "heads",
    "What heads do",
    "The share of attention, in percent, that goes to the position before the query, to itself, to the one after it,"
    " and to the first and the last position; and the entropy of attention, of the largest one, ln K. A head is named"
    " after a pattern that receives half of its attention; otherwise its attention is spread. Averaged over inputs.",
    draw,
    needs_attention,
    "D_output = −1/H² Σ_ij cos(O_i, O_j), likewise for values and weights",
    "patterns: Clark et al. 2019, section 3; disagreement: Li et al. 2018, section 3",
)
