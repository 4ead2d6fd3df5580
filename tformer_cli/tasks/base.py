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
"""An input of a model: a line, the name of a file, the texts of a table's columns, or the words of a sentence."""


@dataclass
class Prediction:
    """One answer to one input.

    Attributes:
        text: the printed line.
        details: the fields that `--json` adds: `error` is the reason for a missing answer, `note` a remark for the
            user.
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
    """A matrix that is drawn as a heat map.

    Attributes:
        values: (rows, columns), float.
        rows: their names.
        columns: their names.
        title: a line above it.
        row_title: label of the rows.
        column_title: label of the columns.
        percent: whether the values are shares; they are then written into the cells, in percent.
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
    """Images that are arranged in a grid.

    Attributes:
        images: each (height, width, 3 or 1), uint8.
        captions: a line or two under each.
        right: whether the model's prediction is correct, shown by the colour of the frame; None: no frame.
        weights: a heat map over each image, (rows, columns), float; none: only the images.
        columns: number of images in a row; 0: chosen automatically.
    """

    images: list[np.ndarray]
    captions: list[str]
    right: list[bool | None]
    weights: list[np.ndarray] = field(default_factory=list)
    columns: int = 0


@dataclass
class Spectrogram:
    """A spectrogram: time runs to the right, frequency upwards.

    Attributes:
        values: (frames, bins), float.
        marks: frames and their names, each drawn as a vertical line with the name above it.
        caption: a line below.
        frame_seconds: time between two frames, for the time axis; 0: no axis.
    """

    values: np.ndarray
    marks: list[tuple[int, str]] = field(default_factory=list)
    caption: str = ""
    frame_seconds: float = 0.0


@dataclass
class Sound:
    """A recording for playback.

    Attributes:
        samples: (N,), float32 from -1 to 1.
        rate: samples per second.
        caption: its transcript.
    """

    samples: np.ndarray
    rate: int
    caption: str = ""


Picture = HeatMap | Gallery | Spectrogram


@dataclass(frozen=True)
class Scoring:
    """The extent of an evaluation; by default everything is computed.

    Attributes:
        decoded: also decode and score the predictions, which is slower than the loss alone.
        thorough: also compute the scores and tables that training does not need.
        limit: number of decoded examples; 0: all.
        samples: number of returned samples.
        predictions: whether to return all predictions too.
    """

    decoded: bool = True
    thorough: bool = True
    limit: int = 0
    samples: int = 3
    predictions: bool = False


@dataclass
class Evaluation:
    """The result of evaluating a split.

    Attributes:
        scores: scores by name; `trainer.metric` may name one.
        signatures: signatures of the scorers, which describe how scores are computed.
        samples: a few examples.
        tables: (title, header, rows) of detailed scores.
        pictures: figures by name.
        notes: notes for the reader of the scores, one line each.
        data_sha256: hash of the evaluated data.
        predictions: predictions of all examples, if requested, as columns of a table: inputs, `reference`, `prediction`
            and further columns of the task.
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
    """A command that uses a finished run, with {run} for its folder; empty: no command is suggested."""
    in_use: bool
    """The model is trained: the training split too is shown as it is, the same in every epoch."""
    options: frozenset[str]
    """Settings of `decode` that affect its predictions, and `top` if it ranks labels."""
    translates: bool
    """Whether it translates each text into another language."""
    scores_examples: bool
    """Whether evaluation gives a prediction for each example; False: it scores running text or patches."""
    on_long: Any
    """An `OnLong`: the treatment of inputs that are longer than the model's limit; None: there is no limit."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the rows of the model's output layer, after `load` or `prepare`; empty: they have none."""
        ...

    def first_scorer(self, metric: str) -> str | None:
        """Return the signature of version 0.1's scorer, which its checkpoints lack; None: the same as now."""
        ...

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of the training tables that form an input."""
        ...

    def unused(self, name: str) -> str:
        """Return why a setting of `decode` in `options` has no effect with the present settings; empty: it has one."""
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

    def run_files(self) -> dict[str, bytes]:
        """The files, by name relative to the run folder, that describe the prepared data to people."""
        ...

    def has_split(self, split: str) -> bool:
        """Return whether there is such a split, without reading it."""
        ...

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of what is trained on, by name: a run is not resumed on other data."""
        ...

    def origin(self, split: str) -> str:
        """Return the source of a split, for messages."""
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
        """Yield predictions in order, by `config.decode`; an error is raised after the predictions before it."""
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
