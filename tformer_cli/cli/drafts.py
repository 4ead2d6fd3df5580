"""Drafts of translations for `tformer translate --draft`: line n is the draft for input n."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tformer_cli.cli import text
from tformer_cli.cli.reading import Line
from tformer_cli.errors import ConfigError, DataError

REMEDY = "give one draft for each line of the input, an empty one to translate from nothing"


def check(drafts: Path, files: Sequence[Path]) -> None:
    """Refuse drafts that cannot be opened, are a table, or come from standard input together with the inputs.

    Args:
        drafts: file of the drafts.
        files: files of the inputs; empty: standard input.

    Raises:
        ConfigError: if both are standard input.
        DataError: if the file cannot be opened, or its name is that of a table, whose lines are no drafts.
    """
    from tformer_cli.data.core.files import table_kind

    if str(drafts) == "-" and (not files or Path("-") in files):
        raise ConfigError("--draft -: the inputs are read from standard input", "name a file of inputs or of drafts")
    text.check([drafts])
    if table_kind(drafts):
        raise DataError(
            f"--draft {drafts}: a table, and drafts are lines of text", "write one draft a line, as in .txt"
        )


def paired(lines: Iterable[Line], drafts: Path) -> Iterator[Line]:
    """Yield each input with its draft as its value.

    Raises:
        DataError: if the numbers of inputs and of drafts differ; the error is raised where the shorter of them ends.
    """
    rows, name, number = text.lines([drafts]), text.name_of(drafts), 0
    for number, line in enumerate(lines, 1):
        draft = next(rows, None)
        if draft is None:
            raise DataError(f"{name}: {number - 1:,} drafts, and {line.location} is input {number:,}", REMEDY)
        if line.fault:  # it has no text, and is skipped with its draft
            yield line
            continue
        source = line.value if isinstance(line.value, str) else line.value[0]
        yield replace(line, value=(source, draft))
    if next(rows, None) is not None:
        raise DataError(f"{name}: more drafts than the {number:,} inputs", REMEDY)
