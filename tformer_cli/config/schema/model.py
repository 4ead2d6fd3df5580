"""Settings of the models, and of what fine-tuning puts on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tformer_cli.config.schema.settings import Names, setting

Norm = Names("Norm", "pre post")
Activation = Names("Activation", "relu gelu gelu_tanh swish glu reglu geglu swiglu")
Positions = Names("Positions", "none sinusoidal learned learnable_sinusoidal rotary t5 shaw transformer_xl")
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
    max_length: int = setting(512, "longest sequence, in tokens, special tokens included", low=2)
    relative_distance: int = setting(32, "shaw: distances are clipped here; t5: number of buckets", low=2)
    if TYPE_CHECKING:  # each family's own
        family: str = field(init=False)


@dataclass
class Seq2SeqConfig(TransformerConfig):
    """Encoder-decoder Transformer (Vaswani et al. 2017)."""

    family: str = setting("seq2seq", "entry of the model registry")
    encoder_depth: int = setting(6, "encoder blocks", low=1)
    decoder_depth: int = setting(6, "decoder blocks", low=1)
    tie_embeddings: TieEmbeddings = setting(
        TieEmbeddings.all, "decoder: target embedding = output weights; all: source too"
    )
    scale_embeddings: bool = setting(True, "multiply embeddings by sqrt(dim) (section 3.4)")
    final_bias: bool = setting(False, "the output projection adds a bias per word of the vocabulary")


@dataclass
class GPTConfig(TransformerConfig):
    """Causal language model (Radford et al. 2018): the decoder alone."""

    family: str = setting("gpt", "entry of the model registry")
    depth: int = setting(6, "blocks", low=1)
    activation: Activation = setting(Activation.gelu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "how the model knows the order of its inputs")
    tie_embeddings: bool = setting(True, "the output weights are the token embedding")


@dataclass
class BERTConfig(TransformerConfig):
    """Bidirectional encoder (Devlin et al. 2019)."""

    family: str = setting("bert", "entry of the model registry")
    depth: int = setting(4, "blocks", low=1)
    norm: Norm = setting(Norm.post, "layer normalisation before each sub-layer (pre) or after the residual sum (post)")
    activation: Activation = setting(Activation.gelu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "how the model knows the order of its inputs")
    norm_eps: float = setting(1e-12, "added to the variance in layer normalisations", low=0)
    segments: int = setting(2, "segment embeddings; 0: none (RoBERTa)", low=0)


Pooling = Names("Pooling", "cls mean")


@dataclass
class HeadConfig:
    """What fine-tuning puts on an encoder."""

    pooling: Pooling = setting(Pooling.cls, "a text's vector: its first token's, by the pooler, or the mean of all")
    dropout: float = setting(0.1, "on that vector", low=0, high=0.99)
    frozen: bool = setting(False, "train the head alone, on the encoder's features")
    class_weights: bool = setting(False, "rare labels count more: by 1 / their share")
