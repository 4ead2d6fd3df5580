"""A page of figures as one HTML file that needs no network, and the numbers behind the figures as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tformer_cli.draw import Picture, layout, vector
from tformer_cli.figures.base import Figure, Kind, Widget

DIGITS = 5
"""Significant digits of the numbers in JSON."""


@dataclass
class Section:
    """The figures of a kind.

    Attributes:
        kind: the kind.
        figures: its figures.
        missing: the reason why there are none.
        widget: what is above the figures.
    """

    kind: Kind
    figures: list[Figure] = field(default_factory=list)
    missing: str = ""
    widget: Widget = field(default_factory=Widget)

    @property
    def by_example(self) -> list[tuple[str, list[Figure]]]:
        """Return the figures grouped by their inputs, in the order of the figures."""
        groups: dict[str, list[Figure]] = {}
        for figure in self.figures:
            groups.setdefault(figure.example, []).append(figure)
        return list(groups.items())


def html(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], formats: Sequence[str]) -> str:
    """Return the page, which stores each image once.

    Args:
        title: its heading.
        facts: names and values of lines about the run.
        sections: figures by kind.
        formats: endings of the files of each figure, to which the page links.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tformer_cli.figures", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    drawn = [section for section in sections if section.figures]
    missing = [section for section in sections if not section.figures]
    drawings = {figure.name: layout(untitled(figure.picture)) for section in drawn for figure in section.figures}
    images = vector.repeated_images(drawings.values(), [image for section in drawn for image in section.widget.images])

    def as_svg(name: str) -> tuple[str, int]:
        return vector.svg(drawings[name], images), drawings[name].width

    environment.globals["as_svg"] = as_svg
    return environment.get_template("page.html").render(
        title=title, facts=facts, sections=drawn, missing=missing, formats=formats, images=vector.definitions(images)
    )


def untitled(picture: Picture) -> Picture:
    """Return a picture without its title, which the page shows as a heading."""
    return dataclasses.replace(picture, title="")


def numbers(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """Return the numbers behind the figures as JSON: numbers have five digits, and one that is not finite is null."""
    figures = [
        {"name": figure.name, "kind": section.kind.name, "title": figure.title, "example": figure.example,
         **{key: plain(value) for key, value in figure.numbers.items()}}
        for section in sections
        for figure in section.figures
    ]  # fmt: skip
    missing = {section.kind.name: section.missing for section in sections if section.missing}
    content = {"title": title, **dict(facts), "figures": figures, "missing": missing}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


def plain(value: Any) -> Any:
    """Return arrays, and mappings and sequences of them, as values of JSON."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    number = float(value)
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None
