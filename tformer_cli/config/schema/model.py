"""Settings of the models, and of what fine-tuning puts on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from tformer_cli.config.family import AttentionShape, Limits
from tformer_cli.config.schema.settings import Names, setting
from tformer_cli.errors import ConfigError

Norm = Names("Norm", "pre post")
Activation = Names("Activation", "relu gelu gelu_tanh swish glu reglu geglu swiglu")
Positions = Names(
    "Positions",
    "none sinusoidal learned learnable_sinusoidal rotary t5 shaw transformer_xl "
    "learned_2d sinusoidal_2d rotary_2d relative_2d",
)
GRID_POSITIONS = (Positions.learned_2d, Positions.sinusoidal_2d, Positions.rotary_2d, Positions.relative_2d)
"""Schemes of pictures: a position is a row and a column."""
ABSOLUTE_POSITIONS = (
    Positions.sinusoidal, Positions.learned, Positions.learnable_sinusoidal, Positions.learned_2d,
    Positions.sinusoidal_2d,
)  # fmt: skip
"""Schemes that are a vector per position, beside the token's embedding."""
EVEN_POSITIONS = (Positions.sinusoidal, Positions.learnable_sinusoidal, Positions.transformer_xl)
"""Schemes made of pairs of sine and cosine, as wide as the model."""
Combine = Names("Combine", "add concatenate")
Normalisation = Names("Normalisation", "batch layer group")


@dataclass
class ModelConfig:
    """The settings of a model, and what they say of it before it is built."""

    node: ClassVar[str] = "model"
    """Name of the settings in a configuration, for messages."""
    if TYPE_CHECKING:  # each family's own
        family: str = field(init=False)

    def check(self) -> None:
        """Refuse settings that are fine alone but impossible together.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        family = getattr(type(self), "family", None)
        if family is not None and self.family != family:
            raise ConfigError(f"family: {self.family!r} is given for settings of {family}", f"family: {family}")

    def limits(self) -> Limits:
        """Return what the data must know of the model."""
        return Limits()

    def attention(self, length: int) -> AttentionShape:
        """Return the shape of attention for inputs of a size.

        Args:
            length: the usual size of an input: tokens of a text, frames of a recording, pixels of a picture.
        """
        raise NotImplementedError

    @property
    def has_class_token(self) -> bool:
        """Whether a [class] token stands before all other tokens."""
        return False


@dataclass
class TransformerConfig(ModelConfig):
    """The core that all Transformer families share."""

    dim: int = setting(512, "width of the residual stream", low=1)
    heads: int = setting(8, "attention heads; must divide dim", low=1)
    ffn_dim: int = setting(2048, "inner width of the position-wise feed-forward layer", low=1)
    norm: Norm = setting(Norm.pre, "layer normalisation before each sub-layer (pre) or after the residual sum (post)")
    activation: Activation = setting(Activation.relu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.sinusoidal, "how the model knows the order of its inputs")
    combine: Combine = setting(Combine.add, "absolute positions are added to the token embedding, or concatenated")
    dropout: float = setting(0.1, "on embeddings and on every sub-layer's output", low=0, high=0.99)
    attention_dropout: float = setting(0.0, "on attention weights", low=0, high=0.99)
    ffn_dropout: float = setting(0.0, "on the feed-forward layer's inner activations", low=0, high=0.99)
    norm_eps: float = setting(1e-5, "added to the variance in layer normalisations", low=0)
    bias: bool = setting(True, "linear layers and layer normalisations have a bias")
    stochastic_depth: float = setting(
        0.0,
        "training: share of examples for which the last block is left out; it grows with depth from 0",
        low=0,
        high=0.99,
    )
    layer_scale: float = setting(0.0, "each sub-layer's output has learned factors that start here; 0: none", low=0)
    relative_distance: int = setting(32, "shaw: distances are clipped here; t5: number of buckets", low=2)

    def check(self) -> None:
        """Refuse widths that do not fit the heads or the positions.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        super().check()
        if self.dim % self.heads:
            fitting = max(heads for heads in range(1, self.heads + 1) if self.dim % heads == 0)
            cause = f"{self.node}.dim: {self.dim} is not divisible by {self.node}.heads {self.heads}"
            raise ConfigError(cause, f"{self.node}.heads={fitting}")
        head_dim, positions = self.dim // self.heads, self.positions
        if positions is Positions.rotary and head_dim % 2:
            width = f"{self.node}.dim / {self.node}.heads is {head_dim}"
            cause = f"{self.node}.positions: rotary needs an even head width, and {width}"
            raise ConfigError(cause, f"{self.node}.dim={self.heads * (head_dim + 1)}")
        if positions in EVEN_POSITIONS and self.dim % 2:
            multiple = math.lcm(self.heads, 2)
            cause = f"{self.node}.positions: {positions.name} needs an even {self.node}.dim, not {self.dim}"
            raise ConfigError(cause, f"{self.node}.dim={multiple * (self.dim // multiple + 1)}")
        if self.combine is Combine.concatenate and positions not in ABSOLUTE_POSITIONS:
            cause = f"{self.node}.combine: concatenate needs absolute positions, not {positions.name}"
            raise ConfigError(cause, f"{self.node}.combine=add")
        parts = {Positions.learned_2d: (self.dim, 2), Positions.sinusoidal_2d: (self.dim, 4)}
        width, divisor = parts.get(positions, (head_dim, 4 if positions is Positions.rotary_2d else 1))
        if width % divisor:
            name = f"{self.node}.dim" if positions in parts else f"{self.node}.dim / {self.node}.heads"
            cause = f"{self.node}.positions: {positions.name} needs {name} divisible by {divisor}, not {width}"
            raise ConfigError(cause, f"{self.node}.dim={self.heads * math.ceil(head_dim / 4) * 4}")

    def attention(self, length: int) -> AttentionShape:
        """Return the shape of attention over sequences of `length` tokens."""
        return {"heads": self.heads, "head_dim": self.dim // self.heads, "length": length}


@dataclass
class TextModelConfig(TransformerConfig):
    """A Transformer whose sequences are of tokens."""

    max_length: int = setting(512, "longest sequence, in tokens, special tokens included", low=2)

    def check(self) -> None:
        """Refuse positions of rows and columns.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        if self.positions in GRID_POSITIONS:
            cause = f"{self.node}.positions: {self.positions.name} has rows and columns, and a text is one line"
            line = self.positions.name.removesuffix("_2d").replace("relative", "t5")
            raise ConfigError(cause, f"{self.node}.positions={line}")
        super().check()

    def attention(self, length: int) -> AttentionShape:
        """Return the shape of attention over texts of `length` tokens, at most `max_length`."""
        return super().attention(max(1, min(length, self.max_length)))


@dataclass
class TransformerDecoderConfig(TextModelConfig):
    """A Transformer's decoder by itself, which is composed with an encoder of any kind."""

    node: ClassVar[str] = "decoder"
    depth: int = setting(6, "blocks", low=1, high=1000)
    tie_embeddings: bool = setting(True, "the output weights are the token embedding")


Pooling = Names("Pooling", "cls mean")


@dataclass
class HeadConfig:
    """What fine-tuning puts on an encoder."""

    dropout: float = setting(0.1, "on what the encoder gives", low=0, high=0.99)
    frozen: bool = setting(False, "train the head alone, on the encoder's features")


@dataclass
class ClassifierHeadConfig(HeadConfig):
    """A head that says one thing of a whole text or picture."""

    pooling: Pooling = setting(Pooling.cls, "its vector: the first token's, of texts by the pooler, or the mean of all")
    class_weights: bool = setting(False, "rare labels count more: by 1 / their share")


@dataclass
class ImageHeadConfig(ClassifierHeadConfig):
    """What classifies pictures."""

    dropout: float = setting(0.0, "on that vector", low=0, high=0.99)
    hidden: bool = setting(
        False,
        "a hidden layer with tanh, as in the paper's pre-training; fine-tuning begins without it",
    )
