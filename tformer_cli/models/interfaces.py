"""The interfaces of models, by which encoders, decoders, heads and evaluators are combined.

Pyright checks that a model implements an interface. `isinstance` cannot, since it does not compare the types of
methods. `PixelReader` is the exception, because only its implementations have a method of that name.

Shapes: B batch, S positions of the memory, T tokens or target length, D width, V vocabulary; C channels, H and W height
and width of images in pixels; P possible numbers of placeholders.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from tformer_cli.config.schema import ModelConfig
from tformer_cli.models.decoding import Memory
from tformer_cli.nn.stepping import State, Stepper

S = TypeVar("S", bound=State)
E = TypeVar("E", bound=Memory)


class Encoder(Protocol):
    """An encoder of inputs of any kind."""

    @property
    def width(self) -> int:
        """The width D of the memory's states."""
        ...

    def encode(self, *args: Any, **kwargs: Any) -> Memory:
        """Encode a batch of inputs, such as tokens (B, S) and their lengths (B,), or images."""
        ...


class TokenDecoder(Stepper[S], Protocol[S]):
    """An autoregressive decoder of tokens, given a memory."""

    @property
    def width(self) -> int:
        """The width D of the memory's states that it reads."""
        ...

    def decode(self, memory: Memory, target_inputs: Tensor) -> Tensor:
        """Compute the hidden states of all positions at once, given the correct previous tokens (teacher forcing).

        Args:
            memory: output of an encoder.
            target_inputs: <s> and the target's tokens, (B, T), padded at the end.

        Returns:
            Hidden states that predict the next token, (B, T, D).
        """
        ...

    def start(self, memory: Memory, beams: int, max_steps: int) -> S:
        """Return a state to decode up to `max_steps` tokens after <s> with `beams` hypotheses per sentence."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the scores of the next token: (..., D) to (..., V)."""
        ...


class TokenEditor(Protocol[E]):
    """A model that edits sequences of tokens, given a memory: it deletes tokens, and inserts and fills placeholders.

    A sequence is <s>, its tokens and </s>, (B, T), padded at the end, with (B,) real tokens including both marks.
    """

    placeholder_id: int
    """Id of the placeholder for a token that is still to be predicted; it is not in the vocabulary."""

    def encode(self, *args: Any, **kwargs: Any) -> E:
        """Encode a batch of inputs."""
        ...

    def delete(self, memory: E, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of keeping (0) and of deleting (1) each token, (B, T, 2)."""
        ...

    def insert(self, memory: E, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of the number of placeholders between each token and the next, (B, T - 1, P)."""
        ...

    def fill(self, memory: E, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return hidden states that predict the tokens of placeholders, (B, T, D), for `output_layer`."""
        ...

    def output_layer(self) -> tuple[Tensor, Tensor | None]:
        """Return weights (V, D) and bias (V,) of the output projection."""
        ...


class TokenEncoder(Protocol):
    """An encoder of tokens, to which a head of `token_heads` is added."""

    config: ModelConfig
    embedding: nn.Embedding
    """Token embedding, (V, D); masked language models also use its weights as output weights."""

    @property
    def width(self) -> int:
        """The width D of the vectors."""
        ...

    def __call__(
        self, tokens: Tensor, lengths: Tensor, segments: Tensor | None = None, documents: Tensor | None = None
    ) -> Tensor:
        """Return a vector for each token, (B, T, D).

        Args:
            tokens: (B, T), int64, padded at the end.
            lengths: number of real tokens of each row, (B,).
            segments: number of each token's segment, (B, T), int64; None: all 0.
            documents: number of each token's document, (B, T), int64, -1 for padding; a token attends only to tokens of
                the same document. None: it attends to all tokens.
        """
        ...


class PixelFilters(NamedTuple):
    """The filters of the first layer of an encoder of images.

    Attributes:
        weights: (filters, C, height, width).
        of_patches: whether they are the embedding of patches, otherwise a convolution.
    """

    weights: Tensor
    of_patches: bool


@runtime_checkable
class PixelReader(Protocol):
    """An encoder of images with a first layer that can be drawn as small images."""

    def pixel_filters(self) -> PixelFilters:
        """Return the filters of the first layer, which reads pixels."""
        ...


class Generator(Protocol):
    """A generator of images (Goodfellow et al. 2014)."""

    @property
    def noise_dim(self) -> int:
        """The width Z of the noise."""
        ...

    def __call__(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images in [-1, 1], (B, C, H, W), from noise (B, Z) and labels (B,), if the model has labels."""
        ...


class Discriminator(Protocol):
    """A discriminator of real and generated images."""

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score images (B, C, H, W) of labels (B,), if the model has labels: (B,), higher for real images."""
        ...


class Adversaries(Protocol):
    """A generator and a discriminator, which are trained against each other."""

    generator: Generator
    discriminator: Discriminator
    labels: int
    """Number of labels; 0: the model has none."""
    training: bool
    """True in training mode, False in evaluation mode."""
