"""The attention of one position in each layer: as shaded tokens, a heat map over an image, or a strip over time.

Shapes: L layers, H heads, Q queries, K keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Gallery, HeatMap, TokenRow, Tokens
from tformer_cli.draw.drawing import Point
from tformer_cli.errors import ConfigError
from tformer_cli.figures.attention import DECIMALS, bounded, drawn_maps, on_grid, sentences
from tformer_cli.figures.base import MEAN, Figure, Kind, Layer, Subject, needs_attention
from tformer_cli.figures.places import (
    axes_of,
    furthest,
    marks_of,
    names_of,
    number_of,
    query_names,
    uniform_note,
)
from tformer_cli.inspectors.base import Axis, Example

MOST_LAYERS, MOST_TOKENS, MOST_FRAMES = 6, 256, 512
"""Maximum numbers of layers over an image, of drawn tokens and of drawn frames."""
LISTED = 12
"""Maximum number of positions that an error lists."""
POINTS = ((0.25, 0.25), (0.5, 0.5), (0.75, 0.75))
"""Query points of an image, as shares of height and width."""


@dataclass
class Look:
    """The attention of an input in layers of one kind, averaged over heads.

    Attributes:
        example: the input.
        layers: the layers.
        weights: of each layer, (L, Q, K).
        queries: the positions of queries.
        keys: the positions of keys.
        names: names of the queries.
        heads: `MEAN`, or the name of a single head.
    """

    example: Example
    layers: list[Layer]
    weights: np.ndarray
    queries: Axis
    keys: Axis
    names: list[str]
    heads: str = MEAN

    @classmethod
    def of(cls, example: Example, layers: list[Layer], weights: np.ndarray, heads: str = MEAN) -> Look:
        """Return the attention of an input in layers of one kind from their weights, averaged over heads, (L, Q, K)."""
        queries, keys = axes_of(example, layers[0], weights.shape)
        return cls(example, layers, weights, queries, keys, query_names(example, layers[0], queries), heads)

    @property
    def kind(self) -> str:
        """Return the kind of the layers."""
        return self.layers[0].kind_name

    @property
    def rows(self) -> list[str]:
        """Return the names of the layers."""
        return [f"layer {layer.number}" for layer in self.layers]

    def number_of(self, query: str) -> int | None:
        """Return the number of a query, or None if it does not exist; for an empty query, the result of `furthest`."""
        return number_of(self.names, query) if query else furthest(self.weights, self.queries, self.keys, self.names)

    def point_of(self, query: int) -> Point | None:
        """Return where a query is in the image, as shares of its width and height; None: it has no place there."""
        image = self.example.image
        if image is None or self.queries.grid is None or not self.queries.placed[query]:
            return None
        row, column = self.queries.coordinates[query]
        return column / image.shape[1], row / image.shape[0]


def looks_of(subject: Subject, example: Example) -> Iterator[Look]:
    """Yield the attention of an input by kind of layers; layers with maps of different sizes are separate."""
    for kind in AttentionKind:
        groups: dict[tuple[int, ...], list[tuple[Layer, np.ndarray]]] = {}
        for layer, every in subject.weights(example, kind):
            groups.setdefault(every.shape[1:], []).append((layer, every[subject.heads(layer)].mean(0)))
        for given in groups.values():
            layers = [layer for layer, _ in given]
            titles = {subject.heads_title(layer) for layer in layers}
            heads = titles.pop() if len(titles) == 1 else MEAN
            yield Look.of(example, layers, np.stack([weights for _, weights in given]), heads)


def points_of(axis: Axis, points: Sequence[tuple[float, float]] = POINTS) -> list[int]:
    """Return query positions of an image: [class] if there is one, and the patches at shares of height and width."""
    assert axis.grid is not None
    before, (rows, columns) = int((~axis.placed).sum()), axis.grid
    patches = [before + int(down * rows) * columns + int(right * columns) for down, right in points]
    return list(dict.fromkeys([*range(before), *patches]))


def shown_layers(look: Look) -> list[int]:
    """Return the indices of the layers that are drawn over the image."""
    return sorted({round(place) for place in np.linspace(0, len(look.layers) - 1, MOST_LAYERS)})


def over_image(look: Look, numbers: list[int]) -> Gallery:
    """Return a row of images for each layer, with a column for each query; for one query, the layers form a row."""
    shown, image = shown_layers(look), look.example.image
    assert image is not None
    cells = [(place, number) for place in shown for number in numbers]
    captions = [f"{look.rows[place]}\n{look.names[number]}" for place, number in cells]
    maps = [on_grid(look.weights[place, number], look.keys) for place, number in cells]
    marks = [look.point_of(number) for _, number in cells]
    note = f"{len(shown)} of {len(look.layers)} layers are drawn." if len(shown) < len(look.layers) else ""
    across = len(numbers) if len(numbers) > 1 else len(shown)
    images = [image] * len(maps)
    return Gallery(images, captions, [None] * len(maps), maps, columns=across, note=note, marks=marks)


def over_tokens(look: Look, number: int) -> Tokens:
    """Return a row of shaded tokens for each layer; the query is framed if it is among them."""
    part = window(look, number)
    names = names_of(look.keys)[part]
    framed = number - part.start if look.queries is look.keys else None
    rows = [
        TokenRow(names, weights[number, part], row, framed)
        for row, weights in zip(look.rows, look.weights, strict=True)
    ]
    note = f"Tokens {part.start + 1} to {part.start + len(names)} of {len(look.keys)} are drawn."
    title = f"{look.kind}: what “{look.names[number]}” attends to"
    return Tokens(rows, title, percent=True, note=note if len(names) < len(look.keys) else "")


def window(look: Look, number: int) -> slice:
    """Return the keys that are drawn: at most `MOST_TOKENS`, around the query if it is among them."""
    around = number - MOST_TOKENS // 2 if look.queries is look.keys else 0
    start = max(0, min(around, len(look.keys) - MOST_TOKENS))
    return slice(start, start + MOST_TOKENS)


def over_time(look: Look, number: int) -> HeatMap:
    """Return a strip of weights over time for each layer."""
    title = f"{look.kind}: what “{look.names[number]}” attends to"
    picture = HeatMap(look.weights[:, number], look.rows, marks_of(look.keys), title, "", "key (time in seconds)")
    return bounded(picture, MOST_FRAMES)  # pyright: ignore[reportReturnType]  # of the same kind


def check_query(subject: Subject) -> None:
    """Refuse a query that no attention layer has for any input, before figures are drawn.

    Raises:
        ConfigError: if the user asks for one.
    """
    query, names = subject.options.query, dict[str, None]()
    if not query:
        return
    for example in subject.examples:
        for look in looks_of(subject, example):
            names |= dict.fromkeys(look.names)
    if names and number_of(list(names), query) is None:
        listed = ", ".join(list(names)[:LISTED]) + (", ..." if len(names) > LISTED else "")
        cause = f"--query {query!r} is not among the positions of the attention layers"
        raise ConfigError(cause, f"there are: {listed}")


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield a figure for each example and kind of layers that has the user's query; see `check_query`."""
    query = subject.options.query
    for count, example in enumerate(subject.examples, 1):
        names: set[str] = set()
        for look in looks_of(subject, example):
            number = look.number_of(query)
            if number is None:
                continue
            name = f"looks-{count}-{look.kind}"
            name = name if name not in names else f"{name}-{len(names) + 1}"
            names.add(name)
            yield figure_of(name, look, number, chosen=bool(query))


def figure_of(name: str, look: Look, number: int, *, chosen: bool) -> Figure:
    """Return the figure of a query.

    Args:
        name: name of its files.
        look: the attention.
        number: the query.
        chosen: whether the user asks for this query.
    """
    numbers, title = [number], f"{look.kind}: what “{look.names[number]}” attends to"
    places = list(range(len(look.layers)))
    if look.keys.grid is not None and look.example.image is not None:
        numbers = [number] if chosen or look.queries.grid is None else points_of(look.queries)
        picture = over_image(look, numbers)
        title = f"{look.kind}: what points of the image attend to" if len(numbers) > 1 else title
        maps, places = drawn_maps(picture), shown_layers(look)
        shown = maps.reshape(len(places), len(numbers), *maps.shape[1:])
    elif look.keys.unit == "seconds":
        picture = over_time(look, number)
        shown = picture.values
    else:
        picture = over_tokens(look, number)
        shown = np.stack([row.weights for row in picture.rows]).round(DECIMALS)
    values: dict[str, Any] = {
        "attention": look.kind, "layers": [look.layers[place].number for place in places],
        "queries": [look.names[place] for place in numbers], "weights": shown,
    }  # fmt: skip
    if isinstance(picture, Tokens):
        values["keys"] = picture.rows[0].tokens
    elif isinstance(picture, HeatMap):
        values["keys"] = picture.columns
    caption = caption_of(look, over_image=isinstance(picture, Gallery), automatic=not chosen and len(numbers) == 1)
    rows = [look.rows[place] for place in places]
    caption = sentences(caption, uniform_note(look.weights[places][:, numbers], rows))
    return Figure(name, title, picture, values, caption, look.example.name)


def caption_of(look: Look, *, over_image: bool, automatic: bool) -> str:
    """Return the caption of a figure.

    Args:
        look: the attention.
        over_image: whether it is drawn over the image.
        automatic: whether the query is chosen automatically.
    """
    parts = [look.heads.capitalize()]
    if over_image:
        parts.append("red parts have large weights and dark ones small weights, relative to the largest of each image")
        parts += ["a cyan square marks the query"] if look.queries.grid is not None else []
    if automatic:
        furthest_away = "with the keys that are furthest away on average, compared with equal attention to all keys"
        by = furthest_away if look.queries is look.keys else "whose attention is concentrated on the fewest keys"
        parts.append(f"the query is the one {by}; --query chooses another")
    return "; ".join(parts)


KIND = Kind(
    "looks",
    "What a position looks at",
    "One query, and the keys that it attends to in each layer: the stronger the colour, the larger the weight.",
    draw,
    needs_attention,
    "mean over heads of A_ij for one i",
    "after Vaswani et al. 2017, figures 3 to 5; points of an image: Zhang et al. 2019, figure 5",
)
