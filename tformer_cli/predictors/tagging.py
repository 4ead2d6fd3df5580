"""Tags of the words of sentences, and the entities that they mark."""

from __future__ import annotations

from typing import Any

import torch

from tformer_cli.data.text.sentences import separated_words
from tformer_cli.data.text.tagged_words import TaggedWords
from tformer_cli.predictors.base import Input, Prediction
from tformer_cli.predictors.inputs import Answer, Readable, Refusal
from tformer_cli.predictors.text import TextPredictor


class Tagger(TextPredictor[Any]):
    """A predictor of a tag with its probability for each word."""

    data: TaggedWords

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of words."""
        return (self.config.data.words,)

    def _read_valid(self, inputs: list[Input]) -> list[Answer[list[str]] | Refusal]:
        """Return the words of each line, separated by spaces, or of each sentence."""
        words = [separated_words(text) if isinstance(text, str) else list(text) for text in inputs]
        encoded = self.data.encode(words)
        counts = self.data.join(encoded)[-1].tolist() if encoded else []
        answers: list[Answer[list[str]] | Refusal] = []
        for row, count in zip(words, counts, strict=True):
            if count == len(row):
                answers.append(Readable(row))
                continue
            size = f"{len(row):,} words, of which {count:,} fit into the model"
            answers.append(self._too_long(size, "split it into sentences", row[:count], "the others have no tag"))
        return answers

    @torch.inference_mode()
    def _answer(self, model: Any, rows: list[list[str]]) -> list[Prediction]:
        """Return the tags of the words of sentences within the model's limit."""
        data, device = self.data, next(model.parameters()).device
        tokens, lengths, indices, _ = data.join(data.encode(rows))
        probabilities = model(tokens.to(device), lengths.to(device), indices.to(device)).float().softmax(-1)
        probability, number = (part.tolist() for part in probabilities.max(-1))
        predictions, start = [], 0
        for row in rows:
            stop = start + len(row)
            tags = [data.tags[n] for n in number[start:stop]]
            rounded = [round(p, 6) for p in probability[start:stop]]
            details = {"words": row, "tags": tags, "probabilities": rounded, **self._entities(row, tags)}
            predictions.append(Prediction(" ".join(tags), details))
            start = stop
        return predictions

    def _entities(self, words: list[str], tags: list[str]) -> dict[str, list[dict[str, str | int]]]:
        """Return the entities of a sentence, if its tags mark any: type, text, first word, word after the last."""
        scheme = self.data.scheme
        if scheme is None or not scheme.has_entities:
            return {}
        return {
            "entities": [
                {"type": entity_type, "text": " ".join(words[start:stop]), "start": start, "stop": stop}
                for entity_type, start, stop in scheme.entities(tags)
            ]
        }
