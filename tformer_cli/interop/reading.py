"""Checked reading of the settings and weights of other libraries.

An error names the file, and the setting or tensor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tformer_cli.config.schema import Activation, Positions
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.interop.gate import CORE, Rules, carried, only
from tformer_cli.regular_files import open_regular, read_regular
from tformer_cli.train.initial import UNNAMED

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "rust_model.ot",
)
ACTIVATIONS = {
    "gelu": Activation.gelu,
    "gelu_new": Activation.gelu_tanh,
    "gelu_pytorch_tanh": Activation.gelu_tanh,
    "relu": Activation.relu,
    "silu": Activation.swish,
    "swish": Activation.swish,
}
"""Activations of the feed-forward layers by their names in transformers."""
THEIR_ACTIVATIONS = {ours: name for name, ours in reversed(ACTIVATIONS.items())}

ALIASES = {
    "gelu_python": Activation.gelu,
    "gelu_python_tanh": Activation.gelu_tanh,
    "gelu_fast": Activation.gelu_tanh,
    "gelu_accurate": Activation.gelu_tanh,
}
"""Other names of the same activations, for import only."""
LARGEST = 2**31
"""Upper bound of the integers in a configuration."""
LEARNED: Rules = {
    **CORE,
    "positions": only({Positions.learned}, "has learned positions only"),
    "activation": carried("has gelu, gelu_tanh, relu and swish only", set(ACTIVATIONS.values())),
    "dropout": carried("dropout of the residual stream"),
    "attention_dropout": carried("dropout of the attention weights"),
    "norm_eps": carried("epsilon of every normalisation"),
    "max_length": carried("rows of the table of positions"),
    "depth": carried("blocks"),
}
"""Export rules that BERT, GPT-2 and ViT share."""


def _short(value: Any) -> str:
    """Return a value as error messages show it."""
    try:
        return f"{value!r}"[:60]
    except ValueError:  # an integer with more digits than Python prints
        return "a huge number"


class Settings:
    """The values of a `config.json`.

    Args:
        content: content of the file.
        where: name of the file in error messages.
        names: for error messages, the names in the file of settings that `content` has under other names.
    """

    def __init__(self, content: Mapping[str, Any], where: str, names: Mapping[str, str] | None = None) -> None:
        self.content, self.where, self.names = content, where, names or {}

    def refuse(self, name: str, value: Any, expected: str) -> ConfigError:
        """Return the error for an unexpected value."""
        return ConfigError(f"{self.where}: {self.names.get(name, name)} is {_short(value)}, not {expected}")

    def number(self, name: str, least: int = 1) -> int:
        """Return a whole number of at least `least`."""
        value = self.content.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < LARGEST:
            too_large = isinstance(value, int) and value >= LARGEST
            bound = f"below {LARGEST:,}" if too_large else f"of at least {least}"
            raise self.refuse(name, value, f"a whole number {bound}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return a Boolean; `default` if it is missing."""
        value = self.content.get(name, default)
        if value is None or not any(value is one for one in (True, False)):
            raise self.refuse(name, value, "true or false")
        return value

    def positive(self, name: str, default: float) -> float:
        """Return a number in (0, 1), such as the epsilon of a normalisation; `default` if it is missing."""
        value = self.content.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise self.refuse(name, value, "a number between 0 and 1")
        return float(value)

    def numbers(self, name: str, *, low: float) -> list[float] | None:
        """Return a list of finite numbers above `low`; None if it is missing."""
        value = self.content.get(name)
        if value is None:
            return None
        fits = isinstance(value, list) and value and all(
            isinstance(one, int | float) and not isinstance(one, bool) and low < one < LARGEST
            for one in value
        )  # fmt: skip
        if not fits:
            raise self.refuse(name, value, f"a list of numbers above {low:g}")
        return [float(one) for one in value]

    def same(self, name: str) -> int:
        """Return a whole number that must be the same for encoder and decoder."""
        value, other = self.number(f"encoder_{name}"), self.number(f"decoder_{name}")
        if value != other:
            raise ConfigError(
                f"{self.where}: encoder_{name} ({value}) and decoder_{name} ({other}) differ",
                "tformer has one for both",
            )
        return value

    def rate(self, name: str, default: float = 0.0) -> float:
        """Return a probability below 1; `default` if it is missing."""
        value = self.content.get(name, default)
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise self.refuse(name, value, "a rate")
        return float(value)

    def activation(
        self,
        name: str,
        default: str,
        known: Mapping[str, Activation] = ACTIVATIONS,
        aliases: Mapping[str, Activation] = ALIASES,
    ) -> Activation:
        """Return tformer's name of an activation; errors list the supported ones."""
        value = self.content.get(name, default)
        names = {**aliases, **known}
        if not isinstance(value, str) or value not in names:
            called = self.names.get(name, name)
            raise ConfigError(f"{self.where}: {called} {_short(value)} is not supported", f"{', '.join(known)} are")
        return names[value]

    def width(self, dim: str, heads: str) -> tuple[int, int]:
        """Return the width of the model and its number of heads, which divides the width."""
        width, number = self.number(dim), self.number(heads)
        if width % number:
            raise ConfigError(f"{self.where}: {self.names.get(dim, dim)} {width} is no multiple of {number} heads")
        return width, number

    def encoder(self, *, dropout: float) -> dict[str, Any]:
        """Return tformer's settings of the blocks of an encoder, from the names that BERT and its successors share.

        Args:
            dropout: default of the dropout rates.
        """
        dim, heads = self.width("hidden_size", "num_attention_heads")
        return {
            "dim": dim,
            "heads": heads,
            "ffn_dim": self.number("intermediate_size"),
            "depth": self.number("num_hidden_layers"),
            "activation": self.activation("hidden_act", "gelu", ACTIVATIONS),
            "dropout": self.rate("hidden_dropout_prob", dropout),
            "attention_dropout": self.rate("attention_probs_dropout_prob", dropout),
            "norm_eps": self.positive("layer_norm_eps", 1e-12),
        }


class Weights:
    """The tensors of a file, float32, which are consumed one by one.

    Args:
        tensors: tensors by name.
        where: name of the file in error messages.

    Attributes:
        left: tensors that are not consumed yet.
    """

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        self.left, self.where = {name: value.float() for name, value in tensors.items()}, where

    def take(self, name: str, *shape: int) -> Tensor:
        """Consume and return a tensor of a given shape, in which -1 stands for any size.

        Raises:
            ConfigError: if the tensor is missing or has another shape.
        """
        if name not in self.left:
            raise ConfigError(f"{self.where}: the weights {name} are missing", "the files do not belong together")
        value = self.left.pop(name)
        if len(shape) != value.dim() or any(a not in (-1, b) for a, b in zip(shape, value.shape, strict=True)):
            raise ConfigError(f"{self.where}: {name} has shape {tuple(value.shape)}; config.json requires {shape}")
        return value

    def match(self, name: str, value: Tensor, of: str) -> None:
        """Consume the copy of a tied weight, if the file contains it.

        Raises:
            ConfigError: if it is not a copy.
        """
        if name not in self.left:
            return
        copy = self.left.pop(name)
        if copy.shape != value.shape or not torch.equal(copy, value):
            raise ConfigError(
                f"{self.where}: {name} differs from {of}, and tformer's model has one for both",
                "fine-tune from the model without its head: save its base model alone",
            )

    def drop(self, known: Callable[[str], bool]) -> list[str]:
        """Remove the remaining known weights that have no counterpart.

        Returns:
            The distinct first parts of their names.
        """
        names = [name for name in self.left if known(name)]
        for name in names:
            del self.left[name]
        return sorted({name.rpartition(".")[0] or name for name in names})

    def refuse_rest(self, known: Callable[[str], bool], remedy: str = "") -> None:
        """Refuse tensors that were not consumed, unless their names are known.

        Raises:
            ConfigError: naming the first such tensor.
        """
        for name in self.left:
            if not known(name):
                raise ConfigError(f"{self.where}: the weights {name} have no place in tformer's model", remedy)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file.

    Raises:
        DataError: if the file cannot be read or is not a JSON object.
    """
    try:
        content = json.loads(read_regular(path))
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}", "name a folder with a model in the Hugging Face format"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a JSON object")
    return content


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return all tensors of the safetensors file of a folder, or of the shards in its index.

    Raises:
        DataError: if there is no such file, it is damaged, or there are only pickled weights.
    """
    if (folder / WEIGHTS).is_file():
        names = {WEIGHTS}
    elif (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
            raise DataError(f"{folder / INDEX}: no weight_map")
        names = set(shards.values())
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise DataError(f"{folder / INDEX}: names {name!r}, which is no safetensors file beside it")
    else:
        pickled = [name for name in PICKLED if (folder / name).is_file()]
        if pickled:
            raise DataError(
                f"{folder}: only {pickled[0]}: tformer does not read pickled weights, which can run code",
                "if you trust them, load them with transformers and save them with model.save_pretrained(FOLDER)",
            )
        raise DataError(f"{folder}: no {WEIGHTS}", "name a folder with a model in the Hugging Face format")
    tensors: dict[str, Tensor] = {}
    for name in sorted(names):
        try:
            open_regular(folder / name).close()
            tensors |= safetensors.torch.load_file(folder / name)
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise DataError(f"{folder / name}: not a readable safetensors file ({error})") from error
    return tensors


def label_names(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the rows of a head's last layer: `id2label` of transformers, or `label_names` of timm.

    Unless every row has a distinct name, all have the default names of transformers (`LABEL_0`, `LABEL_1`, ...).

    Args:
        settings: content of the `config.json`.
        weights: weights by tformer's names.
    """
    output = next((weights[name] for name in ("output.weight", "head.output.weight") if name in weights), None)
    if output is None:
        return ()
    rows = len(output)
    numbered = settings.get("id2label")
    coding = settings.get("pretrained_cfg")
    listed = next(
        (part["label_names"] for part in (settings, coding) if isinstance(part, dict) and "label_names" in part), None
    )
    names = [numbered.get(str(row)) for row in range(rows)] if isinstance(numbered, dict) else listed
    complete = isinstance(names, list) and len(set(map(str, names))) == len(names) == rows and None not in names
    return tuple(map(str, names)) if complete and names else tuple(f"{UNNAMED}{row}" for row in range(rows))


BY_PIECE = ("embedding.weight", "encoder.embedding.weight", "output.weight", "head.bias")
"""Weights with a row for each piece of the vocabulary; only language models have `output.weight`."""


def cut_vocabulary(weights: dict[str, Tensor], pieces: int, where: str) -> dict[str, Tensor]:
    """Remove the rows that pad a vocabulary to a round number, from weights with a row for each piece.

    Raises:
        ConfigError: if there are fewer rows than pieces.
    """
    language_model = "embedding.weight" in weights
    rows = len(weights["embedding.weight" if language_model else "encoder.embedding.weight"])
    if pieces > rows:
        raise ConfigError(f"{where}: model and tokenizer do not belong together ({rows} embeddings, {pieces} pieces)")
    by_piece = {name for name in BY_PIECE if language_model or name != "output.weight"}
    return {name: value[:pieces].clone() if name in by_piece else value for name, value in weights.items()}
