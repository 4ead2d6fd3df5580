"""Model families, and the sizes and limits that models and data exchange.

A family is a package of `tformer_cli.models` whose `FAMILY` is an instance of `Family`. The package itself needs no
torch; its `model` module does.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypedDict

from tformer_cli.config.suggest import suggest
from tformer_cli.errors import ConfigError

MODELS = f"{__name__.partition('.')[0]}.models"
"""The package of the families."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the data that determine the shapes of a model's weights.

    Attributes:
        vocabularies: size of the vocabulary, or sizes of the vocabularies of source and target.
        channels: number of channels of an image.
        image_size: size of an image in pixels: the side of a square, or height and width.
        bins: number of features in a frame of a recording.
        labels: number of labels, for models that are conditioned on one; 0: none.
    """

    vocabularies: tuple[int, ...] = ()
    channels: int = 0
    image_size: int | list[int] = 0
    bins: int = 0
    labels: int = 0


@dataclass(frozen=True)
class Limits:
    """The limits of a model for the sizes of its inputs.

    Attributes:
        source: maximum length of a source, in tokens, special tokens included; None: no limit.
        target: maximum length of a target, in tokens, special tokens included; None: no limit.
        frames: function from the numbers of feature frames of recordings, (B,), to the numbers of output frames, (B,);
            None if the model does not read recordings.
        multiple: height and width of an image must be multiples of this number of pixels.
        segments: number of segment embeddings, which distinguish the two texts of a pair; 0: none.
    """

    source: int | None = None
    target: int | None = None
    frames: Callable[[Any], Any] | None = None
    multiple: int = 1
    segments: int = 0


class AttentionShape(TypedDict):
    """The shape of attention, for the choice of its backend: heads, width of a head, typical length of a sequence."""

    heads: int
    head_dim: int
    length: int


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        name: name of its package in `tformer_cli.models`, and the value of `model.family`.
        config: dataclass of its settings, a `ModelConfig`.
        provides: names of the interfaces of its body: `encoder_decoder` (tokens to tokens), `token_editor` (deletes and
            inserts tokens, given tokens), `causal_decoder` (a vector for each token of running text, from its left
            context), `token_encoder` (a vector for each token, from both sides), `masked_token_encoder` (the same, with
            segments and separate documents), `image_encoder` (a vector for an image), `image_memory` (a vector for each
            part of an image, to which a decoder attends), `patch_encoder` (a vector for each patch; patches can be
            masked), `recording_encoder` (its `encoder` has a vector for each frame of a recording, to which a decoder
            attends), `speech_recogniser` (recordings to tokens), `image_generator` (a generator of images, and its
            discriminator).
        build: "module:function" of the function that builds its body from its settings and `Sizes`.
        defaults: settings of other groups, by dotted key, whose defaults differ with this family.
        importers: "module:attribute" of an `interop.formats.Importer`, by the name of another library's format.
        exporters: "module:function" of an `interop.formats.Exporter`, by the name of another library's format.
    """

    name: str
    config: type
    provides: frozenset[str]
    build: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    importers: Mapping[str, str] = field(default_factory=dict)
    exporters: Mapping[str, str] = field(default_factory=dict)


def load(name: str) -> Any:
    """Import a module and return one of its attributes.

    Args:
        name: "module:attribute".
    """
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def families() -> tuple[str, ...]:
    """Return the names of all families, without importing them."""
    folder = importlib.import_module(MODELS).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folder) if module.ispkg))


def family(name: str) -> Family:
    """Return a family by its name.

    Raises:
        ConfigError: if there is no family of that name.
    """
    if name not in families():
        near = suggest(name, families())
        cause = f"model.family: {name!r} is not one of {', '.join(families())}"
        raise ConfigError(cause, f"did you mean '{near[0]}'?" if near else "")
    return importlib.import_module(f"{MODELS}.{name}").FAMILY


def is_causal(config: Any) -> bool:
    """Return whether a model is a causal language model: a token's vector depends only on it and earlier tokens.

    Args:
        config: settings of a model.
    """
    return "causal_decoder" in family(config.family).provides


def export_formats() -> tuple[str, ...]:
    """Return the names of the formats that at least one family can be exported to."""
    return tuple(sorted({form for name in families() for form in family(name).exporters}))


def exported_families(form: str) -> tuple[str, ...]:
    """Return the families that can be exported to a format."""
    return tuple(name for name in families() if form in family(name).exporters)
