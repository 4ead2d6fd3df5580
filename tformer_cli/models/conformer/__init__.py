"""Conformer (Gulati et al. 2020): a recogniser of speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import Activation, Normalisation, Positions, TextModelConfig, setting
from tformer_cli.errors import ConfigError


@dataclass
class ConformerConfig(TextModelConfig):
    """Conformer encoder (Gulati et al. 2020), with a Transformer decoder beside CTC if decoder_depth is not 0."""

    family: str = setting("conformer", "entry of the model registry")
    depth: int = setting(16, "encoder blocks", low=1, high=1000)
    dim: int = setting(144, "width of the residual stream", low=1)
    heads: int = setting(4, "attention heads; must divide dim", low=1)
    ffn_dim: int = setting(576, "inner width of the position-wise feed-forward layers", low=1)
    activation: Activation = setting(
        Activation.swish, "of the feed-forward layers; glu, reglu, geglu, swiglu are gated"
    )
    positions: Positions = setting(Positions.transformer_xl, "how the model knows the order of its inputs")
    max_frames: int = setting(4096, "positions=learned or sinusoidal: most frames after subsampling", low=1)
    subsampling: int = setting(4, "frames that the convolutions before the blocks make one of: 4 or 8", low=4, high=8)
    subsampling_dim: int = setting(0, "channels of those convolutions; 0: dim", low=0)
    kernel_size: int = setting(31, "frames that the depthwise convolution sees; odd", low=1)
    convolution_norm: Normalisation = setting(Normalisation.batch, "in the convolution module, over valid frames alone")
    causal_convolution: bool = setting(False, "the depthwise convolution sees no later frames")
    decoder_depth: int = setting(0, "blocks of the attention decoder; 0: CTC alone", low=0, high=1000)

    def check(self) -> None:
        """Refuse shapes that are fine alone but impossible together.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        super().check()
        if self.kernel_size % 2 == 0:
            cause = f"model.kernel_size: {self.kernel_size} has no frame in its middle"
            raise ConfigError(cause, f"model.kernel_size={self.kernel_size - 1}")
        if self.subsampling not in (4, 8):
            raise ConfigError(f"model.subsampling: {self.subsampling} is neither 4 nor 8", "model.subsampling=4")
        if self.causal_convolution and self.convolution_norm is Normalisation.group:
            cause = (
                "model.convolution_norm: group goes over the frames to come, which model.causal_convolution must not "
                "see"
            )
            raise ConfigError(cause, "model.convolution_norm=layer")

    def limits(self) -> Limits:
        """Return the number of frames that the decoder, and CTC, have of a recording."""
        return Limits(target=self.max_length if self.decoder_depth else None, frames=self._output_frames)

    def _output_frames(self, frames: Any) -> Any:
        from tformer_cli.nn.convolution import subsampled

        return subsampled(frames, self.subsampling)


FAMILY = Family(
    name="conformer",
    config=ConformerConfig,
    provides=frozenset({"recording_encoder", "speech_recogniser"}),
    build="tformer_cli.models.conformer.model:build",
)
