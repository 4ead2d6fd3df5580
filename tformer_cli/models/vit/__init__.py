"""Vision Transformer (Dosovitskiy et al. 2021): an encoder of images."""

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
    """Vision Transformer (Dosovitskiy et al. 2021): a Transformer encoder over the patches of an image."""

    family: str = setting("vit", "name of the model family")
    depth: int = setting(12, "number of blocks", low=1, high=1000)
    activation: Activation = setting(Activation.gelu, "feed-forward activation; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "position scheme")
    norm_eps: float = setting(1e-6, "added to the variance in layer normalisations", low=0)
    patch_size: int = setting(
        16, "height and width of a patch in pixels; stem=resnet: in cells of its feature map", low=1
    )
    class_token: bool = setting(True, "put a learned [class] token before the patches")
    stem: Stem = setting(
        Stem.patches,
        "how patches are embedded: a linear layer, stacked convolutions (Xiao et al. 2021), or a ResNet",
    )
    stem_dim: int = setting(48, "stem=convolutions: channels of the first convolution", low=1, only="stem=convolutions")
    resnet: ResNetConfig = field(default_factory=ResNetConfig, metadata={"only": ("model.stem=resnet",)})

    @property
    def patch_pixels(self) -> int:
        """Height and width, in pixels, of the part of an image that a token stands for."""
        return self.patch_size * (self.resnet.pixels if self.stem is Stem.resnet else 1)

    @property
    def has_class_token(self) -> bool:
        """Whether a [class] token precedes the patches."""
        return self.class_token

    def check(self) -> None:
        """Refuse a patch size that stacked convolutions cannot have.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.stem is Stem.convolutions and self.patch_size & (self.patch_size - 1):
            cause = f"model.patch_size: model.stem=convolutions needs a power of 2, not {self.patch_size}"
            raise ConfigError(cause, f"model.patch_size={2 ** round(math.log2(self.patch_size))}")

    def limits(self) -> Limits:
        """Return the number that height and width of an image must be multiples of."""
        return Limits(multiple=self.patch_pixels)

    def attention_shape(self, length: int) -> AttentionShape:
        """Return the shape of attention over images of `length` pixels."""
        return super().attention_shape(length // self.patch_pixels**2 + self.class_token)


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
