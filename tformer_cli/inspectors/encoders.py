"""Examples for encoders of tokens: texts with labels, tagged words, questions, and texts with masked tokens.

Shapes: B batch, T tokens, D width of the embeddings, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Target
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.questions import Question
from tformer_cli.inspectors.base import (
    Axis,
    Example,
    Explained,
    Lens,
    Load,
    TextInspector,
    TokenVectors,
    lens_of,
    repeated,
    sizes_up_to,
)
from tformer_cli.nn.block import Stack
from tformer_cli.predictors.base import Input


@contextmanager
def replaced_output(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Replace the output of a module by a given tensor while the context is open."""
    hook = module.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        hook.remove()


def spaced(rows: int, count: int) -> list[int]:
    """Return the indices of at most `count` of `rows` rows, evenly spaced from the first to the last."""
    return np.linspace(0, rows - 1, min(count, rows), dtype=int).tolist()


class EncoderInspector(TextInspector[Any]):
    """Examples for a model with an `encoder` of tokens; a subclass implements `example` and `texts`."""

    def token_vectors(self, model: Any) -> TokenVectors | None:
        """Return the embedding and the blocks of the encoder; None for encoders without such blocks."""
        stack = getattr(model.encoder, "stack", None)
        return TokenVectors(model.encoder.embedding, stack) if isinstance(stack, Stack) else None

    def of_tokens(self, model: Any, name: str, tokens: Tensor, lengths: Tensor, segments: Tensor | None) -> Example:
        """Return the example of one sequence.

        Args:
            model: in evaluation mode.
            name: the text.
            tokens: (1, T), int64.
            lengths: (1,), int64.
            segments: (1, T), int64, or None.
        """
        device = next(model.parameters()).device
        tokens, lengths = tokens.to(device), lengths.to(device)
        segments = None if segments is None else segments.to(device)
        names = self.data.tokenizer.names(tokens[0].tolist())

        def prepare(batch: int, size: int) -> Callable[[], object]:
            full = torch.full((batch,), size, device=device)
            return partial(model.encoder, repeated(tokens, size, batch), full, None)

        load = Load("tokens", sizes_up_to(self.config.model.max_length), prepare)
        return Example(name, lambda: model.encoder(tokens, lengths, segments), Axis.of_tokens(names), load=load)

    def texts(self, split: str, count: int) -> list[Input]:
        """Return at most `count` lines of the documents of a split, evenly spaced."""
        lines = self.data.split(split).sentences(self.config.data.cache).documents
        return [lines[row] for row in spaced(len(lines), count)]


class TextClassificationInspector(EncoderInspector):
    """Examples of texts, or of pairs of texts, with labels or numbers."""

    @property
    def labels(self) -> Sequence[str]:
        """The labels, if each text has one; see `Inspector.labels`."""
        return self.data.labels.names if self.data.labels.target is Target.label else ()

    def example(self, model: Any, value: list[np.ndarray], name: str) -> Example:
        """Return the example of the tokens of a text or a pair, with the score of the predicted label."""
        tokens, lengths, segments = self.data.join([value])
        example = self.of_tokens(model, name, tokens, lengths, segments)
        device = next(model.parameters()).device
        tokens, lengths = tokens.to(device), lengths.to(device)
        segments = None if segments is None else segments.to(device)
        with torch.inference_mode():
            outputs = model(tokens, lengths, segments).float()
        (prediction,) = self.predictor.predictions(outputs.cpu())
        example.answer = prediction.text.replace("\t", " ")
        best, names = int(outputs[0].argmax()), self.data.labels.names
        score_name = f"logit of {names[best]}" if len(names) else "the predicted number"
        special = {self.data.tokenizer.bos_id, self.data.tokenizer.eos_id}

        def explained() -> Explained:
            embedding = model.encoder.embedding
            vectors = embedding(tokens)[0].detach()
            is_special = torch.tensor([[token in special] for token in tokens[0].tolist()], device=device)

            def score(batch: Tensor) -> Tensor:
                size = len(batch)
                repeated = None if segments is None else segments.expand(size, -1)
                with replaced_output(embedding, batch):
                    return model(tokens.expand(size, -1), lengths.expand(size), repeated).float()[:, best]

            return Explained(score_name, vectors, score, torch.where(is_special, vectors, torch.zeros_like(vectors)))

        example.explained = explained
        return example

    def texts(self, split: str, count: int) -> list[Input]:
        """Return texts or pairs of a split."""
        data = self.data.split(split)
        rows = spaced(len(data), count)
        if data.seconds is None:
            return [data.texts[row] for row in rows]
        return [[data.texts[row], data.seconds[row]] for row in rows]


class TaggingInspector(EncoderInspector):
    """Examples of tagged sentences."""

    def example(self, model: Any, value: list[str], name: str) -> Example:
        """Return the example of the words of a sentence."""
        tokens, lengths, _, _ = self.data.join(self.data.encode([value]))
        example = self.of_tokens(model, name, tokens, lengths, None)
        example.answer = self.predicted(model, value).text
        return example

    def texts(self, split: str, count: int) -> list[Input]:
        """Return sentences of a split as words."""
        words = self.data.split(split).words
        return [words[row] for row in spaced(len(words), count)]


class QuestionInspector(EncoderInspector):
    """Examples of questions with the first window of their texts."""

    def example(self, model: Any, value: tuple[str, str], name: str) -> Example:
        """Return the example of a question and the first window of its text."""
        windows = self.data.divide(0, Question("0", *value, ()))[:1]
        batch = self.data.collate(windows, torch.arange(1))
        segments = batch.segments if self.config.model.limits().segments > 1 else None
        example = self.of_tokens(model, name, batch.tokens, batch.lengths, segments)
        example.answer = self.predicted(model, value).text
        return example

    def texts(self, split: str, count: int) -> list[Input]:
        """Return questions of a split with their texts."""
        questions = self.data.split(split).rows
        return [[questions[row].question, questions[row].context] for row in spaced(len(questions), count)]


class MaskedTokensInspector(EncoderInspector):
    """Examples of texts, some of whose tokens may be masked."""

    def example(self, model: Any, value: tuple[str, np.ndarray], name: str) -> Example:
        """Return the example of a text."""
        tokens, lengths = pad([value[1]], self.data.tokenizer.pad_id)
        example = self.of_tokens(model, name, tokens, lengths, None)
        if self.data.mask_id in value[1]:
            example.answer = self.predicted(model, value).text
        return example

    def lens(self, model: Any) -> Lens | None:
        """Return the head for masked tokens, which predicts the token at each position itself."""
        vectors = self.token_vectors(model)
        return lens_of(model, vectors and vectors.stack, self.data.tokenizer, head=model.head)
