"""Where fine-tuning starts: the weights, the tokenizer and the architecture of another run, or of another library."""

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
from tformer_cli.regular import read_regular

if TYPE_CHECKING:
    from torch import Tensor, nn

BODY = "encoder."
"""Where weights lie that every task of a family shares."""
OUTPUT = ("output.", "head.output.")
"""Prefixes of the weights of a head's last layer: for texts, and for images."""
OUTPUT_NAMES = "output_names.json"
"""File with the names of the outputs of another library's model, in the checkpoint that is made of it."""
BLOCK = re.compile(r"(.*\.blocks)\.(\d+)\.(.*)")
REGULARISATION = ("dropout", "attention_dropout", "ffn_dropout", "stochastic_depth")
"""Settings of a model that no weights depend on: they are the recipe's."""
CODING = ("channels", "mean", "std", "fit", "sample_rate")
"""Settings of pictures, and of recordings, that weights were trained with."""


@runtime_checkable
class Resizable(Protocol):
    """A model whose weights depend on the size of its inputs."""

    def fit(self, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of such a model for other sizes, fitted to this one's."""
        ...


def with_architecture(config: Experiment, found: ModelConfig, where: str, overrides: Sequence[str]) -> Experiment:
    """The recipe's configuration with the architecture of what it starts from.

    Args:
        config: composed from the recipe and `overrides`, and maybe changed since.
        found: the architecture.
        where: what an error calls its place.
        overrides: the command line's; those for `model` still count, and then the weights must fit them.

    Raises:
        RunError: if it is of another family.
        ConfigError: if it cannot go together with the rest.
    """
    if found.family != config.model.family:
        cause = f"{where}: a {found.family} model, this recipe trains a {config.model.family} one"
        fits = found.family in families_for(config.task)
        raise RunError(cause, f"add model.family={found.family}" if fits else "use a recipe of its family")
    model = config.model
    if not any(item.startswith("model=") for item in overrides):
        kept = [name for name in REGULARISATION if hasattr(found, name)]
        if isinstance(found, TextModelConfig) and found.positions is not Positions.learned:
            kept.append("max_length")  # only a learned table has a row for each position
        model = dataclasses.replace(found, **{name: getattr(config.model, name) for name in kept})
    again = [item for item in overrides if item.startswith(("model.", "data.", "features.", "head."))]
    return override(dataclasses.replace(config, model=model), again)


def with_inputs(config: Experiment, found: Experiment) -> Experiment:
    """The recipe's configuration with inputs as the weights know them.

    Pictures are coded and pooled as they were, with a head that has no hidden layer; of recordings the same features
    are computed.

    Args:
        config: composed from the recipe; `with_architecture` comes after it, where the command line's settings count.
        found: what the weights were trained with.
    """
    coding = {name: getattr(found.data, name) for name in CODING if hasattr(found.data, name)}
    if not coding or not all(hasattr(config.data, name) for name in coding):
        return config
    changed = dataclasses.replace(config, data=dataclasses.replace(config.data, **coding))
    features = getattr(found, "features", None)
    if features is not None:
        return dataclasses.replace(changed, features=features)
    head = getattr(config, "head", None)
    if isinstance(head, ImageHeadConfig):
        pools = Pooling.cls if getattr(found.model, "class_token", False) else Pooling.mean
        pooling = getattr(getattr(found, "head", None), "pooling", pools)
        changed = dataclasses.replace(changed, head=dataclasses.replace(head, hidden=False, pooling=pooling))
    return changed


@dataclasses.dataclass
class TakenOver:
    """The result of loading a checkpoint's weights into a new model.

    Attributes:
        fresh: names of the model's parts that are newly initialised.
        left: names of the checkpoint's parts that the model does not have.
        shortened: names of position tables without their last rows.
        relabelled: why the output layer is newly initialised, if its labels are the reason.
        note: the labels that its rows are used for, or "".
    """

    fresh: list[str]
    left: list[str]
    shortened: list[str]
    relabelled: str = ""
    note: str = ""

    def __str__(self) -> str:
        output = ["output"] if self.relabelled else []
        parts = {"new": self.fresh, f"new, as {self.relabelled}": output, "left out": self.left,
                 "shortened": self.shortened}  # fmt: skip
        return "".join(f"; {what}: {', '.join(names)}" for what, names in parts.items() if names) + self.note


def load_initial(
    model: nn.Module, checkpoint: Path, labels: Sequence[str] = (), initial_labels: Sequence[str] | None = ()
) -> TakenOver:
    """Load a checkpoint's weights into a model; a model with fewer blocks takes some of them, see `thinned`.

    A model that `swaps_head` takes the complete encoder, and other weights if they exist and fit; the head of another
    task is newly initialised. Every other model takes all weights. An image model first adapts the weights to its
    resolution. A model for shorter texts takes the first rows of learned positions. Rows of an output layer belong to
    labels by name and are sorted by the model's labels. The layer is newly initialised if the checkpoint has other
    labels or another task. The names of another library's outputs are in the checkpoint and replace `initial_labels`.

    Args:
        model: model that receives the weights.
        checkpoint: folder with the weights.
        labels: names of the model's outputs, in order; empty: they have none.
        initial_labels: names of the checkpoint's outputs; empty: unknown; None: the checkpoint has another task.

    Raises:
        RunError: if a required weight is missing or has another shape.
    """
    from tformer_cli.runs.checkpoint import load_model_tensors, model_tensors, read_tensors

    own = model_tensors(model)
    weights = thinned(read_tensors(checkpoint / "model.safetensors"), own)
    if isinstance(model, Resizable):
        weights = model.fit(weights)
    weights, cut = shortened(weights, own, str(checkpoint))
    fresh: dict[str, Tensor] = {}
    left: set[str] = set()
    note = relabelled = ""
    if getattr(model, "swaps_head", False):
        foreign = output_names(checkpoint)
        if foreign is not None:
            initial_labels, note = by_our_names(foreign, tuple(labels))
        weights, others = _relabelled(weights, tuple(labels), initial_labels)
        relabelled = _reason(initial_labels) if others else ""
        fits = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
        body = {name for name in (*own, *weights) if name.startswith(BODY)}
        left = weights.keys() - own.keys() - body
        weights = {name: value for name, value in weights.items() if name in body} | fits
        fresh = {name: value for name, value in own.items() if name not in weights and not name.startswith(BODY)}
    load_model_tensors(model, weights | fresh, str(checkpoint))
    if relabelled:
        fresh = {name: value for name, value in fresh.items() if not name.startswith(OUTPUT)}
    parts = [sorted({name.partition(".")[0] for name in names}) for names in (fresh, left)]
    return TakenOver(*parts, shortened=cut, relabelled=relabelled, note=note)


def _relabelled(
    weights: dict[str, Tensor], labels: tuple[str, ...], initial: Sequence[str] | None
) -> tuple[dict[str, Tensor], bool]:
    """Return a checkpoint's weights with the output layer's rows in the order of `labels`, or without that layer.

    Returns:
        The weights, and whether the layer is removed because the labels differ.
    """
    of_output = {name for name in weights if name.startswith(OUTPUT)}
    others = {name: value for name, value in weights.items() if name not in of_output}
    if initial is None:
        return others, False
    if not labels or not initial or labels == tuple(initial):
        return weights, False
    if set(labels) != set(initial):
        return others, True
    order = [initial.index(label) for label in labels]
    return {name: value[order] if name in of_output else value for name, value in weights.items()}, False


UNNAMED = "LABEL_"
"""Prefix of the names that transformers gives to outputs without names."""


def _reason(initial: Sequence[str] | None) -> str:
    """Return why the labels of the data get no rows of the output layer."""
    unnamed = initial and all(name.startswith(UNNAMED) for name in initial)
    return "the model does not name its labels" if unnamed else "the labels are others"


def output_names(checkpoint: Path) -> tuple[str, ...] | None:
    """Return the names of the outputs of another library's model; None: the checkpoint was not made of one.

    Raises:
        RunError: if the file is damaged.
    """
    place = checkpoint / OUTPUT_NAMES
    if not place.is_file():
        return None
    with checkpoint_content(place, "names"):
        return tuple(map(str, json.loads(read_regular(place, links=False))))


def by_our_names(foreign: tuple[str, ...], labels: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return another library's names of outputs as the data writes them, where the data has the same.

    Capitals do not count; labels that are the numbers of all outputs name these.

    Returns:
        The names, and a note for the user, or "".
    """
    numbers = tuple(map(str, range(len(foreign))))
    if set(labels) == set(numbers) and set(foreign) != set(numbers):
        pairs = [f"{number} for {name}" for number, name in zip(numbers, foreign, strict=True)]
        shown = ", ".join(pairs[:4]) + (", ..." if len(pairs) > 4 else "")
        return numbers, "" if foreign[0].startswith(UNNAMED) else f"; labels are taken for the model's: {shown}"
    ours = {label.casefold(): label for label in labels}
    known = tuple(ours.get(name.casefold(), name) for name in foreign)
    same = len(ours) == len(labels) and set(known) == set(labels)
    return (known if same else foreign), ""


def shortened(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights for a model of shorter texts, with the first rows of each learned position table.

    Returns:
        The weights, and the names of the shortened tables.

    Raises:
        RunError: if the model is for longer texts, for which there are no rows.
    """
    fitting, cut = dict(weights), []
    for name, value in weights.items():
        if not name.endswith("positions.table") or name not in own or value.dim() != 2:
            continue
        rows = len(own[name])
        if rows > len(value):
            cause = f"{where}: {name} has {len(value)} rows, the model asks for {rows}"
            raise RunError(cause, f"model.max_length={len(value)}, or less")
        if rows < len(value):
            fitting[name] = value[:rows].clone()
            cut.append(name)
    return fitting, cut


def thinned(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights for a model that has fewer blocks: the first, the last, and evenly spaced ones between.

    From 12 blocks to 6 these are 0, 2, 4, 7, 9 and 11, as in DistilBERT (Sanh et al. 2019); a single block is the
    first.

    Args:
        found: weights of all blocks.
        own: names of the model's own; where it has as many blocks, or more, nothing changes.
    """
    have, want = _depths(found), _depths(own)
    taken: dict[str, dict[str, str]] = {}
    for stack, depth in want.items():
        if depth < have.get(stack, 0):
            last = (have[stack] - 1) / max(1, depth - 1)
            taken[stack] = {str(round(last * number)): str(number) for number in range(depth)}
    kept = {}
    for name, value in found.items():
        block = BLOCK.fullmatch(name)
        if block is None or block[1] not in taken:
            kept[name] = value
        elif block[2] in taken[block[1]]:
            kept[f"{block[1]}.{taken[block[1]][block[2]]}.{block[3]}"] = value
    return kept


def _depths(names: Mapping[str, Tensor]) -> dict[str, int]:
    """Blocks in each stack."""
    depths: dict[str, int] = {}
    for block in filter(None, map(BLOCK.fullmatch, names)):
        depths[block[1]] = max(depths.get(block[1], 0), int(block[2]) + 1)
    return depths
