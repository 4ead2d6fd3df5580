"""Measurements on position vectors: similarities, the properties of Wang et al. 2021, and sinusoids as clocks.

Positions are whole numbers: 0, 1, ... for tokens, rows and columns for patches. Drop the vector of [class] first.

Shapes: N positions, D width of a vector, A axes of a position (1 for tokens, 2 for patches).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tformer_cli.analysis.vectors import directions


def similarities(vectors: np.ndarray, *, cosine: bool = True) -> np.ndarray:
    """Return the cosine, or the dot product, of each pair of position vectors.

    Args:
        vectors: (N, D). The cosine with a zero vector is 0.
        cosine: whether vectors are divided by their norms.

    Returns:
        (N, N).
    """
    vectors = directions(vectors) if cosine else np.asarray(vectors, np.float64)
    return vectors @ vectors.T


def _coordinates(positions: np.ndarray | None, size: int) -> np.ndarray:
    """Return positions with an axis for coordinates, (N, A); by default 0, 1, ..., N - 1."""
    return np.arange(size)[:, None] if positions is None else np.asarray(positions).reshape(size, -1)


def monotonicity(proximity: np.ndarray, positions: np.ndarray | None = None, *, reach: int | None = None) -> float:
    """Return how often the nearer of two positions in the same direction is the more similar one.

    Wang et al. (2021) call vectors monotonous if m > n <=> phi(x, x + m) < phi(x, x + n). The score is the share of
    triples (x, y, z) with phi(x, z) < phi(x, y), where y lies between x and z: y differs from both, and on each axis it
    is on the same side of x as z and no farther away. The score is 1 for monotonous vectors and about 1/2 for random
    ones. It is derived from the definition and is not one of the indicators of the paper's tables.

    Args:
        proximity: phi, (N, N).
        positions: (N, A); by default 0, 1, ..., N - 1.
        reach: maximum distance on an axis to compare, for local monotonicity; None: all.

    Returns:
        0 to 1; nan without such triples (fewer than 3 positions).
    """
    proximity, coordinates = np.asarray(proximity, np.float64), _coordinates(positions, len(proximity))
    ordered = total = 0
    for start, values in zip(coordinates, proximity, strict=True):
        offsets = coordinates - start  # (N, A)
        sizes = np.abs(offsets)
        compared = sizes.any(-1) & (sizes.max(-1) <= (reach or sizes.max()))
        offsets, sizes, values = offsets[compared], sizes[compared], values[compared]
        same_side = (offsets[:, None] * offsets[None] >= 0).all(-1)
        between = same_side & (sizes[:, None] <= sizes[None]).all(-1) & (sizes[:, None] < sizes[None]).any(-1)
        ordered += int((values[:, None] > values[None])[between].sum())
        total += int(between.sum())
    return ordered / total if total else float("nan")


def translation_invariance(proximity: np.ndarray, positions: np.ndarray | None = None) -> float:
    """Return the share of the variance of the proximity that the displacement of two positions explains.

    Wang et al. (2021) call vectors translation invariant if phi(x, x + m) is the same for all x. Over pairs x != y, let
    phi_m be the mean at displacement m, and mu the mean of all. The score is

        1 - sum (phi(x, y) - phi_{y - x})^2 / sum (phi(x, y) - mu)^2.

    It is 1 if phi depends on the displacement alone. The diagonal is left out, since each cosine of a vector with
    itself is 1. The score is derived from the definition and is not one of the indicators of the paper's tables.

    Args:
        proximity: phi, (N, N).
        positions: (N, A); by default 0, 1, ..., N - 1.

    Returns:
        0 to 1; 1 also if phi is constant.
    """
    coordinates, others = _coordinates(positions, len(proximity)), ~np.eye(len(proximity), dtype=bool)
    values = np.asarray(proximity, np.float64)[others]
    displacements = (coordinates[None] - coordinates[:, None])[others]
    _, group = np.unique(displacements, axis=0, return_inverse=True)
    means = np.bincount(group.ravel(), values) / np.bincount(group.ravel())
    return _share(np.square(values - means[group.ravel()]).sum(), values)


def _share(residual: float, values: np.ndarray) -> float:
    """Return 1 - residual / variance; 1 if the values are constant up to rounding."""
    total = np.square(values - values.mean()).sum()
    constant = total <= 1e-24 * np.square(values).sum()
    return 1.0 if constant else float(1 - residual / total)


def symmetry(proximity: np.ndarray) -> float:
    """Return the share of the variance of the proximity that is the same in both directions.

    Wang et al. (2021) call vectors symmetric if phi(x, y) = phi(y, x). Over pairs x != y with the mean mu, the score is

        1 - sum ((phi(x, y) - phi(y, x)) / 2)^2 / sum (phi(x, y) - mu)^2.

    It is 1 for every dot product and cosine. It is informative for attention weights or scores between positions: below
    1 they distinguish before from after. It is 0 if phi(x, y) - mu = -(phi(y, x) - mu) for all pairs. The score is
    derived from the definition and is not one of the indicators of the paper's tables.

    Args:
        proximity: phi, (N, N).

    Returns:
        0 to 1; 1 also if phi is constant.
    """
    proximity = np.asarray(proximity, np.float64)
    others = ~np.eye(len(proximity), dtype=bool)
    return _share(np.square((proximity - proximity.T)[others] / 2).sum(), proximity[others])


class Clocks(NamedTuple):
    """The pairs (sin, cos) of position vectors as hands of clocks, one for each frequency.

    Attributes:
        angles: angle of each hand at each position, (N, D / 2), in radians, -pi to pi.
        lengths: length of each hand at each position, (N, D / 2); 1 for sinusoids.
        frequencies: mean turn from one position to the next, (D / 2,), in radians per position, -pi to pi.
        steadiness: 1 for a hand that turns by the same angle at each step, near 0 for irregular turns, (D / 2,).
    """

    angles: np.ndarray
    lengths: np.ndarray
    frequencies: np.ndarray
    steadiness: np.ndarray

    @property
    def periods(self) -> np.ndarray:
        """Number of positions per turn of each hand, 2 pi / |w|, (D / 2,); infinite for a hand that does not turn."""
        speeds = np.abs(self.frequencies)
        return np.divide(2 * np.pi, speeds, out=np.full_like(speeds, np.inf), where=speeds > 0)


def clocks(vectors: np.ndarray) -> Clocks:
    """Return position vectors as clocks: dimensions 2i and 2i + 1 are the sine and the cosine of an angle.

    Let z_p = cos + i sin of one pair at position p. Its frequency is the argument of r = sum_p z_{p+1} conj(z_p), and
    its steadiness |r| / sum_p |z_{p+1}| |z_p|. For sinusoids with fixed frequencies (Vaswani et al. 2017, section 3.5)
    or learned ones (Wang et al. 2021), the angles are w_i p. Learned tables are not clocks, which lengths and
    steadiness show. For vectors of a grid, pass the halves for rows and for columns separately.

    Args:
        vectors: vectors of positions 0, 1, ..., (N, D), with N at least 2 and D even.

    Raises:
        ValueError: if D is odd.
    """
    vectors = np.asarray(vectors, np.float64)
    if vectors.shape[-1] % 2:
        raise ValueError(f"pairs of sine and cosine need an even width, not {vectors.shape[-1]}")
    hands = vectors[:, 1::2] + 1j * vectors[:, ::2]
    lengths = np.abs(hands)
    turn = (hands[1:] * hands[:-1].conj()).sum(0)
    steps = (lengths[1:] * lengths[:-1]).sum(0)
    steadiness = np.divide(np.abs(turn), steps, out=np.zeros_like(steps), where=steps > 0)
    return Clocks(np.angle(hands), lengths, np.angle(turn), steadiness)
