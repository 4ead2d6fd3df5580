"""Vision Transformers of timm (`VisionTransformer`) beside ours: names and layouts of the weights.

Their state dictionary says everything but the number of heads, which is D / 64 in nearly all of their models.

Shapes: D model width, P height and width of a patch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from torch import Tensor

from tformer_cli.config.schema import Norm, Stem, ViTConfig
from tformer_cli.errors import ConfigError
from tformer_cli.interop.huggingface_vit import FACTORS, read_encoder, read_head, write_encoder
from tformer_cli.interop.reading import LEARNED, Weights, refuse_others
from tformer_cli.interop.writing import plain

EMBEDDINGS = {"class_token": "cls_token", "positions": "pos_embed", "patches": "patch_embed.proj"}
HEAD = "head"
HEAD_DIM = 64
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
    """Each layer of the encoder, as in `huggingface_vit.layers`."""
    for number in range(depth):
        for ours, theirs in (SUBLAYERS | SCALES if layer_scale else SUBLAYERS).items():
            yield f"encoder.stack.blocks.{number}.{ours}", (f"blocks.{number}.{theirs}",)
    yield "encoder.stack.norm", ("norm",)


def import_config(tensors: Mapping[str, Tensor], where: str, heads: int = 0) -> ViTConfig:
    """Our settings from the shapes of their weights.

    Args:
        tensors: their state dictionary.
        where: what an error calls it.
        heads: attention heads; 0: D / 64.

    Raises:
        ConfigError: if it is none of a VisionTransformer.
    """
    try:
        dim, _, patch_size, _ = tensors["patch_embed.proj.weight"].shape
        ffn_dim = tensors["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{where}: no weights of timm's VisionTransformer") from error
    depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    return ViTConfig(
        dim=dim,
        heads=heads or max(1, dim // HEAD_DIM),
        ffn_dim=ffn_dim,
        depth=depth,
        patch_size=patch_size,
        class_token="cls_token" in tensors,
        layer_scale=1.0 if "blocks.0.ls1.gamma" in tensors else 0.0,
    )


def import_weights(config: ViTConfig, image_size: int, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Their weights under our names, float32, with the head if there is one.

    Args:
        config: what `import_config` made of them.
        image_size: height and width of their pictures in pixels.
        tensors: their state dictionary.
        where: what an error calls it.

    Raises:
        ConfigError: if one of the encoder's is missing or of another shape, or one has no place here.
    """
    side = image_size // config.patch_size
    weights = Weights(tensors, where)
    if "fc_norm.weight" in weights.left:
        raise ConfigError(f"{where}: normalises after pooling (fc_norm), tformer before it")
    named = partial(layers, layer_scale=bool(config.layer_scale))
    state = read_encoder(config, (side, side), weights, named, EMBEDDINGS)
    state |= read_head(weights, HEAD, config.dim)
    weights.refuse_rest(lambda name: False)
    return state


def export_weights(config: ViTConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under their names; for a head on the mean make their model with `fc_norm=False`.

    Args:
        config: of the model.
        state: the model's state dictionary.

    Raises:
        ConfigError: if the model has a setting that theirs does not.
    """
    check = {"norm": ({Norm.pre}, "is pre-norm"), "stem": ({Stem.patches}, "has linear patches"), **LEARNED}
    refuse_others(config, "timm", check)
    if "head.hidden.weight" in state:
        raise ConfigError("head.hidden: cannot be exported: timm's ViT has no hidden layer in its head")
    found = write_encoder(config, state, partial(layers, layer_scale=bool(config.layer_scale)), EMBEDDINGS)
    if "head.output.weight" in state:
        found |= {f"{HEAD}.{part}": state[f"head.output.{part}"] for part in ("weight", "bias")}
    return plain(found)
