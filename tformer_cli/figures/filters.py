"""The filters of the first layer of an image encoder, as small images.

Shapes: F filters, C channels, h and w height and width of a filter in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import nn

from tformer_cli.analysis.filters import patch_filters
from tformer_cli.draw import Gallery
from tformer_cli.figures.base import Figure, Kind, Subject
from tformer_cli.models.interfaces import PixelReader

COMPONENTS, MOST_FILTERS, SIDE_PIXELS = 28, 64, 64
"""Number of principal components, greatest number of filters, and side of their pictures."""


def reader(model: nn.Module) -> PixelReader | None:
    """Return the first part of a model that reads pixels; None: there is none."""
    return next((module for module in model.modules() if isinstance(module, PixelReader)), None)


def picture_of(values: np.ndarray) -> np.ndarray:
    """Return a filter, (h, w, C) float, as an image, (h, w, 3 or 1) uint8, with full contrast; 0 is grey."""
    scaled = 127.5 + 127.5 * values / max(float(np.abs(values).max()), 1e-12)
    scaled = scaled if values.shape[-1] in (1, 3) else scaled.mean(-1, keepdims=True)
    return scaled.round().astype(np.uint8)


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the principal components of the patch embedding, or the filters of the first convolution."""
    part = reader(subject.model)
    assert part is not None
    weights, of_patches = part.pixel_filters()
    array = weights.detach().cpu().double().numpy()
    yield components_figure(array) if of_patches else filters_figure(array)


def components_figure(weights: np.ndarray) -> Figure:
    """Return the principal components of a patch embedding, (F, C, h, w)."""
    images, explained = patch_filters(weights, COMPONENTS)
    picture = gallery(images, [f"{100 * share:.1f} %" for share in explained], 7)
    return Figure(
        "filters-patches", "patch embedding, principal components", picture,
        {"filters": images, "explained": explained},
        f"The first {len(images)} principal components of the {len(weights):,} filters, and the share of their variance"
        " that each explains. The sign of a component has no meaning.",
    )  # fmt: skip


def filters_figure(weights: np.ndarray) -> Figure:
    """Return the filters of a convolution, (F, C, h, w)."""
    images = weights[:MOST_FILTERS].transpose(0, 2, 3, 1)
    picture = gallery(images, [""] * len(images), 8)
    caption = "Plain weights of the first convolution."
    if len(images) < len(weights):
        caption += f" The first {len(images)} of {len(weights):,} filters are drawn."
    return Figure("filters-convolution", "first convolution, filters", picture, {"filters": images}, caption)


def gallery(images: np.ndarray, captions: list[str], columns: int) -> Gallery:
    """Return filters, (F, h, w, C), as a gallery."""
    pictures = [picture_of(image) for image in images]
    return Gallery(pictures, captions, [None] * len(pictures), columns=min(columns, len(pictures)), side=SIDE_PIXELS)


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no such figure; empty: it has some."""
    return "" if reader(subject.model) else "the model has no encoder of images"


KIND = Kind(
    "filters",
    "Filters of the first layer",
    "What the first layer reads from the pixels of an image. Grey is 0; each filter has a scale of its own.",
    draw,
    missing,
    "E − mean = U S Vᵀ; the components are rows of Vᵀ",
    "Dosovitskiy et al. 2021, figure 7 left",
    of_model=True,
)
