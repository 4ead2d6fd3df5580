"""The interfaces of autoregressive models and of their states, as search uses them.

Shapes: B sentences, R rows (hypotheses) of each, K cached keys, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

from tformer_cli.nn.attention import Mask
from tformer_cli.nn.int8 import Int8Linear


class State(Protocol):
    """The state of a decoder between steps, for all rows of all sentences."""

    def follow(self, parents: Tensor) -> None:
        """Reorder the rows: row r of sentence b continues the previous row `parents[b, r]`.

        Search calls it after each step. R grows once, from 1 to the number of hypotheses, when the hypotheses of a
        sentence diverge. A cache does nothing, since a mask selects its keys; a recurrent state (B, R, D) is gathered.

        Args:
            parents: (B, R), int64, from 0 to the number of rows in the last step minus 1; arbitrary in this range for
                rows without a hypothesis.
        """
        ...

    def keep(self, sentences: Tensor) -> None:
        """Drop all but the given sentences.

        Args:
            sentences: (B',), int64, ascending.
        """
        ...


S_contra = TypeVar("S_contra", bound=State, contravariant=True)


class Stepper(Protocol[S_contra]):
    """An autoregressive model."""

    def step(self, tokens: Tensor, state: S_contra, mask: Mask) -> Tensor:
        """Read one more token of each row.

        Args:
            tokens: the last token of each row, (B, R), int64; R is 1 until the hypotheses of a sentence diverge.
            state: state, which is advanced by a token.
            mask: mask (B, 1, R, K) of the cached keys that each row attends to, where K includes the keys of all rows
                of this step. Models without caches ignore it.

        Returns:
            Hidden states, (B, R, D).
        """
        ...

    def output_layer(self) -> tuple[Tensor, Tensor | None] | Int8Linear:
        """Return the output projection, hidden states to logits: weights (V, D) and bias (V,), or a quantised layer."""
        ...
