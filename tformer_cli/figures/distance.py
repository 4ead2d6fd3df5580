"""The mean distance of attention of each head, by layer.

Shapes: H heads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tformer_cli.analysis.attention import mean_distance
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Curve, Curves
from tformer_cli.figures.base import Figure, Kind, Layer, Subject, needs_attention
from tformer_cli.figures.places import axes_of, uniform_attention
from tformer_cli.inspectors.base import Example

KINDS = (AttentionKind.encoder, AttentionKind.decoder)


def missing(subject: Subject) -> str:
    """Return the reason why a model has no distances; empty: it has some."""
    if reason := needs_attention(subject):
        return reason
    kinds = {layer.kind for layer in subject.layers()} & set(KINDS)
    same = any(has_places(example, kind) for kind in kinds for example in subject.examples)
    return "" if same else "the model has no self-attention between the positions of one sequence"


def has_places(example: Example, kind: AttentionKind) -> bool:
    """Return whether queries and keys of a kind of attention are places in one sequence or one image."""
    axes = example.axes(kind)
    return example.image is not None if axes is None else axes[0] is axes[1]


def distances(subject: Subject) -> dict[AttentionKind, tuple[str, dict[Layer, np.ndarray]]]:
    """Return the unit, and the mean distances of the heads of each layer, (examples, 1 + H), by kind of attention.

    The first column holds the distance of uniform attention, see `places.uniform_attention`.
    """
    results: dict[AttentionKind, tuple[str, dict[Layer, np.ndarray]]] = {}
    for kind in KINDS:
        by_layer: dict[Layer, list[np.ndarray]] = {}
        unit = ""
        for example in subject.examples:
            for layer, every in subject.weights(example, kind) if has_places(example, kind) else ():
                queries, keys = axes_of(example, layer, every.shape)
                if every.shape[1:] != (len(queries), len(keys)):
                    continue
                weights, skip = every[subject.heads(layer)], int((~queries.placed).sum())
                given = np.concatenate((uniform_attention(every)[None], weights))
                places, unit = (queries.coordinates[skip:], keys.coordinates[skip:]), queries.unit
                by_layer.setdefault(layer, []).append(mean_distance(given, *places, skip=skip))
        if by_layer:
            results[kind] = unit, {layer: np.stack(values) for layer, values in by_layer.items()}
    return results


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield a figure for each kind of self-attention."""
    for unit, by_layer in distances(subject).values():
        layers = list(by_layer)
        means = [values.mean(0) for values in by_layer.values()]  # (1 + H,) each
        across = [layer.number for layer, mean in zip(layers, means, strict=True) for _ in mean[1:]]
        numbers = [layer.number for layer in layers]
        curves = [
            Curve("head", across, np.concatenate([mean[1:] for mean in means]), connected=False),
            Curve("mean over heads", numbers, [float(mean[1:].mean()) for mean in means]),
            Curve("uniform attention", numbers, [float(mean[0]) for mean in means], points=False),
        ]
        kind_name = layers[0].kind_name
        title = f"{kind_name}: mean attention distance"
        picture = Curves(curves, title, "layer", unit, y_limits=(0.0,), x_limits=(min(numbers), max(numbers)))
        values = {
            "attention": kind_name, "unit": unit, "layers": numbers, "distance": [mean[1:] for mean in means],
            "mean": curves[1].y, "uniform": curves[2].y,
        }  # fmt: skip
        count = len(subject.examples)
        caption = f"In {unit}; the mean of {count} inputs" if count > 1 else f"In {unit}"
        yield Figure(f"distance-{kind_name}", title, picture, values, caption)


KIND = Kind(
    "distance",
    "Mean attention distance",
    "How far from a position the head of a layer looks: the distance to each key, weighted by attention, averaged over"
    " queries. The position itself counts, marks without a place such as [class] do not. A line shows uniform"
    " attention: to all positions, or to those up to the query if no query looks further.",
    draw,
    missing,
    "d = mean_i Σ_j A_ij |p_i − p_j|",
    "Dosovitskiy et al. 2021, figure 7",
)
