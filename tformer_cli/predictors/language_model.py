"""Continuations of prompts: a search or sampling with a causal language model, in batches of equally long prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import torch

from tformer_cli.data.text.packed import PackedText
from tformer_cli.decode.continuation import Continuation
from tformer_cli.decode.search import batch_sentences, num_hypotheses, search
from tformer_cli.decode.workers import Share, unshared
from tformer_cli.predictors.base import SEARCH, Input, Prediction
from tformer_cli.predictors.inputs import Answer, Readable, Refusal, merged, readable
from tformer_cli.predictors.text import TextPredictor, searched

BATCH_CACHE_BYTES = 1 << 30
"""Maximum size of the keys and values of prompts in one batch, unless the settings fix their number."""

Job = tuple[list[list[int]], list[int]]
"""The tokens of prompts, and the numbers of their inputs."""


class LanguageModelPredictor(TextPredictor[Any]):
    """A predictor that continues prompts; the text of a prediction does not contain the prompt."""

    options = SEARCH | {"batch", "workers"}
    streams = True
    data: PackedText

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of texts."""
        return (self.config.data.column,)

    def predict(self, model: Any, inputs: Iterable[Input], share: Share = unshared) -> Iterator[Prediction]:
        """Yield continuations in the order of the inputs."""
        decode, device = self.config.decode, next(model.parameters()).device

        def generate(job: Job) -> list[Prediction]:
            return self.generate(model, *job)

        yield from searched(inputs, self.read_inputs, self.divide, generate, decode, device, share)

    def stream(self, model: Any, prompt: str, write: Callable[[str], None]) -> Prediction:
        """Continue one prompt, and pass on a few characters at a time as they are generated.

        Raises:
            BadInput: if the prompt leaves no room for an output.
        """
        ((_, items),) = readable([prompt], 1, self.read_inputs)
        rows = [item.value for item in items if isinstance(item, Readable)]
        (prediction,) = merged(items, [self._streamed(model, ids, write) for ids in rows])
        return prediction

    def _streamed(self, model: Any, ids: list[int], write: Callable[[str], None]) -> Prediction:
        """Return the continuation of the tokens of a prompt, whose parts are passed on."""
        continuation, tokens, shown = Continuation(self.tokenizer, ids), list[int](), ""

        def show(_: int, token: int) -> None:
            nonlocal shown
            tokens.append(token)
            text = continuation.settled(tokens)
            if text.startswith(shown) and len(text) > len(shown):
                write(text[len(shown) :])
                shown = text

        (prediction,) = self.generate(model, [ids], [0], on_token=show)
        if len(prediction.text) > len(shown):
            write(prediction.text[len(shown) :])
        return prediction

    def divide(self, prompts: list[tuple[int, list[int]]]) -> list[tuple[list[int], Job]]:
        """Return the jobs of numbered prompts, grouped by their number of tokens.

        There is no padding, and all prompts of a job share their positions. The shortest come first: they leave the
        most room for the output, so that they can take longest.
        """
        ids, jobs = dict(prompts), []

        def length_of(number: int) -> int:
            return len(ids[number])

        for length, group in groupby(sorted(ids, key=length_of), length_of):
            numbers, size = list(group), self._batch_prompts(length)
            for part in (numbers[start : start + size] for start in range(0, len(numbers), size)):
                jobs.append((part, ([ids[number] for number in part], part)))
        return jobs

    @torch.inference_mode()
    def generate(
        self,
        model: Any,
        prompts: list[list[int]],
        numbers: list[int],
        *,
        max_tokens: int = 0,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        """Return continuations of prompts of equal length, with their scores, best first.

        Args:
            model: in evaluation mode.
            prompts: their tokens.
            numbers: numbers of the inputs, which determine what is sampled.
            max_tokens: maximum number of generated tokens; 0: the limit of the settings.
            on_token: see `search`.
        """
        decode, tokenizer = self.config.decode, self.tokenizer
        tokens = torch.tensor(prompts, device=next(model.parameters()).device)
        limit = self._limit(tokens.shape[1], max_tokens)
        forbidden = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id} - {tokenizer.eos_id}
        results = search(
            model, model.start(tokens, num_hypotheses(decode), limit), config=decode, bos_id=tokens[:, -1],
            eos_id=tokenizer.eos_id, forbidden=sorted(forbidden), max_lengths=torch.full((len(prompts),), limit),
            sample_ids=numbers, cached=tokens.shape[1] - 1, on_token=on_token,
        )  # fmt: skip
        predictions = []
        for prompt, hypotheses in zip(prompts, results, strict=True):
            text_of = Continuation(tokenizer, prompt).text
            texts = [hypothesis.details(text_of(hypothesis.tokens)) for hypothesis in hypotheses]
            predictions.append(Prediction(texts[0]["text"], {"hypotheses": texts}))
        return predictions

    def _read_valid(self, inputs: list[Input]) -> list[Answer[list[int]] | Refusal]:
        """Return the tokens of each prompt; see `_read_prompt`."""
        return [self._read_prompt(text if isinstance(text, str) else text[0]) for text in inputs]

    def _read_prompt(self, prompt: str) -> Answer[list[int]] | Refusal:
        """Return the tokens of a prompt after an end-of-document token, as at the beginning of a document.

        By `on_long`, a prompt that leaves no room for an output is an error, is skipped, or loses its beginning. In the
        last case `decode.max_length` tokens remain for the output, or half of the context if that is less or not set.
        """
        context, ids = self.config.model.max_length, self.tokenizer.encode(prompt)
        if len(ids) + 1 < context:
            return Readable([self.tokenizer.eos_id, *ids])
        size = f"{len(ids):,} tokens, the model's context is {context:,}"
        room = max(1, min(self.config.decode.max_length or context, context // 2))
        end = ids[len(ids) - max(1, context - 1 - room) :]
        remedy = "give its end only, or train with a larger model.max_length"
        return self._too_long(size, remedy, [self.tokenizer.eos_id, *end], "its beginning was not read")

    def _batch_prompts(self, length: int) -> int:
        """Return the number of prompts of `length` tokens in a batch."""
        decode, model = self.config.decode, self.config.model
        positions = length + num_hypotheses(decode) * (self._limit(length) + 1)
        cache_bytes = 2 * model.depth * positions * model.dim * torch.float32.itemsize  # keys and values
        return decode.batch or max(1, min(batch_sentences(decode), BATCH_CACHE_BYTES // cache_bytes))

    def _limit(self, length: int, max_tokens: int = 0) -> int:
        """Return the maximum number of tokens after `length`: `max_tokens` or the settings' limit, within the room."""
        room = self.config.model.max_length - length
        return min(max_tokens or self.config.decode.max_length or room, room)
