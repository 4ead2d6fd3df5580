"""Import from and export to Vision Transformers of timm (`VisionTransformer`): names, layouts and settings.

The `config.json` of timm names an architecture and the arguments that differ from it. `ARCHITECTURES` contains what
only the architecture determines (heads, activation, pooling). The shapes of the weights determine the other settings.

Shapes: D model width, P height and width of a patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import Activation, ImageHeadConfig, Pooling
from tformer_cli.errors import ConfigError
from tformer_cli.interop.gate import TRAINING, Rules, all_of, carried, check_export, check_import, irrelevant, only
from tformer_cli.interop.huggingface_vit import (
    EXPORTED_HEAD,
    FACTORS,
    PICTURES,
    pair,
    patch_side,
    read_encoder,
    read_head,
    write_encoder,
)
from tformer_cli.interop.reading import Settings, Weights
from tformer_cli.interop.writing import plain
from tformer_cli.models.vit import ViTConfig

EMBEDDINGS = {"class_token": "cls_token", "positions": "pos_embed", "patches": "patch_embed.proj"}
HEAD = "head"
NORM_EPS = 1e-6
"""Epsilon of timm's LayerNorm, which its files cannot change."""
EXPORTED: Rules = {
    **PICTURES,
    "layer_scale": carried("init_values"),
    "norm_eps": only({NORM_EPS}, f"has {NORM_EPS:g} in every normalisation"),
}
"""Rules for the export of settings to VisionTransformer of timm."""
HEAD_RULES: Rules = {**EXPORTED_HEAD, "pooling": carried("global_pool")}
"""Rules for the export of settings of the head."""
POOLING = {"token": Pooling.cls, "avg": Pooling.mean}
ACTIVATIONS = {
    "gelu": Activation.gelu,
    "gelu_tanh": Activation.gelu_tanh,
    "relu": Activation.relu,
    "silu": Activation.swish,
    "swish": Activation.swish,
}
THEIR_ACTIVATIONS = {ours: name for name, ours in reversed(ACTIVATIONS.items())}
READ: Rules = {
    "img_size": carried("data.image_size"),
    "patch_size": carried("patch_size"),
    "in_chans": carried("data.channels"),
    "num_heads": carried("heads"),
    "act_layer": carried("activation"),
    "global_pool": carried("head.pooling"),
    "qkv_bias": carried("a bias that is not there is zero"),
    "no_embed_class": carried("a position that is not there is zero"),
    **all_of(
        ("num_classes", "embed_dim", "depth", "mlp_ratio", "class_token", "init_values"),
        irrelevant("follows from the weights"),
    ),
    **all_of(("dynamic_img_size", "dynamic_img_pad"), irrelevant("lets pictures have other sizes than in training")),
    **all_of(("weight_init", "fix_init"), irrelevant("says how weights began")),
    **all_of(
        ("drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"),
        TRAINING,
    ),
    "norm_layer": only({None, "layernorm", "layer_norm", "LayerNorm"}, "has layer normalisation in this architecture"),
    "embed_norm_layer": only({None}, "does not normalise patches"),
    "embed_layer": only({None}, "has linear patches"),
    "block_fn": only({None}, "has plain blocks"),
    "mlp_layer": only({None}, "has a plain feed-forward layer in this architecture"),
    "attn_layer": only({None}, "has plain attention"),
    "qk_norm": only({False, None}, "does not normalise queries and keys"),
    "scale_attn_norm": only({False, None}, "has no normalisation within attention"),
    "scale_mlp_norm": only({False, None}, "has no normalisation within the feed-forward layer"),
    "proj_bias": only({True}, "has a bias in every layer"),
    "pos_embed": only({"learn"}, "reads learned positions in this architecture"),
    "reg_tokens": only({0, None}, "has no registers"),
    "pre_norm": only({False, None}, "does not normalise before the first block"),
    "final_norm": only({True}, "normalises after the last block"),
    "fc_norm": only({False, None}, "normalises before pooling"),
    "pool_include_prefix": only({False, None}, "takes the mean of patches alone"),
}
"""Rules for the import of arguments of VisionTransformer."""
_BY_HEADS = {
    2: "test_vit",
    3: "vit_tiny_patch16_224 vit_tiny_patch16_384 deit_tiny_patch16_224",
    6: "vit_small_patch8_224 vit_small_patch14_dinov2 vit_small_patch16_36x1_224 vit_small_patch16_224 "
    "vit_small_patch16_384 vit_small_patch32_224 vit_small_patch32_384 deit_small_patch16_224 deit3_small_patch16_224 "
    "deit3_small_patch16_384 flexivit_small",
    8: "vit_medium_patch16_gap_240 vit_medium_patch16_gap_256 vit_medium_patch16_gap_384 deit3_medium_patch16_224",
    10: "vit_betwixt_patch16_gap_256",
    12: "vit_base_patch8_224 vit_base_patch14_dinov2 vit_base_patch16_224 vit_base_patch16_224_miil "
    "vit_base_patch16_384 vit_base_patch16_siglip_gap_224 vit_base_patch16_siglip_gap_256 "
    "vit_base_patch16_siglip_gap_384 vit_base_patch16_siglip_gap_512 vit_base_patch32_224 vit_base_patch32_384 "
    "vit_base_patch32_siglip_gap_256 deit_base_patch16_224 deit_base_patch16_384 deit3_base_patch16_224 "
    "deit3_base_patch16_384 flexivit_base",
    14: "vit_base_patch16_plus_240 vit_base_patch32_plus_256",
    16: "vit_base_patch16_gap_224 vit_large_patch14_224 vit_large_patch14_dinov2 vit_large_patch16_224 "
    "vit_large_patch16_384 vit_large_patch16_siglip_gap_256 vit_large_patch16_siglip_gap_384 "
    "vit_large_patch16_siglip_gap_512 vit_large_patch32_224 vit_large_patch32_384 deit3_large_patch16_224 "
    "deit3_large_patch16_384 flexivit_large vit_huge_patch14_224 vit_huge_patch14_gap_224 vit_huge_patch16_gap_448 "
    "deit3_huge_patch14_224 vit_giant_patch14_224 vit_giant_patch16_gap_224 vit_giantopt_patch16_siglip_gap_256 "
    "vit_giantopt_patch16_siglip_gap_384 vit_gigantic_patch14_224 vit_so400m_patch14_siglip_gap_224 "
    "vit_so400m_patch14_siglip_gap_378 vit_so400m_patch14_siglip_gap_384 vit_so400m_patch14_siglip_gap_448 "
    "vit_so400m_patch14_siglip_gap_896 vit_so400m_patch16_siglip_gap_256 vit_so400m_patch16_siglip_gap_384 "
    "vit_so400m_patch16_siglip_gap_512",
}
_TANH = (
    "vit_base_patch32_siglip", "vit_giantopt", "vit_large_patch16_siglip_gap_512", "vit_so400m_patch16",
)  # fmt: skip


def _arguments(name: str, heads: int) -> dict[str, Any]:
    """Return the arguments of an architecture that do not follow from its weights."""
    made: dict[str, Any] = {"num_heads": heads, "global_pool": "token", "qkv_bias": True, "act_layer": "gelu"}
    made["no_embed_class"] = name.startswith(("deit3_", "flexivit_"))
    if "_gap_" in name:
        made |= {"global_pool": "avg", "fc_norm": False}
    if name.startswith(_TANH):
        made["act_layer"] = "gelu_tanh"
    if name.endswith("_miil") or name.startswith(("vit_medium_", "vit_betwixt_")):
        made["qkv_bias"] = False
    return made


ARCHITECTURES = {name: _arguments(name, heads) for heads, names in _BY_HEADS.items() for name in names.split()}
"""Supported architectures and their arguments (timm 1.0)."""
SUBLAYERS = {
    "attention.norm": "norm1",
    "attention.sublayer.project_qkv": "attn.qkv",
    "attention.sublayer.project_out": "attn.proj",
    "feed_forward.norm": "norm2",
    "feed_forward.sublayer.project_in": "mlp.fc1",
    "feed_forward.sublayer.project_out": "mlp.fc2",
}
SCALES = {f"attention.{FACTORS}": "ls1.gamma", f"feed_forward.{FACTORS}": "ls2.gamma"}


def layers(depth: int, *, layer_scale: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the names of each layer of the encoder, as in `huggingface_vit.layers`."""
    for number in range(depth):
        for name, external_name in (SUBLAYERS | SCALES if layer_scale else SUBLAYERS).items():
            yield f"encoder.stack.blocks.{number}.{name}", (f"blocks.{number}.{external_name}",)
    yield "encoder.stack.norm", ("norm",)


def arguments_of(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of a model from `config.json`: the architecture's, updated by `model_args`.

    Raises:
        ConfigError: if its architecture or an argument is not supported.
    """
    name, given = settings.get("architecture"), settings.get("model_args")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        remedy = f"choose a plain Vision Transformer, such as {', '.join(list(ARCHITECTURES)[1:16:5])}"
        raise ConfigError(f"{where}: {str(name)[:60]!r} of timm is not supported", remedy)
    if given is not None and not isinstance(given, dict):
        raise ConfigError(f"{where}: model_args is {str(given)[:60]!r}, not an object")
    arguments = {**ARCHITECTURES[name], **(given or {})}
    check_import(arguments, READ, where, None)
    pooling = arguments["global_pool"]
    if not isinstance(pooling, str) or pooling not in POOLING:
        raise ConfigError(f"{where}: global_pool {str(pooling)[:60]!r} is not supported", "tformer has token and avg")
    if settings.get("global_pool", pooling) != pooling:
        cause = f"{where}: global_pool is {str(settings['global_pool'])[:60]!r}, but its architecture uses {pooling!r}"
        raise ConfigError(cause, "save the model again with timm, which writes model_args")
    return arguments


def import_config(arguments: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> ViTConfig:
    """Return tformer's settings for timm's arguments and the shapes of the weights.

    Args:
        arguments: arguments from `arguments_of`.
        tensors: timm's state dictionary.
        where: name of the file in error messages.

    Raises:
        ConfigError: if it is not a VisionTransformer, or has an unsupported setting.
    """
    try:
        dim, _, *patch = tensors["patch_embed.proj.weight"].shape
        ffn_dim = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{where}: no weights of timm's VisionTransformer") from error
    settings = Settings({"act_layer": "gelu", **arguments}, where)
    heads = settings.number("num_heads")
    if dim % heads:
        raise ConfigError(f"{where}: a width of {dim} is no multiple of {heads} heads (num_heads)")
    return ViTConfig(
        dim=dim,
        heads=heads,
        ffn_dim=ffn_dim,
        depth=depth,
        activation=settings.activation("act_layer", "gelu", ACTIVATIONS, {}),
        patch_size=patch_side({"patch_size": list(patch)}, "patch_size", where),
        class_token="cls_token" in tensors,
        layer_scale=1.0 if "blocks.0.ls1.gamma" in tensors else 0.0,
        norm_eps=NORM_EPS,
    )


def import_size(
    config: ViTConfig, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> tuple[int, int]:
    """Return the height and width of images in pixels.

    It is `img_size` if the file has it, a square if the patches form one, and otherwise `input_size`.

    Args:
        config: settings from `import_config`.
        settings: content of `config.json`.
        tensors: timm's state dictionary.
        where: name of the file in error messages.

    Raises:
        ConfigError: if the positions have another grid.
    """
    table = tensors.get("pos_embed")
    if table is None or table.dim() != 3:
        raise ConfigError(f"{where}: no pos_embed, and tformer reads learned positions in this architecture")
    arguments, patch = settings.get("model_args") or {}, config.patch_size
    outside = int(config.class_token and not arguments_of(settings, where)["no_embed_class"])
    patches = table.shape[1] - outside
    if arguments.get("img_size") is not None:
        size = pair(arguments, "img_size", where, patch)
    else:
        coding = settings.get("pretrained_cfg")
        given = (coding if isinstance(coding, dict) else settings).get("input_size")  # old files are not nested
        side = round(patches**0.5) * patch
        size = (side, side)
        if side * side != patches * patch * patch and isinstance(given, list) and len(given) == 3:
            size = pair({"input_size": given[1:]}, "input_size", where, patch)
    if size[0] * size[1] != patches * patch * patch:
        cause = f"{where}: img_size {size[0]}x{size[1]} does not match pos_embed, which has {patches} patches"
        raise ConfigError(cause, "give model_args.img_size, or fine-tune from a model that timm saved")
    return size


def import_weights(
    config: ViTConfig,
    size: tuple[int, int],
    arguments: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    where: str,
) -> dict[str, Tensor]:
    """Return the weights under tformer's names, in float32, with the head if there is one.

    Args:
        config: settings from `import_config`.
        size: height and width of images in pixels.
        arguments: arguments from `arguments_of`.
        tensors: timm's state dictionary.
        where: name of the file in error messages.

    Raises:
        ConfigError: if a weight of the encoder is missing or has another shape, or a weight has no counterpart.
    """
    weights, settings = Weights(tensors, where), Settings(arguments, where)
    if "fc_norm.weight" in weights.left:
        raise ConfigError(f"{where}: normalises after pooling (fc_norm), tformer before it")
    grid = (size[0] // config.patch_size, size[1] // config.patch_size)
    state = read_encoder(
        config, grid, weights, partial(layers, layer_scale=bool(config.layer_scale)), EMBEDDINGS,
        qkv_bias=settings.flag("qkv_bias", True), class_position=not settings.flag("no_embed_class", False),
    )  # fmt: skip
    state |= read_head(weights, HEAD, config.dim)
    weights.refuse_rest(lambda name: False)
    return state


def export_arguments(config: ViTConfig, head: ImageHeadConfig, size: int | list[int], channels: int) -> dict[str, Any]:
    """Return timm's arguments for a model.

    Args:
        config: settings of the model.
        head: settings of its head.
        size: size of images in pixels: the side of a square, or height and width.
        channels: channels of images.

    Raises:
        ConfigError: if the model has a setting without a counterpart.
    """
    check_export(config, EXPORTED, "timm's VisionTransformer")
    check_export(head, HEAD_RULES, "timm's VisionTransformer", "head.")
    return {
        "img_size": size,
        "patch_size": config.patch_size,
        "in_chans": channels,
        "embed_dim": config.dim,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": mlp_ratio(config.ffn_dim, config.dim),
        "act_layer": THEIR_ACTIVATIONS[config.activation],
        "class_token": config.class_token,
        "global_pool": next(name for name, pooling in POOLING.items() if pooling is head.pooling),
        "fc_norm": False,
        "init_values": config.layer_scale or None,
    }


def mlp_ratio(ffn_dim: int, dim: int) -> float:
    """Return the ratio r of the widths for which timm's `int(dim * r)` is `ffn_dim`, despite rounding."""
    ratio = ffn_dim / dim
    return ratio if int(dim * ratio) == ffn_dim else (ffn_dim + 0.5) / dim


def export_weights(config: ViTConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under timm's names; with mean pooling, timm's model needs `fc_norm=False`.

    Args:
        config: settings of the model.
        state: the model's state dictionary.

    Raises:
        ConfigError: if the model has a setting without a counterpart.
    """
    check_export(config, EXPORTED, "timm's VisionTransformer")
    tensors = write_encoder(config, state, partial(layers, layer_scale=bool(config.layer_scale)), EMBEDDINGS)
    if "head.output.weight" in state:
        tensors |= {f"{HEAD}.{part}": state[f"head.output.{part}"] for part in ("weight", "bias")}
    return plain(tensors)
