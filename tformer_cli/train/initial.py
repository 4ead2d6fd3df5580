"""The start of fine-tuning: weights, tokenizer and architecture of another run, or of another library."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tformer_cli.config.compose import override
from tformer_cli.config.experiments import families_for
from tformer_cli.config.schema import (
    Experiment,
    ImageHeadConfig,
    ModelConfig,
    Pooling,
    Positions,
    TextModelConfig,
)
from tformer_cli.errors import RunError, checkpoint_content
from tformer_cli.regular_files import read_regular

if TYPE_CHECKING:
    from torch import Tensor, nn

BODY = "encoder."
"""Prefix of the weights that all tasks of a family share."""
LANGUAGE_MODEL = "encoder.decoder."
"""Prefix of the weights of a language model that is an encoder, see `models.causal_encoder`."""
OUTPUT = ("output.", "head.output.")
"""Prefixes of the weights of a head's last layer: for texts, and for images."""
OUTPUT_NAMES = "output_names.json"
"""File in an imported checkpoint with the names of the outputs of the other library's model."""
BLOCK = re.compile(r"(.*\.blocks)\.(\d+)\.(.*)")
REGULARISATION = ("dropout", "attention_dropout", "ffn_dropout", "stochastic_depth")
"""Settings of a model that no weights depend on, which are taken from the recipe."""
CODING = ("channels", "mean", "std", "fit", "sample_rate")
"""Settings of the inputs of image and speech models, which are taken from the initial model."""


@runtime_checkable
class Resizable(Protocol):
    """A model whose weights depend on the size of its inputs."""

    def fit(self, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a checkpoint for other sizes, adapted to the sizes of this model."""
        ...


def with_architecture(config: Experiment, initial: ModelConfig, name: str, overrides: Sequence[str]) -> Experiment:
    """Return the configuration of a recipe with the architecture of the model that it starts from.

    Args:
        config: configuration of the recipe with `overrides`, and possibly other changes.
        initial: architecture of the initial model.
        name: name of the initial model in errors.
        overrides: overrides of the command line; those of `model` take precedence, and the weights must fit them.

    Raises:
        RunError: if the initial model is of another family.
        ConfigError: if the architecture is incompatible with other settings.
    """
    if initial.family != config.model.family:
        cause = f"{name} is a {initial.family} model, but this recipe trains a {config.model.family} model"
        fits = initial.family in families_for(config.task)
        raise RunError(cause, f"add model.family={initial.family}" if fits else "use a recipe of its family")
    model = config.model
    if not any(item.startswith("model=") for item in overrides):
        from_recipe = [setting for setting in REGULARISATION if hasattr(initial, setting)]
        if isinstance(initial, TextModelConfig) and initial.positions is not Positions.learned:
            from_recipe.append("max_length")  # only a learned table has a row for each position
        model = dataclasses.replace(initial, **{setting: getattr(config.model, setting) for setting in from_recipe})
    settings = [item for item in overrides if item.startswith(("model.", "data.", "features.", "head."))]
    return override(dataclasses.replace(config, model=model), settings)


def with_inputs(config: Experiment, initial: Experiment) -> Experiment:
    """Return the configuration of a recipe with the input settings of the run that it starts from.

    For images these are the channels, the normalisation, the resizing and the pooling, and the head has no hidden
    layer. For recordings these are the sample rate and the features.

    Args:
        config: configuration of the recipe; `with_architecture` is applied after this function, so that settings of
            the command line take precedence.
        initial: configuration that the weights were trained with.
    """
    coding = {name: getattr(initial.data, name) for name in CODING if hasattr(initial.data, name)}
    if not coding or not all(hasattr(config.data, name) for name in coding):
        return config
    changed = dataclasses.replace(config, data=dataclasses.replace(config.data, **coding))
    features = getattr(initial, "features", None)
    if features is not None:
        return dataclasses.replace(changed, features=features)
    head = getattr(config, "head", None)
    if isinstance(head, ImageHeadConfig):
        pools = Pooling.cls if getattr(initial.model, "class_token", False) else Pooling.mean
        pooling = getattr(getattr(initial, "head", None), "pooling", pools)
        changed = dataclasses.replace(changed, head=dataclasses.replace(head, hidden=False, pooling=pooling))
    return changed


PARTS = {"output": "the output layer", "head": "the head", "pooler": "the pooler", "mask": "the mask vector"}
"""Names of parts of models in messages to the user."""


@dataclasses.dataclass
class LoadedWeights:
    """The result of loading a checkpoint's weights into a new model.

    Attributes:
        new: names of the model's parts that are newly initialised.
        unused: names of the checkpoint's parts that the model does not have.
        shortened: names of position tables whose last rows are not used.
        relabelled: reason why the output layer is newly initialised, if its labels are the reason; otherwise "".
        note: note about the labels to which the rows of the output layer are assigned, or "".
    """

    new: list[str]
    unused: list[str]
    shortened: list[str]
    relabelled: str = ""
    note: str = ""

    def __str__(self) -> str:
        output = ["output"] if self.relabelled else []
        parts = {"new": self.new, f"new, as {self.relabelled}": output, "not used": self.unused,
                 "shortened": self.shortened}  # fmt: skip
        body = ": all weights of its encoder" if self.new or output or self.unused else ""
        listed = [
            f"; {state}: {', '.join(PARTS.get(name, name) for name in names)}"
            for state, names in parts.items()
            if names
        ]
        return body + "".join(listed) + self.note


def load_initial(
    model: nn.Module, checkpoint: Path, labels: Sequence[str] = (), initial_labels: Sequence[str] | None = ()
) -> LoadedWeights:
    """Load the weights of a checkpoint into a model; a model with fewer blocks uses some of them (see `thinned`).

    A model with the attribute `swaps_head` needs the weights of the complete encoder. It uses other weights if they
    exist and fit, and newly initialises the rest, such as the head of another task. Every other model needs all
    weights. An image model first adapts the weights to its resolution. A model for shorter texts uses the first rows of
    learned positions. The rows of an output layer are matched to the model's labels by name. The layer is newly
    initialised if the checkpoint has other labels or another task. An imported checkpoint contains the names of its
    outputs, which replace `initial_labels`.

    Args:
        model: model that receives the weights.
        checkpoint: folder with the weights.
        labels: names of the model's outputs, in order; empty: the outputs have no names.
        initial_labels: names of the checkpoint's outputs; empty: unknown; None: the checkpoint has another task.

    Raises:
        RunError: if a required weight is missing or has another shape.
    """
    from tformer_cli.runs.checkpoint import load_model_tensors, model_tensors, read_tensors

    parameters = model_tensors(model)
    weights = thinned(as_encoder(read_tensors(checkpoint / "model.safetensors"), parameters), parameters)
    if isinstance(model, Resizable):
        weights = model.fit(weights)
    weights, cut = shortened(weights, parameters, str(checkpoint))
    new: dict[str, Tensor] = {}
    unused: set[str] = set()
    note = relabelled = ""
    if getattr(model, "swaps_head", False):
        imported_names = output_names(checkpoint)
        if imported_names is not None:
            initial_labels, note = matching_names(imported_names, tuple(labels))
        weights, labels_differ = _relabelled(weights, tuple(labels), initial_labels)
        relabelled = _reason(initial_labels) if labels_differ else ""
        fits = {
            name: value
            for name, value in weights.items()
            if name in parameters and value.shape == parameters[name].shape
        }
        body = {name for name in (*parameters, *weights) if name.startswith(BODY)}
        unused = weights.keys() - parameters.keys() - body
        weights = {name: value for name, value in weights.items() if name in body} | fits
        new = {name: value for name, value in parameters.items() if name not in weights and not name.startswith(BODY)}
    load_model_tensors(model, weights | new, str(checkpoint))
    if relabelled:
        new = {name: value for name, value in new.items() if not name.startswith(OUTPUT)}
    parts = [sorted({name.partition(".")[0] for name in names}) for names in (new, unused)]
    return LoadedWeights(*parts, shortened=cut, relabelled=relabelled, note=note)


def as_encoder(weights: dict[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a language model for a model that uses it as its encoder, and omit its output layer.

    Args:
        weights: weights of the checkpoint by name; if no renaming is needed, they are returned as they are.
        parameters: weights of the model by name.
    """
    wraps_language_model = any(name.startswith(LANGUAGE_MODEL) for name in parameters)
    if not wraps_language_model or any(name.startswith(BODY) for name in weights):
        return weights
    return {f"{LANGUAGE_MODEL}{name}": value for name, value in weights.items() if not name.startswith(OUTPUT)}


def _relabelled(
    weights: dict[str, Tensor], labels: tuple[str, ...], initial: Sequence[str] | None
) -> tuple[dict[str, Tensor], bool]:
    """Return weights with the rows of the output layer in the order of `labels`, or without that layer.

    Returns:
        The weights, and whether the layer is removed because the labels differ.
    """
    of_output = {name for name in weights if name.startswith(OUTPUT)}
    without_output = {name: value for name, value in weights.items() if name not in of_output}
    if initial is None:
        return without_output, False
    if not labels or not initial or labels == tuple(initial):
        return weights, False
    if set(labels) != set(initial):
        return without_output, True
    order = [initial.index(label) for label in labels]
    return {name: value[order] if name in of_output else value for name, value in weights.items()}, False


UNNAMED = "LABEL_"
"""Prefix of the names that transformers gives to outputs without names."""


def _reason(initial: Sequence[str] | None) -> str:
    """Return the reason why no rows of the output layer are used for the labels of the data."""
    unnamed = initial and all(name.startswith(UNNAMED) for name in initial)
    return "the model does not name its labels" if unnamed else "the labels differ"


def output_names(checkpoint: Path) -> tuple[str, ...] | None:
    """Return the names of the outputs of an imported model; None: the checkpoint was not imported.

    Raises:
        RunError: if the file is damaged.
    """
    path = checkpoint / OUTPUT_NAMES
    if not path.is_file():
        return None
    with checkpoint_content(path, "names"):
        return tuple(map(str, json.loads(read_regular(path, links=False))))


def matching_names(imported: tuple[str, ...], labels: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Replace the names of an imported model's outputs by the labels of the data that match them.

    Names match labels regardless of case. Labels that are the numbers of all outputs match the outputs.

    Args:
        imported: names of the outputs.
        labels: labels of the data.

    Returns:
        The names, and a note for the user, or "".
    """
    numbers = tuple(map(str, range(len(imported))))
    if set(labels) == set(numbers) and set(imported) != set(numbers):
        pairs = [f"{number} for {name}" for number, name in zip(numbers, imported, strict=True)]
        shown = ", ".join(pairs[:4]) + (", ..." if len(pairs) > 4 else "")
        return numbers, "" if imported[0].startswith(
            UNNAMED
        ) else f"; labels are numbers of the model's outputs: {shown}"
    by_lower_case = {label.casefold(): label for label in labels}
    matched = tuple(by_lower_case.get(name.casefold(), name) for name in imported)
    same = len(by_lower_case) == len(labels) and set(matched) == set(labels)
    return (matched if same else imported), ""


def shortened(
    weights: Mapping[str, Tensor], parameters: Mapping[str, Tensor], checkpoint: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights for a model of shorter texts, with the first rows of each learned position table.

    Args:
        weights: weights of the checkpoint by name.
        parameters: weights of the model by name.
        checkpoint: name of the checkpoint in errors.

    Returns:
        The weights, and the names of the shortened tables.

    Raises:
        RunError: if the model is for longer texts, for which there are no rows.
    """
    fitting, cut = dict(weights), []
    for name, value in weights.items():
        if not name.endswith("positions.table") or name not in parameters or value.dim() != 2:
            continue
        rows = len(parameters[name])
        if rows > len(value):
            cause = f"{checkpoint}: {name} has {len(value)} rows, the model needs {rows}"
            node = "decoder" if name.startswith("decoder.") else "model"
            raise RunError(cause, f"{node}.max_length={len(value)}, or less")
        if rows < len(value):
            fitting[name] = value[:rows].clone()
            cut.append(name)
    return fitting, cut


def thinned(weights: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights for a model with fewer blocks: the first block, the last, and evenly spaced ones between.

    From 12 blocks to 6 these are blocks 0, 2, 4, 7, 9 and 11, as in DistilBERT (Sanh et al. 2019); a single block is
    the first one.

    Args:
        weights: weights of the checkpoint by name.
        parameters: weights of the model by name; stacks with at least as many blocks do not change.
    """
    depths_before, depths_after = _depths(weights), _depths(parameters)
    renumbered: dict[str, dict[str, str]] = {}
    for stack, depth in depths_after.items():
        if depth < depths_before.get(stack, 0):
            distance = (depths_before[stack] - 1) / max(1, depth - 1)
            renumbered[stack] = {str(round(distance * number)): str(number) for number in range(depth)}
    remaining = {}
    for name, value in weights.items():
        block = BLOCK.fullmatch(name)
        if block is None or block[1] not in renumbered:
            remaining[name] = value
        elif block[2] in renumbered[block[1]]:
            remaining[f"{block[1]}.{renumbered[block[1]][block[2]]}.{block[3]}"] = value
    return remaining


def _depths(names: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the number of blocks of each stack."""
    depths: dict[str, int] = {}
    for block in filter(None, map(BLOCK.fullmatch, names)):
        depths[block[1]] = max(depths.get(block[1], 0), int(block[2]) + 1)
    return depths
