"""The contract between a family and everything that is shared: the loop, the checkpoints and the command line.

The loop knows a task only through `Task`. A task is thin: what it reads, which model, which loss, which metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.signals import poll

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment


@dataclass
class Batch:
    """A few tensors that travel together; subclasses document their fields with shapes.

    `sample_ids` (B,) int64 name the rows of the split, so that a failure can say which examples it met. `idle` is
    True where a rank was left without a row of its own: it computes one for company, and its loss is taken as zero.
    """

    sample_ids: Tensor
    idle: bool = field(default=False, kw_only=True)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """The same batch on another device."""
        return self._each_tensor(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory, from which copies to a GPU run beside the computation."""
        return self._each_tensor(Tensor.pin_memory)

    def _each_tensor(self, function: Callable[[Tensor], Tensor]) -> Self:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(self, **{name: function(value) for name, value in values.items() if isinstance(value, Tensor)})

    unit: ClassVar[str] = "tokens"
    """What `sizes` counts."""
    is_padded: ClassVar[bool] = True
    """Whether there may be padding."""

    def sizes(self) -> tuple[float, float]:
        """Real and padded units (tokens, images, seconds) that the model computes, for throughput and padding."""
        raise NotImplementedError


@dataclass
class Loss:
    """Sums, never means: the loop divides once, by the count over all micro-batches and ranks.

    Attributes:
        total: (), the sum to differentiate.
        count: (), what it is a sum over (target tokens, images, ...).
        parts: further sums for the log, by name; each divided by `count` when it is shown.
    """

    total: Tensor
    count: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


Input = str | Sequence[str]
"""What a model is asked: a line or the name of a file; or the texts of a table's columns; or a sentence's words."""


@dataclass
class Prediction:
    """One answer to one input.

    Attributes:
        text: what is printed as a line.
        details: what `--json` adds to it: `error` is why there is no answer, `note` what the user should know of it.
    """

    text: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Sample:
    """One example with the model's answer, to be looked at."""

    input: str
    reference: str
    prediction: str


@dataclass
class HeatMap:
    """A matrix to be drawn.

    Attributes:
        values: (rows, columns), float.
        rows: their names.
        columns: their names.
        title: a line above it.
        row_title: what the rows are.
        column_title: what the columns are.
        percent: whether the values are shares, which are written into the cells, in percent.
    """

    values: np.ndarray
    rows: list[str]
    columns: list[str]
    title: str = ""
    row_title: str = ""
    column_title: str = ""
    percent: bool = False


@dataclass
class Gallery:
    """Images to be laid out in a grid.

    Attributes:
        images: each (height, width, 3 or 1), uint8.
        captions: a line or two under each.
        right: whether the model was right about it, which its frame says; None: nothing to say.
        weights: a heat map to lay over each, (rows, columns), float; none: the images as they are.
        columns: images in a row; 0: as many as look well.
    """

    images: list[np.ndarray]
    captions: list[str]
    right: list[bool | None]
    weights: list[np.ndarray] = field(default_factory=list)
    columns: int = 0


@dataclass
class Spectrogram:
    """Sound as it is seen: time runs to the right, frequency upwards.

    Attributes:
        values: (frames, bins), float.
        marks: at which frame something begins, and what; a line down there, with its name above it.
        caption: a line below.
        frame_seconds: time between two frames, for an axis below; 0: there is none.
    """

    values: np.ndarray
    marks: list[tuple[int, str]] = field(default_factory=list)
    caption: str = ""
    frame_seconds: float = 0.0


@dataclass
class Sound:
    """A recording to be listened to.

    Attributes:
        samples: (N,), float32 from -1 to 1.
        rate: samples a second.
        caption: what is said in it.
    """

    samples: np.ndarray
    rate: int
    caption: str = ""


Picture = HeatMap | Gallery | Spectrogram


@dataclass(frozen=True)
class Scoring:
    """How thoroughly a split is scored: by default in every way there is.

    Attributes:
        decoded: also search and score what is found, which is slower than the loss alone.
        thorough: also the scores and tables that training does not need.
        limit: examples decoded; 0: all.
        samples: how many are returned.
        predictions: whether all predictions are returned too.
    """

    decoded: bool = True
    thorough: bool = True
    limit: int = 0
    samples: int = 3
    predictions: bool = False


@dataclass
class Evaluation:
    """What scoring a split gave.

    Attributes:
        scores: by name; what `trainer.metric` may name.
        signatures: how a score was computed, in the scorer's own words.
        samples: a few examples.
        tables: (title, header, rows) of anything finer.
        pictures: what is better looked at, by name.
        notes: what the reader of the scores should know, a line each.
        data_sha256: of the data that was scored.
        predictions: of all examples, if they were asked for: the columns of a table, with inputs, `reference` and
            `prediction`, and what the task adds.
    """

    scores: dict[str, float]
    signatures: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    tables: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    data_sha256: str = ""
    predictions: list[dict[str, Any]] = field(default_factory=list)


class AttentionShape(TypedDict):
    """What chooses the backend of attention: its heads, their width, and the typical length of a sequence."""

    heads: int
    head_dim: int
    length: int


M = TypeVar("M", bound=nn.Module)
"""A task's model."""
B = TypeVar("B", bound=Batch)
"""A task's batch."""


class Task(Protocol[M, B]):
    """A family's adapter; `tformer_cli.tasks.build` finds it by the name in `Experiment.task`."""

    metric: str
    """What `best` means when the recipe does not say."""
    lower_is_better: frozenset[str]
    """Scores of which less is better."""
    use: str
    """A command that a finished run is used with, {run} for its folder; empty: none is advised."""
    in_use: bool
    """The model is trained: the training split too is shown as it is, the same in every epoch."""
    options: frozenset[str]
    """Settings of `decode` that its predictions depend on; and `top` if it gives labels in order."""
    translates: bool
    """It writes a text in another language for each text."""
    scores_examples: bool
    """Evaluation predicts something of each example, which can be listed; False: it scores running text, or patches."""
    on_long: Any
    """An `OnLong`: what becomes of an input that is longer than the model reads; None: none is too long."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the rows of the model's output layer, after `load` or `prepare`; empty: they have none."""
        ...

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Columns of the training tables that an input is made of."""
        ...

    def unused(self, name: str) -> str:
        """Why a setting of `decode` among `options` has no effect with the others as they are; empty: it has one."""
        ...

    @property
    def config(self) -> Experiment:
        """What the task was built from: an `Experiment` of its own."""
        ...

    def prepare(self, run: Path) -> None:
        """Read and check the training and validation data, load or train the tokenizer: everything that can fail."""
        ...

    def load(self, folder: Path) -> None:
        """Take from a checkpoint folder what it holds of the task (tokenizer, labels); no data is read."""
        ...

    def has_split(self, split: str) -> bool:
        """Whether there is such a split, told without reading it."""
        ...

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of what is trained on, by name: a run is not resumed on other data."""
        ...

    def origin(self, split: str) -> str:
        """Where a split was read from, in words for the user."""
        ...

    def files(self) -> dict[str, bytes]:
        """The files, by name relative to the checkpoint, that `load` needs."""
        ...

    def model(self) -> M:
        """A freshly initialised model, from the configuration and the tokenizer alone."""
        ...

    def shape(self) -> AttentionShape:
        """Attention's shape, for choosing its backend."""
        ...

    def num_batches(self, split: str) -> int:
        """Batches in an epoch of `split`; the same in every epoch."""
        ...

    def rows(self, split: str, epoch: int, index: int) -> np.ndarray:
        """Rows of batch `index` of `epoch`, (B,) int64: a pure function of its arguments and the seed.

        So resuming is exact and O(1).
        """
        ...

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> B:
        """A batch of the given rows of `split`, (B,) int64, as they are in `epoch`."""
        ...

    def loss(self, model: M, batch: B) -> Loss:
        """The training objective."""
        ...

    def evaluate(self, model: M, split: str, scoring: Scoring) -> Evaluation:
        """Score a split; nothing grows with the data but the texts that are scored.

        Args:
            model: in evaluation mode.
            split: which.
            scoring: how much of it.
        """
        ...

    def predict(self, model: M, inputs: Iterable[Input]) -> Iterator[Prediction]:
        """Answers in the order of the inputs, by `config.decode`; an error in one comes after the answers before it."""
        ...

    def pictures(self, model: M) -> Mapping[str, Picture | Sound]:
        """What to look at, or listen to, while training, by TensorBoard tag, from validation examples."""
        ...

    def describe(self) -> list[tuple[str, str]]:
        """Name and value of what the header says about the data."""
        ...


def batches_of(task: Task[M, B], model: M, split: str) -> Iterator[B]:
    """The batches of a split's first epoch, on the model's device."""
    device = next(model.parameters()).device
    for index in range(task.num_batches(split)):
        poll()
        yield task.collate(split, 0, task.rows(split, 0, index)).to(device)


@dataclass
class LossSums:
    """The loss over many batches: sums by name, `loss` and its parts, and the count that they are sums over."""

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, loss: Loss) -> None:
        """One more batch's."""
        for name, value in {"loss": loss.total, **loss.parts}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.count += int(loss.count)

    def means(self) -> dict[str, float]:
        """Each sum divided by the count."""
        return {name: value / self.count for name, value in self.sums.items()}


def summed_loss(task: Task[M, B], model: M, split: str) -> tuple[dict[str, float], int]:
    """The loss over a whole split.

    Returns:
        Sums by name, `loss` and its parts, and the count that they are sums over.
    """
    sums = LossSums()
    for batch in batches_of(task, model, split):
        sums.add(task.loss(model, batch))
    return sums.sums, sums.count
