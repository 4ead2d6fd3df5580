"""Figures of small models, for tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from torch import nn

from tformer_cli.figures.base import Figure, Kind, Options, Subject


def figures_of(kind: Kind, model: nn.Module, *, options: Options | None = None, **more: Any) -> dict[str, Figure]:
    """Return the figures of a kind by name.

    Raises:
        LookupError: if the model has none, with the reason.
    """
    inspector = more.pop("inspector", SimpleNamespace())
    subject = Subject(model.eval(), cast(Any, inspector), more.pop("examples", ()), options or Options(), **more)
    if reason := kind.missing(subject):
        raise LookupError(reason)
    figures = list(kind.draw(subject))
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}
