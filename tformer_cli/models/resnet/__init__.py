"""ResNet (He et al. 2016): an encoder of pictures made of convolutions."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import AttentionShape, Family
from tformer_cli.config.schema import ModelConfig, Names, setting

ResNetStem = Names("ResNetStem", "large small")
BatchOrGroup = Names("BatchOrGroup", "batch group")


@dataclass
class ResNetConfig(ModelConfig):
    """Residual network (He et al. 2016), with squeeze and excitation (Hu et al. 2018) if `squeeze` is set."""

    family: str = setting("resnet", "entry of the model registry")
    depths: list[int] = setting(
        [3, 4, 6, 3], "blocks in each stage; stages after the first halve the resolution", low=1, high=1000
    )
    dim: int = setting(64, "channels of the first stage; each stage has twice as many as the one before", low=1)
    bottleneck: bool = setting(True, "blocks 1x1, 3x3, 1x1 with four times the channels, or two of 3x3")
    squeeze: int = setting(0, "squeeze and excitation: channels over the width of its bottleneck (r); 0: none", low=0)
    stem: ResNetStem = setting(
        ResNetStem.large, "large: 7x7 and pooling, a quarter of the resolution; small: 3x3, for pictures of 32 pixels"
    )
    norm: BatchOrGroup = setting(
        BatchOrGroup.batch, "over the batch, or over 32 groups of channels (and standardised weights)"
    )

    @property
    def pixels(self) -> int:
        """Height and width, in pixels, of what a cell of the last stage's map stands for."""
        return 2 ** (len(self.depths) - 1) * (4 if self.stem is ResNetStem.large else 1)

    def attention(self, length: int) -> AttentionShape:
        """Return a shape to speak of no attention, since there is none."""
        return {"heads": 1, "head_dim": 1, "length": 1}


FAMILY = Family(
    name="resnet",
    config=ResNetConfig,
    provides=frozenset({"image_encoder", "image_memory"}),
    build="tformer_cli.models.resnet.model:build",
    defaults={"head.pooling": "mean"},
)
