"""Vision Transformer (Dosovitskiy et al. 2021): an encoder of pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tformer_cli.config.family import AttentionShape, Family, Limits
from tformer_cli.config.schema import Activation, Names, Positions, TransformerConfig, setting
from tformer_cli.errors import ConfigError
from tformer_cli.models.resnet import ResNetConfig

Stem = Names("Stem", "patches convolutions resnet")


@dataclass
class ViTConfig(TransformerConfig):
    """Vision Transformer (Dosovitskiy et al. 2021): the encoder over patches of a picture."""

    family: str = setting("vit", "entry of the model registry")
    depth: int = setting(12, "blocks", low=1, high=1000)
    activation: Activation = setting(Activation.gelu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "how the model knows where a patch lies")
    norm_eps: float = setting(1e-6, "added to the variance in layer normalisations", low=0)
    patch_size: int = setting(16, "height and width of a patch in pixels; stem=resnet: in cells of its map", low=1)
    class_token: bool = setting(True, "a learned [class] token stands before the patches")
    stem: Stem = setting(
        Stem.patches,
        "makes vectors of patches: one linear layer, stacked convolutions (Xiao et al. 2021), a ResNet",
    )
    stem_dim: int = setting(48, "stem=convolutions: channels of the first", low=1)
    resnet: ResNetConfig = field(default_factory=ResNetConfig)

    @property
    def patch_pixels(self) -> int:
        """Height and width, in pixels, of what a token stands for."""
        return self.patch_size * (self.resnet.pixels if self.stem is Stem.resnet else 1)

    @property
    def has_class_token(self) -> bool:
        """Whether a [class] token stands before the patches."""
        return self.class_token

    def check(self) -> None:
        """Refuse shapes that are fine alone but impossible together.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        super().check()
        if self.stem is Stem.convolutions and self.patch_size & (self.patch_size - 1):
            cause = f"model.patch_size: convolutions halve, and {self.patch_size} is not a power of 2"
            raise ConfigError(cause, f"model.patch_size={2 ** round(math.log2(self.patch_size))}")

    def limits(self) -> Limits:
        """Return that pictures consist of complete patches."""
        return Limits(multiple=self.patch_pixels)

    def attention(self, length: int) -> AttentionShape:
        """Return attention's shape for pictures of `length` pixels."""
        return super().attention(length // self.patch_pixels**2 + self.class_token)


FAMILY = Family(
    name="vit",
    config=ViTConfig,
    provides=frozenset({"image_encoder", "image_memory", "patch_encoder"}),
    build="tformer_cli.models.vit.model:build",
    importers={
        "huggingface": "tformer_cli.interop.picture_models:HUGGINGFACE",
        "timm": "tformer_cli.interop.picture_models:TIMM",
    },
    exporters={
        "huggingface": "tformer_cli.interop.picture_models:export_huggingface",
        "timm": "tformer_cli.interop.picture_models:export_timm",
    },
)
