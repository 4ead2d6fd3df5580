"""The command of the laboratory: `python -m laboratory --help`."""

from __future__ import annotations

import argparse
import ast
import datetime
import hashlib
import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from laboratory import experiments, report
from laboratory.experiment import Experiment, Outcome, Scale
from laboratory.runs import Runs
from laboratory.trainings import Job, data_folder, jobs_of, record, train
from tformer_cli import signals
from tformer_cli.cli import main as command_line
from tformer_cli.config.suggest import suggest
from tformer_cli.errors import ConfigError, DataError, TformerError
from tformer_cli.runs.folder import processor

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    Scale.full: Path("runs/lineage"),
    Scale.quick: Path("runs/lineage-quick"),
    Scale.tiny: Path("runs/lineage-tiny"),
}


def names() -> list[str]:
    """Return the names of all experiments."""
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def experiment_of(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises:
        ConfigError: if there is none of this name; the error lists all.
    """
    if name not in names():
        similar = suggest(name, names())
        remedy = f"did you mean {similar[0]}? " if similar else ""
        raise ConfigError(f"there is no experiment {name!r}", f"{remedy}choose from {', '.join(names())}")
    return importlib.import_module(f"laboratory.experiments.{name}").EXPERIMENT


def arguments(items: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m laboratory", description="Run the experiments of docs/lineage.md.")
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help="names; default: all")
    parser.add_argument("--quick", action="store_true", help="one seed and very little training")
    parser.add_argument("--folder", type=Path, help="folder of the runs; default: runs/lineage, runs/lineage-quick")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("TFORMER_DATA") or ROOT / "../shared/data"),
        help="folder with a folder for each set of data; default: TFORMER_DATA",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time; default: all cores")
    parser.add_argument("--list", action="store_true", help="list the experiments")
    parser.add_argument("--publish", action="store_true", help="write the results into docs/, and train nothing")
    options = parser.parse_args(items)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


def run(experiment: Experiment, name: str, scale: Scale, folder: Path, data: Path, jobs: int) -> Path:
    """Train and measure an experiment, as far as it is not done yet.

    Args:
        experiment: the experiment.
        name: its name.
        scale: how much is trained.
        folder: folder of all experiments.
        data: folder of all data.
        jobs: number of trainings at a time.

    Returns:
        The file with the results.

    Raises:
        DataError: if its data is not there.
        RunError: if a run folder holds a run with other settings, or a training fails.
    """
    place = folder / name
    source = data_folder(experiment, data)
    trainings = jobs_of(experiment, scale, place, source)
    train(trainings, jobs, say)
    about = description(experiment, name, scale, trainings)
    result = place / report.RESULT
    if result.is_file() and _same(json.loads(result.read_bytes()), about):
        say(f"measured before: {result}")
        return result
    say(f"measuring {name}")
    place.mkdir(parents=True, exist_ok=True)
    outcome = experiment.measure(Runs(trainings, scale, place, source, say))
    report.write(place, outcome, about)
    show(experiment, outcome, say)
    return result


def description(experiment: Experiment, name: str, scale: Scale, trainings: Sequence[Job]) -> dict[str, Any]:
    """Return what identifies a result: the experiment's code, its runs, the machine and the date."""
    records = {job.training.name: record(job) for job in trainings}
    processors = [str(item["processor"]) for item in records.values()]
    return {
        "name": name,
        "scale": scale.name,
        "date": datetime.date.today().isoformat(),
        "processor": ", ".join(dict.fromkeys(processors)) or processor(),
        "minutes": sum(float(str(item["minutes"])) for item in records.values()),
        "code": code_hash(experiment.measure.__module__),
        "runs": records,
    }


def code_hash(name: str) -> str:
    """Return a hash of the source of a module, and of the modules of the laboratory that it needs.

    Args:
        name: name of a module that is imported.
    """
    sources: dict[str, bytes] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in sources:
            continue
        sources[module] = Path(sys.modules[module].__file__ or "").read_bytes()
        imports = (node for node in ast.walk(ast.parse(sources[module])) if isinstance(node, ast.ImportFrom))
        waiting += [node.module for node in imports if node.module and node.module.startswith("laboratory.")]
    return hashlib.sha256(b"".join(sources[module] for module in sorted(sources))).hexdigest()


def _same(result: dict[str, Any], about: dict[str, Any]) -> bool:
    """Return whether a result is that of the same code and runs."""
    return all(result.get(key) == about[key] for key in ("scale", "code", "runs"))


def show(experiment: Experiment, outcome: Outcome, say: Callable[[str], None]) -> None:
    """Print the tables of an experiment."""
    say(f"\n{experiment.title}")
    for table in outcome.tables:
        say(f"\n{report.markdown(table)}\n")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main(items: Sequence[str] | None = None) -> int:
    """Run the command; errors are reported in one line.

    Returns:
        The exit code.
    """
    try:
        with signals.ending():
            return _main(arguments(sys.argv[1:] if items is None else items))
    except BaseException as error:
        return command_line.report(error)


def _main(options: argparse.Namespace) -> int:
    selected = {name: experiment_of(name) for name in options.names or names()}
    if options.list:
        for name, experiment in selected.items():
            say(f"{name:<16} {experiment.title}")
        return 0
    scale = Scale.quick if options.quick else Scale.full
    folder = options.folder or FOLDERS[scale]
    if options.publish:
        for page in report.publish(selected, folder, ROOT / "docs"):
            say(f"written: {page}")
        return 0
    missing: list[TformerError] = []
    for number, (name, experiment) in enumerate(selected.items(), start=1):
        say(f"\n[{number}/{len(selected)}] {name}: {experiment.title}")
        try:
            say(f"results: {run(experiment, name, scale, folder, options.data, options.jobs)}")
        except DataError as error:
            if len(selected) == 1:
                raise
            say(f"left out: {error}")
            missing.append(error)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
