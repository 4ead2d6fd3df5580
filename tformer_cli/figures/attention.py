"""The weights of attention layers: a heat map of the mean over heads, all heads in a grid, and alignments with images.

Shapes: B inputs, H heads, Q queries, K keys, N positions of an encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from torch import nn

from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Gallery, HeatMap, HeatMaps
from tformer_cli.draw.cells import block_means, block_note
from tformer_cli.draw.lettering import reduced_names
from tformer_cli.figures.base import MEAN, Figure, Kind, Layer, Subject, attention_layers, needs_attention
from tformer_cli.figures.places import axes_of, marks_of, query_names, side_of, uniform_note, unit_name
from tformer_cli.figures.viewer import viewer
from tformer_cli.inspectors.base import Axis, Example
from tformer_cli.nn.recurrent_attention import RecurrentAttention
from tformer_cli.nn.taps import attention_weights

MOST_VALUES = 1_000_000
"""Number of weights in all figures. Above it, the weights of long inputs are averaged in blocks."""
DECIMALS = 4
"""Decimals of the weights in JSON."""
MOST_IMAGES = 64
"""Maximum number of tokens whose attention is drawn over an image."""


def axis_names(example: Example, layer: Layer, shape: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """Return the names along the axes of a layer's picture; a query of cross-attention has the name of its output.

    Args:
        example: the input.
        layer: the layer.
        shape: (..., Q, K) of its weights.
    """
    queries, keys = axes_of(example, layer, shape)
    named = query_names(example, layer, queries) if unit_name(queries) == "token" else marks_of(queries)
    return named[: shape[-2]], marks_of(keys)[: shape[-1]]


def axis_titles(example: Example, layer: Layer, shape: tuple[int, ...]) -> tuple[str, str]:
    """Return the titles of the axes of a layer's picture."""
    queries, keys = axes_of(example, layer, shape)
    described = {"time": "time in seconds", "patch": "patches, row by row"}
    return tuple(
        f"{name} ({described[unit_name(axis)]})" if unit_name(axis) in described else name
        for name, axis in (("query", queries), ("key", keys))
    )  # pyright: ignore[reportReturnType]  # a pair


def mean_map(example: Example, layer: Layer, weights: np.ndarray, heads: str = MEAN) -> HeatMap:
    """Return the heat map of a layer's weights (H, Q, K), averaged over heads."""
    rows, columns = axis_names(example, layer, weights.shape)
    titles = axis_titles(example, layer, weights.shape)
    return HeatMap(weights.mean(0), rows, columns, f"{layer.title}, {heads}", *titles)


def head_maps(example: Example, layer: Layer, weights: np.ndarray, heads: list[int]) -> HeatMaps:
    """Return the heat maps of some heads of a layer, (H, Q, K), in a grid."""
    rows, columns = axis_names(example, layer, weights.shape)
    titles = axis_titles(example, layer, weights.shape)
    return HeatMaps(
        weights, [f"head {head + 1}" for head in heads], rows, columns, f"{layer.title}, each head", *titles
    )


def over_image(example: Example, layer: Layer, weights: np.ndarray, caption: str = "") -> Gallery | None:
    """Return the weights of each query, (H, Q, K), averaged over heads, over the image; as in Xu et al. 2015, figure 3.

    The result is None if the keys are not the patches of an image, or if the queries are patches too.
    """
    queries, keys = axes_of(example, layer, weights.shape)
    if example.image is None or keys.grid is None or queries.grid is not None:
        return None
    names = query_names(example, layer, queries)[:MOST_IMAGES]
    maps = [on_grid(row, keys) for row in weights.mean(0)[: len(names)]]
    note = f"The first {len(names)} of {len(queries)} tokens are drawn." if len(names) < len(queries) else ""
    images: list[np.ndarray] = [example.image] * len(maps)
    return Gallery(images, names, [None] * len(maps), maps, title=caption, note=note)


def on_grid(row: np.ndarray, axis: Axis) -> np.ndarray:
    """Return the values of the positions that have a place, (N,), as a grid (rows, columns)."""
    assert axis.grid is not None
    return row[axis.placed].reshape(axis.grid)


def drawn_maps(gallery: Gallery) -> np.ndarray:
    """Return the heat maps of a gallery for JSON, (maps, rows, columns); images without one are left out."""
    return np.stack([values for values in gallery.weights if values is not None]).round(DECIMALS)


def bounded(picture: HeatMap | HeatMaps, side: int) -> HeatMap | HeatMaps:
    """Return a picture with at most `side` rows and columns of weights, by averaging blocks."""
    values = np.asarray(picture.values)
    matrices, blocks = zip(*(block_means(each, side) for each in values.reshape(-1, *values.shape[-2:])), strict=True)
    (tall, wide), shape = blocks[0], (*values.shape[:-2], *matrices[0].shape)
    weights = np.stack(matrices).reshape(shape).round(DECIMALS)
    rows, columns = reduced_names(picture.rows, tall), reduced_names(picture.columns, wide)
    note = " ".join(block_note(blocks[0], values.shape[-2:]))
    return replace(picture, values=weights, rows=rows, columns=columns, note=note)


def last_layer(model: nn.Module, example: Example, kind: AttentionKind) -> tuple[Layer, np.ndarray] | None:
    """Return the last layer of a kind that an input uses and its weights, (H, Q, K), float32; None: there is none."""
    last = last_weights(model, example.run, kind)
    return None if last is None else (last[0], last[1][0])


def last_weights(model: nn.Module, run: Callable[[], object], kind: AttentionKind) -> tuple[Layer, np.ndarray] | None:
    """Return the last layer of a kind that the model uses, and its weights for a batch; None: there is none.

    Args:
        model: in evaluation mode.
        run: function that runs the model on the batch.
        kind: kind of the layer.

    Returns:
        The layer and (B, H, Q, K), float32.
    """
    layers = [layer for layer in attention_layers(model) if layer.kind is kind]
    given = attention_weights(model, run, [layer.name for layer in layers]) if layers else {}
    used = [layer for layer in layers if layer.name in given]
    return (used[-1], given[used[-1].name].float().cpu().numpy()) if used else None


def class_attention(axis: Axis, weights: np.ndarray) -> np.ndarray:
    """Return the attention of [class] to the parts of an image, or the mean over all parts if there is no [class].

    Args:
        axis: the positions of an encoder of images, which form a grid.
        weights: (H, N, N); they are averaged over heads.

    Returns:
        (rows, columns).
    """
    mean = weights.mean(0)
    return on_grid(mean.mean(0) if axis.placed[0] else mean[0], axis)


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the figures of each example and layer."""
    layers = subject.layers()
    side = side_of(MOST_VALUES, len(subject.examples) * sum(1 + len(subject.heads(layer)) for layer in layers))
    for number, example in enumerate(subject.examples, 1):
        for layer, every in subject.weights(example):
            heads = subject.heads(layer)
            weights, name = every[heads], f"attention-{number}-{layer.slug}"
            numbers = {"attention": layer.kind_name, "layers": [layer.number], "module": layer.name}
            numbers |= {"heads": [head + 1 for head in heads]}
            title = f"{layer.title}, {subject.heads_title(layer)}"
            gallery = over_image(example, layer, weights, title)
            if gallery is not None:
                shown = {"queries": gallery.captions, "weights": drawn_maps(gallery)}
                caption = "Each token of the output, and the parts of the image that its query attends to"
                caption = sentences(caption, uniform_note(weights.mean(0)))
                title_over = f"{layer.title}, over the image"
                yield Figure(f"{name}-image", title_over, gallery, numbers | shown, caption, example.name)
            mean = bounded(mean_map(example, layer, weights, subject.heads_title(layer)), side)
            shown = {"weights": mean.values, "queries": mean.rows, "keys": mean.columns}
            about = caption_of(subject.model, layer)
            caption = sentences(about, uniform_note(weights.mean(0)))
            yield Figure(name, title, mean, numbers | shown, caption, example.name)
            if len(heads) > 1:
                grid = bounded(head_maps(example, layer, weights, heads), side)
                shown = {"weights": grid.values, "queries": grid.rows, "keys": grid.columns}
                caption = sentences(about, uniform_note(weights, [f"head {head + 1}" for head in heads]))
                yield Figure(f"{name}-heads", f"{layer.title}, each head", grid, numbers | shown, caption, example.name)


def sentences(*parts: str) -> str:
    """Return sentences as one text; empty ones are left out."""
    return ". ".join(filter(None, parts))


def caption_of(model: nn.Module, layer: Layer) -> str:
    """Return sentences for layers of cross-attention, about the names of queries, and for layers of recurrent models.

    Args:
        model: the model.
        layer: one of its layers.
    """
    parts = ["A query has the name of the token that it predicts"] if layer.kind is AttentionKind.cross else []
    if isinstance(model.get_submodule(layer.name), RecurrentAttention):
        parts.append("The weights are those of the alignment of a recurrent decoder (Bahdanau, Luong)")
    return sentences(*parts)


KIND = Kind(
    "attention",
    "Attention weights",
    "Each row is a query and sums to 1; the stronger the colour of a key, the more the query attends to it.",
    draw,
    needs_attention,
    "softmax(Q Kᵀ / √d)",
    "Vaswani et al. 2017, section 3.2.1; Bahdanau et al. 2015, equation 6; Luong et al. 2015, section 3.1",
    viewer,
)
