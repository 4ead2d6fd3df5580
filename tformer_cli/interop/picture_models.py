"""Folders with a Vision Transformer, in the format of Hugging Face or of timm: in, to fine-tune, and out.

How pictures are cut and coded stands in a file of its own there, or in timm's settings, and goes along.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import (
    Fit,
    ImageClassificationExperiment,
    ImageDataConfig,
    ImageHeadConfig,
    Pooling,
    Resample,
)
from tformer_cli.data.pictures import stored_size
from tformer_cli.errors import ConfigError
from tformer_cli.interop import huggingface_vit, timm_vit
from tformer_cli.interop.reading import WEIGHTS, read_json
from tformer_cli.interop.writing import json_file, weights_file
from tformer_cli.models.vit import ViTClassifier

CONFIG, CODING = "config.json", "preprocessor_config.json"
FILTERS = {Resample.nearest: 0, Resample.lanczos: 1, Resample.bilinear: 2, Resample.bicubic: 3}
"""Pillow's numbers of them."""
CROP_MODES = {Fit.crop: "center", Fit.stretch: "squash", Fit.pad: "border"}
"""timm's names of them."""
USUAL_MEAN = USUAL_DEVIATION = [0.5, 0.5, 0.5]
"""Of the paper's models, where nothing else is said."""

Found = tuple[ImageClassificationExperiment, dict[str, Tensor]]


def is_pictures(found: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is of a model of pictures that is read here."""
    return found.get("model_type") == "vit" or str(found.get("architecture", "")).startswith("vit_")


def import_pictures(path: Path, found: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Found:
    """Read a ViTForImageClassification or ViTModel, or a VisionTransformer of timm.

    Args:
        path: the folder.
        found: its `config.json`.
        tensors: of its safetensors files.

    Returns:
        The model's settings, and how pictures are coded for it; its weights, for `train.checkpoint.load_model_tensors`.

    Raises:
        ConfigError: if a setting is not supported, or the weights do not fit.
    """
    where = str(path / CONFIG)
    if found.get("model_type") == "vit":
        coding = read_json(path / CODING) if (path / CODING).is_file() else {}
        mean, deviation = coding.get("image_mean"), coding.get("image_std")
        image_size, channels = huggingface_vit.import_size(found, where)
        model = huggingface_vit.import_config(found, where)
        weights = huggingface_vit.import_weights(model, found, tensors, str(path))
        pooling = Pooling.cls
    else:
        arguments, coding = found.get("model_args") or {}, found.get("pretrained_cfg") or {}
        mean, deviation = coding.get("mean"), coding.get("std")
        model = timm_vit.import_config(tensors, where, int(arguments.get("num_heads", 0)))
        channels, image_size = tensors["patch_embed.proj.weight"].shape[1], 0
        tokens = tensors["pos_embed"].shape[1] - model.class_token
        image_size = round(tokens**0.5) * model.patch_size
        weights = timm_vit.import_weights(model, image_size, tensors, str(path))
        pooling = (
            Pooling.mean if arguments.get("global_pool", found.get("global_pool", "token")) == "avg" else Pooling.cls
        )
    data = ImageDataConfig(
        path=str(path), image_size=image_size, channels=channels,
        mean=list(mean or USUAL_MEAN)[:channels], deviation=list(deviation or USUAL_DEVIATION)[:channels],
    )  # fmt: skip
    return ImageClassificationExperiment(data=data, model=model, head=ImageHeadConfig(pooling=pooling)), weights


def huggingface_files(
    model: ViTClassifier, experiment: ImageClassificationExperiment, labels: list[str]
) -> dict[str, bytes]:
    """The files that `AutoModelForImageClassification` and `AutoImageProcessor` read, by name.

    Raises:
        ConfigError: if the model has no counterpart there.
    """
    data, head = experiment.data, experiment.head
    huggingface_vit.check_exportable(model.config, head)
    if data.channels != 3:
        raise ConfigError(
            "data.channels: grey pictures cannot be exported: Hugging Face's processors make colours of them"
        )
    coding = {
        "image_processor_type": "CLIPImageProcessor",  # theirs of ViT distorts pictures that are no squares
        "do_resize": True,
        "size": _scaled_size(data),
        "resample": FILTERS[data.resample],
        "do_center_crop": True,
        "crop_size": dict(zip(("height", "width"), data.height_width, strict=True)),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": _three(data.mean),
        "image_std": _three(data.deviation),
    }
    config = huggingface_vit.export_config(model.config, data.image_size, data.channels, labels)
    weights = huggingface_vit.export_weights(model.config, model.state_dict())
    return {CONFIG: json_file(config), CODING: json_file(coding), WEIGHTS: weights_file(weights)}


def _scaled_size(data: ImageDataConfig) -> dict[str, int]:
    """Return what Hugging Face's processor scales pictures to before it cuts the centre out.

    Raises:
        ConfigError: if it has no way to do what `data.fit` says.
    """
    height, width = stored_size(data)
    if data.fit is Fit.stretch:
        return {"height": height, "width": width}
    if data.fit is Fit.pad or height != width:
        cause = f"data.fit={data.fit.name} with data.image_size={data.image_size}: Hugging Face's processors cannot"
        raise ConfigError(cause, "export it for timm: --to timm")
    return {"shortest_edge": height}


def timm_files(model: ViTClassifier, experiment: ImageClassificationExperiment, labels: list[str]) -> dict[str, bytes]:
    """The files that `timm.create_model("local-dir:FOLDER")` reads, by name.

    Raises:
        ConfigError: if the model has no counterpart there.
    """
    data, config = experiment.data, model.config
    height, width = data.height_width
    weights = timm_vit.export_weights(config, model.state_dict())
    pooled = "token" if experiment.head.pooling is Pooling.cls else "avg"
    arguments = {
        "img_size": data.image_size,
        "patch_size": config.patch_size,
        "in_chans": data.channels,
        "embed_dim": config.dim,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": config.ffn_dim / config.dim,
        "class_token": config.class_token,
        "global_pool": pooled,
        "fc_norm": False,
        "init_values": config.layer_scale or None,
    }
    coding = {
        "input_size": [data.channels, height, width],
        "interpolation": data.resample.name,
        "crop_pct": data.crop_share,
        "crop_mode": CROP_MODES[data.fit],
        "mean": _three(data.mean),
        "std": _three(data.deviation),
        "num_classes": len(labels),
        "label_names": labels,
    }
    found = {
        "architecture": "vit_tiny_patch16_224",  # of which `model_args` changes every size
        "num_classes": len(labels),
        "num_features": config.dim,
        "global_pool": pooled,
        "model_args": arguments,
        "pretrained_cfg": coding,
    }
    return {CONFIG: json_file(found), WEIGHTS: weights_file(weights)}


def _three(values: list[float]) -> list[float]:
    """One number for each of three channels."""
    return list(values) * (3 if len(values) == 1 else 1)
