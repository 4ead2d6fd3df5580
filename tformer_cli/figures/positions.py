"""The vectors of absolute positions: their numbers, how similar they are to each other, and sinusoids as clocks.

Shapes: N drawn positions, D width of a vector, A axes of a position (1 for tokens, 2 for patches), R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tformer_cli.analysis import positions as analysis
from tformer_cli.config.schema import ABSOLUTE_POSITIONS, Positions
from tformer_cli.draw import Curve, Curves, Dials, HeatMap, HeatMaps
from tformer_cli.figures.base import Figure, Kind, Subject, module_slug, module_title
from tformer_cli.nn.grid import GridPositions, cells
from tformer_cli.nn.positions import AbsolutePositions, PositionVectors, frequencies

MOST_POSITIONS, MOST_SIDE = 256, 16
"""Greatest number of drawn positions, and of drawn rows and columns of a grid."""
CLOCK_POSITIONS, CLOCK_HANDS, DIALS = 32, 4, 16
"""Numbers of positions and of pairs of dimensions whose angles are drawn, and of positions that are drawn as clocks."""
LOCAL = 10
"""Greatest distance of the local score of monotonicity, in positions."""
SIDE_PIXELS = 576
"""Greatest side of a heat map."""
CLOCKS = (Positions.sinusoidal, Positions.learnable_sinusoidal, Positions.sinusoidal_2d)


@dataclass
class Table:
    """The vectors of a module of absolute positions, and which of them are drawn.

    Attributes:
        name: name of the module.
        title: name for readers; if several modules have equal vectors, the names of all of them.
        scheme: the position scheme.
        vectors: vectors of the drawn positions, (N, D), float64, without [class].
        places: numbers of the drawn positions, (N, 1), or rows and columns of patches, (N, 2).
        size: number of all positions, or of all rows and columns.
        sequences: named sequences of vectors of consecutive positions; each pair of dimensions is the hand of a clock.
        class_vector: vector of [class], (D,); None: there is none.
    """

    name: str
    title: str
    scheme: Positions
    vectors: np.ndarray
    places: np.ndarray
    size: tuple[int, ...]
    sequences: Sequence[tuple[str, np.ndarray]]
    class_vector: np.ndarray | None = None

    @property
    def slug(self) -> str:
        """The name for files."""
        return f"positions-{module_slug(self.name)}"

    @property
    def names(self) -> list[str]:
        """The names of the drawn positions: numbers from 0, or row and column from 1."""
        if self.places.shape[1] == 1:
            return [str(position) for position in self.places[:, 0]]
        return [f"{row + 1}, {column + 1}" for row, column in self.places]

    @property
    def grid(self) -> tuple[int, ...]:
        """The numbers of drawn rows and columns."""
        return tuple(len(np.unique(axis)) for axis in self.places.T)

    @property
    def note(self) -> str:
        """A sentence on what is not drawn; empty: all positions are drawn."""
        if len(self.vectors) == np.prod(self.size):
            return ""
        if len(self.size) == 1:
            return f"The first {len(self.vectors):,} of {self.size[0]:,} positions are drawn."
        drawn, size = (" x ".join(map(str, numbers)) for numbers in (self.grid, self.size))
        return f"Of {size} patches, {drawn} are drawn, evenly spaced."


def tables(model: nn.Module) -> list[Table]:
    """Return the vectors of all modules of absolute positions; modules with equal vectors share a table."""
    distinct: list[Table] = []
    for name, module in model.named_modules():
        if not isinstance(module, PositionVectors) or module.scheme not in ABSOLUTE_POSITIONS:
            continue
        table = of_grid(name, module) if isinstance(module, GridPositions) else of_line(name, module)
        for other in distinct:
            if other.size == table.size and np.array_equal(other.vectors, table.vectors):
                other.title = f"{other.title} and {table.title}"
                break
        else:
            distinct.append(table)
    return distinct


@torch.no_grad()
def of_line(name: str, module: PositionVectors) -> Table:
    """Return the vectors of token positions that training could reach.

    A learned table starts with zeros, so that zeros in its last rows belong to positions that no training example had.
    These rows are left out.
    """
    assert isinstance(module, AbsolutePositions)
    size = module.max_length
    if module.scheme is Positions.learned:
        used = module.vectors(size).abs().sum(1).nonzero()
        size = max(2, int(used.max()) + 1) if len(used) else size
    vectors = module.vectors(min(size, MOST_POSITIONS)).cpu().double().numpy()
    places = np.arange(len(vectors))[:, None]
    return Table(name, module_title(name), module.scheme, vectors, places, (size,), [("", vectors)])


@torch.no_grad()
def of_grid(name: str, module: GridPositions) -> Table:
    """Return the vectors of patches; for a large grid, of evenly spaced rows and columns."""
    rows, columns = module.grid
    count = rows * columns + module.class_token
    every = module.vectors(count).cpu().double().numpy()
    places = cells(module.grid, class_token=False).numpy()
    drawn = np.ones(len(places), bool)
    for axis, side in enumerate(module.grid):
        chosen = np.unique(np.linspace(0, side - 1, min(side, MOST_SIDE)).round().astype(int))
        drawn &= np.isin(places[:, axis], chosen)
    vectors, sequences = every[count - len(places) :], [("", every[:MOST_POSITIONS])]
    if module.scheme is Positions.sinusoidal_2d:
        lines, half = vectors.reshape(rows, columns, -1), vectors.shape[1] // 2
        sequences = [("rows", lines[:, 0, :half]), ("columns", lines[0, :, half:])]
    return Table(
        name, module_title(name), module.scheme, vectors[drawn], places[drawn], module.grid, sequences,
        every[0] if module.class_token else None,
    )  # fmt: skip


def scores(table: Table, cosines: np.ndarray) -> dict[str, float]:
    """Return the scores of the properties of Wang et al. (2021), by name."""
    return {
        "monotonicity": analysis.monotonicity(cosines, table.places),
        "local_monotonicity": analysis.monotonicity(cosines, table.places, reach=LOCAL),
        "translation_invariance": analysis.translation_invariance(cosines, table.places),
        "symmetry": analysis.symmetry(cosines),
    }


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the figures of each table."""
    for table in tables(subject.model):
        yield vectors_figure(table)
        yield from similarity_figures(table)
        if table.scheme in CLOCKS:
            yield from clock_figures(table)


def vectors_figure(table: Table) -> Figure:
    """Return the heat map of the vectors."""
    vectors, names = table.vectors, table.names
    if table.class_vector is not None:
        vectors, names = np.concatenate((table.class_vector[None], vectors)), ["[class]", *names]
    title = f"{table.title}, vectors"
    picture = HeatMap(
        vectors, names, [str(number) for number in range(vectors.shape[1])], title,
        "position" if len(table.size) == 1 else "row, column", "dimension", diverging=True, side=SIDE_PIXELS,
    )  # fmt: skip
    numbers = {"module": table.name, "scheme": table.scheme.name, "positions": names, "vectors": vectors}
    return Figure(f"{table.slug}-vectors", title, picture, numbers, f"{table.scheme.name}. {table.note}".rstrip())


def similarity_figures(table: Table) -> Iterator[Figure]:
    """Yield the heat map of cosines of all pairs, and for a grid the map of each patch."""
    cosines = analysis.similarities(table.vectors)
    properties = scores(table, cosines)
    numbers = {"module": table.name, "scheme": table.scheme.name, "positions": table.names, "cosines": cosines}
    title = f"{table.title}, cosine similarity"
    caption = (
        f"Monotonicity {properties['monotonicity']:.2f} (up to distance {LOCAL}:"
        f" {properties['local_monotonicity']:.2f}; 0.5 by chance), translational invariance"
        f" {properties['translation_invariance']:.2f}, symmetry {properties['symmetry']:.2f} (1 for every cosine)."
        f" {table.note}"
    ).rstrip()
    axis = "position" if len(table.size) == 1 else "row, column"
    picture = HeatMap(
        cosines, table.names, table.names, title, axis, axis, diverging=True, limits=(-1.0, 1.0), side=SIDE_PIXELS
    )
    yield Figure(f"{table.slug}-similarity", title, picture, {**numbers, **properties}, caption)
    if len(table.size) == 2:
        rows, columns = table.grid
        maps = cosines.reshape(-1, rows, columns)
        title = f"{table.title}, similarity of each patch to all"
        grid = HeatMaps(
            maps, row_title="row of the patch", column_title="column of the patch", title=title, diverging=True,
            limits=(-1.0, 1.0), grid_columns=columns,
        )  # fmt: skip
        caption = f"Each small map has the cosines of the patch at its place with all patches. {table.note}".rstrip()
        yield Figure(f"{table.slug}-patches", title, grid, {**numbers, "cosines": maps}, caption)


def clock_figures(table: Table) -> Iterator[Figure]:
    """Yield the angles of a few pairs of dimensions by position, and the periods of all pairs."""
    for name, vectors in table.sequences:
        if len(vectors) < 2:
            continue
        clocks, title, slug = analysis.clocks(vectors), table.title, table.slug
        if name:
            title, slug = f"{title}, {name}", f"{slug}-{name}"
        turning = np.flatnonzero(clocks.periods <= 4 * CLOCK_POSITIONS)  # slower hands hardly move
        if len(turning):
            pairs = turning[np.unique(np.linspace(0, len(turning) - 1, CLOCK_HANDS).round().astype(int))]
            yield dials_figure(table, f"{title}, clocks", f"{slug}-dials", clocks, pairs)
            yield angle_figure(table, f"{title}, angles", f"{slug}-clocks", clocks, pairs)
        yield period_figure(table, f"{title}, periods", f"{slug}-periods", clocks.periods)


def dials_figure(table: Table, title: str, name: str, clocks: analysis.Clocks, pairs: np.ndarray) -> Figure:
    """Return a row of clocks for each of some pairs of dimensions; see `angle_figure` for the arguments."""
    turns = (clocks.angles[:DIALS, pairs] / (2 * np.pi) % 1).T
    rows = [f"period {clocks.periods[pair]:.3g}" for pair in pairs]
    columns = [str(position) for position in range(turns.shape[1])]
    caption = (
        "The tip of hand i is at (sin, cos), the numbers of dimensions 2i and 2i + 1: at the top for an angle of 0."
    )
    numbers = {"module": table.name, "pairs": pairs, "periods": clocks.periods[pairs], "turns": turns}
    return Figure(name, title, Dials(rows, columns, turns, title, "position"), numbers, caption)


def angle_figure(table: Table, title: str, name: str, clocks: analysis.Clocks, pairs: np.ndarray) -> Figure:
    """Return the curves of the angles of some pairs of dimensions.

    Args:
        table: the table.
        title: title of the figure.
        name: name of the figure.
        clocks: the angles and periods of all pairs.
        pairs: numbers of the pairs.
    """
    turns = clocks.angles[:CLOCK_POSITIONS, pairs] / (2 * np.pi) % 1
    curves = [
        Curve(f"pair {pair}: period {clocks.periods[pair]:.3g}", np.arange(len(turns)), turns[:, number])
        for number, pair in enumerate(pairs)
    ]
    picture = Curves(curves, title, "position", "angle in turns", y_limits=(0.0, 1.0))
    caption = "Pair i is (sin, cos) of dimensions 2i and 2i + 1, the hand of a clock that turns once in its period."
    return Figure(name, title, picture, {"module": table.name, "pairs": pairs, "turns": turns}, caption)


def period_figure(table: Table, title: str, name: str, periods: np.ndarray) -> Figure:
    """Return the curve of the periods of all pairs of dimensions; for learned frequencies, also of the initial ones.

    Args:
        table: the table.
        title: title of the figure.
        name: name of the figure.
        periods: number of positions in which each hand turns once, (D / 2,).
    """
    curves, pairs = [periods], np.arange(len(periods))
    if table.scheme is Positions.learnable_sinusoidal:
        curves.append(2 * np.pi / frequencies(2 * len(periods)).cpu().double().numpy())
    names = ["learned", "at the start"] if len(curves) > 1 else [""]
    logs = [np.log10(curve, where=np.isfinite(curve), out=np.full(len(curve), np.nan)) for curve in curves]
    picture = Curves(
        [Curve(label, pairs, values, points=len(pairs) <= 64) for label, values in zip(names, logs, strict=True)],
        title, "pair of dimensions", "log10 of the period in positions",
    )  # fmt: skip
    numbers = {"module": table.name, **dict(zip(("periods", "initial_periods"), curves, strict=False))}
    return Figure(name, title, picture, numbers, "A period is the number of positions in which a hand turns once.")


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no such figure; empty: it has some."""
    return "" if tables(subject.model) else "the model has no absolute positions"


KIND = Kind(
    "positions",
    "Position vectors",
    "The vectors that stand for positions: their numbers, and the cosine of each pair. If vectors know distances, the"
    " cosine falls with the distance (monotonicity: how often the nearer of two positions is the more similar one) and"
    " depends on it alone (translational invariance: the share of the variance of the cosines that the displacement"
    " explains). Sinusoids are clocks: each pair of dimensions is a hand that turns at its own speed.",
    draw,
    missing,
    "cos(p, q) = p·q / (|p| |q|); of sinusoids p·q = Σᵢ cos ωᵢ(p − q)",
    "Wang et al. 2021, section 2; Vaswani et al. 2017, section 3.5; Dosovitskiy et al. 2021, figure 7",
    of_model=True,
)
