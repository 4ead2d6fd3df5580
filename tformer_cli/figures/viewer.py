"""A viewer of attention weights for the page: readers choose a layer, a head and a query.

It is plain JavaScript within the page. Weights are bytes, in base64, relative to the largest weight of their map.

Shapes: H heads, Q queries, K keys.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw.gallery import STORED_PIXELS, reduced
from tformer_cli.draw.vector import image_id
from tformer_cli.figures.base import Layer, Subject, Widget
from tformer_cli.figures.places import axes_of, furthest, names_of, number_of, query_names
from tformer_cli.inspectors.base import Axis, Example

MOST_POSITIONS, MOST_BYTES = 256, 1_000_000
"""Largest number of queries or keys, and bytes of all weights in the viewer."""


@dataclass
class Contents:
    """The contents of the viewer, and notes on what does not fit.

    Attributes:
        examples: the inputs with their layers, for JSON.
        images: the images of the inputs, which the page stores.
        notes: what is left out.
        free: bytes that are left.
    """

    examples: list[dict[str, Any]] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    free: int = MOST_BYTES

    def add(self, subject: Subject, example: Example) -> None:
        """Add the layers of an input that fit."""
        axes: list[dict[str, Any]] = []
        layers, entries = [], []
        means: dict[tuple[Any, ...], list[np.ndarray]] = {}
        for layer, every in subject.weights(example):
            heads = subject.heads(layer)
            weights = every[heads]
            if max(weights.shape[1:]) > MOST_POSITIONS:
                self.notes[f"Layers with more than {MOST_POSITIONS} positions are left out."] = None
                continue
            if encoded_size(weights) > self.free:
                weights, heads = weights.mean(0, keepdims=True), []
                self.notes["Some layers have only the mean over heads, so that the page stays small."] = None
            if encoded_size(weights) > self.free:
                self.notes["Some layers are left out, so that the page stays small."] = None
                continue
            entry = _layer(layer, example, weights, axes)
            self.free -= len(entry["data"])
            layers.append({**entry, "heads": [head + 1 for head in heads]})
            alike = means.setdefault((layer.kind, *weights.shape[1:]), [])
            alike.append(weights.mean(0))
            entries.append((layers[-1], layer, alike))
        for entry, layer, alike in entries:
            entry["query"] = first_query(subject, example, layer, np.stack(alike))
        if layers:
            images = [] if example.image is None else [reduced(example.image, STORED_PIXELS)]
            image = image_id(images[0]) if images else ""
            self.images += images
            self.examples.append({"name": example.name, "image": image, "axes": axes, "layers": layers})


def first_query(subject: Subject, example: Example, layer: Layer, weights: np.ndarray) -> int:
    """Return the query that is shown first in layers of a kind: the user's query, or the one that looks furthest.

    Args:
        subject: the model and what the user wants to see.
        example: the input.
        layer: one of the layers.
        weights: of each layer, averaged over heads, (L, Q, K).
    """
    queries, keys = axes_of(example, layer, weights.shape)
    names = query_names(example, layer, queries)
    number = number_of(names, subject.options.query) if subject.options.query else None
    return furthest(weights, queries, keys, names) if number is None else number


def encoded_size(weights: np.ndarray) -> int:
    """Return the number of base64 characters of the weights, with one byte for each weight."""
    return 4 * -(-weights.size // 3)


def viewer(subject: Subject) -> Widget:
    """Return the viewer; empty if nothing fits into it."""
    import jinja2

    contents = Contents()
    for example in subject.examples:
        contents.add(subject, example)
    if not contents.examples:
        return Widget()
    loader = jinja2.PackageLoader("tformer_cli.figures", ".")
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template("viewer.html")
    text = json.dumps(contents.examples, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Widget(template.render(data=text, notes=list(contents.notes)), contents.images)


def _layer(layer: Layer, example: Example, weights: np.ndarray, axes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a layer for JSON; its axes are added to `axes` if they are not there yet.

    Queries and keys of cross-attention can have equal names, as in a translation that copies, and yet are different.
    """
    queries, keys = axes_of(example, layer, weights.shape)
    entries = _axis(queries, query_names(example, layer, queries)), _axis(keys, names_of(keys))
    axes += [entry for number, entry in enumerate(entries) if entry not in (*axes, *entries[:number])]
    largest = float(weights.max()) or 1.0
    data = base64.b64encode(np.round(255 * weights / largest).astype(np.uint8).tobytes()).decode()
    numbers = [axes.index(entry) for entry in entries]
    same = layer.kind is not AttentionKind.cross and numbers[0] == numbers[1]
    return {"title": layer.title, "axes": numbers, "self": same, "largest": round(largest, 6), "data": data}


def _axis(axis: Axis, names: list[str]) -> dict[str, Any]:
    """Return the positions of an axis for JSON."""
    return {"names": names, "grid": axis.grid, "before": int((~axis.placed).sum()), "unit": axis.unit}
