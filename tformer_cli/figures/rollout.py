"""Attention rollout: how much of each input position is in each position after some layers.

Shapes: L layers, H heads, N positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tformer_cli.analysis.attention import rollout
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Gallery, HeatMap, HeatMaps
from tformer_cli.figures.attention import bounded, class_attention, drawn_maps, sentences
from tformer_cli.figures.base import KIND_NAMES, Figure, Kind, Layer, Subject
from tformer_cli.figures.places import axes_of, marks_of, side_of, uniform_note
from tformer_cli.inspectors.base import Axis, Example
from tformer_cli.nn.block import Stack
from tformer_cli.nn.taps import tappable_layers

MOST_VALUES, MOST_IMAGES = 300_000, 6
"""Number of values in all figures of an example, and of images of layers."""


def residual_layers(subject: Subject) -> list[Layer]:
    """Return the self-attention layers of stacks in which nothing else mixes positions.

    These are stacks of blocks without convolutions over positions.
    """
    stacks = [module for module in subject.model.modules() if isinstance(module, Stack) and not module.convolves]
    modules = {id(module) for stack in stacks for module in stack.modules()}
    names = {name for name, layer in tappable_layers(subject.model).items() if id(layer) in modules}
    return [layer for layer in subject.layers() if layer.name in names and layer.kind is not AttentionKind.cross]


def missing(subject: Subject) -> str:
    """Return the reason why a model has no rollout; empty: it has one."""
    if residual_layers(subject):
        return ""
    if not subject.layers():
        return "the model has no attention layers"
    return "the model mixes positions by more than self-attention, such as by convolutions or recurrence"


def rollouts(subject: Subject, example: Example, kind: AttentionKind) -> tuple[Axis, np.ndarray, np.ndarray] | None:
    """Return the positions of a stack, the rollout after each layer, and the weights of the last layer.

    All layers count, even if the user selects some. The result is None if the input does not use such layers.

    Returns:
        The positions, (L, N, N) and (H, N, N).
    """
    kinds = {layer.kind for layer in residual_layers(subject)}
    given = list(subject.weights(example, kind, every=True)) if kind in kinds else []
    if not given or any(weights.shape[1] != weights.shape[2] for _, weights in given):
        return None
    layer, last = given[-1]
    axis, _ = axes_of(example, layer, last.shape)
    return axis, rollout([weights for _, weights in given]), last


def shown_layers(count: int) -> list[int]:
    """Return the indices of the layers whose rollout is drawn over the image."""
    return sorted({round(place) for place in np.linspace(0, count - 1, MOST_IMAGES)})


def over_image(
    example: Example, axis: Axis, layers: np.ndarray, last: np.ndarray, shown: Sequence[int]
) -> tuple[Gallery, str]:
    """Return the rollout of [class] over the image after some layers, and the last layer's attention; and a caption.

    Args:
        example: the input.
        axis: its positions, which form a grid.
        layers: rollout after each of some layers, (L, N, N).
        last: weights of the last layer, (H, N, N).
        shown: indices of the layers, (L,).
    """
    assert example.image is not None
    maps = [None, *(class_attention(axis, matrix[None]) for matrix in layers), class_attention(axis, last)]
    captions = ["image", *(f"rollout\nlayer {place + 1}" for place in shown), "attention\nlast layer alone"]
    source = "[class]" if not axis.placed[0] else "the mean over all patches, since there is no [class]"
    caption = f"Rollout of {source} over the image, after the given numbers of layers; the last image shows the weights"
    caption += " of the last layer alone, averaged over heads. Each map is relative to its largest value"
    shares = np.stack([values.ravel() / max(values.sum(), 1e-12) for values in maps if values is not None])
    names = [*(f"rollout after layer {place + 1}" for place in shown), "attention of the last layer"]
    caption = sentences(caption, uniform_note(shares[:, None], names))
    images: list[np.ndarray] = [example.image] * len(maps)
    return Gallery(images, captions, [None] * len(maps), maps, columns=len(maps)), caption


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the rollouts of each example."""
    for number, example in enumerate(subject.examples, 1):
        for kind in (AttentionKind.encoder, AttentionKind.decoder):
            result = rollouts(subject, example, kind)
            if result is None:
                continue
            axis, layers, last = result
            name, title = f"rollout-{number}-{KIND_NAMES[kind]}", KIND_NAMES[kind]
            if axis.grid is not None and example.image is not None:
                shown = shown_layers(len(layers))
                gallery, caption = over_image(example, axis, layers[shown], last, shown)
                values = {
                    "attention": title, "layers": [*(place + 1 for place in shown), len(layers)],
                    "measures": ["rollout"] * len(shown) + ["attention"], "weights": drawn_maps(gallery),
                }  # fmt: skip
                yield Figure(f"{name}-image", f"{title}, over the image", gallery, values, caption, example.name)
            yield from _matrices(name, title, axis, layers, example)


def _matrices(name: str, title: str, axis: Axis, layers: np.ndarray, example: Example) -> Iterator[Figure]:
    """Yield the matrix after the last layer, and those after all layers."""
    side, marks, titles = side_of(MOST_VALUES, 1 + len(layers)), marks_of(axis), ("output", "input")
    last = bounded(HeatMap(layers[-1], marks, marks, f"{title}, after {len(layers)} layers", *titles), side)
    values = {"attention": title, "layers": [len(layers)], "rollout": last.values, "positions": last.rows}
    caption = (
        "Cross-attention, which has no part in it, is left out" if title == KIND_NAMES[AttentionKind.decoder] else ""
    )
    yield Figure(name, f"{title}, after {len(layers)} layers", last, values, caption, example.name)
    if len(layers) > 1:
        names = [f"layer {number + 1}" for number in range(len(layers))]
        grid = bounded(HeatMaps(layers, names, marks, marks, f"{title}, after each layer", *titles), side)
        numbers = list(range(1, len(layers) + 1))
        values = {"attention": title, "layers": numbers, "rollout": grid.values, "positions": grid.rows}
        yield Figure(f"{name}-layers", f"{title}, after each layer", grid, values, "", example.name)


KIND = Kind(
    "rollout",
    "Attention rollout",
    "How much of each input position (column) is in each position after the layers (row): the weights of all layers,"
    " averaged over heads, with half of each layer for its residual connection. Rows sum to 1. It disregards values and"
    " feed-forward layers.",
    draw,
    missing,
    "R_l = normalise((A_l + I) / 2) R_{l-1}, R_0 = I",
    "Abnar and Zuidema 2020, section 3; of [class] over an image: Dosovitskiy et al. 2021, figure 6",
)
