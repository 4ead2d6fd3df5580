"""The weights of attention layers: a heat map for each head.

Shapes: H heads, Q queries, K keys.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import HeatMap
from tformer_cli.figures.base import Figure, Kind, Layer, Subject, needs_attention, token_names
from tformer_cli.inspectors.base import Example


def axis_names(example: Example, layer: Layer, shape: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """Return the names of queries and keys of a layer; a query of cross-attention has the name of what it predicts.

    Args:
        example: the input.
        layer: the layer.
        shape: (..., Q, K) of its weights.
    """
    axes = example.axes(layer.kind)
    if axes is None:
        return [""] * shape[-2], [""] * shape[-1]
    queries, keys = (token_names(axis) for axis in axes)
    if layer.kind is AttentionKind.cross and example.outputs:
        queries = list(example.outputs)
    return queries[: shape[-2]], keys[: shape[-1]]


def mean_map(example: Example, layer: Layer, weights: np.ndarray) -> HeatMap:
    """Return the heat map of a layer's weights (H, Q, K), averaged over heads."""
    rows, columns = axis_names(example, layer, weights.shape)
    return HeatMap(weights.mean(0), rows, columns, f"{layer.title}, mean over heads", "query", "key")


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield a figure for each example and layer."""
    for number, example in enumerate(subject.examples, 1):
        for layer, weights in subject.weights(example):
            heads = subject.heads(layer)
            picture = mean_map(example, layer, weights[heads])
            yield Figure(
                f"attention-{number}-{layer.slug}", layer.title, picture,
                {"layer": layer.name, "heads": [head + 1 for head in heads], "weights": weights[heads],
                 "queries": picture.rows, "keys": picture.columns},
                example=example.name,
            )  # fmt: skip


KIND = Kind(
    "attention",
    "Attention weights",
    "Each row is a query and sums to 1; a dark cell is a key that the query attends to.",
    draw,
    needs_attention,
    "softmax(Q Kᵀ / √d)",
    "Vaswani et al. 2017, section 3.2.1",
)
