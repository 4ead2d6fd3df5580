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

from tformer_cli.config.schema import LanguageModelExperiment
from tformer_cli.data.corpus import Corpus
from tformer_cli.data.text import pad
from tformer_cli.decode.search import search, together, width
from tformer_cli.errors import DataError
from tformer_cli.models.gpt import GPT
from tformer_cli.tasks.base import Batch, Evaluation, Loss, Prediction, Sample, Scoring, summed_loss
from tformer_cli.tasks.running_text import RunningText
from tformer_cli.tasks.splits import spread
from tformer_cli.tasks.text import searched

PROMPT_CHARACTERS, SAMPLE_TOKENS = 80, 120
"""Of the samples shown while training: characters of a validation document that are given, if they fit
into half of the context; tokens that are written."""
BATCH_CACHE_BYTES = 1 << 30
"""Most keys and values of prompts that are written on together, where the settings do not say how many."""
REPLACEMENT = "\ufffd"
"""What decoding gives for bytes that are not a whole character yet."""


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
        evaluation = Evaluation(scores, data_sha256=corpus.hash)
        if scoring.decoded and scoring.samples:
            evaluation.samples = self._samples(model, corpus, scoring.samples)
        return evaluation

    def _samples(self, model: GPT, corpus: Corpus, count: int) -> list[Sample]:
        """What the model makes of the beginnings of some documents, and how they really go on."""
        found = []
        for number in spread(len(corpus), count):
            text = corpus.documents[number]
            ids = self.tokenizer.encode(text[:PROMPT_CHARACTERS])
            prompt = self.tokenizer.decode(ids[: self.config.model.max_length // 2])
            rest = text[len(prompt) : len(prompt) + PROMPT_CHARACTERS]
            (written,) = self._write(model, [self._ids(prompt, number)], [number], most=SAMPLE_TOKENS)
            found.append(Sample(prompt, rest, written.text))
        return found

    def predict(self, model: GPT, inputs: Iterable[str]) -> Iterator[Prediction]:
        """Each input written on, in order; the text is what comes after it."""
        device = next(model.parameters()).device
        yield from searched(inputs, self._divide, lambda job: self._write(model, *job), self.config.decode, device)

    def _divide(self, prompts: list[str], before: int) -> list[tuple[list[int], tuple[list[list[int]], list[int]]]]:
        """The jobs of some prompts, those of equally many tokens together; `before` prompts came before them.

        So there is no padding, and one row of places serves all. The shortest come first: they have the most room left.
        """
        ids = [self._ids(prompt, number) for number, prompt in enumerate(prompts, before)]
        lengths, jobs = [len(row) for row in ids], []
        for length, same in groupby(sorted(range(len(ids)), key=lengths.__getitem__), lengths.__getitem__):
            places, size = list(same), self._together(length)
            for part in (places[start : start + size] for start in range(0, len(places), size)):
                jobs.append((part, ([ids[i] for i in part], [before + i for i in part])))
        return jobs

    def _together(self, length: int) -> int:
        """Prompts of so many tokens that are written on together."""
        decode, model = self.config.decode, self.config.model
        places = length + width(decode) * (self._limit(length) + 1)
        cache_bytes = 2 * model.depth * places * model.dim * torch.float32.itemsize  # keys and values
        return decode.batch or max(1, min(together(decode), BATCH_CACHE_BYTES // cache_bytes))

    def _limit(self, length: int, most: int = 0) -> int:
        """Most tokens that are written after so many: what there is room for, or `most`, or what the settings say."""
        room = self.config.model.max_length - length
        return min(most or self.config.decode.max_length or room, room)

    def _ids(self, prompt: str, number: int) -> list[int]:
        """The tokens of a prompt, the end of a document before them: one begins after the last one's end.

        Raises:
            DataError: if it leaves no room; names the input, of which `number` came before.
        """
        context, ids = self.config.model.max_length, [self.tokenizer.eos_id, *self.tokenizer.encode(prompt)]
        if len(ids) >= context:
            cause = f"input {number + 1}: {len(ids) - 1} tokens, the model's context is {context}"
            raise DataError(cause, "give its end only, or train with a larger model.max_length")
        return ids

    def stream(self, model: GPT, prompt: str, say: Callable[[str], None]) -> None:
        """Write one input on, and hand over a few characters at a time, as they are chosen.

        Raises:
            DataError: if the prompt leaves no room.
        """
        ids = self._ids(prompt, 0)
        written: list[int] = []
        told = ""

        def listen(_: int, token: int) -> None:
            nonlocal told
            written.append(token)
            text = self.tokenizer.decode([*ids[1:], *written])[len(prompt) :]
            if not text.endswith(REPLACEMENT):
                say(text.removeprefix(told))
                told = text

        self._write(model, [ids], [0], on_token=listen)

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
        found = search(
            model, model.start(tokens, width(decode), limit), config=decode, bos_id=tokens[:, -1],
            eos_id=tokenizer.eos_id, forbidden=sorted(never), max_lengths=torch.full((len(prompts),), limit),
            sample_ids=numbers, cached=tokens.shape[1] - 1, on_token=on_token,
        )  # fmt: skip
        written = [[{"text": tokenizer.decode(one.tokens), "score": one.score} for one in each] for each in found]
        return [Prediction(each[0]["text"], {"hypotheses": each}) for each in written]
