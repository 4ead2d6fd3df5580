"""The Levenshtein Transformer (Gu et al. 2019): an encoder, and a decoder that edits the current sequence y.

The decoder reads y = <s> y_1 ... y_n </s> without a causal mask. With its states h_i, three heads predict (section 3.1)

    pi_del(d | i, y) = softmax(h_i A^T)              deletion of y_i: d = 1 deletes
    pi_plh(p | i, y) = softmax([h_i; h_{i+1}] B^T)   number of placeholders between y_i and y_{i+1}: 0 ... 255
    pi_tok(t | i, y) = softmax(h_i C^T)              token of a placeholder; C is the embedding

Each head can have its own decoder. Deletions and placeholders can use the states of an earlier block (section 3.3).

Shapes: B batch, S source length, T tokens of y with <s> and </s>, D model width, V vocabulary, P = 256 possible numbers
of placeholders.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import TieEmbeddings
from tformer_cli.models.decoding import Memory, SourceEncoderBase, embed, initialise
from tformer_cli.models.levenshtein import MAX_PLACEHOLDERS, LevenshteinConfig
from tformer_cli.nn.attention import Mask
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.positions import AbsolutePositions


class Pass(NamedTuple):
    """The inputs of a decoder, (B, T) padded tokens and (B,) lengths, and its states, (B, T, D)."""

    tokens: Tensor
    lengths: Tensor
    states: Tensor

    def equal(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return whether each sequence (B, T') equals the input of this pass, (B,) bool."""
        width = min(tokens.shape[1], self.tokens.shape[1])
        return (lengths == self.lengths) & (tokens[:, :width] == self.tokens[:, :width]).all(1)


@dataclass
class EditorMemory(Memory):
    """The output of the encoder, with the keys and values of cross-attention, which all passes of a decoder share.

    Attributes:
        keys_values: keys and values (B, H, S, K) of each block, for each decoder by its name.
        passes: the last pass without gradients, by the decoder's name and the number of blocks.
    """

    keys_values: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    passes: dict[tuple[str, int], Pass] = field(default_factory=dict)

    def select(self, rows: Tensor) -> Self:
        """Return the memory of some of the inputs, (B',) int64."""
        pairs = {name: [(k[rows], v[rows]) for k, v in pairs] for name, pairs in self.keys_values.items()}
        passes = {key: Pass(*(part[rows] for part in last)) for key, last in self.passes.items()}
        return replace(super().select(rows), keys_values=pairs, passes=passes)


class LevenshteinTransformer(SourceEncoderBase):
    """A Levenshtein Transformer, a `TokenEditor`.

    The target embedding has a last row for the placeholder, which is not a token of the vocabulary and is never
    predicted.

    Args:
        config: settings of the model.
        source_vocab_size: size of the source vocabulary.
        target_vocab_size: size of the target vocabulary, V.
    """

    stack_inputs = SourceEncoderBase.stack_inputs | dict.fromkeys(
        ("target_embedding", "target_positions"), ("decoder", "delete_decoder", "placeholder_decoder")
    )

    def __init__(self, config: LevenshteinConfig, source_vocab_size: int, target_vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.placeholder_id = target_vocab_size
        self.embedding_scale = config.dim**0.5 if config.scale_embeddings else 1.0
        self.target_embedding = nn.Embedding(target_vocab_size + 1, config.dim)
        tied = config.tie_embeddings is TieEmbeddings.all
        self.source_embedding = self.target_embedding if tied else nn.Embedding(source_vocab_size, config.dim)
        scheme = (config.positions, config.combine, config.dim)
        self.source_positions = AbsolutePositions(*scheme, config.max_length)
        self.target_positions = AbsolutePositions(*scheme, config.max_length + 1)  # <s> and </s>
        self.dropout = Dropout(config.dropout)
        self.encoder = Stack(config, config.encoder_depth)
        self.decoder = Stack(config, config.decoder_depth, cross=True)
        self.depths = {
            "delete": config.delete_depth or config.decoder_depth,
            "placeholder": config.placeholder_depth or config.decoder_depth,
            "token": config.decoder_depth,
        }
        if not config.shared_decoder:
            self.delete_decoder = Stack(config, self.depths["delete"], cross=True)
            self.placeholder_decoder = Stack(config, self.depths["placeholder"], cross=True)
        self.delete_head = nn.Linear(config.dim, 2, bias=False)
        self.placeholder_head = nn.Linear(2 * config.dim, MAX_PLACEHOLDERS + 1, bias=False)
        if config.tie_embeddings is TieEmbeddings.none:
            self.output = nn.Linear(config.dim, target_vocab_size, bias=False)
        self.apply(initialise)

    @property
    def width(self) -> int:
        """The width D of the states."""
        return self.config.dim

    def encode(self, source: Tensor, source_lengths: Tensor) -> EditorMemory:
        """Encode the source, (B, S) padded at the end, with (B,) real tokens."""
        memory = super().encode(source, source_lengths)
        pairs = {
            name: [block.cross.sublayer.keys_values(memory.states) for block in stack.blocks if block.cross is not None]
            for name, stack in self._decoders().items()
        }
        return EditorMemory(memory.states, memory.mask, memory.lengths, keys_values=pairs)

    def delete(self, memory: EditorMemory, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of keeping and of deleting each token, (B, T, 2): see `TokenEditor.delete`."""
        return self.delete_head(self._states("delete", memory, tokens, lengths))

    def insert(self, memory: EditorMemory, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of the number of placeholders in each gap, (B, T - 1, P): see `TokenEditor.insert`."""
        states = self._states("placeholder", memory, tokens, lengths)
        return self.placeholder_head(torch.cat((states[:, :-1], states[:, 1:]), dim=-1))

    def fill(self, memory: EditorMemory, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return hidden states that predict the token of each placeholder, (B, T, D): see `TokenEditor.fill`."""
        return self._states("token", memory, tokens, lengths)

    def output_layer(self) -> tuple[Tensor, None]:
        """Return the weights (V, D) of the output layer, without the placeholder, and no bias."""
        if hasattr(self, "output"):
            return self.output.weight, None
        return self.target_embedding.weight[: self.placeholder_id], None

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of a placeholder's token: (..., D) to (..., V)."""
        return nn.functional.linear(hidden, *self.output_layer())

    def _decoders(self) -> dict[str, Stack]:
        """Return the decoders by the name of the head that reads them; the shared one is `token`."""
        if self.config.shared_decoder:
            return {"token": self.decoder}
        return {"delete": self.delete_decoder, "placeholder": self.placeholder_decoder, "token": self.decoder}

    def _states(self, head: str, memory: EditorMemory, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the decoder's states for a head, (B, T, D).

        Without gradients, only sequences that differ from those of the last pass through the same blocks are computed.
        With a shared decoder, insertion thus reuses the states of deletion if nothing was deleted from a sequence.
        """
        name, depth = head if head in self._decoders() else "token", self.depths[head]
        if torch.is_grad_enabled():
            return self._read(name, depth, memory, tokens, lengths)
        last = memory.passes.get((name, depth))
        changed = torch.arange(len(tokens)) if last is None else (~last.equal(tokens, lengths)).nonzero()[:, 0]
        if last is None or len(changed) == len(tokens):
            states = self._read(name, depth, memory, tokens, lengths)
        else:
            states = pad(last.states, (0, 0, 0, tokens.shape[1] - last.states.shape[1]))  # negative padding crops
            if len(changed):
                part = self._read(name, depth, memory.select(changed), tokens[changed], lengths[changed])
                states[changed] = part
        memory.passes[name, depth] = Pass(tokens.clone(), lengths.clone(), states)
        return states

    def _read(self, name: str, depth: int, memory: EditorMemory, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the states of the first blocks of a decoder, (B, T, D)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = embed(self, tokens, self.target_embedding, self.target_positions, positions)
        mask = Mask.from_lengths(lengths, tokens.shape[1])
        pairs = memory.keys_values[name]
        return self._decoders()[name](x, pairs, mask=mask, memory_mask=memory.mask, depth=depth)


def build(config: LevenshteinConfig, sizes: Sizes) -> LevenshteinTransformer:
    """Return a Levenshtein Transformer for the vocabularies of source and target."""
    source, target = sizes.vocabularies
    return LevenshteinTransformer(config, source, target)
