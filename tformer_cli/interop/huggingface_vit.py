"""Import and export of Vision Transformers of Hugging Face: names, layouts and settings of the weights.

tformer projects queries, keys and values in one product, and Hugging Face in three. Patches are a linear layer here and
a convolution there. Positions have the shape of the grid here, and are a sequence there, after the position of [class].

Shapes: D model width, F feed-forward width, C channels, P height and width of a patch, N patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import ImageHeadConfig, Norm, Pooling, Positions
from tformer_cli.errors import ConfigError
from tformer_cli.interop.gate import (
    FOREIGN,
    TRAINING,
    Rules,
    Say,
    carried,
    check_export,
    check_import,
    irrelevant,
    only,
    warn,
)
from tformer_cli.interop.reading import LEARNED, Settings, Weights
from tformer_cli.interop.writing import encoder_settings, plain
from tformer_cli.models.vit import Stem, ViTConfig

Layers = Callable[[int], Iterator[tuple[str, tuple[str, ...]]]]
"""A function of the depth: yields tformer's name of each layer, and the names of the layers that it concatenates."""

PREFIX = "vit."
FACTORS = "layer_scale.factors"
EMBEDDINGS = {
    "class_token": "embeddings.cls_token",
    "positions": "embeddings.position_embeddings",
    "patches": "embeddings.patch_embeddings.projection",
}
MASK = "embeddings.mask_token"
HEAD = "classifier"
IGNORED = ("pooler.", "decoder.")
"""Prefixes of the names of weights that no classifier has."""
PICTURES: Rules = {
    **LEARNED,
    "norm": only({Norm.pre}, "is pre-norm"),
    "positions": only({Positions.learned}, "has a learned position for each patch only"),
    "stem": only({Stem.patches}, "has linear patches only"),
    "patch_size": carried("patch_size"),
    "class_token": carried("a [class] token or none"),
    "stem_dim": irrelevant("belongs to stems that do not pass"),
    "resnet": irrelevant("belongs to stems that do not pass"),
    "ffn_dropout": irrelevant("acts in training alone"),
}
"""Rules for the export of settings that all Vision Transformers share."""
EXPORTED: Rules = {
    **PICTURES,
    "class_token": only({True}, "has a [class] token"),
    "layer_scale": only({0.0}, "has no layer scale"),
}
"""Rules for the export of settings to ViT of Hugging Face."""
EXPORTED_HEAD: Rules = {
    "dropout": TRAINING,
    "frozen": TRAINING,
    "class_weights": TRAINING,
    "pooling": only({Pooling.cls}, "classifies by its [class] token"),
    "hidden": only({False}, "has no hidden layer in its head"),
}
READ: Rules = {
    **FOREIGN,
    "hidden_size": carried("dim"),
    "num_hidden_layers": carried("depth"),
    "num_attention_heads": carried("heads"),
    "intermediate_size": carried("ffn_dim"),
    "hidden_act": carried("activation"),
    "hidden_dropout_prob": carried("dropout"),
    "attention_probs_dropout_prob": carried("attention_dropout"),
    "layer_norm_eps": carried("norm_eps"),
    "image_size": carried("data.image_size"),
    "patch_size": carried("patch_size"),
    "num_channels": carried("data.channels"),
    "qkv_bias": carried("a bias that is not there is zero"),
    "encoder_stride": irrelevant("belongs to the decoder of masked patches, which is left out"),
    "pooler_output_size": irrelevant("belongs to the pooler, which no classifier of theirs has"),
    "pooler_act": irrelevant("belongs to the pooler, which no classifier of theirs has"),
    "tie_word_embeddings": irrelevant("there are no words"),
}
"""Rules for the import of settings of ViT."""


def layers(depth: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the names of each linear layer and normalisation; see `Layers`."""
    for number in range(depth):
        name, external_name = f"encoder.stack.blocks.{number}", f"encoder.layer.{number}"
        attention = tuple(f"{external_name}.attention.attention.{part}" for part in ("query", "key", "value"))
        yield f"{name}.attention.norm", (f"{external_name}.layernorm_before",)
        yield f"{name}.attention.sublayer.project_qkv", attention
        yield f"{name}.attention.sublayer.project_out", (f"{external_name}.attention.output.dense",)
        yield f"{name}.feed_forward.norm", (f"{external_name}.layernorm_after",)
        yield f"{name}.feed_forward.sublayer.project_in", (f"{external_name}.intermediate.dense",)
        yield f"{name}.feed_forward.sublayer.project_out", (f"{external_name}.output.dense",)
    yield "encoder.stack.norm", ("layernorm",)


def read_encoder(
    config: ViTConfig,
    grid: tuple[int, int],
    weights: Weights,
    layers: Layers,
    embeddings: Mapping[str, str],
    *,
    qkv_bias: bool = True,
    class_position: bool = True,
) -> dict[str, Tensor]:
    """Return the weights of an encoder under tformer's names; libraries differ only in their names.

    Args:
        config: settings of the model.
        grid: rows and columns of patches.
        weights: weights of the file.
        layers: names of the layers in the file.
        embeddings: names of the other weights in the file.
        qkv_bias: whether the file has biases of queries, keys and values; missing ones are zero.
        class_position: whether the file has a position of [class]; a missing one is zero.

    Raises:
        ConfigError: if a weight is missing or has another shape.
    """
    dim, (rows, columns) = config.dim, grid
    projection = weights.take(f"{embeddings['patches']}.weight", dim, -1, config.patch_size, config.patch_size)
    state = {
        "encoder.patches.project.weight": projection.flatten(1),
        "encoder.patches.project.bias": weights.take(f"{embeddings['patches']}.bias", dim),
    }
    first = int(config.class_token and class_position)
    if config.class_token:
        state["encoder.class_token"] = weights.take(embeddings["class_token"], 1, 1, dim).view(dim)
    positions = weights.take(embeddings["positions"], 1, rows * columns + first, dim)[0]
    if config.class_token:
        state["encoder.positions.class_vector"] = positions[0].clone() if first else torch.zeros(dim)
    state["encoder.positions.table"] = positions[first:].reshape(rows, columns, dim)
    for own_name, external_name in layers(config.depth):
        if own_name.endswith(FACTORS):
            state[own_name] = weights.take(external_name[0], dim)
            continue
        rows_of = {"project_qkv": 3 * dim, "project_in": config.ffn_dim}
        height = rows_of.get(own_name.rpartition(".")[2], dim) // len(external_name)
        width = config.ffn_dim if own_name.endswith("feed_forward.sublayer.project_out") else dim
        shape = (height,) if own_name.endswith("norm") else (height, width)
        state[f"{own_name}.weight"] = torch.cat([weights.take(f"{name}.weight", *shape) for name in external_name])
        without = own_name.endswith("project_qkv") and not qkv_bias
        zeros = [torch.zeros(height)] if without else []  # for qkv_bias=False
        state[f"{own_name}.bias"] = torch.cat(
            zeros * len(external_name) or [weights.take(f"{name}.bias", height) for name in external_name]
        )
    return state


def write_encoder(
    config: ViTConfig, state: Mapping[str, Tensor], layers: Layers, embeddings: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return the weights of an encoder under the names of another library; see `read_encoder` for the arguments."""
    projection = state["encoder.patches.project.weight"]
    tensors = {
        f"{embeddings['patches']}.weight": projection.unflatten(1, (-1, config.patch_size, config.patch_size)),
        f"{embeddings['patches']}.bias": state["encoder.patches.project.bias"],
    }
    positions = state["encoder.positions.table"].flatten(0, 1)
    if config.class_token:
        tensors[embeddings["class_token"]] = state["encoder.class_token"].view(1, 1, -1)
        positions = torch.cat((state["encoder.positions.class_vector"][None], positions))
    tensors[embeddings["positions"]] = positions[None]
    for own_name, external_name in layers(config.depth):
        if own_name.endswith(FACTORS):
            tensors[external_name[0]] = state[own_name]
            continue
        for part in ("weight", "bias"):
            for name, value in zip(external_name, state[f"{own_name}.{part}"].chunk(len(external_name)), strict=True):
                tensors[f"{name}.{part}"] = value
    return tensors


def import_size(settings: Mapping[str, Any], where: str) -> tuple[tuple[int, int], int]:
    """Return the height and width in pixels and the channels of images, from `config.json`.

    Raises:
        ConfigError: if patches are not square, or the size is not a multiple of the patch size.
    """
    patch = patch_side(settings, "patch_size", where)
    return pair(settings, "image_size", where, patch), Settings(settings, where).number("num_channels")


def patch_side(settings: Mapping[str, Any], name: str, where: str) -> int:
    """Return the side of a patch, which may be given as a pair.

    Raises:
        ConfigError: if it is not square.
    """
    rows, columns = pair(settings, name, where)
    if rows != columns:
        raise ConfigError(f"{where}: {name} is {settings[name]}, and tformer's patches are squares")
    return rows


def pair(settings: Mapping[str, Any], name: str, where: str, multiple: int = 1) -> tuple[int, int]:
    """Return height and width, which may be given as one number or a pair.

    Raises:
        ConfigError: if it is neither, or not a multiple of `multiple`.
    """
    value = settings.get(name)
    sides = value if isinstance(value, list) and len(value) == 2 else [value, value]
    rows, columns = (Settings({name: side}, where).number(name) for side in sides)
    if rows % multiple or columns % multiple:
        raise ConfigError(f"{where}: {name} {value} is no multiple of {multiple} pixels, the side of a patch")
    return rows, columns


def import_config(content: Mapping[str, Any], where: str, say: Say = warn) -> ViTConfig:
    """Return tformer's settings for the content of a `config.json`.

    Raises:
        ConfigError: if a setting has a value without a counterpart.
    """
    check_import(content, READ, where, say)
    settings = Settings(content, where)
    settings.flag("qkv_bias", True)
    return ViTConfig(**settings.encoder(dropout=0.0), patch_size=patch_side(content, "patch_size", where))


def import_weights(
    config: ViTConfig, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str, say: Say = warn
) -> dict[str, Tensor]:
    """Return the weights under tformer's names, in float32, with the head of a classifier or the mask token.

    Args:
        config: settings from `import_config`.
        settings: content of `config.json`.
        tensors: tensors of the safetensors file.
        where: name of the file in error messages.
        say: receives warnings about parts that are left out.

    Raises:
        ConfigError: if a weight of the encoder is missing or has another shape, or a weight has no counterpart.
    """
    height, width = import_size(settings, where)[0]
    weights = Weights({name.removeprefix(PREFIX): value for name, value in tensors.items()}, where)
    qkv_bias = Settings(settings, where).flag("qkv_bias", True)
    grid = (height // config.patch_size, width // config.patch_size)
    state = read_encoder(config, grid, weights, layers, EMBEDDINGS, qkv_bias=qkv_bias)
    state |= read_head(weights, HEAD, config.dim)
    if MASK in weights.left:
        state["mask"] = weights.take(MASK, 1, 1, config.dim).view(-1)
    dropped = weights.drop(lambda name: name.startswith(IGNORED))
    if dropped:
        say(f"warning: {where}: {', '.join(dropped)} is left out: no classifier has it")
    weights.refuse_rest(lambda name: False)
    return state


def read_head(weights: Weights, name: str, dim: int) -> dict[str, Tensor]:
    """Return the weights of the last layer of a classifier, or nothing if the file has none."""
    if f"{name}.weight" not in weights.left:
        return {}
    weight = weights.take(f"{name}.weight", -1, dim)
    return {"head.output.weight": weight, "head.output.bias": weights.take(f"{name}.bias", len(weight))}


def check_exportable(config: ViTConfig, head: ImageHeadConfig) -> None:
    """Refuse settings without a counterpart in the ViT of Hugging Face.

    Raises:
        ConfigError: naming the first such setting.
    """
    check_export(config, EXPORTED, "Hugging Face's ViT")
    check_export(head, EXPORTED_HEAD, "Hugging Face's ViT", "head.")


def export_weights(config: ViTConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a classifier by the names of the ViT of Hugging Face.

    Args:
        config: settings of the model, which `check_exportable` has accepted.
        state: state dictionary of the model.
    """
    tensors = {f"{PREFIX}{name}": value for name, value in write_encoder(config, state, layers, EMBEDDINGS).items()}
    tensors |= {f"{HEAD}.{part}": state[f"head.output.{part}"] for part in ("weight", "bias")}
    return plain(tensors)


def export_config(config: ViTConfig, image_size: int | list[int], channels: int, labels: list[str]) -> dict[str, Any]:
    """Return the content of `config.json`."""
    return {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        **encoder_settings(config, config.depth),
        "image_size": image_size,
        "patch_size": config.patch_size,
        "num_channels": channels,
        "qkv_bias": True,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }
