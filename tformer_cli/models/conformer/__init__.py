"""Conformer (Gulati et al. 2020): an encoder for speech recognition, with an optional decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import Activation, Normalisation, Positions, TextModelConfig, setting
from tformer_cli.errors import ConfigError


@dataclass
class ConformerConfig(TextModelConfig):
    """Conformer encoder with CTC (Gulati et al. 2020), and also a Transformer decoder if decoder_depth is not 0."""

    family: str = setting("conformer", "name of the model family")
    depth: int = setting(16, "number of encoder blocks", low=1, high=1000)
    dim: int = setting(144, "width of the hidden states", low=1)
    heads: int = setting(4, "attention heads; must divide dim", low=1)
    ffn_dim: int = setting(576, "inner width of the feed-forward layers", low=1)
    activation: Activation = setting(Activation.swish, "feed-forward activation; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.transformer_xl, "position scheme")
    max_frames: int = setting(
        4096, "positions=learned or sinusoidal: maximum number of frames after subsampling", low=1
    )
    subsampling: int = setting(4, "factor by which convolutions reduce the number of frames: 4 or 8", low=4, high=8)
    subsampling_dim: int = setting(0, "channels of these convolutions; 0: dim", low=0)
    self_attention: bool = setting(True, "self-attention in the encoder's blocks; false: convolutions alone")
    convolution: bool = setting(True, "the convolution module of the encoder's blocks; false: self-attention alone")
    kernel_size: int = setting(31, "kernel size of the depthwise convolution, in frames; odd", low=1)
    convolution_norm: Normalisation = setting(
        Normalisation.batch, "normalisation in the convolution module; padding is excluded"
    )
    causal_convolution: bool = setting(False, "the depthwise convolution does not use later frames")
    decoder_depth: int = setting(0, "blocks of the attention decoder; 0: only CTC", low=0, high=1000)

    def check(self) -> None:
        """Refuse kernel sizes, subsampling factors and normalisations that the model cannot have.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.kernel_size % 2 == 0:
            cause = f"model.kernel_size: must be odd, not {self.kernel_size}"
            raise ConfigError(cause, f"model.kernel_size={self.kernel_size - 1}")
        if self.subsampling not in (4, 8):
            raise ConfigError(f"model.subsampling: {self.subsampling} is neither 4 nor 8", "model.subsampling=4")
        if not self.self_attention and not self.convolution:
            cause = "model.convolution: model.convolution and model.self_attention cannot both be false"
            raise ConfigError(cause, "model.convolution=true")
        if self.causal_convolution and self.convolution_norm is Normalisation.group:
            cause = "model.convolution_norm: group uses later frames, which model.causal_convolution excludes"
            raise ConfigError(cause, "model.convolution_norm=layer")

    def limits(self) -> Limits:
        """Return the maximum length of a transcript, and the number of output frames for a number of input frames."""
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
