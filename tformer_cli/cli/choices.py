"""Values of options and arguments for completion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

PRECISIONS = ("fp32", "bf16")
DEVICES = ("auto", "cpu", "cuda", "mps")
LONG_INPUTS = ("error", "cut", "skip")
"""Treatments of inputs beyond the model's maximum length."""
FORMATS = ("lines", "csv", "tsv", "json", "jsonl", "parquet", "arrow")
"""Formats of files with texts."""


def one_of(*values: str) -> Callable[[], list[str]]:
    """Return a function for typer's `autocompletion` that returns a fixed list of values."""
    return lambda: list(values)


def run_folders() -> list[str]:
    """Return the run folders below `runs`."""
    from tformer_cli.cli.summary import find_runs

    return [str(run) for run in find_runs(Path("runs"))] if Path("runs").is_dir() else []


def recipe_names() -> list[str]:
    """Return the names of the recipes."""
    from tformer_cli.config.recipes import names

    return names()


def export_formats() -> list[str]:
    """Return the names of the formats that runs can be exported to."""
    from tformer_cli.config.family import export_formats as formats

    return list(formats())
