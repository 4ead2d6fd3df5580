"""What each head does, as a table of patterns, and how much the heads of a layer differ.

Shapes: H heads, Q queries, K keys, W head width.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tformer_cli.analysis.attention import entropy, pattern_shares, strongest_of
from tformer_cli.analysis.diversity import TERMS
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Curve, Curves, HeatMap
from tformer_cli.figures.base import Figure, Kind, Layer, Subject, needs_attention, recorded_together
from tformer_cli.figures.places import axes_of
from tformer_cli.inspectors.base import Example
from tformer_cli.nn.taps import tapped

MOST_ROWS = 64
"""Maximum number of heads in a table; more heads are divided into several tables."""
OF_A_LINE = ("previous position", "next position")
"""Patterns of neighbours; patches in raster order have other neighbours."""
OF_ONE_SEQUENCE = (*OF_A_LINE, "same position")
"""Patterns that compare positions of queries and keys, and need them to be one sequence."""


@dataclass(frozen=True)
class Table:
    """What some heads do, a row for each of them.

    Attributes:
        layers: number of the layer of each head, from 1.
        heads: number of each head in its layer, from 1.
        columns: names of the patterns, and `entropy`.
        shares: (heads, columns).
        strongest: name of the strongest pattern of each head.
    """

    layers: list[int]
    heads: list[int]
    columns: list[str]
    shares: np.ndarray
    strongest: list[str]

    @property
    def rows(self) -> list[str]:
        """The name of each head for readers, with its pattern."""
        return [
            f"layer {layer}, head {head}: {name.removesuffix(' position')}"
            for layer, head, name in zip(self.layers, self.heads, self.strongest, strict=True)
        ]


def without_meaning(example: Example, layer: Layer, shape: Sequence[int]) -> Sequence[str]:
    """Return the patterns without a meaning for a layer: they compare different sequences, or treat patches as a line.

    Args:
        example: the input.
        layer: the layer.
        shape: (H, Q, K) of its weights.
    """
    queries, keys = axes_of(example, layer, shape)
    if layer.kind is AttentionKind.cross or len(queries) != len(keys):
        return OF_ONE_SEQUENCE
    return OF_A_LINE if queries.grid is not None else ()


def measures(weights: np.ndarray, without: Collection[str]) -> dict[str, np.ndarray]:
    """Return the share of attention of each pattern, and the entropy as a share of its maximum, by name, (H,) each.

    Args:
        weights: (H, Q, K).
        without: names of patterns that are left out.
    """
    shares = {name: share for name, share in pattern_shares(weights).items() if name not in without}
    return {**shares, "entropy": entropy(weights) / max(math.log(weights.shape[-1]), 1e-12)}


def means_of_layers(subject: Subject, kind: AttentionKind) -> dict[Layer, dict[str, np.ndarray]]:
    """Return the means over inputs of the measures that all layers of a kind have, by name, (H,) each.

    Attention with a single query or key has no pattern. Such an input counts only if there are no others.
    """
    by_layer: dict[Layer, list[tuple[bool, dict[str, np.ndarray]]]] = {}
    for example in subject.examples:
        for layer, weights in subject.weights(example, kind):
            given = measures(weights[subject.heads(layer)], without_meaning(example, layer, weights.shape))
            by_layer.setdefault(layer, []).append((min(weights.shape[1:]) > 1, given))
    everything = [given for inputs in by_layer.values() for _, given in inputs]
    common = [name for name in everything[0] if all(name in given for given in everything)] if everything else []
    means = {}
    for layer, inputs in by_layer.items():
        counted = [given for several, given in inputs if several] or [given for _, given in inputs]
        means[layer] = {name: np.mean([given[name] for given in counted], 0) for name in common}
    return means


def tables(subject: Subject, kind: AttentionKind) -> Iterator[Table]:
    """Yield tables of the heads of all layers of a kind."""
    places, parts, strongest, columns = [], [], [], []
    for layer, means in means_of_layers(subject, kind).items():
        places += [(layer.number, head + 1) for head in subject.heads(layer)]
        columns, shares = list(means), {name: mean for name, mean in means.items() if name != "entropy"}
        strongest += [pattern.name for pattern in strongest_of(shares)]
        parts.append(np.stack(list(means.values()), 1))  # (H, columns)
    for start in range(0, len(places), MOST_ROWS):
        part = slice(start, start + MOST_ROWS)
        layers, heads = (list(numbers) for numbers in zip(*places[part], strict=True))
        yield Table(layers, heads, columns, np.concatenate(parts)[part], strongest[part])


def disagreements(subject: Subject, example: Example, layers: Sequence[Layer]) -> dict[Layer, dict[str, float]]:
    """Return the disagreements of the heads of each layer that an input uses, from one pass."""
    names = [layer.name for layer in layers]
    with torch.no_grad(), tapped(subject.model, {term.tap for term in TERMS.values()}, names) as records:
        example.run()
    return {
        layer: {name: -float(term.agreement(records[layer.name][term.tap][0]).mean()) for name, term in TERMS.items()}
        for layer in layers
        if records[layer.name]["weights"]
    }


def diversity(subject: Subject, kind: AttentionKind) -> Figure | None:
    """Return the figure of the disagreements of the heads of each layer; None: no layer has several heads."""
    layers = [layer for layer in subject.layers(kind) if layer.heads > 1]
    by_layer: dict[Layer, list[dict[str, float]]] = {layer: [] for layer in layers}
    for example in subject.examples if layers else ():
        for group in recorded_together(example, layers):
            for layer, given in disagreements(subject, example, group).items():
                by_layer[layer].append(given)
    used = {layer: inputs for layer, inputs in by_layer.items() if inputs}
    numbers = [layer.number for layer in used]
    values = {name: [float(np.mean([given[name] for given in inputs])) for inputs in used.values()] for name in TERMS}
    if not numbers:
        return None
    names = {name: name.removeprefix("disagreement_") for name in TERMS}
    curves = [Curve(label, numbers, values[name]) for name, label in names.items()]
    kind_name = layers[0].kind_name
    title = f"{kind_name}: disagreement of heads"
    picture = Curves(curves, title, "layer", "disagreement", y_limits=(0.0,))
    shown = {"attention": kind_name, "layers": numbers, **{label: values[name] for name, label in names.items()}}
    caption = "0: heads are orthogonal; -1: they are equal. Subspace: values, position: weights, output: outputs"
    return Figure(f"heads-{kind_name}-diversity", title, picture, shown, caption)


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the tables and the disagreements of each kind of attention."""
    for kind in AttentionKind:
        kind_name = next((layer.kind_name for layer in subject.layers(kind)), "")
        for number, table in enumerate(tables(subject, kind), 1):
            title = f"{kind_name}: patterns of heads" + (f", part {number}" if number > 1 else "")
            headings = [f"{column} (of the largest)" if column == "entropy" else column for column in table.columns]
            picture = HeatMap(table.shares, table.rows, headings, title, percent=True, limits=(0.0, 1.0))
            values = {"attention": kind_name, **vars(table), "shares": table.shares.round(4)}
            yield Figure(f"heads-{kind_name}-{number}", title, picture, values)
        figure = diversity(subject, kind)
        if figure is not None:
            yield figure


KIND = Kind(
    "heads",
    "What heads do",
    "The share of attention, in percent, that goes to the position before the query, to itself, to the one after it,"
    " and to the first and the last position; and the entropy of attention, of the largest one, ln K. A head is named"
    " after the pattern that receives half of its attention or more. It is called spread if none does: then it attends"
    " to many keys, which a high entropy shows, or to keys that depend on what they are rather than on where they are."
    " Averaged over inputs of several positions. Neighbours in a line have no meaning for the patches of an image, and"
    " are left out there.",
    draw,
    needs_attention,
    "D_output = −1/H² Σ_ij cos(O_i, O_j), likewise for values and weights",
    "patterns: Clark et al. 2019, section 3; disagreement: Li et al. 2018, section 3",
)
