"""Settings of the models and of the heads that fine-tuning adds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from tformer_cli.config.family import AttentionShape, Limits
from tformer_cli.config.schema.settings import TRAINED_ENCODER, Names, setting
from tformer_cli.errors import ConfigError

if TYPE_CHECKING:
    from tformer_cli.config.schema.training import DecodeConfig

Norm = Names("Norm", "pre post")
Activation = Names("Activation", "relu gelu gelu_tanh swish swish_beta glu reglu geglu swiglu")
Positions = Names(
    "Positions",
    "none index sinusoidal learned learnable_sinusoidal rotary t5 shaw transformer_xl "
    "learned_2d sinusoidal_2d rotary_2d relative_2d",
)
GRID_POSITIONS = (Positions.learned_2d, Positions.sinusoidal_2d, Positions.rotary_2d, Positions.relative_2d)
"""Schemes for images: a position is a row and a column."""
ABSOLUTE_POSITIONS = (
    Positions.index, Positions.sinusoidal, Positions.learned, Positions.learnable_sinusoidal, Positions.learned_2d,
    Positions.sinusoidal_2d,
)  # fmt: skip
"""Schemes with a vector for each position, which is added to or concatenated with the token's embedding."""
EVEN_POSITIONS = (Positions.sinusoidal, Positions.learnable_sinusoidal, Positions.transformer_xl)
"""Schemes of pairs of sine and cosine, which need an even width of the model."""
Combine = Names("Combine", "add concatenate")
Normalisation = Names("Normalisation", "batch layer group")
TieEmbeddings = Names("TieEmbeddings", "none decoder all")


@dataclass
class ModelConfig:
    """The settings of a model, and what follows from them before it is built."""

    node: ClassVar[str] = "model"
    """Name of the settings in a configuration, for messages."""
    if TYPE_CHECKING:  # defined by the subclass of each family
        family: str = field(init=False)

    def check(self) -> None:
        """Refuse invalid combinations of settings.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        family = getattr(type(self), "family", None)
        if family is not None and self.family != family:
            raise ConfigError(f"family: {self.family!r} is given for settings of {family}", f"family: {family}")

    def limits(self) -> Limits:
        """Return the limits of the model that the data needs."""
        return Limits()

    def attention_shape(self, length: int) -> AttentionShape:
        """Return the shape of attention for inputs of a typical length; the smallest if there is no choice of backends.

        Args:
            length: the typical size of an input: tokens of a text, frames of a recording, pixels of an image.
        """
        return {"heads": 1, "head_dim": 1, "length": 1}

    @property
    def aligns(self) -> bool:
        """Return whether outputs can be aligned with a source text, by the decoder's attention to it."""
        return True

    @property
    def has_class_token(self) -> bool:
        """Return whether a [class] token precedes all other tokens."""
        return False


@dataclass
class TransformerConfig(ModelConfig):
    """The settings that all Transformer families share."""

    dim: int = setting(512, "width of the embeddings and hidden states", low=1)
    heads: int = setting(8, "attention heads; must divide dim", low=1)
    ffn_dim: int = setting(2048, "inner width of the feed-forward layers", low=1)
    norm: Norm = setting(Norm.pre, "layer normalisation before each sub-layer (pre) or after the residual sum (post)")
    activation: Activation = setting(
        Activation.relu,
        "feed-forward activation; glu, reglu, geglu, swiglu are gated; swish_beta: x sigmoid(beta x), beta is trained",
    )
    positions: Positions = setting(
        Positions.sinusoidal,
        "position scheme; index: the position's number as every component, which norm=pre removes unless concatenated "
        "(in evaluation, and in training with dropout=0)",
    )
    combine: Combine = setting(Combine.add, "absolute positions are added to the token embedding, or concatenated")
    dropout: float = setting(
        0.1, "dropout of embeddings and of each sub-layer's output", low=0, high=0.99, only=TRAINED_ENCODER
    )
    attention_dropout: float = setting(0.0, "dropout of attention weights", low=0, high=0.99, only=TRAINED_ENCODER)
    ffn_dropout: float = setting(
        0.0, "dropout of the inner activations of feed-forward layers", low=0, high=0.99, only=TRAINED_ENCODER
    )
    norm_eps: float = setting(1e-5, "added to the variance in layer normalisations", low=0)
    bias: bool = setting(True, "use a bias in linear layers and layer normalisations")
    stochastic_depth: float = setting(
        0.0,
        "training: share of examples for which the last block is skipped; it grows linearly from 0 at the first block",
        low=0,
        high=0.99,
        only=TRAINED_ENCODER,
    )
    layer_scale: float = setting(0.0, "initial value of learned factors of each sub-layer's output; 0: none", low=0)
    relative_distance: int = setting(
        32, "shaw: maximum distance; t5: number of buckets", low=2, only="positions=shaw|t5"
    )
    scale_attention: bool = setting(
        True, "divide the scores of attention by the root of the head width; false shows how they saturate the softmax"
    )
    residual: bool = setting(True, "residual connections around all sub-layers; false shows what depth is without them")

    def check(self) -> None:
        """Refuse widths that do not fit the heads or the positions.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.stochastic_depth and not self.residual:
            cause = f"{self.node}.stochastic_depth: a sub-layer cannot be skipped without {self.node}.residual"
            raise ConfigError(cause, f"{self.node}.stochastic_depth=0")
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

    def attention_shape(self, length: int) -> AttentionShape:
        """Return the shape of attention over sequences of `length` tokens."""
        return {"heads": self.heads, "head_dim": self.dim // self.heads, "length": length}


@dataclass
class TextModelConfig(TransformerConfig):
    """A Transformer over sequences of tokens."""

    max_length: int = setting(512, "maximum length of a sequence, in tokens, special tokens included", low=2)

    def check(self) -> None:
        """Refuse positions in rows and columns, which text does not have.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if self.positions in GRID_POSITIONS:
            cause = f"{self.node}.positions: {self.positions.name} has rows and columns, and a text is one line"
            line = self.positions.name.removesuffix("_2d").replace("relative", "t5")
            raise ConfigError(cause, f"{self.node}.positions={line}")
        super().check()

    def attention_shape(self, length: int) -> AttentionShape:
        """Return the shape of attention over texts of `length` tokens, at most `max_length`."""
        return super().attention_shape(max(1, min(length, self.max_length)))


@dataclass
class TransformerDecoderConfig(TextModelConfig):
    """A Transformer decoder, which can be combined with an encoder of any kind."""

    node: ClassVar[str] = "decoder"
    depth: int = setting(6, "number of blocks", low=1, high=1000)
    tie_embeddings: bool = setting(True, "share the weights of the token embedding and the output layer")

    def check_outputs(self, decode: DecodeConfig) -> None:
        """Refuse a maximum output length above that of the decoder, and settings without effect on texts for files.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if decode.max_length > self.max_length:
            cause = f"decode.max_length: {decode.max_length} is more than decoder.max_length {self.max_length}"
            raise ConfigError(cause, f"decode.max_length={self.max_length}")
        names = ("max_length_a", "max_length_b", "batch", "workers", "precision", "shortlist", "alignments")
        decode.check_idle(names, "texts for files")


Pooling = Names("Pooling", "cls mean")


@dataclass
class HeadConfig:
    """A head that fine-tuning adds to an encoder."""

    dropout: float = setting(0.1, "dropout of the encoder's output", low=0, high=0.99)
    frozen: bool = setting(False, "train only the head; the encoder's weights stay fixed, and it has no dropout")


@dataclass
class ClassifierHeadConfig(HeadConfig):
    """A head that makes one prediction for a text or an image."""

    pooling: Pooling = setting(Pooling.cls, "input of the head: the first token (texts: after the pooler), or the mean")
    class_weights: bool = setting(False, "weight each label in the loss by 1 / its share of the training examples")

    def check_balance(self, balance: float) -> None:
        """Refuse to balance labels both by sampling, as `data.balance` does, and by weights.

        Raises:
            ConfigError: if both are set.
        """
        if balance and self.class_weights:
            cause = "data.balance and head.class_weights both raise the weight of rare labels"
            raise ConfigError(cause, "choose one: head.class_weights=false, or data.balance=0")


@dataclass
class ImageHeadConfig(ClassifierHeadConfig):
    """A head that classifies images."""

    dropout: float = setting(0.0, "dropout of the input of the head", low=0, high=0.99)
    hidden: bool = setting(
        False,
        "add a hidden layer with tanh, as in the paper's pre-training; fine-tuning starts without it",
    )
