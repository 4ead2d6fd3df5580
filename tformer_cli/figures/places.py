"""The positions of an attention layer for readers: their names, the marks of axes, and where they are.

Shapes: L layers, Q queries, K keys.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import numpy as np

from tformer_cli.analysis.attention import evenness
from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw.axes import inner_ticks
from tformer_cli.figures.base import Layer, token_names
from tformer_cli.inspectors.base import Axis, Example
from tformer_cli.inspectors.images import grid_of

MARKS = 12
"""Maximum number of marks on an axis of times."""
ALMOST_UNIFORM = 0.95
"""Evenness of weights from which on a caption says that they are almost uniform."""


def axes_of(example: Example, layer: Layer, shape: Sequence[int]) -> tuple[Axis, Axis]:
    """Return the positions of queries and keys of a layer.

    Maps of features of an image have a position for each cell, in raster order, whatever their resolution.

    Args:
        example: the input.
        layer: the layer.
        shape: (..., Q, K) of its weights.
    """
    axes = example.axes(layer.kind)
    if axes is not None:
        return axes
    if example.image is None:
        numbered = [Axis.of_tokens([str(number + 1) for number in range(size)]) for size in shape[-2:]]
        return numbered[0], numbered[1]
    height, width = example.image.shape[:2]
    grids = [grid_of(size, height, width) for size in shape[-2:]]
    queries, keys = (Axis.of_patches(grid, (height / grid[0], width / grid[1])) for grid in grids)
    return queries, keys


def query_names(example: Example, layer: Layer, axis: Axis) -> list[str]:
    """Return the names of queries; a query of cross-attention has the name of the token that it predicts."""
    if layer.kind is AttentionKind.cross and example.outputs:
        return token_names(Axis.of_tokens(example.outputs))
    return names_of(axis)


def names_of(axis: Axis) -> list[str]:
    """Return a name for each position: its token, `row 1, column 2`, or its time in seconds."""
    return [name or place_name(axis, number) for number, name in enumerate(token_names(axis))]


def place_name(axis: Axis, number: int) -> str:
    """Return where a position without a name is."""
    if axis.grid is not None:
        row, column = divmod(number - int((~axis.placed).sum()), axis.grid[1])
        return f"row {row + 1}, column {column + 1}"
    if axis.unit == "seconds":
        return f"{axis.coordinates[number, 0]:.2f} s"
    return str(number + 1)


def marks_of(axis: Axis) -> list[str]:
    """Return the names along an axis of a picture: of every token, of the first patch of each row, or of round times.

    Other positions have empty names.
    """
    names = token_names(axis)
    before = int((~axis.placed).sum())
    if axis.grid is not None:
        for row in range(axis.grid[0]):
            names[before + row * axis.grid[1]] = f"row {row + 1}"
    elif axis.unit == "seconds" and len(axis):
        times = axis.coordinates[:, 0]
        for time in inner_ticks(times.tolist(), MARKS):
            if times[0] <= time <= times[-1]:
                names[int(np.abs(times - time).argmin())] = f"{time:g} s" if time == times[0] else f"{time:g}"
    return names


def unit_name(axis: Axis) -> str:
    """Return the type of the positions of an axis: `patch`, `time` or `token`."""
    return "patch" if axis.grid is not None else "time" if axis.unit == "seconds" else "token"


def number_of(names: Sequence[str], query: str) -> int | None:
    """Return the number of the first position with a name, ignoring case and Unicode form if necessary, or None."""
    for fold in (str, str.casefold, lambda name: unicodedata.normalize("NFKC", name).casefold()):
        folded = [fold(name) for name in names]
        if fold(query) in folded:
            return folded.index(fold(query))
    return None


def furthest(weights: np.ndarray, queries: Axis, keys: Axis, names: Sequence[str]) -> int:
    """Return the query whose attention goes furthest from itself, compared with uniform attention to the same keys.

    It has the highest mean over layers and heads of sum_j (A_ij - U_ij) |p_i - p_j|. Without U it would be the first
    or the last position. If queries and keys are different sequences, as those of a decoder and an encoder, it is the
    query with the most concentrated attention: the highest sum_j A_ij^2. Queries without a letter or digit and marks
    such as </s> and [class] are left out, if possible. They do not count as keys of self-attention either, since many
    heads attend to them by default.

    Args:
        weights: of each layer, averaged over heads, (L, Q, K).
        queries: the positions of queries.
        keys: the positions of keys.
        names: names of the queries for readers; in cross-attention, of the tokens that they predict.
    """
    mean = weights.mean(0)
    is_word = np.array([any(map(str.isalnum, name)) and not is_mark(name) for name in names])
    is_word = is_word if is_word.any() else np.ones_like(is_word)
    if queries is keys:
        places = np.where(queries.placed[:, None], queries.coordinates, np.nan)
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
        scores = ((mean - uniform_attention(mean)) * np.nan_to_num(distances))[:, is_word].sum(-1)
    else:
        scores = np.square(mean).sum(-1)
    return int(np.where(is_word, scores, -np.inf).argmax())


def uniform_attention(weights: np.ndarray) -> np.ndarray:
    """Return equal weights for the keys that queries may attend to, (Q, K), given some weights (..., Q, K).

    Queries may attend to all keys, or only to keys up to the query if no weight of a later key is above 0.
    """
    allowed = np.ones(weights.shape[-2:])
    allowed = allowed if np.triu(weights, 1).any() else np.tril(allowed)
    return allowed / allowed.sum(-1, keepdims=True)


def is_mark(name: str) -> bool:
    """Return whether a token is a mark of the vocabulary, such as <s> or [class]."""
    return len(name) > 2 and (name[0], name[-1]) in (("<", ">"), ("[", "]"))


def uniform_note(weights: np.ndarray, names: Sequence[str] = ()) -> str:
    """Return a sentence on weights that are almost uniform, since their maps look like noise; empty: none are.

    Args:
        weights: (n, Q, K) of n maps, or (Q, K) of a single one.
        names: name of each of several maps, which the sentence lists.
    """
    shares = np.atleast_1d(evenness(weights))
    even = np.flatnonzero(shares >= ALMOST_UNIFORM).tolist()
    if not even:
        return ""
    which = f" of {', '.join(names[number] for number in even)}" if len(even) < len(names) else ""
    least = math.floor(100 * min(shares[even]))
    return (
        f"The weights{which} are almost uniform (their entropy is {least} % of the largest or more): what looks like a"
        " pattern is small differences"
    )


def side_of(most: int, panels: int) -> int:
    """Return the side of square matrices, from 32 to 128, so that `panels` of them have about `most` values."""
    return min(128, max(32, math.isqrt(most // max(1, panels))))
