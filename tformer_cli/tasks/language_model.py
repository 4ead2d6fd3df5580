"""Causal language modelling: running text in, the next token out; perplexity, bits per byte, and writing on.

Shapes: B blocks, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from tformer_cli.data.text.corpus import Corpus
from tformer_cli.data.text.encoded import pad
from tformer_cli.decode.continuation import Continuation
from tformer_cli.decode.search import batch_sentences, num_hypotheses, search
from tformer_cli.evaluators.base import spread
from tformer_cli.models.gpt.model import GPT
from tformer_cli.predictors.inputs import SEARCH, Answer, BadInput, Readable, Refusal, unused_by_search
from tformer_cli.predictors.text import searched
from tformer_cli.tasks.base import Batch, Evaluation, Input, Loss, Prediction, Sample, Scoring, summed_loss
from tformer_cli.tasks.registry import LanguageModelExperiment
from tformer_cli.tasks.running_text import RunningText

PROMPT_CHARACTERS, SAMPLE_TOKENS = 80, 120
"""Of the samples shown while training: characters of a validation document that are given, if they fit
into half of the context; tokens that are written."""
BATCH_CACHE_BYTES = 1 << 30
"""Most keys and values of prompts that are written on together, where the settings do not say how many."""


@dataclass
class CausalBatch(Batch):
    """Blocks of running text.

    Attributes:
        inputs: (B, T), int64, padded at the end.
        targets: the token after each, (B, T), int64, padded at the end.
        lengths: real tokens a row, (B,), int64.
        documents: number of each input's document within its block, (B, T), int64; None where that does not matter.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    documents: Tensor | None

    def sizes(self) -> tuple[int, int]:
        """Real and padded tokens."""
        return int(self.lengths.sum()), self.inputs.numel()


class LanguageModel(RunningText[GPT, CausalBatch]):
    """The adapter between running text and the causal model."""

    metric = "loss"
    options = SEARCH | {"batch", "workers"}
    lower_is_better = frozenset({"loss", "perplexity", "bits_per_byte"})
    config: LanguageModelExperiment

    # --- data ---

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> CausalBatch:
        """The blocks at the given places of an epoch's stream."""
        texts, numbers = zip(*(self._running(split, epoch, int(row)) for row in rows), strict=True)
        inputs, lengths = pad([text[:-1] for text in texts], self.tokenizer.pad_id)
        targets, _ = pad([text[1:] for text in texts], self.tokenizer.pad_id)
        documents = None
        if not self.config.data.across_documents:
            documents, _ = pad([each[:-1] for each in numbers], -1)
        ids = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        return CausalBatch(ids, inputs, targets, lengths, documents)

    # --- model and loss ---

    def model(self) -> GPT:
        """A new language model for this vocabulary."""
        return GPT(self.config.model, self.tokenizer.vocab_size)

    def loss(self, model: GPT, batch: CausalBatch) -> Loss:
        """Cross-entropy of the next token, over real tokens only."""
        hidden = model(batch.inputs, batch.documents)
        return self._next_token_loss(model, hidden, batch.targets, batch.lengths)

    # --- evaluation and use ---

    def evaluate(self, model: GPT, split: str, scoring: Scoring) -> Evaluation:
        """Loss, perplexity and bits per byte over the whole split, block by block, each from an empty context."""
        sums, count = summed_loss(self, model, split)
        corpus = self._split(split)
        mean = sums["loss"] / count
        scores = {"loss": mean, "perplexity": math.exp(min(mean, 700))}
        scores["bits_per_byte"] = sums["loss"] / math.log(2) / corpus.bytes
        evaluation = Evaluation(scores, data_sha256=corpus.hash, notes=list(corpus.notes))
        if scoring.decoded and scoring.samples:
            evaluation.samples = self._samples(model, corpus, scoring.samples)
        return evaluation

    def _samples(self, model: GPT, corpus: Corpus, count: int) -> list[Sample]:
        """What the model makes of the beginnings of some documents, and how they really go on."""
        samples = []
        for number in spread(len(corpus), count):
            text = corpus.documents[number][: 4 * PROMPT_CHARACTERS]
            ids = self.tokenizer.encode(text)
            size = len(self.tokenizer.encode(text[:PROMPT_CHARACTERS]))
            prompt = ids[: min(size, self.config.model.max_length // 2, self.config.model.max_length - 2)]
            continuation = Continuation(self.tokenizer, prompt).text(ids[len(prompt) :])
            (written,) = self._write(model, [[self.tokenizer.eos_id, *prompt]], [number], most=SAMPLE_TOKENS)
            samples.append(Sample(self.tokenizer.decode(prompt), continuation[:PROMPT_CHARACTERS], written.text))
        return samples

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of texts."""
        return (self.config.data.column,)

    def unused(self, name: str) -> str:
        """Return why a setting has no effect: search does not sample, and sampling has no beam."""
        return unused_by_search(self.config.decode, name)

    def predict(self, model: GPT, inputs: Iterable[Input]) -> Iterator[Prediction]:
        """Each input written on, in order; the text is what comes after it."""
        decode, device = self.config.decode, next(model.parameters()).device

        def write(job: tuple[list[list[int]], list[int]]) -> list[Prediction]:
            return self._write(model, *job)

        yield from searched(inputs, self._read_inputs, self._divide, write, decode, device)

    def _read_inputs(self, given: list[Input]) -> list[Answer[list[int]] | Refusal]:
        """Return the tokens of each prompt."""
        return [self._prompt(text if isinstance(text, str) else text[0]) for text in given]

    def _divide(
        self, prompts: list[tuple[int, list[int]]]
    ) -> list[tuple[list[int], tuple[list[list[int]], list[int]]]]:
        """Return the jobs of numbered prompts, grouped by their number of tokens.

        There is no padding, and all prompts of a job share their positions. The shortest come first, since they have
        the most room left.
        """
        ids, jobs = dict(prompts), []

        def length_of(number: int) -> int:
            return len(ids[number])

        for length, same in groupby(sorted(ids, key=length_of), length_of):
            numbers, size = list(same), self._together(length)
            for part in (numbers[start : start + size] for start in range(0, len(numbers), size)):
                jobs.append((part, ([ids[number] for number in part], part)))
        return jobs

    def _together(self, length: int) -> int:
        """Prompts of so many tokens that are written on together."""
        decode, model = self.config.decode, self.config.model
        places = length + num_hypotheses(decode) * (self._limit(length) + 1)
        cache_bytes = 2 * model.depth * places * model.dim * torch.float32.itemsize  # keys and values
        return decode.batch or max(1, min(batch_sentences(decode), BATCH_CACHE_BYTES // cache_bytes))

    def _limit(self, length: int, most: int = 0) -> int:
        """Most tokens that are written after so many: what there is room for, or `most`, or what the settings say."""
        room = self.config.model.max_length - length
        return min(most or self.config.decode.max_length or room, room)

    def _prompt(self, prompt: str) -> Answer[list[int]] | Refusal:
        """Return the tokens of a prompt after an end-of-document token, as at the beginning of a document.

        A prompt that leaves no room is an error, is skipped, or loses its beginning. In the last case half of the
        context remains for the output, or `decode.max_length`.
        """
        context, ids = self.config.model.max_length, self.tokenizer.encode(prompt)
        if len(ids) + 1 < context:
            return Readable([self.tokenizer.eos_id, *ids])
        size = f"{len(ids):,} tokens, the model's context is {context:,}"
        room = max(1, min(self.config.decode.max_length or context, context // 2))
        kept = ids[len(ids) - max(1, context - 1 - room) :]
        remedy = "give its end only, or train with a larger model.max_length"
        return self._too_long(size, remedy, [self.tokenizer.eos_id, *kept], "its beginning was not read")

    def _ids(self, prompt: str, number: int) -> list[int]:
        """Return the tokens of a prompt that is not skipped.

        Raises:
            BadInput: if it leaves no room; `number` is the number of inputs before it.
        """
        read = self._prompt(prompt)
        if isinstance(read, Readable):
            return read.value
        reason, remedy = (read.reason, read.remedy) if isinstance(read, Refusal) else (read.details["error"], "")
        raise BadInput(number, reason, remedy)

    def stream(self, model: GPT, prompt: str, say: Callable[[str], None]) -> None:
        """Write one input on, and hand over a few characters at a time, as they are chosen.

        Raises:
            DataError: if the prompt leaves no room.
        """
        ids = self._ids(prompt, 0)
        continuation, written, told = Continuation(self.tokenizer, ids), list[int](), ""

        def listen(_: int, token: int) -> None:
            nonlocal told
            written.append(token)
            text = continuation.settled(written)
            if text.startswith(told) and len(text) > len(told):
                say(text[len(told) :])
                told = text

        (prediction,) = self._write(model, [ids], [0], on_token=listen)
        if len(prediction.text) > len(told):
            say(prediction.text[len(told) :])

    @torch.inference_mode()
    def _write(
        self,
        model: GPT,
        prompts: list[list[int]],
        numbers: list[int],
        *,
        most: int = 0,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        """Continuations of prompts, of equally many tokens, with their scores, best first.

        Args:
            model: in evaluation mode.
            prompts: their tokens.
            numbers: of the inputs: they decide what is drawn.
            most: tokens; 0: what the settings say.
            on_token: as in `search`.
        """
        decode, tokenizer = self.config.decode, self.tokenizer
        tokens = torch.tensor(prompts, device=next(model.parameters()).device)
        limit = self._limit(tokens.shape[1], most)
        never = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id} - {tokenizer.eos_id}
        results = search(
            model, model.start(tokens, num_hypotheses(decode), limit), config=decode, bos_id=tokens[:, -1],
            eos_id=tokenizer.eos_id, forbidden=sorted(never), max_lengths=torch.full((len(prompts),), limit),
            sample_ids=numbers, cached=tokens.shape[1] - 1, on_token=on_token,
        )  # fmt: skip
        predictions = []
        for prompt, hypotheses in zip(prompts, results, strict=True):
            text = Continuation(tokenizer, prompt).text
            written = [{"text": text(one.tokens), "score": one.score} for one in hypotheses]
            predictions.append(Prediction(written[0]["text"], {"hypotheses": written}))
        return predictions
