"""Building the body of a model, by the family that its settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tformer_cli.config.family import Sizes, family, is_causal, load

if TYPE_CHECKING:
    from torch import nn

    from tformer_cli.config.schema import ModelConfig


def build_body(config: ModelConfig, sizes: Sizes) -> nn.Module:
    """Return a freshly initialised body, to which a task adds its heads.

    Args:
        config: settings of a model; `family` names the package that builds it.
        sizes: sizes of the data.

    Raises:
        ConfigError: if there is no such family.
    """
    return load(family(config.family).build)(config, sizes)


def build_token_encoder(config: ModelConfig, sizes: Sizes) -> nn.Module:
    """Return a freshly initialised `TokenEncoder`; a causal language model is wrapped in a `CausalEncoder`.

    Args:
        config: settings of a model.
        sizes: sizes of the data.

    Raises:
        ConfigError: if there is no such family.
    """
    body = build_body(config, sizes)
    if not is_causal(config):
        return body
    from tformer_cli.models.causal_encoder import CausalEncoder

    return CausalEncoder(body)
