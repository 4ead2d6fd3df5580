"""The trainings of an experiment: the ordinary commands in processes of their own, several at a time, each resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from laboratory.experiment import Experiment, Scale, Training, run_path
from laboratory.processes import start
from tformer_cli.config.compose import compose, differences, from_yaml, override
from tformer_cli.errors import DataError, RunError
from tformer_cli.runs.checkpoint import Checkpoints
from tformer_cli.runs.folder import CONFIG, RESULT

POLL_SECONDS = 0.2
LOCAL = ("data.path", "data.cache", "trainer.threads", "trainer.device")
"""Settings that depend on the machine and not on the experiment."""


@dataclass(frozen=True)
class Job:
    """A training and the command that runs it.

    Attributes:
        training: the training.
        run: its run folder.
        settings: its settings, with the paths of this machine.
    """

    training: Training
    run: Path
    settings: tuple[str, ...]

    @property
    def log(self) -> Path:
        """The file that receives what the command prints."""
        return self.run.with_name(f"{self.run.name}.log")

    @property
    def text(self) -> Path:
        """The folder of the translations of a teacher."""
        return self.run.with_name(f"{self.run.name}-text")

    def commands(self, paths: Mapping[str, Path]) -> list[list[str]]:
        """Return the commands of tformer, one after the other: the translations of a teacher, and the training.

        Args:
            paths: the run folders by the names of their trainings.
        """
        training = self.command(paths[self.training.start] if self.training.start else None)
        if not self.training.teacher:
            return [training]
        teacher = [str(paths[self.training.teacher]), "decode.workers=1", "--output", str(self.text)]
        return [["distill", *teacher, "--quiet"], training]

    def command(self, start: Path | None) -> list[str]:
        """Return the command of the training, which continues the run if there is one."""
        verb = ["finetune", self.training.recipe, "--from", str(start)] if start else ["pretrain", self.training.recipe]
        resume = ["--resume"] if Checkpoints(self.run / "checkpoints").newest(_ignore) else []
        return [*verb, *self.settings, "--run", str(self.run), *resume]

    def finished(self) -> bool:
        """Return whether the run has been trained to its end."""
        return (self.run / RESULT).is_file()


def _ignore(line: str) -> None:
    """Drop a line for the user."""


def data_folder(experiment: Experiment, root: Path) -> Path | None:
    """Return the folder of the data of an experiment; None if its data is built-in.

    Args:
        experiment: the experiment.
        root: folder of all data, in which each experiment names a folder.

    Raises:
        DataError: if it is not there.
    """
    if not experiment.data:
        return None
    folder = root / experiment.data
    if not (folder / experiment.file).exists():
        cause = f"{folder}: no {experiment.file}, which is the data of this experiment"
        raise DataError(cause, "download it (docs/lineage.md says where), and name the folder above it with --data")
    return folder.resolve()


def jobs_of(experiment: Experiment, scale: Scale, folder: Path, data: Path | None) -> list[Job]:
    """Return the trainings of an experiment with the paths of this machine.

    Args:
        experiment: the experiment.
        scale: how much is trained.
        folder: folder of the runs of this experiment.
        data: folder of its data.

    Raises:
        RunError: if a run folder holds a run with other settings, such as another budget, or one that is older than the
            run that it starts from.
    """
    paths = {training.name: str(run_path(folder, training)) for training in experiment.trainings}
    jobs = []
    for training in experiment.scaled(scale):
        settings = tuple(item.format(data=data, **paths) for item in training.settings)
        job = Job(training, run_path(folder, training), (*settings, "trainer.threads=1"))
        if training.teacher:  # its text has the size of the teacher's
            of_job = (setting for setting in job.settings if not setting.startswith("data.size="))
            job = replace(job, settings=(f"data.path={job.text}", *of_job))
        jobs.append(job)
    for job in jobs:
        _check_same(job)
        _check_newer(job, [other for other in jobs if other.training.name in needs(job)])
    return jobs


def _check_same(job: Job) -> None:
    """Refuse a run folder that holds a run with other settings.

    Raises:
        RunError: naming the first settings that differ.
    """
    path = job.run / CONFIG
    if not path.is_file():
        return
    saved = from_yaml(path)
    # A fine-tuning also has settings of the run that it starts from; only those that are named here are compared.
    expected = override(saved, job.settings) if job.training.start else compose(job.training.recipe, job.settings)
    ignored = [*LOCAL, "recipe"]
    if not any(item.startswith("tokenizer.vocab_size=") for item in job.settings):
        ignored.append("tokenizer.vocab_size")  # a recipe's is reduced where the text is too small
    changed = [line for line in differences(saved, expected) if not line.startswith(tuple(ignored))]
    if changed:
        cause = f"{job.run}: a run with other settings: {'; '.join(changed[:3])}"
        raise RunError(cause, "remove it, or choose another folder with --folder")


def _check_newer(job: Job, bases: Sequence[Job]) -> None:
    """Refuse a finished run if one that it needs was trained after it.

    Raises:
        RunError: naming that one.
    """
    for base in bases:
        if job.finished() and base.finished() and _modified(job) < _modified(base):
            raise RunError(f"{job.run}: {base.run}, which it needs, was trained after it", f"remove {job.run}")


def _modified(job: Job) -> float:
    """Return when a finished run was trained, in seconds."""
    return (job.run / RESULT).stat().st_mtime


def train(jobs: Sequence[Job], processes: int, say: Callable[[str], None]) -> None:
    """Train all jobs that are not finished, several at a time, each after the one that it starts from.

    Args:
        jobs: the trainings, in the order in which they start.
        processes: how many run at the same time.
        say: function that receives a line about each training.

    Raises:
        RunError: if a training fails; those that run are stopped, and continue from their checkpoints next time.
    """
    waiting = [job for job in jobs if not job.finished()]
    paths = {job.training.name: job.run for job in jobs}
    running: dict[BaseProcess, tuple[Job, float, list[list[str]]]] = {}
    unfinished = {job.training.name for job in waiting}
    try:
        while waiting or running:
            ready = [job for job in waiting if not needs(job) & unfinished]
            if ready and len(running) < processes:
                waiting.remove(ready[0])
                first, *others = ready[0].commands(paths)
                running[_started(ready[0], first)] = (ready[0], time.monotonic(), others)
                say(f"training {ready[0].run} ({len(jobs) - len(unfinished) + len(running)} of {len(jobs)})")
                continue
            for process, (job, begin, others) in list(running.items()):
                if process.exitcode is None:
                    continue
                del running[process]
                if process.exitcode:
                    raise RunError(f"{job.run}: {_last_line(job.log)}", f"see {job.log}")
                if others:
                    running[_started(job, others[0])] = (job, begin, others[1:])
                    continue
                unfinished.discard(job.training.name)
                say(f"trained {job.run} in {(time.monotonic() - begin) / 60:.1f} minutes")
            time.sleep(POLL_SECONDS)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def needs(job: Job) -> set[str]:
    """Return the names of the trainings that must be finished before a job starts."""
    named = {part.split("}")[0] for setting in job.training.settings for part in setting.split("{")[1:]}
    return named | {name for name in (job.training.start, job.training.teacher) if name}


def _started(job: Job, command: list[str]) -> BaseProcess:
    """Start a command of a job in a process."""
    job.run.parent.mkdir(parents=True, exist_ok=True)
    return start(command, job.log)


def _last_line(log: Path) -> str:
    """Return the last line of a log, which is the error of a command that failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "the training failed"


def record(job: Job) -> dict[str, object]:
    """Return what identifies a finished run: its recipe, settings, length and checkpoint."""
    result = json.loads((job.run / RESULT).read_bytes())
    environment = json.loads((job.run / "environment.json").read_bytes())
    portable = [item for item in job.training.settings if not item.startswith(LOCAL)]
    return {
        "recipe": job.training.recipe,
        "settings": portable,
        "steps": result["step"],
        "minutes": result["minutes"],
        "processor": environment.get("processor", ""),
        "torch": environment.get("versions", {}).get("torch", ""),
    }
