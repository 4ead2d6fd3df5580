"""The Transformer (Vaswani et al. 2017): an encoder and an autoregressive decoder.

Shapes: B batch, T target length, D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import TieEmbeddings
from tformer_cli.models.decoding import SourceEncoderBase, TransformerDecoderBase, initialise
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.positions import AbsolutePositions


class Seq2Seq(SourceEncoderBase, TransformerDecoderBase):
    """An encoder-decoder Transformer.

    With `tie_embeddings: all` the source embedding, the target embedding and the output weights are one matrix
    (section 3.4; Press and Wolf 2017).

    Args:
        config: settings of the model.
        source_vocab_size: size of the source vocabulary.
        target_vocab_size: size of the target vocabulary, V.
    """

    stack_inputs = SourceEncoderBase.stack_inputs | TransformerDecoderBase.stack_inputs

    def __init__(self, config: Seq2SeqConfig, source_vocab_size: int, target_vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding_scale = config.dim**0.5 if config.scale_embeddings else 1.0
        self.target_embedding = nn.Embedding(target_vocab_size, config.dim)
        tied = config.tie_embeddings is TieEmbeddings.all
        self.source_embedding = self.target_embedding if tied else nn.Embedding(source_vocab_size, config.dim)
        self.source_positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_length)
        self.target_positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_length)
        self.dropout = Dropout(config.dropout)
        self.encoder = Stack(config, config.encoder_depth)
        self.decoder = Stack(config, config.decoder_depth, cross=True, bidirectional=False)
        if config.tie_embeddings is TieEmbeddings.none:
            self.output = nn.Linear(config.dim, target_vocab_size, bias=config.final_bias)
        elif config.final_bias:
            self.final_bias = nn.Parameter(torch.zeros(target_vocab_size))
        self.apply(initialise)

    def forward(self, source: Tensor, source_lengths: Tensor, target_inputs: Tensor) -> Tensor:
        """Encode the source and decode with teacher forcing; return hidden states (B, T, D)."""
        return self.decode(self.encode(source, source_lengths), target_inputs)


def build(config: Seq2SeqConfig, sizes: Sizes) -> Seq2Seq:
    """Return an encoder-decoder for the vocabularies of source and target."""
    source, target = sizes.vocabularies
    return Seq2Seq(config, source, target)
