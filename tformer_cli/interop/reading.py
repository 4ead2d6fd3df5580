"""What every architecture of Hugging Face needs: its settings and weights read with checks, and what it lacks refused.

An error names the file, and the setting or tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import Activation, Combine, Positions, TransformerConfig
from tformer_cli.errors import ConfigError

ACTIVATIONS = {
    "gelu": Activation.gelu,
    "gelu_new": Activation.gelu_tanh,
    "gelu_pytorch_tanh": Activation.gelu_tanh,
    "relu": Activation.relu,
    "silu": Activation.swish,
    "swish": Activation.swish,
}
"""Functions of BERT and GPT-2 by their names."""
THEIR_ACTIVATIONS = {ours: name for name, ours in reversed(ACTIVATIONS.items())}

Counterparts = Mapping[str, tuple[Collection[Any], str]]
"""By the name of a setting: the values that an architecture of theirs has too, and what it does."""

EVERYWHERE: Counterparts = {
    "combine": ({Combine.add}, "adds positions to embeddings"),
    "bias": ({True}, "has a bias in every layer"),
}
LEARNED: Counterparts = {
    "positions": ({Positions.learned}, "has learned positions only"),
    **EVERYWHERE,
    "activation": (set(ACTIVATIONS.values()), "has gelu, gelu_tanh, relu and swish only"),
}
"""Of BERT and GPT-2."""


def refuse_others(config: TransformerConfig, architecture: str, counterparts: Counterparts) -> None:
    """Refuse a model that has a setting without a counterpart.

    Raises:
        ConfigError: naming the first such setting.
    """
    for name, (values, what) in counterparts.items():
        value = getattr(config, name)
        if value not in values:
            shown = getattr(value, "name", str(value).lower())
            raise ConfigError(f"model.{name}: {shown} cannot be exported: Hugging Face's {architecture} {what}")


class Settings:
    """The values of a `config.json`.

    Args:
        found: its content.
        where: what an error calls it.
    """

    def __init__(self, found: Mapping[str, Any], where: str) -> None:
        self.found, self.where = found, where

    def number(self, name: str, least: int = 1) -> int:
        """A whole number."""
        value = self.found.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{self.where}: {name} is {value!r}, not a whole number of at least {least}")
        return value

    def same(self, name: str) -> int:
        """A whole number that encoder and decoder share."""
        value, other = self.number(f"encoder_{name}"), self.number(f"decoder_{name}")
        if value != other:
            raise ConfigError(
                f"{self.where}: encoder_{name} ({value}) and decoder_{name} ({other}) differ",
                "tformer has one for both",
            )
        return value

    def rate(self, name: str, default: float = 0.0) -> float:
        """A probability below 1; `default` if it is not there."""
        value = self.found.get(name, default)
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise ConfigError(f"{self.where}: {name} is {value!r}, not a rate")
        return float(value)

    def activation(self, name: str, default: str, known: Mapping[str, Activation]) -> Activation:
        """Our name of a function."""
        value = self.found.get(name, default)
        if not isinstance(value, str) or value not in known:
            raise ConfigError(f"{self.where}: {name} {value!r} is not supported", f"{', '.join(known)} are")
        return known[value]

    def width(self, dim: str, heads: str) -> tuple[int, int]:
        """The model's width and its number of heads, which divides it."""
        width, number = self.number(dim), self.number(heads)
        if width % number:
            raise ConfigError(f"{self.where}: {dim} {width} is no multiple of {number} heads")
        return width, number


class Weights:
    """The tensors of a file, float32, which are taken out one by one.

    Args:
        tensors: by name.
        where: what an error calls the file.

    Attributes:
        left: those that were not taken yet.
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self.left, self.where = {name: value.float() for name, value in tensors.items()}, where

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor that must be there, of this shape; -1: of any size there.

        Raises:
            ConfigError: if it is not there, or of another shape.
        """
        if name not in self.left:
            raise ConfigError(f"{self.where}: the weights {name} are missing", "the files do not belong together")
        value = self.left.pop(name)
        if len(shape) != value.dim() or any(a not in (-1, b) for a, b in zip(shape, value.shape, strict=True)):
            raise ConfigError(f"{self.where}: {name} has shape {tuple(value.shape)} where config.json means {shape}")
        return value

    def refuse_rest(self, known: Callable[[str], bool], remedy: str = "") -> None:
        """Refuse what was not taken, unless its name is known.

        Raises:
            ConfigError: naming the first such tensor.
        """
        for name in self.left:
            if not known(name):
                raise ConfigError(f"{self.where}: the weights {name} have no place in tformer's model", remedy)
