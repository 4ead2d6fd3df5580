"""Recurrent encoder-decoders for texts: an encoder and one of the decoders, with shared embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import TieEmbeddings
from tformer_cli.models.decoding import Memory
from tformer_cli.models.encoder_decoder import EncoderDecoder
from tformer_cli.models.recurrent import RecurrentEncoder, initialise
from tformer_cli.models.recurrent_seq2seq import RecurrentSeq2SeqConfig
from tformer_cli.models.recurrent_seq2seq.decoder import RecurrentState, build_decoder
from tformer_cli.nn.recurrent import RecurrentEncoderStack, full_precision


class RecurrentSeq2Seq(EncoderDecoder[RecurrentState]):
    """A recurrent encoder-decoder.

    Args:
        config: settings of the model.
        source_vocab_size: size of the source vocabulary.
        target_vocab_size: size of the target vocabulary.
    """

    swaps_head = False

    def __init__(self, config: RecurrentSeq2SeqConfig, source_vocab_size: int, target_vocab_size: int) -> None:
        decoder = build_decoder(config, target_vocab_size)
        tied = config.tie_embeddings is TieEmbeddings.all
        embedding = decoder.embedding if tied else nn.Embedding(source_vocab_size, config.dim)
        stack = RecurrentEncoderStack(
            config.cell, config.dim, config.dim, config.encoder_depth, bidirectional=config.bidirectional,
            dropout=config.dropout,
        )  # fmt: skip
        encoder = RecurrentEncoder(embedding, stack, dropout=config.dropout, reverse=config.reverse_source)
        super().__init__(encoder, decoder)
        self.config = config
        self.apply(initialise)

    def encode(self, *inputs: Tensor) -> Memory:
        """Encode inputs, and project the states if there is a bridge, in the full precision that the decoder needs."""
        with full_precision(inputs[0]):
            return super().encode(*inputs)


def build(config: RecurrentSeq2SeqConfig, sizes: Sizes) -> RecurrentSeq2Seq:
    """Return an encoder-decoder for the vocabularies of source and target."""
    source, target = sizes.vocabularies
    return RecurrentSeq2Seq(config, source, target)
