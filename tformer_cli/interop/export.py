"""Export of a run: the run's model family writes it in the format of another library."""

from __future__ import annotations

import functools
from pathlib import Path

from tformer_cli.config.family import exported_families, family, load
from tformer_cli.errors import ConfigError
from tformer_cli.interop.formats import Exporter
from tformer_cli.interop.gate import Say, warn
from tformer_cli.runs.writing import write_new_folder
from tformer_cli.tasks.task import Task
from tformer_cli.trained.opening import open_run


def export_run(run: Path, output: Path, to: str = "huggingface", say: Say = warn) -> None:
    """Write a run's model in the format of another library, with its search settings and tokenizer if it has them.

    Args:
        run: run folder, or one of its checkpoints.
        output: output folder; it must not exist, or be empty.
        to: name of the format, see `config.family.export_formats`.
        say: receives warnings about settings that are not exported.

    Raises:
        ConfigError: if the run's family has no exporter for the format, or the run has a setting without a counterpart.
        RunError: if the run cannot be read, or `output` cannot be written.
    """
    opened = open_run(run, device="cpu", check=functools.partial(_check_family, run=run, to=to))
    exporter: Exporter = load(family(opened.config.model.family).exporters[to])
    write_new_folder(output, exporter(opened, say))


def _check_family(task: Task, run: Path, to: str) -> None:
    """Refuse a run whose family has no exporter for the format."""
    offered = family(task.config.model.family)
    if to not in offered.exporters:
        cause = f"{run}: a {offered.name} model cannot be exported to {to} yet"
        others = [f"--to {name}" for name in sorted(offered.exporters)]
        raise ConfigError(cause, " or ".join(others) or f"models of {', '.join(exported_families(to))} can")
