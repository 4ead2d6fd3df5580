"""The interface of inspectors: an input as the model reads it, with a meaning for each of its positions.

A model knows positions 0, 1, ...; a reader of a figure knows tokens, patches of an image and seconds of a recording. An
inspector connects both. Figures (`tformer_cli.figures`) are drawn from examples, and know no task and no model family.

Shapes: N positions, D dimensions of their coordinates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

import numpy as np
from torch import Tensor, nn

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.core.media import shown
from tformer_cli.data.core.media_sources import Row
from tformer_cli.errors import DataError
from tformer_cli.nn.block import Stack
from tformer_cli.objectives.base import M
from tformer_cli.predictors.base import Input, Prediction, Predictor
from tformer_cli.predictors.files import MediaFiles
from tformer_cli.predictors.inputs import BadInput, OnLong, Readable, Refusal


@dataclass(frozen=True)
class Axis:
    """The positions of a sequence, and where they are.

    Attributes:
        names: name of each position; empty for a patch or a frame.
        coordinates: (N, D), float64, in `unit`; NaN for a position without a place, such as [class].
        unit: tokens, pixels or seconds.
        grid: numbers of rows and columns of the positions that have a place, in raster order; None: they are a line.
    """

    names: Sequence[str]
    coordinates: np.ndarray
    unit: str = "tokens"
    grid: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def placed(self) -> np.ndarray:
        """Whether each position has a place, (N,), bool."""
        return np.logical_not(np.isnan(self.coordinates).any(axis=-1))

    @classmethod
    def of_tokens(cls, names: Sequence[str]) -> Axis:
        """Return the positions of tokens."""
        return cls(names, np.arange(len(names), dtype=np.float64)[:, None])

    @classmethod
    def of_patches(cls, grid: tuple[int, int], patch_pixels: tuple[float, float], before: Sequence[str] = ()) -> Axis:
        """Return the positions of patches in raster order; the coordinates are the centres of the patches.

        Args:
            grid: numbers of rows and columns.
            patch_pixels: height and width of a patch, in pixels.
            before: names of positions before the first patch, such as [class], which have no place.
        """
        rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
        centres = (np.stack((rows, columns), 1) + 0.5) * np.array(patch_pixels)
        coordinates = np.concatenate((np.full((len(before), 2), np.nan), centres))
        return cls([*before, *[""] * len(centres)], coordinates, "pixels", grid)

    @classmethod
    def of_frames(cls, count: int, frame_seconds: float, begin_seconds: float = 0.0) -> Axis:
        """Return the positions of consecutive frames; their coordinates are the times at which they begin."""
        times = begin_seconds + np.arange(count, dtype=np.float64) * frame_seconds
        return cls([""] * count, times[:, None], "seconds")


@dataclass(frozen=True)
class Explained:
    """A score as a function of the input's vectors, to measure the importance of each vector.

    Attributes:
        name: name of the score, such as `logit of LABEL`.
        vectors: the input: embeddings (N, D), or an image (C, H, W).
        score: function from a batch of inputs, (B, N, D) or (B, C, H, W), to their scores (B,).
        baseline: an input without information, of the shape of `vectors` or broadcastable to it.
    """

    name: str
    vectors: Tensor
    score: Callable[[Tensor], Tensor]
    baseline: Tensor


@dataclass(frozen=True)
class Emissions:
    """The most probable token of a CTC output layer in each of T' frames.

    Attributes:
        tokens: name of the most probable token, blank excluded.
        probabilities: its probability, (T',).
        blank: probability of blank, (T',).
    """

    tokens: Sequence[str]
    probabilities: np.ndarray
    blank: np.ndarray


@dataclass(frozen=True)
class Load:
    """Inputs of any size, made by repeating an example, to measure the speed of a model.

    Attributes:
        unit: unit of the size of an input: tokens, pixels or frames.
        sizes: sizes that the model reads, ascending.
        prepare: function of a batch size and an input size; it makes a batch of such examples, and returns a function
            that runs the model on the batch.
    """

    unit: str
    sizes: Sequence[int]
    prepare: Callable[[int, int], Callable[[], object]]


def sizes_up_to(limit: int) -> list[int]:
    """Return sizes of inputs to measure: powers of 2 from 16, at most 512 and `limit`; below 16, `limit` alone."""
    return [size for size in (16, 32, 64, 128, 256, 512) if size <= limit] or [limit]


def repeated(values: Tensor, size: int, batch: int) -> Tensor:
    """Return the first of a batch of sequences, (1, T, ...), repeated to a length and a batch, (batch, size, ...)."""
    times = -(-size // values.shape[1])
    return values.repeat(batch, times, *[1] * (values.dim() - 2))[:, :size]


@dataclass
class Example:
    """An input, ready for figures.

    Attributes:
        name: the text, or the name of the file.
        run: function that runs the model on this input alone, so that each layer computes all its positions.
        encoder: positions of the encoder; None: there is no encoder.
        decoder: positions of the decoder's inputs; None: there is no decoder.
        outputs: names of what the decoder's positions predict; empty: there is no decoder.
        answer: the model's prediction.
        image: the image as the model sees it, (H, W, 3 or 1), uint8; None: the input is no image.
        features: features of a recording, (T, F), float; None: the input is no recording.
        frame_seconds: time between two frames of `features`.
        begin_seconds: time of the first frame of `features`, which is negative if silence is added before a recording.
        words: words that the model recognises, each with the time at which it begins, in seconds.
        emissions: the most probable CTC token in each frame of the encoder; None: no CTC is trained.
        explained: function that returns a score to explain; None: there is none.
        load: inputs of any size like this one, to measure the speed; None: there are none.
    """

    name: str
    run: Callable[[], object]
    encoder: Axis | None = None
    decoder: Axis | None = None
    outputs: Sequence[str] = ()
    answer: str = ""
    image: np.ndarray | None = None
    features: np.ndarray | None = None
    frame_seconds: float = 0.0
    begin_seconds: float = 0.0
    words: Sequence[tuple[float, str]] = ()
    emissions: Emissions | None = None
    explained: Callable[[], Explained] | None = None
    load: Load | None = None

    def axes(self, kind: AttentionKind) -> tuple[Axis, Axis] | None:
        """Return the positions of queries and keys of an attention layer of a kind; None: this input has none."""
        if kind is AttentionKind.encoder:
            axes = self.encoder, self.encoder
        elif kind is AttentionKind.decoder:
            axes = self.decoder, self.decoder
        else:
            axes = self.decoder, self.encoder
        return None if axes[0] is None or axes[1] is None else (axes[0], axes[1])


@dataclass(frozen=True)
class Lens:
    """The layers that turn the hidden states of a stack into predictions of tokens (a logit lens).

    Attributes:
        stack: the stack of blocks.
        logits: function from hidden states (T, D), before the last normalisation, to scores (T, V).
        pieces: function from token ids to their names.
        of_decoder: whether it is a stack of the decoder; otherwise of the encoder.
    """

    stack: Stack
    logits: Callable[[Tensor], Tensor]
    pieces: Callable[[Sequence[int]], Sequence[str]]
    of_decoder: bool


def lens_of(
    model: Any,
    stack: Any,
    tokenizer: Any,
    language: str | None = None,
    *,
    head: Callable[[Tensor], Tensor] | None = None,
) -> Lens | None:
    """Return the lens of a stack, which predicts tokens from hidden states; None if it is no stack of blocks.

    Args:
        model: a model with an output layer, `logits`.
        stack: a `Stack`: of an encoder if there is a head, otherwise of a decoder. Anything else has no lens.
        tokenizer: vocabulary of the predictions.
        language: their language, if vocabularies are separate.
        head: layers of an encoder between the last normalisation and the output layer; None: a decoder has none.
    """
    if not isinstance(stack, Stack):
        return None

    def logits(hidden: Tensor) -> Tensor:
        states = stack.norm(hidden)
        return model.logits(states if head is None else head(states))

    return Lens(stack, logits, partial(tokenizer.names, language=language), of_decoder=head is None)


def generated_tokens(prediction: Prediction, tokenizer: Any, language: str | None, limit: int) -> list[int]:
    """Return at most `limit` token ids of a prediction: the generated ids, or else the ids of its text."""
    tokens = tokenizer.encode(prediction.text, language) if prediction.tokens is None else prediction.tokens
    return list(tokens[:limit])


@dataclass(frozen=True)
class TokenVectors:
    """The vectors of tokens: static ones of the embedding, and contextual ones of the layers of a stack.

    Attributes:
        embedding: the static vectors.
        stack: the blocks of the encoder, or of the decoder if there is no encoder.
    """

    embedding: nn.Embedding
    stack: Stack


class Inspector(Generic[M]):
    """Examples for figures, of a user's inputs or of a split; a subclass implements `examples` and `of_split`.

    Args:
        predictor: predictor of the run, which reads inputs.
    """

    def __init__(self, predictor: Predictor[M]) -> None:
        self.predictor, self.data, self.config = predictor, predictor.data, predictor.config

    def examples(self, model: M, inputs: Sequence[Input]) -> list[Example]:
        """Return the examples of a user's inputs.

        Args:
            model: in evaluation mode.
            inputs: texts, or paths of files.

        Raises:
            DataError: if an input is malformed, too long or unreadable.
        """
        raise NotImplementedError

    def of_split(self, model: M, split: str, count: int) -> list[Example]:
        """Return at most `count` examples of a split, evenly spaced.

        Args:
            model: in evaluation mode.
            split: train, validation or test.
            count: maximum number of examples.

        Raises:
            DataError: if there is no such split, or its data cannot be read.
        """
        raise NotImplementedError

    def texts(self, split: str, count: int) -> list[Input]:
        """Return at most `count` texts of a split, evenly spaced; none if the inputs are no texts."""
        return []

    def lens(self, model: M) -> Lens | None:
        """Return the lens, which predicts tokens from hidden states; None: the model does not predict tokens."""
        return None

    @property
    def labels(self) -> Sequence[str]:
        """The labels, if each input has exactly one, as the table of predictions names them; otherwise empty."""
        return ()

    def images(self, split: str, rows: Sequence[int]) -> list[np.ndarray]:
        """Return images of a split as the model sees them, (H, W, 3 or 1) uint8; empty: the inputs are no images."""
        return []

    def token_vectors(self, model: M) -> TokenVectors | None:
        """Return the layers that compute vectors of the input's tokens; None: the input is no text."""
        return None

    def readings(self, model: M, inputs: Sequence[Input]) -> list[Example]:
        """Return examples of texts without predictions, cut to the maximum length; unreadable ones are left out."""
        return []


def files_read(files: MediaFiles, inputs: Sequence[Any]) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the decoded content and the name of each file, given by its path or by a row of a table.

    Raises:
        DataError: if one cannot be read.
    """
    for item in inputs:
        content, name = (item.content, item.name) if isinstance(item, Row) else (Path(str(item)), str(item))
        yield files.read(content, name), shown(Path(name).name)


class TextInspector(Inspector[M]):
    """Examples of texts; a subclass implements `example` and `texts`."""

    predictor: Any

    def examples(self, model: M, inputs: Sequence[Input]) -> list[Example]:
        """Return the example of each text; see `Inspector.examples`."""
        return self._read_by(self.predictor, model, inputs)

    def of_split(self, model: M, split: str, count: int) -> list[Example]:
        """Return examples of a split, cut to the model's maximum length; see `Inspector.of_split`."""
        cutting = copy.copy(self.predictor)
        cutting.on_long = OnLong.cut
        return self._read_by(cutting, model, self.texts(split, count))

    def readings(self, model: M, inputs: Sequence[Input]) -> list[Example]:
        """Return examples of texts without predictions; see `Inspector.readings`."""
        cutting = copy.copy(self.predictor)
        cutting.on_long = OnLong.cut
        items = cutting.read_inputs(list(inputs))
        return [self.reading(model, item.value) for item in items if isinstance(item, Readable)]

    def reading(self, model: M, value: Any) -> Example:
        """Return the example of an input; a subclass leaves out a prediction that takes long."""
        return self.example(model, value, "")

    def predicted(self, model: M, value: Any) -> Prediction:
        """Return the prediction for an input that `predictor.read_inputs` has read and possibly cut."""
        predictor = copy.copy(self.predictor)
        predictor.read_inputs = lambda inputs: [Readable(value)]
        (prediction,) = predictor.predict(model, [""])
        return prediction

    def _read_by(self, predictor: Any, model: M, inputs: Sequence[Input]) -> list[Example]:
        examples = []
        for number, (text, item) in enumerate(zip(inputs, predictor.read_inputs(list(inputs)), strict=True)):
            if isinstance(item, Refusal):
                raise BadInput(number, item.reason, item.remedy)
            if not isinstance(item, Readable):
                cause = item.details.get("error", "it has no tokens")
                raise DataError(f"input {number + 1}: {cause}", "leave it out, or give a text with a word or more")
            examples.append(self.example(model, item.value, text if isinstance(text, str) else " | ".join(text)))
        return examples

    def example(self, model: M, value: Any, name: str) -> Example:
        """Return the example of an input that `predictor.read_inputs` has read."""
        raise NotImplementedError

    def texts(self, split: str, count: int) -> list[Input]:
        """Return at most `count` inputs of a split, evenly spaced."""
        raise NotImplementedError
