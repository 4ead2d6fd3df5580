"""Figures that look inside a trained model: one module for each kind, and a line in `MODULES`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the modules need PyTorch, and the names of the kinds do not
    from tformer_cli.figures.base import Kind

MODULES = (
    "attention", "looks", "rollout", "distance", "heads", "positions", "relative", "filters", "lens", "vectors",
    "importance", "calibration", "spectrogram", "throughput",
)  # fmt: skip
"""The modules of figures, in the order of the page; each has a `KIND` of its name."""


def kinds() -> dict[str, Kind]:
    """Return the kinds of figures by name, in the order of the page."""
    every = [importlib.import_module(f"{__name__}.{module}").KIND for module in MODULES]
    return {kind.name: kind for kind in every}
