"""Settings of the models, and of what fine-tuning puts on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tformer_cli.config.schema.settings import Names, setting

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
Combine = Names("Combine", "add concatenate")
TieEmbeddings = Names("TieEmbeddings", "none decoder all")


@dataclass
class TransformerConfig:
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
    if TYPE_CHECKING:  # each family's own
        family: str = field(init=False)


@dataclass
class TextModelConfig(TransformerConfig):
    """A Transformer whose sequences are of tokens."""

    max_length: int = setting(512, "longest sequence, in tokens, special tokens included", low=2)


@dataclass
class Seq2SeqConfig(TextModelConfig):
    """Encoder-decoder Transformer (Vaswani et al. 2017)."""

    family: str = setting("seq2seq", "entry of the model registry")
    encoder_depth: int = setting(6, "encoder blocks", low=1, high=1000)
    decoder_depth: int = setting(6, "decoder blocks", low=1, high=1000)
    tie_embeddings: TieEmbeddings = setting(
        TieEmbeddings.all, "decoder: target embedding = output weights; all: source too"
    )
    scale_embeddings: bool = setting(True, "multiply embeddings by sqrt(dim) (section 3.4)")
    final_bias: bool = setting(False, "the output projection adds a bias per word of the vocabulary")


@dataclass
class GPTConfig(TextModelConfig):
    """Causal language model (Radford et al. 2018): the decoder alone."""

    family: str = setting("gpt", "entry of the model registry")
    depth: int = setting(6, "blocks", low=1, high=1000)
    activation: Activation = setting(Activation.gelu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "how the model knows the order of its inputs")
    tie_embeddings: bool = setting(True, "the output weights are the token embedding")


@dataclass
class BERTConfig(TextModelConfig):
    """Bidirectional encoder (Devlin et al. 2019)."""

    family: str = setting("bert", "entry of the model registry")
    depth: int = setting(4, "blocks", low=1, high=1000)
    norm: Norm = setting(Norm.post, "layer normalisation before each sub-layer (pre) or after the residual sum (post)")
    activation: Activation = setting(Activation.gelu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "how the model knows the order of its inputs")
    norm_eps: float = setting(1e-12, "added to the variance in layer normalisations", low=0)
    segments: int = setting(2, "segment embeddings; 0: none (RoBERTa)", low=0)


ResNetStem = Names("ResNetStem", "large small")
BatchOrGroup = Names("BatchOrGroup", "batch group")


@dataclass
class ResNetConfig:
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
    resnet: ResNetConfig = field(default_factory=lambda: ResNetConfig(depths=[3, 4, 9]))

    @property
    def patch_pixels(self) -> int:
        """Height and width, in pixels, of what a token stands for."""
        return self.patch_size * (self.resnet.pixels if self.stem is Stem.resnet else 1)


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
