"""An experiment: which runs are trained, and what is measured on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laboratory.runs import Runs
    from tformer_cli.draw import Picture

Cell = str | int | float | None
"""A cell of a table; None is shown as a dash."""
AT_THE_END = (
    "trainer.evaluate_every=0", "trainer.checkpoint_every=0", "trainer.evaluate_decoded=false", "trainer.metric=loss",
    "trainer.samples=0",
)  # fmt: skip
"""Settings of a training that is evaluated once, by its loss at the end."""


class Scale(Enum):
    """A scale says how much an experiment trains."""

    full = "the numbers of docs/lineage.md"
    quick = "the course of every experiment on one seed, with too little training for its numbers"
    tiny = "seconds, for tests"


@dataclass(frozen=True)
class Training:
    """A training of an experiment.

    Attributes:
        name: name of the run's folder.
        recipe: recipe of `tformer pretrain`.
        settings: settings of the recipe. `{data}` stands for the folder of the experiment's data, and `{NAME}` for the
            run of the training NAME.
        start: name of the training from whose weights this one starts (`tformer finetune`); empty: random weights.
        group: what is compared: trainings of one group differ in their seed alone; empty: the name.
        teacher: name of the training whose translations of the training sentences this one learns (`tformer distill`);
            empty: the data as it is.
    """

    name: str
    recipe: str
    settings: tuple[str, ...] = ()
    start: str = ""
    group: str = ""
    teacher: str = ""


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        header: names of the columns.
        rows: the rows; numbers are written as they are, so that they have the digits that count.
        title: a line above, or "".
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""


@dataclass(frozen=True)
class Outcome:
    """An outcome is what an experiment has measured.

    Attributes:
        tables: the results.
        figure: a picture of them; None: the tables alone.
        numbers: further values for `result.json`, such as those behind the figure.
    """

    tables: Sequence[Table]
    figure: Picture | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """An experiment on one claim.

    Attributes:
        title: what is examined, in a line.
        claim: the claim.
        source: where the claim comes from.
        budget: what is equal among the runs, and why that is fair.
        trainings: the trainings, in the order in which they start.
        measure: function of the trained runs that measures what the claim is about.
        corpus: what the data is, in words.
        data: name of a folder of data, or "" for built-in data.
        file: a file that this folder must contain.
        quick: settings of all trainings with `--quick`, after their own.
        tiny: settings of all trainings in tests, after those of `quick`.
    """

    title: str
    claim: str
    source: str
    budget: str
    trainings: Sequence[Training]
    measure: Callable[[Runs], Outcome]
    corpus: str = "built-in sentences in English and Japanese"
    data: str = ""
    file: str = ""
    quick: tuple[str, ...] = ()
    tiny: tuple[str, ...] = ()

    def scaled(self, scale: Scale) -> list[Training]:
        """Return the trainings with the settings of a scale; all but the full scale have one seed of each group."""
        if scale is Scale.full:
            return list(self.trainings)
        added = (*self.quick, *(self.tiny if scale is Scale.tiny else ()))
        first: dict[str, Training] = {}
        for training in self.trainings:
            first.setdefault(training.group or training.name, training)
        return [replace(training, settings=(*training.settings, *added)) for training in first.values()]


def seeded(trainings: Iterable[Training], seeds: Sequence[int]) -> list[Training]:
    """Return each training with each seed; the first seed of all comes first."""
    pairs = [(seed, training) for seed in seeds for training in trainings]
    return [
        replace(
            training,
            name=f"{training.name}-{seed}",
            start=f"{training.start}-{seed}" if training.start else "",
            teacher=f"{training.teacher}-{seed}" if training.teacher else "",
            settings=(*training.settings, f"seed={seed}"),
            group=training.group or training.name,
        )
        for seed, training in pairs
    ]


def run_path(folder: Path, training: Training) -> Path:
    """Return the run folder of a training."""
    return folder / training.name
