"""What must be given, and settings that are fine alone but impossible together; needs no data, no model."""

from __future__ import annotations

import math
from collections.abc import Callable

from tformer_cli.config.schema import (
    ABSOLUTE_POSITIONS,
    GRID_POSITIONS,
    REQUIRED,
    Average,
    Combine,
    ConformerConfig,
    Experiment,
    Features,
    ImageExperiment,
    MaskedPatchesExperiment,
    Normalisation,
    Pooling,
    Positions,
    ResNetConfig,
    Seq2SeqConfig,
    Source,
    SpeechRecognitionExperiment,
    Stem,
    Target,
    TextExperiment,
    TextModelConfig,
    TieEmbeddings,
    TokenizerKind,
    TransformerConfig,
)
from tformer_cli.config.values import flatten
from tformer_cli.errors import ConfigError

EVEN = (Positions.sinusoidal, Positions.learnable_sinusoidal, Positions.transformer_xl)
"""Position schemes made of pairs of sine and cosine, as wide as the model."""


def require(config: Experiment) -> None:
    """Refuse a configuration that lacks what has no default.

    Raises:
        ConfigError: naming every setting that must be given.
    """
    flat = flatten(config)
    missing = [key for key, value in flat.items() if value == REQUIRED]
    if flat.get("data.path") == "":
        missing.append("data.path")
    if missing:
        listed = ", ".join(missing[:-1]) + " and " + missing[-1] if len(missing) > 1 else missing[0]
        raise ConfigError(f"{listed} must be given", "add " + " ".join(f"{key}={_placeholder(key)}" for key in missing))


def _placeholder(key: str) -> str:
    """What stands for a value in a remedy."""
    return {"data.path": "FOLDER", "data.source_language": "en", "data.target_language": "de"}.get(key, "...")


def check_together(config: Experiment) -> None:
    """Refuse combinations that cannot be built or trained.

    Raises:
        ConfigError: naming the key, and what would go.
    """
    for check in CHECKS:
        check(config)


def _length(config: Experiment) -> None:
    trainer = config.trainer
    if not (trainer.steps or trainer.epochs or trainer.minutes):
        cause = "trainer.steps, trainer.epochs and trainer.minutes are all 0"
        raise ConfigError(cause, "say how long to train: trainer.steps=10000")


def _averaging(config: Experiment) -> None:
    trainer = config.trainer
    for average, key, kept in (
        (Average.best, "keep_best", trainer.keep_best),
        (Average.last, "keep", trainer.keep),
    ):
        if trainer.average is average and kept < 2:
            cause = f"trainer.average: {average.name} has one checkpoint to average, as trainer.{key} is {kept}"
            raise ConfigError(cause, f"trainer.{key}=5")


def _decode(config: Experiment) -> None:
    if not isinstance(config, TextExperiment):
        return
    decode = config.decode
    if decode.n_best > decode.beam and not decode.sample:
        raise ConfigError(
            f"decode.n_best: {decode.n_best} is more than decode.beam {decode.beam}",
            f"decode.beam={decode.n_best}",
        )


def _tokenizer(config: Experiment) -> None:
    if not isinstance(config, TextExperiment):
        return
    if config.tokenizer.sampling > 0 and config.tokenizer.kind is TokenizerKind.char and not config.tokenizer.path:
        raise ConfigError(
            "tokenizer.sampling: char has one segmentation, so nothing to sample", "tokenizer.kind=unigram"
        )
    joint = config.tokenizer.joint or config.tokenizer.path
    tied = getattr(getattr(config, "model", None), "tie_embeddings", None)
    if tied is TieEmbeddings.all and not joint:
        cause = "model.tie_embeddings: all needs one vocabulary, and tokenizer.joint is false"
        raise ConfigError(cause, "model.tie_embeddings=decoder")


def _data(config: Experiment) -> None:
    data = getattr(config, "data", None)
    if data is None:
        return
    if data.streaming and data.source is not Source.hub:
        raise ConfigError(
            f"data.streaming: goes with data.source=hub, and that is {data.source.name}",
            "data.streaming=false",
        )
    if getattr(data, "symmetric", False) and not data.second:
        raise ConfigError("data.symmetric: goes with pairs, and data.second names no column", "data.symmetric=false")
    if getattr(data, "balance", 0):
        labelled = getattr(config, "head", None)
        if labelled is None or getattr(data, "target", Target.label) is not Target.label:
            raise ConfigError("data.balance: evens out labels, one of which each example must have", "data.balance=0")
        if getattr(labelled, "class_weights", False):
            cause = "data.balance and head.class_weights both make rare labels count more"
            raise ConfigError(cause, "choose one: head.class_weights=false, or data.balance=0")
    if not getattr(data, "across_documents", True) and getattr(getattr(config, "bert", None), "nsp", False):
        cause = "data.across_documents: false does not go with bert.nsp, whose B may be of another document than A"
        raise ConfigError(cause, "bert.nsp=false")
    languages = getattr(data, "source_language", None), getattr(data, "target_language", None)
    if languages[0] is not None and languages[0] == languages[1]:
        raise ConfigError(
            f"data.target_language: {languages[1]!r} is data.source_language too", "give the other language"
        )


def _model(config: Experiment) -> None:
    model = getattr(config, "model", None)
    if not isinstance(model, TransformerConfig):
        return
    if model.dim % model.heads:
        fitting = max(heads for heads in range(1, model.heads + 1) if model.dim % heads == 0)
        raise ConfigError(
            f"model.dim: {model.dim} is not divisible by model.heads {model.heads}", f"model.heads={fitting}"
        )
    head_dim = model.dim // model.heads
    if model.positions is Positions.rotary and head_dim % 2:
        cause = f"model.positions: rotary needs an even head width, and model.dim / model.heads is {head_dim}"
        raise ConfigError(cause, f"model.dim={model.heads * (head_dim + 1)}")
    if model.positions in EVEN and model.dim % 2:
        raise ConfigError(
            f"model.positions: {model.positions.name} needs an even model.dim, not {model.dim}",
            f"model.dim={math.lcm(model.heads, 2) * (model.dim // math.lcm(model.heads, 2) + 1)}",
        )
    if model.combine is Combine.concatenate and model.positions not in ABSOLUTE_POSITIONS:
        cause = f"model.combine: concatenate needs absolute positions, not {model.positions.name}"
        raise ConfigError(cause, "model.combine=add")
    if isinstance(model, TextModelConfig) and model.positions in GRID_POSITIONS:
        cause = f"model.positions: {model.positions.name} has rows and columns, and a text is one line"
        raise ConfigError(
            cause, f"model.positions={model.positions.name.removesuffix('_2d').replace('relative', 't5')}"
        )
    parts = {Positions.learned_2d: (model.dim, 2), Positions.sinusoidal_2d: (model.dim, 4)}
    width, divisor = parts.get(model.positions, (head_dim, 4 if model.positions is Positions.rotary_2d else 1))
    if width % divisor:
        name = "model.dim" if model.positions in parts else "model.dim / model.heads"
        cause = f"model.positions: {model.positions.name} needs {name} divisible by {divisor}, not {width}"
        raise ConfigError(cause, f"model.dim={model.heads * math.ceil(head_dim / 4) * 4}")


def _lengths(config: Experiment) -> None:
    """Special tokens count in the model's length: one end (or start) mark a sentence."""
    model, data = getattr(config, "model", None), getattr(config, "data", None)
    if not isinstance(config, TextExperiment) or not isinstance(model, Seq2SeqConfig) or data is None:
        return
    longest = data.max_length
    if longest + 1 > model.max_length:
        cause = f"data.max_length: {longest} and an end mark are more than model.max_length {model.max_length}"
        raise ConfigError(cause, f"data.max_length={model.max_length - 1}")
    if config.decode.max_length > model.max_length:
        cause = f"decode.max_length: {config.decode.max_length} is more than model.max_length {model.max_length}"
        raise ConfigError(cause, f"decode.max_length={model.max_length}")


def _pictures(config: Experiment) -> None:
    if not isinstance(config, ImageExperiment):
        return
    data, model = config.data, config.model
    if data.channels == 2:
        raise ConfigError("data.channels: 2 is neither grey (1) nor colour (3)", "data.channels=3")
    if isinstance(data.image_size, list) and len(data.image_size) != 2:
        cause = f"data.image_size: {data.image_size} is neither one number nor two"
        raise ConfigError(cause, "write the height, then the width: data.image_size=[32,128]")
    for name, numbers in (("mean", data.mean), ("deviation", data.deviation)):
        if len(numbers) not in (1, data.channels):
            cause = f"data.{name}: {len(numbers)} numbers for data.channels {data.channels}"
            raise ConfigError(cause, "give one for all channels, or one for each")
    if not all(number > 0 for number in data.deviation):
        raise ConfigError(f"data.deviation: {data.deviation} must be more than 0", "data.deviation=[0.5]")
    head = getattr(config, "head", None)
    if isinstance(model, ResNetConfig):
        if head is not None and head.pooling is not Pooling.mean:
            raise ConfigError("head.pooling: a ResNet has no [class] token", "head.pooling=mean")
        return
    if isinstance(config, MaskedPatchesExperiment) and model.stem is not Stem.patches:
        cause = f"model.stem: {model.stem.name} sees beyond a patch, so that nothing could be hidden"
        raise ConfigError(cause, "model.stem=patches")
    if model.stem is Stem.convolutions and model.patch_size & (model.patch_size - 1):
        cause = f"model.patch_size: convolutions halve, and {model.patch_size} is not a power of 2"
        raise ConfigError(cause, f"model.patch_size={2 ** round(math.log2(model.patch_size))}")
    stride = model.patch_pixels
    if any(side % stride for side in data.height_width):
        cause = f"data.image_size: {data.image_size} is not divisible by the {stride} pixels of a patch"
        nearest = [max(1, round(side / stride)) * stride for side in data.height_width]
        pair = f"[{nearest[0]},{nearest[1]}]"
        raise ConfigError(cause, f"data.image_size={nearest[0] if isinstance(data.image_size, int) else pair}")
    if head is not None and head.pooling is Pooling.cls and not model.class_token:
        raise ConfigError(
            "head.pooling: cls needs the [class] token, and model.class_token is false", "head.pooling=mean"
        )


def _speech(config: Experiment) -> None:
    if not isinstance(config, SpeechRecognitionExperiment):
        return
    data, features, augment = config.data, config.features, config.augment
    if data.join_low > data.join_high:
        cause = f"data.join_low: {data.join_low} is more than data.join_high {data.join_high}"
        raise ConfigError(cause, f"data.join_high={data.join_low}")
    if not augment.speeds or not all(0.1 <= speed <= 10 for speed in augment.speeds):
        raise ConfigError(f"augment.speeds: {augment.speeds} must be from 0.1 to 10", "augment.speeds=[0.9,1.0,1.1]")
    if not augment.noise_low_db <= augment.noise_high_db:
        cause = f"augment.noise_low_db: {augment.noise_low_db:g} is more than noise_high_db {augment.noise_high_db:g}"
        raise ConfigError(cause, f"augment.noise_high_db={augment.noise_low_db:g}")
    if augment.noise_path and not augment.noise:
        raise ConfigError("augment.noise_path: no utterance has noise, as augment.noise is 0", "augment.noise=0.5")
    if augment.time_masks and augment.adaptive_masks:
        cause = f"augment.adaptive_masks: augment.time_masks {augment.time_masks} says already how many there are"
        raise ConfigError(cause, "augment.time_masks=0")
    if augment.frequency_masks and augment.frequency_mask_bins >= features.bins:
        widest = augment.frequency_mask_bins
        cause = f"augment.frequency_mask_bins: {widest} would hide all of features.bins {features.bins}"
        raise ConfigError(cause, f"augment.frequency_mask_bins={features.bins // 3}")
    if features.kind is Features.stored:
        for key, nothing in (("speeds", [1.0]), ("gain_db", 0), ("noise", 0), ("shift_ms", 0)):
            if getattr(augment, key) != nothing:
                cause = f"augment.{key}: needs sound, and features.kind is stored"
                raise ConfigError(cause, f"augment.{key}={nothing}")
        return
    half = data.sample_rate / 2
    if features.high_hz > half:
        cause = f"features.high_hz: {features.high_hz:g} is more than half of data.sample_rate, {half:g}"
        raise ConfigError(cause, "features.high_hz=0")
    if features.low_hz >= (features.high_hz or half):
        cause = f"features.low_hz: {features.low_hz:g} is not below the highest frequency, {features.high_hz or half:g}"
        raise ConfigError(cause, "features.low_hz=20")


def _convolutions(config: Experiment) -> None:
    model = getattr(config, "model", None)
    if not isinstance(model, ConformerConfig):
        return
    if model.kernel_size % 2 == 0:
        cause = f"model.kernel_size: {model.kernel_size} has no frame in its middle"
        raise ConfigError(cause, f"model.kernel_size={model.kernel_size - 1}")
    if model.subsampling not in (4, 8):
        raise ConfigError(f"model.subsampling: {model.subsampling} is neither 4 nor 8", "model.subsampling=4")
    if model.causal_convolution and model.convolution_norm is Normalisation.group:
        cause = (
            "model.convolution_norm: group goes over the frames to come, which model.causal_convolution must not see"
        )
        raise ConfigError(cause, "model.convolution_norm=layer")


CHECKS: tuple[Callable[[Experiment], None], ...] = (
    _length,
    _averaging,
    _decode,
    _tokenizer,
    _data,
    _model,
    _lengths,
    _pictures,
    _speech,
    _convolutions,
)
