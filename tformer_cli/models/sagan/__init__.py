"""SAGAN (Zhang et al. 2019): a generator and a discriminator of residual blocks with self-attention."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import ModelConfig, Names, setting
from tformer_cli.errors import ConfigError

SpectralNorms = Names("SpectralNorms", "none discriminator both")
GeneratorNorm = Names("GeneratorNorm", "batch group")


@dataclass
class SAGANConfig(ModelConfig):
    """Self-attention GAN (Zhang et al. 2019); without self-attention, a projection GAN (Miyato and Koyama 2018)."""

    family: str = setting("sagan", "name of the model family")
    noise_dim: int = setting(128, "width of the normally distributed noise that a picture is generated from", low=1)
    generator: list[int] = setting(
        [64, 64, 32], "generator: channels of its maps, from the smallest; each doubles height and width", low=1
    )
    discriminator: list[int] = setting([32, 64, 64], "discriminator: channels of its blocks", low=1)
    halvings: int = setting(2, "discriminator: number of its first blocks that halve height and width", low=0)
    attention: bool = setting(True, "self-attention in both nets; false: the same nets without it")
    generator_attention: int = setting(1, "block of the generator, from 1, after which self-attention comes", low=1)
    discriminator_attention: int = setting(1, "the same for the discriminator", low=1)
    spectral_norm: SpectralNorms = setting(
        SpectralNorms.discriminator, "nets whose weights are divided by their largest singular value"
    )
    norm: GeneratorNorm = setting(
        GeneratorNorm.batch,
        "generator: normalisation with a gain and a shift of each label; group: independent of the batch, in 8 groups "
        "of channels, or 4, 2 or 1 if 8 does not divide their number",
    )

    def check(self) -> None:
        """Refuse networks without blocks, more halvings than blocks, and self-attention after a missing block.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if len(self.generator) < 2 or not self.discriminator:
            cause = "model.generator needs two maps or more, and model.discriminator a block"
            raise ConfigError(cause, "model.generator=[64,64,32] model.discriminator=[32,64,64]")
        blocks = {"generator": len(self.generator) - 1, "discriminator": len(self.discriminator)}
        if self.halvings > blocks["discriminator"]:
            cause = f"model.halvings: {self.halvings} is more than the {blocks['discriminator']} blocks"
            raise ConfigError(cause, f"model.halvings={blocks['discriminator']}")
        for name, count in blocks.items():
            block = getattr(self, f"{name}_attention")
            if self.attention and block > count:
                cause = f"model.{name}_attention: {block} is more than the {count} blocks of the {name}"
                raise ConfigError(cause, f"model.{name}_attention={count}")

    def check_map(self, height_width: tuple[int, int]) -> None:
        """Refuse self-attention of the discriminator on a map that is too small to be pooled.

        The maps of the generator have a height and width of at least 2 after each block.

        Args:
            height_width: height and width of images, in pixels.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        block = self.discriminator_attention
        height, width = (side // 2 ** min(block, self.halvings) for side in height_width)
        if self.attention and min(height, width) < 2:
            cause = f"model.discriminator_attention: the map after block {block} has {height} x {width} cells"
            largest = (min(height_width) // 2).bit_length() - 1  # halvings that leave two cells
            remedy = f"model.discriminator_attention={largest}" if largest else "model.halvings=0"
            raise ConfigError(f"{cause}, and attention needs 2 x 2", remedy)

    def limits(self) -> Limits:
        """Return the number that height and width must be multiples of, since blocks double or halve them."""
        return Limits(multiple=2 ** max(len(self.generator) - 1, self.halvings))


FAMILY = Family(
    name="sagan",
    config=SAGANConfig,
    provides=frozenset({"image_generator"}),
    build="tformer_cli.models.sagan.model:build",
)
