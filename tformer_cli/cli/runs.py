"""The command `tformer runs`, which lists trained runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tformer_cli.errors import RunError


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to search for runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each run.")] = False,
) -> None:
    """List the runs below a folder, with their recipe, steps, best validation result so far, and test result if any."""
    from tformer_cli.cli.output import note, result, table
    from tformer_cli.cli.summary import find_runs, summarise

    if not folder.is_dir():
        raise RunError(
            f"{folder}: no such folder",
            "train something: `tformer quickstart`, or give the folder of your runs",
        )
    summaries = [summarise(run) for run in find_runs(folder)]
    if as_json:
        for summary in summaries:
            result(json.dumps({**asdict(summary), "run": str(summary.run)}, ensure_ascii=False) + "\n")
        return
    tested = any(summary.test is not None for summary in summaries)
    rows = [
        (
            str(s.run),
            s.recipe,
            s.step,
            s.metric,
            s.best,
            *([s.test] if tested else []),
            s.minutes,
            "finished" if s.finished else "unfinished",
        )
        for s in summaries
    ]
    if rows:
        scores = ("best", "test") if tested else ("best",)
        table(("run", "recipe", "step", "metric", *scores, "minutes", "state"), rows)
    else:
        note(f"no runs in {folder}")
