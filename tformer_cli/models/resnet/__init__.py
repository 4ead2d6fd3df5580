"""ResNet (He et al. 2016): a convolutional encoder of images."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family
from tformer_cli.config.schema import ModelConfig, Names, setting

ResNetStem = Names("ResNetStem", "large small")
BatchOrGroup = Names("BatchOrGroup", "batch group")


@dataclass
class ResNetConfig(ModelConfig):
    """Residual network (He et al. 2016), with squeeze and excitation (Hu et al. 2018) if `squeeze` is set."""

    family: str = setting("resnet", "name of the model family")
    depths: list[int] = setting(
        [3, 4, 6, 3], "number of blocks in each stage; stages after the first halve the resolution", low=1, high=1000
    )
    dim: int = setting(64, "channels of the first stage; each stage has twice as many as the one before", low=1)
    bottleneck: bool = setting(
        True, "blocks of 1x1, 3x3 and 1x1 convolutions with four times the channels, not of two 3x3"
    )
    squeeze: int = setting(0, "squeeze and excitation: reduction ratio r of the channels; 0: none", low=0)
    stem: ResNetStem = setting(
        ResNetStem.large,
        "first layers; large: 7x7 and pooling, a quarter of the resolution; small: 3x3, for images of 32 pixels",
    )
    norm: BatchOrGroup = setting(
        BatchOrGroup.batch, "batch normalisation, or group normalisation with 32 groups and standardised weights"
    )

    @property
    def pixels(self) -> int:
        """Height and width, in pixels, of the part of an image that a cell of the last feature map stands for."""
        return 2 ** (len(self.depths) - 1) * (4 if self.stem is ResNetStem.large else 1)


FAMILY = Family(
    name="resnet",
    config=ResNetConfig,
    provides=frozenset({"image_encoder", "image_memory"}),
    build="tformer_cli.models.resnet.model:build",
    defaults={"head.pooling": "mean"},
)
