"""The interface of predictors, and the inputs and predictions of trained models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from torch import nn

from tformer_cli.config.effect import is_idle
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.objectives.base import M

Input = str | Sequence[str]
"""An input of a model: a line, the name of a file, the texts of a table's columns, or the words of a sentence."""
SEARCH = frozenset(
    ("beam", "sample", "length_penalty", "max_length", "n_best", "stopping", "temperature", "top_k", "top_p", "seed")
)
"""Settings of `decode` that apply to a search over tokens."""


@dataclass
class Prediction:
    """The prediction for an input.

    Attributes:
        text: the printed line.
        details: additional fields of `--json`; `error` is the reason for a missing prediction, `note` a note for the
            user.
        tokens: ids of the generated tokens of `text`; encoding `text` may give other ids. None: `text` is joined from
            parts, or is not generated from tokens.
    """

    text: str
    details: dict[str, Any] = field(default_factory=dict)
    tokens: Sequence[int] | None = field(default=None, compare=False)

    def texts(self, count: int) -> list[str]:
        """Return `count` texts, best first: the hypotheses of a search, and empty texts if there are fewer."""
        hypotheses = [hypothesis["text"] for hypothesis in self.details.get("hypotheses", ())]
        texts = hypotheses[:count] if count > 1 and hypotheses else [self.text]
        return texts + [""] * (count - len(texts))


@dataclass(frozen=True)
class Companion:
    """Another trained run that a task uses, such as a language model in the search for transcripts.

    Attributes:
        run: the run folder.
        task: name of its task, for messages.
        model: its model in evaluation mode, on its device.
        tokenizer: its tokenizer; None: it has none.
        data: its data, which has labels and the inputs of the model.
        sha256: SHA-256 of the checkpoint's manifest.
    """

    run: Path
    task: str
    model: nn.Module
    tokenizer: Any
    data: Any
    sha256: str


class Predictor(Generic[M]):
    """Predictions of a trained model; a subclass implements `predict`.

    Attributes:
        config: the task's `Experiment`.
        data: the data, which has the tokenizer or the labels.
        reads: "text", "files" (images, recordings), or "nothing" if the inputs are the result of `requests`.
        options: settings of `decode` that affect predictions, and `top` if labels are ranked.
        translates: whether each text is translated into another language.
        takes_drafts: whether an input may be a text and a draft of its translation.
        on_long: an `OnLong`, the treatment of inputs that are longer than the model's limit; None: there is no limit.
        top: number of ranked predictions that the user asks for, if more than by default.
        streams: whether `stream` shows a prediction as it is generated.
        before: number of inputs that an interrupted command has already predicted; searches divide the remaining inputs
            into the same windows as without an interruption.
    """

    reads = "text"
    options: frozenset[str] = frozenset()
    translates = False
    takes_drafts = False
    on_long: Any = None
    top = 0
    streams = False
    before = 0

    def __init__(self, data: Any) -> None:
        self.data, self.config = data, data.config

    def require(self) -> None:
        """Check, before any data is read, that the files exist which the settings of predictions name.

        Raises:
            TformerError: if one is missing, or of the wrong kind.
        """

    def prepare(self, run: Path, trained: Callable[[], Any], say: Callable[[str], None] = lambda line: None) -> None:
        """Read or create what predictions need besides the model; what is learned from data is saved in the run folder.

        Args:
            run: the run folder.
            trained: function that returns the training data of the run, with its vocabulary.
            say: function that receives a line before each slow step.

        Raises:
            TformerError: if a file is missing or unsuitable.
        """

    def used(self) -> Mapping[str, str]:
        """Return the SHA-256 of each file that changes predictions, by the setting that names it.

        Checkpoint, settings and other runs (see `Companion`) are not included.
        """
        return {}

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the columns of the training tables that form an input."""
        return ()

    def requests(self) -> Iterable[Any]:
        """Return the inputs of a predictor that reads nothing, according to its settings.

        Raises:
            ConfigError: if the settings are impossible.
        """
        raise NotImplementedError

    def unused(self, name: str) -> str:
        """Return the reason why a setting of `decode` in `options` has no effect; empty: it has an effect.

        A search draws no random numbers, and sampling has no beam: training refuses the same settings.
        """
        key = f"decode.{name}"
        reason = self.config.unused(key)
        if reason or name not in SEARCH & self.options or not is_idle(self.config, key):
            return reason
        if self.config.decode.sample:
            return "it is for searching, and this run samples: add decode.sample=false"
        return "it is for sampling, and this run searches: add decode.sample=true"

    def predict(self, model: M, inputs: Iterable[Any], share: Share = unshared) -> Iterator[Prediction]:
        """Yield predictions in the order of the inputs; an error is raised after the predictions before it.

        Args:
            model: in evaluation mode.
            inputs: the inputs.
            share: distribution of batches among ranks.
        """
        raise NotImplementedError

    def stream(self, model: M, prompt: str, write: Callable[[str], None]) -> Prediction:
        """Predict for one input as `predict` does, and pass on parts of the text as they are generated.

        Args:
            model: in evaluation mode.
            prompt: the input.
            write: function that is called with each part.

        Returns:
            The prediction, whose text is that of all parts.
        """
        raise NotImplementedError
