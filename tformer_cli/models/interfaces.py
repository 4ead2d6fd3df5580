"""What models offer each other, their heads and their evaluation, so that any of them can be composed.

`isinstance` cannot tell whether a model offers this: methods of the same name may give something else. Pyright can. The
exception is `PatchAttention`, whose method has a name of its own.

Shapes: B batch, S positions of the memory, T tokens or target length, D width, V vocabulary; C channels, H and W height
and width of images in pixels, N patches.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from tformer_cli.config.schema import TextModelConfig
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


class TokenEncoder(Protocol):
    """A body with a vector for each token, from both sides; the heads of `token_heads` go on it."""

    config: TextModelConfig
    embedding: nn.Embedding
    """Of tokens, (V, D): the output weights of masked language models too."""

    @property
    def width(self) -> int:
        """D."""
        ...

    def __call__(
        self, tokens: Tensor, lengths: Tensor, segments: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        """Return a vector for each token, (B, T, D).

        Args:
            tokens: (B, T), int64, padded at the end.
            lengths: real tokens in each row, (B,).
            segments: number of each token's segment, (B, T), int64; None: all 0.
            documents: number of each token's document, (B, T), int64, -1 for padding: a token sees its own document
                only. None: it sees all.
        """
        ...


@runtime_checkable
class PatchAttention(Protocol):
    """An encoder of images with attention over patches, which can be drawn over the images."""

    def patch_attention(self, images: Tensor) -> Tensor:
        """Return how much the vector of an image depends on each patch, by attention in the last layer.

        Args:
            images: (B, C, H, W), float32.

        Returns:
            (B, rows, columns), float32, for rows * columns = N patches; the weights of an image sum to 1 at most.
        """
        ...
