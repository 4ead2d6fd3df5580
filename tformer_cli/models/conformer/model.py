"""Conformer (Gulati et al. 2020): speech recognition with attention and convolution.

    x~  = x   + 1/2 FFN(x)
    x'  = x~  + MHSA(x~)
    x'' = x'  + Conv(x')
    y   = Layernorm(x'' + 1/2 FFN(x''))                             (eq. 1)

The transcript is predicted by connectionist temporal classification (Graves et al. 2006), and optionally by a
Transformer decoder too (Watanabe et al. 2017).

Shapes: B recordings, T frames, F features per frame, T' frames after subsampling, D model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import Positions
from tformer_cli.errors import DataError
from tformer_cli.models.conformer import ConformerConfig
from tformer_cli.models.decoding import Memory, TransformerDecoderBase, initialise
from tformer_cli.nn.attention import Mask
from tformer_cli.nn.block import Stack
from tformer_cli.nn.convolution import ConvolutionModule, Frames, Lengths, Subsampling
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.positions import AbsolutePositions


class ConformerEncoder(nn.Module):
    """The encoder: subsampling, dropout, and the blocks (figure 1).

    Args:
        config: settings of the model.
        bins: number of features per frame, F.
    """

    def __init__(self, config: ConformerConfig, bins: int) -> None:
        super().__init__()
        self.config = config
        channels = config.subsampling_dim or config.dim
        self.subsampling = Subsampling(bins, config.dim, config.subsampling, channels, bias=config.bias)
        self.positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_frames)
        self.dropout = Dropout(config.dropout)
        self.stack = Stack(
            config, config.depth, macaron=True, self_attention=config.self_attention,
            convolution=self._convolution if config.convolution else None,
        )  # fmt: skip

    def _convolution(self) -> ConvolutionModule:
        config = self.config
        return ConvolutionModule(
            config.dim, config.kernel_size, config.convolution_norm, causal=config.causal_convolution, bias=config.bias
        )

    @property
    def width(self) -> int:
        """The width D of the hidden states."""
        return self.config.dim

    def encode(self, features: Tensor, lengths: Tensor) -> Memory:
        """Return the memory of recordings: see `Conformer.encode`."""
        return self(features, lengths)

    def forward(self, features: Tensor, lengths: Tensor) -> Memory:
        """Encode features; see `Conformer.encode`."""
        x, lengths = self.subsampling(features, lengths)
        size, limit, scheme = x.shape[1], self.config.max_frames, self.config.positions
        if size > limit and scheme in (Positions.learned, Positions.sinusoidal):
            positions = f"model.positions={scheme.name} has only {limit} positions"
            cause = f"a recording has {size} frames after subsampling, but {positions}"
            raise DataError(cause, "raise model.max_frames, or lower data.max_seconds")
        x = self.dropout(self.positions(x, torch.arange(size, device=x.device)))
        mask = Mask.from_lengths(lengths, size)
        return Memory(self.stack(x, mask=mask, frames=Frames(lengths, size)), mask, lengths)


class Conformer(TransformerDecoderBase):
    """The encoder, the output layer of CTC, and a decoder if `decoder_depth` is not 0.

    The decoder's embeddings, which are multiplied by sqrt(D) as inputs, are also the weights of its output projection
    (Press and Wolf 2017).

    Args:
        config: settings of the model.
        bins: number of features per frame, F.
        vocab_size: size of the vocabulary, V; padding is the blank of CTC.
    """

    swaps_head = True

    def __init__(self, config: ConformerConfig, bins: int, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConformerEncoder(config, bins)
        self.ctc = nn.Linear(config.dim, vocab_size)
        self.dropout = Dropout(config.dropout)
        if config.decoder_depth:
            self.embedding_scale = config.dim**0.5
            self.target_embedding = nn.Embedding(vocab_size, config.dim)
            self.target_positions = AbsolutePositions(config.positions, config.combine, config.dim, config.max_length)
            self.decoder = Stack(config, config.decoder_depth, cross=True, bidirectional=False)
        self.apply(initialise)

    def output_frames(self, lengths: Lengths) -> Lengths:
        """Return the numbers of frames after subsampling, (B,), for numbers of input frames; 0 if too few."""
        return self.encoder.subsampling.output_frames(lengths)

    def encode(self, source: Tensor, source_lengths: Tensor) -> Memory:
        """Encode recordings.

        Args:
            source: features, (B, T, F), padded at the end.
            source_lengths: number of real frames of each recording, (B,), int64.

        Returns:
            States (B, T', D) with T' at least 1; their lengths are `output_frames(source_lengths)`.

        Raises:
            DataError: if a recording has more frames than the model has absolute positions.
        """
        return self.encoder(source, source_lengths)

    def forward(self, source: Tensor, source_lengths: Tensor, target_inputs: Tensor) -> Tensor:
        """Encode the source and decode with teacher forcing; return hidden states (B, T, D)."""
        return self.decode(self.encode(source, source_lengths), target_inputs)

    def ctc_logits(self, states: Tensor) -> Tensor:
        """Return the scores of tokens and blank (the padding token) in each frame: (..., D) to (..., V)."""
        return self.ctc(self.dropout(states))


def build(config: ConformerConfig, sizes: Sizes) -> Conformer:
    """Return a recogniser for these features and this vocabulary."""
    (vocabulary,) = sizes.vocabularies
    return Conformer(config, sizes.bins, vocabulary)
