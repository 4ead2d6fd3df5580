"""The trained runs of an experiment, for its measurements."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from laboratory.experiment import Scale
from laboratory.trainings import Job
from tformer_cli.api import Run, load
from tformer_cli.draw import Bars, Series
from tformer_cli.draw.bars import NAME_PIXELS
from tformer_cli.evaluators.base import Row, Scoring
from tformer_cli.trained.compare import Comparison, compare_runs
from tformer_cli.trained.opening import Opened, open_run
from tformer_cli.trained.scored import Scored, evaluated, saved_evaluation


@dataclass(frozen=True)
class Spread:
    """Values of runs that differ in their seed.

    Attributes:
        values: one for each seed.
    """

    values: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean."""
        return statistics.fmean(self.values)

    def text(self, digits: int = 1) -> str:
        """Return the mean, and the lowest and highest value of several seeds in brackets."""
        mean = f"{self.mean:.{digits}f}"
        if len(self.values) == 1:
            return mean
        return f"{mean} ({min(self.values):.{digits}f} to {max(self.values):.{digits}f})"

    def minus(self, other: Spread) -> Spread:
        """Return the difference for each seed: seeds of built-in data differ in their test sentences, too."""
        return Spread([value - one for value, one in zip(self.values, other.values, strict=True)])

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(self.values), max(self.values)


def bars(spreads: Mapping[str, Spread], title: str, x_title: str, *, name_pixels: int = NAME_PIXELS) -> Bars:
    """Return bars of the means, with the lowest and the highest value as their error bars."""
    each = list(spreads.values())
    ends = [spread.ends for spread in each]
    return Bars(list(spreads), [spread.mean for spread in each], title, x_title, ends, name_pixels=name_pixels)


def line(name: str, spreads: Sequence[Spread]) -> Series:
    """Return a series of the means, with the lowest and the highest value as their error bars."""
    return Series(name, [spread.mean for spread in spreads], [spread.ends for spread in spreads])


@dataclass(frozen=True)
class Runs:
    """The trained runs of an experiment.

    Attributes:
        jobs: the trainings with their folders.
        scale: how much was trained.
        folder: folder of the experiment, for files of its own.
        data: folder of its data; None if it is built-in.
        say: function that receives lines about progress.
    """

    jobs: Sequence[Job]
    scale: Scale
    folder: Path
    data: Path | None
    say: Callable[[str], None]

    @property
    def groups(self) -> dict[str, list[Path]]:
        """The run folders of each group, in the order of the trainings."""
        groups: dict[str, list[Path]] = {}
        for job in self.jobs:
            groups.setdefault(job.training.group or job.training.name, []).append(job.run)
        return groups

    def path(self, name: str) -> Path:
        """Return the run folder of a training."""
        return next(job.run for job in self.jobs if job.training.name == name)

    def open(self, run: Path, *settings: str) -> Run:
        """Load a run with its averaged or best weights, on one thread."""
        return load(run, settings=["trainer.threads=1", *settings])

    def scores(self, run: Path, split: str = "test", settings: Sequence[str] = ()) -> dict[str, float]:
        """Return the scores of a run on a split; they are saved in its folder, and read from there the next time."""
        opened = open_run(run, overrides=["trainer.threads=1", *settings])
        if opened.task.evaluator.scores_examples:
            return self._scored(opened, split).scores
        saved = saved_evaluation(opened, split)
        return saved.scores if saved is not None else opened.evaluate(split, Scoring()).scores

    def loss(self, run: Path, split: str = "test") -> float:
        """Return the loss of a run on a split; nothing is decoded."""
        return self.open(run).opened.evaluate(split, Scoring(decoded=False)).scores["loss"]

    def predictions(self, run: Path, split: str = "test", settings: Sequence[str] = ()) -> Sequence[Row]:
        """Return the table of predictions of a run on a split, which is saved as the scores are."""
        return self._scored(open_run(run, overrides=["trainer.threads=1", *settings]), split).rows

    def _scored(self, opened: Opened, split: str) -> Scored:
        """Return the saved evaluation of a run with its predictions, or make and save it."""
        saved = saved_evaluation(opened, split)
        if saved is None:
            self.say(f"evaluating {opened.run} on {split}")
            saved = evaluated(opened, split)
        return saved

    def parameters(self, group: str) -> int:
        """Return the number of parameters of the models of a group."""
        return sum(weight.numel() for weight in self.open(self.groups[group][0]).model.parameters())

    def losses(self, group: str, split: str = "test") -> Spread:
        """Return the losses of the runs of a group; nothing is decoded."""
        return Spread([self.loss(run, split) for run in self.groups[group]])

    def spread(self, group: str, metric: str, split: str = "test", settings: Sequence[str] = ()) -> Spread:
        """Return a score of the runs of a group."""
        return Spread([self.scores(run, split, settings)[metric] for run in self.groups[group]])

    def compare(self, split: str = "test", *, metric: str = "", by: str = "", seed: int = 0) -> Comparison:
        """Compare the first run (or that with number `seed`) of each group, as `tformer compare` does."""
        runs = [paths[seed] for paths in self.groups.values()]
        return compare_runs(runs, split, ["trainer.threads=1"], metric=metric, by=by, say=self.say)
