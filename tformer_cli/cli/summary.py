"""Summaries of run folders, which are read without torch."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tformer_cli.errors import ConfigError
from tformer_cli.regular_files import open_regular


@dataclass
class Summary:
    """Summary of a run; None for values that the folder does not contain.

    Attributes:
        run: its folder.
        recipe: its recipe.
        metric: metric that selects the best checkpoint.
        best: value of the metric on the validation split.
        test: value of the metric on the run's test split, if `evaluate` has computed it.
        step: number of steps.
        minutes: minutes of training.
        finished: whether the run is complete.
    """

    run: Path
    recipe: str | None = None
    metric: str | None = None
    best: float | None = None
    test: float | None = None
    step: int | None = None
    minutes: float | None = None
    finished: bool = False


def summarise(run: Path) -> Summary:
    """Summarise a run from `config.yaml`, `result.json` or the newest checkpoint, and the end of `metrics.jsonl`.

    Damaged files are treated as missing.
    """
    from tformer_cli.config.yaml import read_yaml

    summary = Summary(run)
    with contextlib.suppress(ConfigError):
        summary.recipe = str(read_yaml(run / "config.yaml").data.get("recipe", ""))
    outcome = _json(_read(run / "result.json"))
    newest, summary.finished = last_checkpoint(run), bool(outcome)
    if newest is not None and not outcome:
        outcome = _outcome_so_far(run, newest)
    summary.metric, summary.best = outcome.get("metric"), _number(outcome.get("best"))
    summary.step, summary.minutes = outcome.get("step"), _number(outcome.get("minutes"))
    summary.test = _test_score(run, summary.metric)
    steps = [last_step(run), newest, summary.step]
    summary.step = max((step for step in steps if isinstance(step, int)), default=None)
    return summary


def _outcome_so_far(run: Path, step: int) -> dict[str, Any]:
    """Return what `result.json` would hold if the run had ended at a checkpoint."""
    state = _json(_read(run / "checkpoints" / f"step-{step:08d}" / "state.json"))
    seconds = _number(state.get("seconds"))
    minutes = None if seconds is None else round(seconds / 60, 2)
    return {
        "metric": state.get("metric"),
        "best": state.get("best"),
        "step": state.get("best_step"),
        "minutes": minutes,
    }


def _test_score(run: Path, metric: Any) -> float | None:
    """Return the score of `evaluate` on the run's test split, unless the best checkpoint has changed since."""
    record = _json(_read(run / "evaluation" / "test.json"))
    best = _read(run / "checkpoints" / "best").decode("utf-8", "replace").strip()
    if best and record.get("checkpoint") not in (best, "averaged"):
        return None
    scores = record.get("scores")
    return _number(scores.get(metric)) if isinstance(scores, dict) else None


def last_checkpoint(run: Path) -> int | None:
    """Return the step of the newest checkpoint, from its name."""
    names = (path.name.removeprefix("step-") for path in (run / "checkpoints").glob("step-*"))
    return max((int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 16), default=None)


def last_step(run: Path) -> int | None:
    """Return the step of the last complete line of `metrics.jsonl`."""
    for line in reversed(_read(run / "metrics.jsonl", tail=65_536).split(b"\n")):
        step = _json(line).get("step")
        if isinstance(step, int):
            return step
    return None


def find_runs(folder: Path) -> list[Path]:
    """Return all run folders below a folder, or the folder itself, sorted; folders inside of runs are not searched."""
    runs, waiting = [], [folder]
    while waiting:
        current = waiting.pop()
        if (current / "manifest.json").exists():  # a checkpoint, such as RUN/initial of a failed start
            continue
        if (current / "config.yaml").is_file():
            runs.append(current)
            continue
        try:
            waiting.extend(entry for entry in current.iterdir() if entry.is_dir() and not entry.is_symlink())
        except OSError:
            continue
    return sorted(runs)


def _read(path: Path, tail: int = 1_000_000) -> bytes:
    try:
        with open_regular(path) as file:
            file.seek(max(0, path.stat().st_size - tail))
            return file.read(tail)
    except OSError:
        return b""


def _json(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
