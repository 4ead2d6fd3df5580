"""What a model family offers for each format of another library: an importer and an exporter.

A family names them in its `Family` as strings, since `models` does not import `interop`. They are imported when a run
is exported or a folder of another library is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tformer_cli.config.family import families, family, load
from tformer_cli.config.schema import Experiment, ModelConfig
from tformer_cli.errors import ConfigError
from tformer_cli.interop.gate import Say, warn
from tformer_cli.tokenizers.tokenizer import Vocabulary
from tformer_cli.trained.opening import Opened


@dataclasses.dataclass
class Foreign:
    """A model of another library, converted to tformer's settings and weights.

    Attributes:
        model: its settings.
        weights: weights by tformer's names, for `runs.checkpoint.load_model_tensors`.
        tokenizer: the tokenizer of a model of text.
        inputs: an experiment with the inputs that the weights were trained with; None: a model of text.
        head: kind of head of a fine-tuned model, if it serves certain tasks only; empty: there is no such head.
        heads: kind of head that each task needs, by the task's name.
        labels: names of the outputs of a head with labels, in order.
    """

    model: ModelConfig
    weights: dict[str, Tensor]
    tokenizer: Vocabulary | None = None
    inputs: Experiment | None = None
    head: str = ""
    heads: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] = ()

    def for_task(self, task: str, say: Say = warn) -> Foreign:
        """Return the same model without a head of another task.

        Args:
            task: task of tformer's configuration.
            say: receives the warning about a head that is left out.
        """
        if not self.head or self.heads.get(task, self.head) == self.head:
            return self
        say(f"warning: the checkpoint's head is for {self.head}; it is not used for {task}")
        kept = {name: value for name, value in self.weights.items() if not name.startswith("output.")}
        return dataclasses.replace(self, weights=kept, head="", labels=())


@dataclasses.dataclass(frozen=True)
class Importer:
    """A reader of a family's models in a format.

    Attributes:
        architectures: names of the architectures that it reads, for error messages.
        accepts: returns whether it reads folders with this `config.json`; at most one importer does.
        read: reads a folder. The arguments are the folder, the content of its `config.json`, the names of the
            source and target language (for a tokenizer with a model for each), and a function that receives warnings.
            It raises a `ConfigError` if a setting is not supported or the weights do not fit, and a `DataError` if a
            file is missing or damaged.
    """

    architectures: Sequence[str]
    accepts: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Path, Mapping[str, Any], tuple[str, str], Say], Foreign]


Exporter = Callable[[Opened, Say], dict[str, bytes]]
"""Returns the files of a run in a format, by name; raises a `ConfigError` if it cannot export the run.

The second argument receives warnings about settings of the data that are not exported.
"""


def importers() -> Iterator[Importer]:
    """Yield the importers of all families."""
    for name in families():
        for place in family(name).importers.values():
            yield load(place)


def not_exported(opened: Opened, tasks: Sequence[str]) -> ConfigError:
    """Return the error for a run of a task whose models the family does not export.

    Args:
        opened: the run.
        tasks: tasks of the family whose models can be exported.
    """
    config = opened.config
    cause = f"{opened.run}: a {config.model.family} model of {config.task} cannot be exported yet"
    return ConfigError(cause, f"models of {', '.join(tasks)} can")
