"""Sweeps (`-m`): a run for each combination of the values of some settings, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from tformer_cli.cli.output import note, result, table
from tformer_cli.cli.run_folders import check_run, new_run
from tformer_cli.cli.summary import summarise
from tformer_cli.errors import RunError, TformerError
from tformer_cli.signals import STOPPING, Stopper, end_with_parent, exit_status

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment


@dataclass
class Job:
    """A combination of values: its settings, its run folder, and its process."""

    overrides: list[str]
    run: Path
    process: subprocess.Popen | None = None
    log: IO[bytes] | None = None
    code: int | None = None

    @property
    def state(self) -> str:
        """The state in which its process ended."""
        if self.code == 0:
            return "done"
        return "stopped" if self.code in [exit_status(number) for number in STOPPING] else "failed"


def sweep(
    verb: str,
    recipe: str,
    overrides: Sequence[str],
    options: Sequence[str],
    run: Path | None,
    check: Callable[[Experiment], None],
    *,
    resume: bool,
    dry_run: bool,
    quiet: bool,
    jobs: int,
) -> None:
    """Train every combination, at most `jobs` at a time, and print a table of the results.

    All combinations are composed before the first starts, so that mistakes are reported early. A dry run also applies
    `check`, the check of a single dry run, to each.

    Raises:
        ConfigError: if a combination is not a valid configuration; the error names it.
        TformerError: if `check` refuses a combination; the error names it.
        RunError: if the sweep's folder is in use.
        typer.Exit: with code 1, after the table, if a run failed.
        SystemExit: if a signal stopped the sweep; the status is 128 plus the signal's number.
    """
    from tformer_cli.config.compose import compose
    from tformer_cli.config.overrides import expand
    from tformer_cli.config.recipes import default_name

    combinations = expand(overrides)
    for combination in combinations:
        try:
            config = compose(recipe, combination, resumed=resume)
            if dry_run:
                check(config)
        except TformerError as error:
            cause = ": ".join(filter(None, (" ".join(combination), error.cause)))
            raise type(error)(cause, error.remedy) from error
    if dry_run:
        result("".join(" ".join(combination) + "\n" for combination in combinations))
        note(f"would train {len(combinations)} run{'s'[: len(combinations) != 1]} of {recipe}", quiet=quiet)
        return
    if resume and run is None:
        raise RunError("--resume needs to know which sweep", "add --run FOLDER")
    folder = run or new_run(default_name(recipe))
    check_run(folder, resume)
    folder.mkdir(parents=True, exist_ok=True)
    _check_plan(folder, combinations)
    digits = len(str(len(combinations)))
    todo = [Job(chosen, folder / f"{number:0{digits}d}") for number, chosen in enumerate(combinations, 1)]
    command = [sys.executable, "-m", "tformer_cli", verb, recipe, *options, *(["--resume"] if resume else [])]
    _run_all(todo, command, jobs, quiet)
    _report(todo)


def _check_plan(folder: Path, combinations: list[list[str]]) -> None:
    """Write the combinations to the folder, or check that they are the same as in the sweep to resume.

    Raises:
        RunError: if they differ.
    """
    import json

    path, plan = folder / "sweep.json", json.dumps(combinations, ensure_ascii=False, indent=1)
    if path.exists() and path.read_text(encoding="utf-8") != plan:
        raise RunError(f"{folder} contains another sweep", "give the same settings as before, or another --run")
    path.write_text(plan, encoding="utf-8")


def _run_all(todo: list[Job], command: list[str], jobs: int, quiet: bool) -> None:
    """Run the jobs; after a signal, save and stop running jobs and start no others."""
    waiting, running, done = list(todo), [], 0
    threads, stopper, forwarded = _threads(jobs), Stopper(), False
    with stopper.listening():
        try:
            while running or (waiting and not stopper.number):
                while waiting and len(running) < jobs and not stopper.number:
                    job = waiting.pop(0)
                    _start(job, command, threads)
                    running.append(job)
                if stopper.number and not forwarded:
                    forwarded = True
                    for job in running:  # a Ctrl-C has reached them already; an additional SIGTERM is harmless
                        job.process.terminate()
                for job in [job for job in running if job.process.poll() is not None]:
                    running.remove(job)
                    job.code, done = job.process.returncode, done + 1
                    job.log.close()
                    state = "FAILED" if job.state == "failed" else job.state
                    note(f"[{done}/{len(todo)}] {state} {job.run} {' '.join(job.overrides)}", quiet=quiet)
                time.sleep(0.05)
        finally:
            for job in running:
                job.process.kill()
            for job in running:
                job.process.wait()
    if stopper.number:
        complete = sum(job.state == "done" for job in todo)
        note(f"stopped: {complete} of {len(todo)} runs are done; to continue: the same command with --resume")
        raise SystemExit(exit_status(stopper.number))


def _start(job: Job, command: list[str], threads: list[str]) -> None:
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    has_threads = any("trainer.threads=" in override for override in job.overrides)
    settings = job.overrides if has_threads else [*threads, *job.overrides]
    job.log = job.run.with_name(f"{job.run.name}.log").open("wb")
    job.process = subprocess.Popen(
        [*command, "--run", str(job.run), "--", *settings],
        stdin=subprocess.DEVNULL,
        stdout=job.log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        preexec_fn=partial(end_with_parent, os.getpid()) if os.name == "posix" else None,
    )


def _threads(jobs: int) -> list[str]:
    """Return the setting that divides the cores among parallel runs; none if there is one run at a time."""
    if jobs == 1:
        return []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [f"trainer.threads={max(1, cores // jobs)}"]


def _report(jobs: list[Job]) -> None:
    varying = [index for index in range(len(jobs[0].overrides)) if len({job.overrides[index] for job in jobs}) > 1]
    keys = [jobs[0].overrides[index].partition("=")[0] for index in varying]
    rows = []
    for job in jobs:
        summary = summarise(job.run)
        values = [job.overrides[index].partition("=")[2] for index in varying]
        rows.append((str(job.run), *values, summary.metric, summary.best, summary.step, summary.minutes, job.state))
    table(("run", *keys, "metric", "best", "step", "minutes", "state"), rows)
    failed = [job for job in jobs if job.code != 0]
    for job in failed:
        log = job.run.with_name(f"{job.run.name}.log")
        last = [line for line in log.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()][-1:]
        note(f"{job.run} {job.state} (exit code {job.code}, {log}): {last[0] if last else 'no output'}")
    if failed:
        raise typer.Exit(1)
