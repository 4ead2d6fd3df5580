"""What fine-tuning starts from, of other libraries: any folder that is read here, in our terms."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import Experiment
from tformer_cli.data.text.encoding_version import EncodingVersion
from tformer_cli.interop.gate import Say, warn
from tformer_cli.interop.huggingface import CONFIG, import_model
from tformer_cli.interop.huggingface_encoder import TASKS, head_kind
from tformer_cli.interop.picture_models import import_pictures, is_pictures
from tformer_cli.interop.reading import read_json, read_weights
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.vit import ViTConfig
from tformer_cli.tasks.registry import ImageClassificationExperiment
from tformer_cli.train.initial import OUTPUT_NAMES, UNNAMED


@dataclasses.dataclass
class Foreign:
    """A model of another library, converted to tformer's settings and weights.

    Attributes:
        model: its settings.
        weights: weights by tformer's names.
        pictures: preprocessing of images; None: it reads text.
        files: files of the task as in a checkpoint: the tokenizer.
        head: kind of head of a fine-tuned encoder: sequence, tokens or spans; empty: it has none.
        labels: names of the outputs of a head with labels, in order.
    """

    model: Seq2SeqConfig | BERTConfig | GPTConfig | ViTConfig
    weights: dict[str, Tensor]
    pictures: ImageClassificationExperiment | None = None
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    head: str = ""
    labels: tuple[str, ...] = ()

    def for_task(self, task: str, say: Say = warn) -> Foreign:
        """Return the same model without a head of another task.

        Args:
            task: task of tformer's configuration.
            say: receives the warning about a head that is left out.
        """
        if not self.head or task not in TASKS or TASKS[task] == self.head:
            return self
        say(f"warning: the head of the model answers {self.head}, and not what {task} asks: it is left out")
        kept = {name: value for name, value in self.weights.items() if not name.startswith("output.")}
        return dataclasses.replace(self, weights=kept, head="", labels=())


def read_foreign(path: Path, languages: tuple[str, str] = ("source", "target"), say: Say = warn) -> Foreign:
    """Read a model of text (`import_model`) or of images (`picture_models.import_pictures`) from a folder.

    Args:
        path: the folder.
        languages: see `import_model`.
        say: receives warnings about parts that are not imported.

    Raises:
        ConfigError: if the architecture or a setting is not supported, or the weights do not fit.
        DataError: if a file is missing or damaged, or all weights are pickled.
    """
    settings = read_json(Path(path) / CONFIG)
    if is_pictures(settings):
        experiment, weights = import_pictures(Path(path), settings, read_weights(Path(path)), say)
        return Foreign(experiment.model, weights, experiment, labels=label_names(settings, weights))
    model, weights, tokenizer = import_model(path, languages, say)
    files = {f"tokenizer/{name}": part for name, part in tokenizer.files().items()}
    head = head_kind(settings)
    labels = label_names(settings, weights) if head in ("sequence", "tokens") else ()
    return Foreign(model, weights, files=files, head=head, labels=labels)


def label_names(found: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the rows of a head's last layer: of `id2label` of transformers, or of `label_names` of timm.

    Rows without names, or with names for some of them only, have the names that transformers gives.

    Args:
        found: the `config.json`.
        weights: weights by tformer's names.
    """
    output = next((weights[name] for name in ("output.weight", "head.output.weight") if name in weights), None)
    if output is None:
        return ()
    rows = len(output)
    numbered = found.get("id2label")
    coding = found.get("pretrained_cfg")
    listed = next(
        (part["label_names"] for part in (found, coding) if isinstance(part, dict) and "label_names" in part), None
    )
    names = [numbered.get(str(row)) for row in range(rows)] if isinstance(numbered, dict) else listed
    whole = isinstance(names, list) and len(set(map(str, names))) == len(names) == rows and None not in names
    return tuple(map(str, names)) if whole and names else tuple(f"{UNNAMED}{row}" for row in range(rows))


def write_checkpoint(foreign: Foreign, target: Path, config: Experiment, source: str) -> None:
    """Write what `read_foreign` read as a checkpoint, from which every verb can start.

    Args:
        foreign: settings, weights and files.
        target: the checkpoint's folder.
        config: what the checkpoint's configuration says beside the model, which is the foreign one.
        source: name of the model, for messages.

    Raises:
        RunError: if the checkpoint cannot be written.
    """
    from tformer_cli.runs.checkpoint import tensors_to_bytes, usable_files, write_folder

    experiment = dataclasses.replace(config, model=foreign.model)
    files = {**foreign.files, **EncodingVersion().files()} if foreign.pictures is None else dict(foreign.files)
    if foreign.labels:
        files[OUTPUT_NAMES] = json.dumps(foreign.labels).encode()
    write_folder(
        target, usable_files(tensors_to_bytes(foreign.weights), {"step": 0, "source": source}, experiment, files)
    )
