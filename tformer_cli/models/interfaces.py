"""What an encoder and a decoder offer each other, so that any of them can be composed.

`isinstance` cannot tell whether a model offers this: methods of the same name may give something else. Pyright can.

Shapes: B batch, S positions of the memory, T target length, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from torch import Tensor

from tformer_cli.models.decoding import Memory
from tformer_cli.nn.stepping import State, Stepper

S = TypeVar("S", bound=State)


class Encoder(Protocol):
    """Whatever reads an input."""

    @property
    def width(self) -> int:
        """D of the memory's states."""
        ...

    def encode(self, *args: Any, **kwargs: Any) -> Memory:
        """Read a batch of inputs of its own kind, such as tokens (B, S) and their lengths (B,), or pictures."""
        ...


class TokenDecoder(Stepper[S], Protocol[S]):
    """Whatever predicts tokens, one after the other, from a memory."""

    @property
    def width(self) -> int:
        """D of the memory's states that it reads."""
        ...

    def decode(self, memory: Memory, target_inputs: Tensor) -> Tensor:
        """Predict all next tokens at once, each from the right tokens before it (teacher forcing).

        Args:
            memory: of an encoder.
            target_inputs: <s> and the target's tokens, (B, T), padded at the end.

        Returns:
            Hidden states that predict the next token, (B, T, D).
        """
        ...

    def start(self, memory: Memory, beams: int, max_steps: int) -> S:
        """Return a state for up to `max_steps` tokens after <s>, and `beams` hypotheses a sentence."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token: (..., D) to (..., V)."""
        ...
