"""The command `tformer compare`, which compares trained runs on the same data."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tformer_cli.cli.choices import one_of, run_folders
from tformer_cli.cli.options import CHECKPOINT, DEVICE, PRECISION, SPLIT, check_split
from tformer_cli.errors import ConfigError

if TYPE_CHECKING:
    from tformer_cli.metrics.bootstrap import Resampled
    from tformer_cli.trained.compare import Comparison

GROUPS = ("length", "label", "speaker")
RUNS = typer.Argument(
    metavar="RUN RUN... [KEY=VALUE]...",
    help="Run folders, or checkpoints in them; differences are to the first. Settings for all of them, such as"
    " data.test=FILE or decode.beam=1.",
    autocompletion=run_folders,
)
METRIC = typer.Option("", "--metric", metavar="NAME", help="Score.  [default: that of validation]", show_default=False)
BY = typer.Option(
    "",
    "--by",
    help="Also score groups of examples: length, label or speaker.",
    autocompletion=one_of(*GROUPS),
    show_default=False,
)
SPEAKER = typer.Option(
    "",
    "--speaker",
    metavar="REGEX",
    help="Regular expression with a group that matches the speaker in a recording's name.  [default: the text before"
    " - or _]",
    show_default=False,
)
OUTPUT = typer.Option(
    None, "--output", "-o", metavar="FILE", help="Chart to write: .svg or .png; may be repeated.", show_default=False
)
AS_JSON = typer.Option(False, "--json", help="Print the comparison as JSON.")


def compare(
    runs: list[str] = RUNS,
    split: str = SPLIT,
    metric: str = METRIC,
    by: str = BY,
    speaker: str = SPEAKER,
    output: list[Path] = OUTPUT,
    as_json: bool = AS_JSON,
    device: str = DEVICE,
    precision: str = PRECISION,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Compare trained runs on the same data: scores, confidence intervals, significance, size, time and speed.

    Evaluations that are saved in the run folders are used; missing ones are made and saved there.
    """
    from tformer_cli.cli.arguments import is_setting, machine_names, named_as_options, precision_setting
    from tformer_cli.cli.output import note, note_repeated, result

    check_split(split)
    folders = [Path(item) for item in runs if not is_setting(item)]
    settings = [item for item in runs if is_setting(item)]
    if len(folders) < 2:
        raise ConfigError("compare needs two runs", "tformer compare RUN RUN")
    if by and by not in GROUPS:
        raise ConfigError(f"--by: {by!r} is not one of {', '.join(GROUPS)}")
    if speaker and by != "speaker":
        raise ConfigError("--speaker has no effect without --by speaker", "add it, or leave --speaker out")
    charts = {path: _chart_format(path) for path in output or []}
    note_repeated(settings)
    from tformer_cli.trained.applicable import check_settings
    from tformer_cli.trained.compare import compare_runs

    with named_as_options(machine_names(device, precision)):
        comparison = compare_runs(
            folders, split, [*settings, *precision_setting(precision)], metric=metric, by=by,
            **({"speaker": speaker} if speaker else {}), checkpoint=checkpoint, device=device,
            check=lambda task: check_settings(task, settings), say=note,
        )  # fmt: skip
    for path, form in charts.items():
        write_chart(comparison, path, form)
    if as_json:
        result(json.dumps(asdict(comparison), ensure_ascii=False, indent=1) + "\n")
    else:
        show(comparison)
    for line in [*comparison.notes, *(f"saved in {path}" for path in charts)]:
        note(line)


def _chart_format(path: Path) -> str:
    """Return the format of a chart, and check before slow work starts that it can be written.

    Raises:
        TformerError: if its ending names no format, or it cannot be written.
    """
    from tformer_cli.cli.prediction_output import check_output_path

    if path.suffix.lower() not in (".svg", ".png"):
        raise ConfigError(f"--output {path}: not the name of a chart", "end it with .svg or .png")
    check_output_path(path)
    return path.suffix.lower()


def show(comparison: Comparison) -> None:
    """Print a table of the runs, and one of the groups of examples."""
    from tformer_cli.cli.output import result, table

    first = comparison.runs[0]
    header = ("run", comparison.metric, "95 %", "difference", "p", "parameters", "minutes", "examples/s")
    rows = [
        (
            entry.run,
            f"{entry.score:.2f}",
            _interval(entry.resampled) if entry.resampled else None,
            f"{entry.score - first.score:+.2f}" if number else None,
            f"{entry.resampled.p_value:.3f}" if entry.resampled and entry.resampled.p_value is not None else None,
            f"{entry.parameters:,}",
            entry.minutes,
            f"{entry.examples_per_second:.1f}" if entry.examples_per_second else None,
        )
        for number, entry in enumerate(comparison.runs)
    ]
    table(header, rows, unwrapped=("run",))
    if comparison.groups:
        result("\n")
        names = [entry.run for entry in comparison.runs]
        lines = [
            (group.name, group.examples, *(f"{score:.2f}" for score in group.scores)) for group in comparison.groups
        ]
        table((comparison.by, "examples", *names), lines, title=f"{comparison.metric} by {comparison.by}")


def _interval(resampled: Resampled) -> str:
    """Return a confidence interval as it is printed."""
    return f"{resampled.low:.2f} to {resampled.high:.2f}"


def write_chart(comparison: Comparison, path: Path, form: str) -> None:
    """Write the chart of a comparison: the scores of groups or of all examples, with their confidence intervals."""
    from tformer_cli.draw import Chart, Series, draw, png, svg
    from tformer_cli.runs.writing import output_file

    groups, by, intervals = comparison.groups, comparison.by, [entry.resampled for entry in comparison.runs]
    series = []
    for number, (entry, interval) in enumerate(zip(comparison.runs, intervals, strict=True)):
        name = f"{entry.run} ({entry.score:.2f}" + (f", {_interval(interval)})" if interval else ")")
        values = [group.scores[number] for group in groups] if groups else [entry.score]
        ends = [group.intervals[number] for group in groups]
        series.append(Series(name, values, ends or ([(interval.low, interval.high)] if interval else [])))
    lower = ", lower is better" if comparison.lower_is_better else ""
    title = f"{comparison.metric} on {comparison.split}" + (f" by {by}" if by else "")
    unit = {"length": "words"}.get(by, by)
    names = [group.name for group in groups] or ["all examples"]
    chart = Chart(title, names, series, unit, f"{comparison.metric}{lower}", connected=by == "length")
    with output_file(path) as file:
        file.write(svg(chart).encode() if form == ".svg" else png(draw(chart)))
