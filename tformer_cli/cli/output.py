"""Printing: results to standard output, everything else to standard error."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence

from tformer_cli.runs.writing import writing


def result(text: str) -> None:
    """Write to standard output without buffering, in UTF-8 and with line feeds on every platform.

    Args:
        text: complete lines, the last line feed included.
    """
    stream = getattr(sys.stdout, "buffer", None)
    with writing("standard output"):
        if stream is None:  # a substitute for standard output that takes text
            sys.stdout.write(text)
        else:
            stream.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.flush()


def note(text: str, *, quiet: bool = False) -> None:
    """Write a line to standard error."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def note_repeated(overrides: Sequence[str], *, quiet: bool = False) -> None:
    """Print a note about settings that are given more than once."""
    from tformer_cli.config.overrides import repeated

    for line in repeated(overrides):
        note(f"note: {line}", quiet=quiet)


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], title: str = "", *, unwrapped: Sequence[str] = ()
) -> None:
    """Print a table: with borders on a terminal, as aligned text elsewhere.

    Args:
        header: names of the columns.
        rows: a value for each column.
        title: printed above.
        unwrapped: columns whose cells are never wrapped, so that users can copy them.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(cells) and all(_is_number(row[column]) for row in cells) for column in range(len(header))]
    if sys.stdout.isatty():
        _draw(header, cells, numeric, title, unwrapped)
        return
    lines = [title] if title else []
    widths = [max(_width(row[column]) for row in [list(header), *cells]) for column in range(len(header))]
    for row in [list(header), *cells]:
        padded = [
            " " * (width - _width(cell)) + cell if is_numeric else cell + " " * (width - _width(cell))
            for cell, width, is_numeric in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    result("\n".join(lines) + "\n")


def _draw(
    header: Sequence[str], cells: list[list[str]], numeric: list[bool], title: str, unwrapped: Sequence[str]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left")
    for name, is_numeric in zip(header, numeric, strict=True):
        justify = "right" if is_numeric else "left"
        drawn.add_column(name, justify=justify, overflow="fold", no_wrap=name in unwrapped)
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))  # as Text, since brackets in data are not markup
    Console().print(drawn)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return (
        f"{value:.4g}"
        if isinstance(value, float) and abs(value) < 1
        else f"{value:.2f}"
        if isinstance(value, float)
        else str(value)
    )


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "").rstrip("%"))
    except ValueError:
        return text == "-"
    return True


def _width(text: str) -> int:
    """Return the width of a text on a terminal: wide characters have two columns, combining marks none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
