"""Where fine-tuning starts: the weights, the tokenizer and the architecture of another run, or of another library."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.config.compose import override
from tformer_cli.config.schema import Experiment, TransformerConfig
from tformer_cli.errors import RunError

if TYPE_CHECKING:
    from torch import nn

REGULARISATION = ("dropout", "attention_dropout", "ffn_dropout")
"""Settings of a model that its weights do not depend on: they are the recipe's."""


def with_architecture(config: Experiment, found: TransformerConfig, where: str, overrides: Sequence[str]) -> Experiment:
    """The recipe's configuration with the architecture of what it starts from.

    Args:
        config: composed from the recipe and `overrides`.
        found: the architecture.
        where: what an error calls its place.
        overrides: the command line's; those for `model` still count, and then the weights must fit them.

    Raises:
        RunError: if it is of another family.
        ConfigError: if it cannot go together with the rest.
    """
    if found.family != config.model.family:
        cause = f"{where}: a {found.family} model, this recipe trains a {config.model.family} one"
        raise RunError(cause, "use a recipe of its family")
    if any(item.startswith("model=") for item in overrides):
        return config
    model = dataclasses.replace(found, **{name: getattr(config.model, name) for name in REGULARISATION})
    return override(dataclasses.replace(config, model=model), [o for o in overrides if o.startswith("model.")])


def load_initial(model: nn.Module, checkpoint: Path) -> None:
    """Put a checkpoint's weights into a model.

    Raises:
        RunError: if they are of another shape.
    """
    from tformer_cli.train.checkpoint import load_model_tensors, read_tensors

    load_model_tensors(model, read_tensors(checkpoint / "model.safetensors"), str(checkpoint))
