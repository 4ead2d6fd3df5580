"""Import and export of folders with a Vision Transformer in the format of Hugging Face or of timm.

The preprocessing of images is imported and exported too. Hugging Face has a file for it, and timm has settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tformer_cli.config.schema import Fit, ImageDataConfig, ImageHeadConfig, LabelledImageDataConfig, Pooling, Resample
from tformer_cli.data.image.pictures import stored_size
from tformer_cli.errors import ConfigError
from tformer_cli.interop import huggingface_vit, timm_vit
from tformer_cli.interop.formats import Foreign, Importer, not_exported
from tformer_cli.interop.gate import Say, warn
from tformer_cli.interop.reading import CONFIG, LARGEST, WEIGHTS, Settings, label_names, read_json, read_weights
from tformer_cli.interop.writing import json_file, weights_file
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.tasks.settings.images import ImageClassificationExperiment
from tformer_cli.trained.opening import Opened

CODING = "preprocessor_config.json"
FILTERS = {Resample.nearest: 0, Resample.lanczos: 1, Resample.bilinear: 2, Resample.bicubic: 3}
"""Pillow's numbers of the resampling filters."""
CROP_MODES = {Fit.crop: "center", Fit.stretch: "squash", Fit.pad: "border"}
"""timm's names of the values of `data.fit`."""
USUAL_MEAN = USUAL_STD = [0.5, 0.5, 0.5]
"""Mean and standard deviation of the models of the ViT paper, for folders that contain neither."""


def _accepts_huggingface(settings: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is of a ViT of Hugging Face."""
    return settings.get("model_type") == "vit"


def _accepts_timm(settings: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is of a model of timm; reading refuses those that are no plain ViT."""
    return "architecture" in settings and "model_type" not in settings


def _read_huggingface(path: Path, content: Mapping[str, Any], languages: tuple[str, str], say: Say = warn) -> Foreign:
    """Read a ViTForImageClassification or ViTModel; see `Importer.read`."""
    where, tensors = str(path / CONFIG), read_weights(path)
    model = huggingface_vit.import_config(content, where, say)
    size, channels = huggingface_vit.import_size(content, where)
    weights = huggingface_vit.import_weights(model, content, tensors, str(path), say)
    coding = read_json(path / CODING) if (path / CODING).is_file() else {}
    mean, std = _huggingface_colours(coding, str(path / CODING))
    stretched = isinstance(coding.get("size"), int) or _is_object(coding.get("size"), "height")
    data = _data(path, size, channels, (mean, std), Fit.stretch if stretched else Fit.crop, say)
    inputs = ImageClassificationExperiment(data=data, model=model, head=ImageHeadConfig(pooling=Pooling.cls))
    return Foreign(model, weights, inputs=inputs, labels=label_names(content, weights))


def _read_timm(path: Path, content: Mapping[str, Any], languages: tuple[str, str], say: Say = warn) -> Foreign:
    """Read a VisionTransformer of timm; see `Importer.read`."""
    where, tensors = str(path / CONFIG), read_weights(path)
    arguments = timm_vit.arguments_of(content, where)
    model = timm_vit.import_config(arguments, tensors, where)
    size = timm_vit.import_size(model, content, tensors, where)
    weights = timm_vit.import_weights(model, size, arguments, tensors, str(path))
    channels = tensors["patch_embed.proj.weight"].shape[1]
    coding = content["pretrained_cfg"] if _is_object(content.get("pretrained_cfg")) else content
    settings = Settings(coding, where)
    colours = settings.numbers("mean", low=-LARGEST), settings.numbers("std", low=0)
    fit = {name: fit for fit, name in CROP_MODES.items()}.get(str(coding.get("crop_mode") or "center"), Fit.crop)
    data = _data(path, size, channels, colours, fit, say)
    head = ImageHeadConfig(pooling=timm_vit.POOLING[arguments["global_pool"]])
    inputs = ImageClassificationExperiment(data=data, model=model, head=head)
    return Foreign(model, weights, inputs=inputs, labels=label_names(content, weights))


HUGGINGFACE = Importer(("ViT",), _accepts_huggingface, _read_huggingface)
TIMM = Importer(("Vision Transformers of timm",), _accepts_timm, _read_timm)


def _data(
    path: Path,
    size: tuple[int, int],
    channels: int,
    colours: tuple[list[float] | None, list[float] | None],
    fit: Fit,
    say: Say,
) -> LabelledImageDataConfig:
    """Return the preprocessing of images: their size, channels, mean and standard deviation, and fit."""
    mean, std = colours
    if mean is None or std is None:
        say(f"warning: {path}: no mean and std found: 0.5 is used for data.mean and data.std")
    return LabelledImageDataConfig(
        path=str(path), image_size=size[0] if size[0] == size[1] else list(size), channels=channels, fit=fit,
        mean=_colours(mean or USUAL_MEAN, channels, str(path / CONFIG)),
        std=_colours(std or USUAL_STD, channels, str(path / CONFIG)),
    )  # fmt: skip


def _is_object(value: Any, key: str = "") -> bool:
    """Return whether a value is a JSON object, with the given key if any."""
    return isinstance(value, dict) and (not key or key in value)


def _huggingface_colours(coding: Mapping[str, Any], where: str) -> tuple[list[float] | None, list[float] | None]:
    """Return the mean and standard deviation of pixels in [0, 1], from the settings of Hugging Face's processor.

    The processor multiplies pixels in [0, 255] by a factor unless `do_rescale` is off, and then standardises them
    unless `do_normalize` is off.
    """
    settings = Settings(coding, where)
    mean, deviation = settings.numbers("image_mean", low=-LARGEST), settings.numbers("image_std", low=0)
    if not settings.flag("do_normalize", True):
        mean, deviation = [0.0], [1.0]
    factor = settings.positive("rescale_factor", 1 / 255) if settings.flag("do_rescale", True) else 1.0
    if mean is None or deviation is None or abs(factor * 255 - 1) < 1e-6:
        return mean, deviation
    return [value / (255 * factor) for value in mean], [value / (255 * factor) for value in deviation]


def _colours(values: list[float], channels: int, where: str) -> list[float]:
    """Return one number for all channels, or one for each.

    Raises:
        ConfigError: if there are neither 1 nor `channels` values; 3 values fit a single channel too.
    """
    if len(values) not in (1, channels) and not (len(values) == 3 and channels == 1):
        raise ConfigError(f"{where}: mean or std has {len(values)} numbers, the model {channels} channels")
    return list(values)[:channels]


def export_huggingface(opened: Opened, say: Say = warn) -> dict[str, bytes]:
    """Return the files of a run, see `huggingface_files`.

    Raises:
        ConfigError: if the model has no counterpart in transformers.
    """
    return huggingface_files(*_classifier(opened))


def export_timm(opened: Opened, say: Say = warn) -> dict[str, bytes]:
    """Return the files of a run, see `timm_files`.

    Raises:
        ConfigError: if the model has no counterpart in timm.
    """
    return timm_files(*_classifier(opened))


def _classifier(opened: Opened) -> tuple[ImageClassifier, ImageClassificationExperiment, list[str]]:
    """Return a classifier with its settings and its labels.

    Raises:
        ConfigError: if the run is of another task.
    """
    model, config = opened.model, opened.config
    data: Any = opened.task.data
    if not isinstance(config, ImageClassificationExperiment) or not isinstance(model, ImageClassifier):
        raise not_exported(opened, (ImageClassificationExperiment.task,))
    return model, config, list(data.labels.names)


def huggingface_files(
    model: ImageClassifier, experiment: ImageClassificationExperiment, labels: list[str]
) -> dict[str, bytes]:
    """Return the files that `AutoModelForImageClassification` and `AutoImageProcessor` read, by name.

    Raises:
        ConfigError: if the model has no counterpart in transformers.
    """
    data, head = experiment.data, experiment.head
    huggingface_vit.check_exportable(model.config, head)
    if data.channels != 3:
        raise ConfigError(
            "data.channels: grey pictures cannot be exported: Hugging Face's processors convert them to RGB"
        )
    coding = {
        "image_processor_type": "CLIPImageProcessor",  # ViT's processor distorts images that are not square
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
        "image_std": _three(data.std),
    }
    config = huggingface_vit.export_config(model.config, data.image_size, data.channels, labels)
    weights = huggingface_vit.export_weights(model.config, model.state_dict())
    return {CONFIG: json_file(config), CODING: json_file(coding), WEIGHTS: weights_file(weights)}


def _scaled_size(data: ImageDataConfig) -> dict[str, int]:
    """Return the size to which Hugging Face's processor scales images before the centre crop.

    Raises:
        ConfigError: if the processor has no counterpart of `data.fit`.
    """
    height, width = stored_size(data)
    if data.fit is Fit.stretch:
        return {"height": height, "width": width}
    if data.fit is Fit.pad or height != width:
        cause = f"data.fit={data.fit.name} with data.image_size={data.image_size}: Hugging Face's processors cannot"
        raise ConfigError(cause, "export it for timm: --to timm")
    return {"shortest_edge": height}


def timm_files(
    model: ImageClassifier, experiment: ImageClassificationExperiment, labels: list[str]
) -> dict[str, bytes]:
    """Return the files that `timm.create_model("local-dir:FOLDER")` reads, by name.

    Raises:
        ConfigError: if the model has no counterpart in timm.
    """
    data, config = experiment.data, model.config
    height, width = data.height_width
    arguments = timm_vit.export_arguments(config, experiment.head, data.image_size, data.channels)
    weights = timm_vit.export_weights(config, model.state_dict())
    coding = {
        "input_size": [data.channels, height, width],
        "interpolation": data.resample.name,
        "crop_pct": data.crop_share,
        "crop_mode": CROP_MODES[data.fit],
        "mean": _three(data.mean),
        "std": _three(data.std),
        "num_classes": len(labels),
        "label_names": labels,
    }
    settings = {
        "architecture": "vit_tiny_patch16_224",  # `model_args` replaces all of its sizes
        "num_classes": len(labels),
        "num_features": config.dim,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        "pretrained_cfg": coding,
    }
    return {CONFIG: json_file(settings), WEIGHTS: weights_file(weights)}


def _three(values: list[float]) -> list[float]:
    """Return a number for each of three channels."""
    return list(values) * (3 if len(values) == 1 else 1)
