"""Examples for causal language models."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from tformer_cli.inspectors.base import (
    Axis,
    Example,
    Lens,
    Load,
    TextInspector,
    TokenVectors,
    lens_of,
    repeated,
    sizes_up_to,
)
from tformer_cli.inspectors.encoders import spaced
from tformer_cli.nn.block import Stack
from tformer_cli.predictors.base import Input

MOST_WORDS = 40
"""Maximum number of words of a split's line that is taken as an example."""


class LanguageModelInspector(TextInspector[Any]):
    """Examples of texts that a language model reads and continues."""

    def example(self, model: Any, value: list[int], name: str) -> Example:
        """Return the example of a text; each position predicts the next token, the last one a new one."""
        tokens = torch.tensor([value], device=next(model.parameters()).device)
        with torch.inference_mode():
            best = int(model.logits(model(tokens))[0, -1].argmax())
        names = self.data.tokenizer.names([*value, best])
        example = Example(name, lambda: model(tokens), decoder=Axis.of_tokens(names[:-1]), outputs=names[1:])
        example.answer = f"next token: {names[-1]}"
        sizes = sizes_up_to(self.config.model.max_length)
        example.load = Load("tokens", sizes, lambda batch, size: partial(model, repeated(tokens, size, batch)))
        return example

    def texts(self, split: str, count: int) -> list[Input]:
        """Return the first words of lines of a split, evenly spaced."""
        lines = self.data.split(split).sentences(self.config.data.cache).documents
        return [" ".join(lines[row].split()[:MOST_WORDS]) for row in spaced(len(lines), count)]

    def lens(self, model: Any) -> Lens | None:
        """Return the output layer; None for models without blocks."""
        return lens_of(model, model.stack, self.data.tokenizer)

    def token_vectors(self, model: Any) -> TokenVectors | None:
        """Return the embedding and the blocks; None for models without blocks."""
        return TokenVectors(model.embedding, model.stack) if isinstance(model.stack, Stack) else None
