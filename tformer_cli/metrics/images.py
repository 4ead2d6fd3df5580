"""Scores that compare generated with real images by feature vectors: a distance, and the spread within labels.

Shapes: N images, D features, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features.

    Attributes:
        mean: (D,), float64.
        covariance: (D, D), float64.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Self:
        """Return the moments of features, (N, D), with the unbiased covariance."""
        values = features.astype(np.float64)
        return cls(values.mean(0), np.atleast_2d(np.cov(values, rowvar=False)))


def frechet_distance(first: Moments, second: Moments) -> float:
    """Return the Frechet distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017, eq. 6).

        d^2 = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1^(1/2) C_2 C_1^(1/2))^(1/2))

    This is the squared distance, as the literature on generated images reports it. It is at least 0, and its estimate
    from N images is biased upwards by an amount that depends on N.
    """
    values, vectors = np.linalg.eigh(first.covariance)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    products = np.linalg.eigvalsh(root @ second.covariance @ root)
    shift = ((first.mean - second.mean) ** 2).sum()
    total = np.trace(first.covariance) + np.trace(second.covariance) - 2 * np.sqrt(products.clip(min=0)).sum()
    return float(max(0.0, shift + total))


def label_variances(features: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the total variance of the features within each label.

    Args:
        features: (N, D).
        labels: (N,), int64.
        count: number of labels L.

    Returns:
        (L,), float64; NaN for labels with fewer than two images.
    """
    variances = np.full(count, np.nan)
    for label in range(count):
        members = features[labels == label].astype(np.float64)
        if len(members) > 1:
            variances[label] = members.var(0, ddof=1).sum()
    return variances


def relative_spread(generated: np.ndarray, real: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the variance of generated images within each label, divided by the variance of the real ones.

    It is about 1 for a good generator. It is 0 if all images of a label are alike, which neither the accuracy of labels
    nor the mean of the images shows.

    Args:
        generated: features of generated images, (N, D).
        real: features of real images, (N, D), with the same labels.
        labels: (N,), int64.
        count: number of labels L.

    Returns:
        (L,), float64; NaN for labels with fewer than two images, or if all real images of a label are equal.
    """
    variances = label_variances(real, labels, count)
    variances[variances == 0] = np.nan
    return label_variances(generated, labels, count) / variances
