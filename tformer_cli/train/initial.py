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
    from torch import Tensor, nn

BODY = "encoder."
"""Where weights lie that every task of a family shares."""
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


def load_initial(model: nn.Module, checkpoint: Path) -> list[str]:
    """Put a checkpoint's weights into a model.

    A model that `swaps_head` takes over the encoder whole, and of the rest what is there and fits: the
    head of another task begins anew. Every other model takes over everything.

    Returns:
        Names of the parts that begin anew.

    Raises:
        RunError: if what must be taken over is not there, or of another shape.
    """
    from tformer_cli.train.checkpoint import load_model_tensors, model_tensors, read_tensors

    found = read_tensors(checkpoint / "model.safetensors")
    own = model_tensors(model)
    fresh: dict[str, Tensor] = {}
    if getattr(model, "swaps_head", False):
        fits = {name: value for name, value in found.items() if name in own and value.shape == own[name].shape}
        body = {name for name in (*own, *found) if name.startswith(BODY)}
        found = {name: value for name, value in found.items() if name in body} | fits
        fresh = {name: value for name, value in own.items() if name not in found and not name.startswith(BODY)}
    load_model_tensors(model, found | fresh, str(checkpoint))
    return sorted({name.partition(".")[0] for name in fresh})
