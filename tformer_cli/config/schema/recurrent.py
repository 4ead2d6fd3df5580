"""Settings that all recurrent families share."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.schema.model import ModelConfig
from tformer_cli.config.schema.settings import TRAINED_ENCODER, Names, setting

Cell = Names("Cell", "lstm gru")


@dataclass
class RecurrentConfig(ModelConfig):
    """A recurrent network over sequences of tokens."""

    cell: Cell = setting(Cell.lstm, "recurrent cell")
    dim: int = setting(256, "width of the embeddings and hidden states", low=1)
    dropout: float = setting(
        0.2, "dropout of embeddings, between layers, and of a decoder's outputs", low=0, high=0.99,
        only=TRAINED_ENCODER,
    )  # fmt: skip
    max_length: int = setting(512, "maximum length of a sequence, in tokens, special tokens included", low=2)
