"""Pre-training an encoder: running text in, hidden tokens out (BERT, RoBERTa), and whether B follows A (BERT).

Shapes: B sequences, T tokens, D model width, V vocabulary, N predicted tokens of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tformer_cli.data.core.batching import ByEpoch, shuffled
from tformer_cli.data.text.corpus import Corpus, sentences_of
from tformer_cli.data.text.dataset import TokenBatch
from tformer_cli.data.text.encoded import pad
from tformer_cli.data.text.masking import Masked, Masking, SentencePairs
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.models.bert.model import BERTForPretraining
from tformer_cli.nn.cross_entropy import head_cross_entropy
from tformer_cli.predictors.inputs import Answer, Readable, Refusal
from tformer_cli.tasks.base import Evaluation, Input, Loss, Prediction, Sample, Scoring, batches_of, summed_loss
from tformer_cli.tasks.registry import MaskedLanguageModelExperiment
from tformer_cli.tasks.running_text import RunningText
from tformer_cli.tokenizers.huggingface import MASK

FILLINGS = 5
"""Answers shown for a hidden token."""
BERT_MASK = "[MASK]"
"""The mask token in BERT's vocabulary."""


@dataclass
class MaskedBatch(TokenBatch):
    """Sequences with hidden tokens.

    Attributes:
        tokens: (B, T), int64, padded at the end.
        lengths: real tokens a row, (B,), int64.
        segments: 0 or 1 for each token, (B, T), int64; None: one segment.
        places: of the tokens to predict in the flat (B * T), (N,), int64.
        targets: what stood there, (N,), int64.
        rows: the sequence of each, (N,), int64.
        follows: 1 where B follows A, 0 where it does not, (B,), int64; None without next-sentence prediction.
        documents: number of each token's document within its block, (B, T), int64, -1 for padding; None where that does
            not matter.
    """

    segments: Tensor | None
    places: Tensor
    targets: Tensor
    rows: Tensor
    follows: Tensor | None
    documents: Tensor | None = None


class MaskedLanguageModel(RunningText[BERTForPretraining, MaskedBatch]):
    """The adapter between running text and an encoder in pre-training."""

    metric = "loss"
    lower_is_better = frozenset({"loss", "perplexity", "mlm_loss", "nsp_loss"})
    options = frozenset({"batch", "top"})
    config: MaskedLanguageModelExperiment
    masking: Masking
    """Set by `prepare` or `load`."""
    top = FILLINGS
    """Smallest number of predictions for a masked token in the output of `predict`."""

    def __init__(self, config: MaskedLanguageModelExperiment) -> None:
        super().__init__(config)
        self._pairs: dict[str, SentencePairs] = {}
        self._pair_orders = ByEpoch(self._pair_order)

    # --- data ---

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint."""
        super().load(folder)
        self._set_masking()

    def _learn(self, train: Corpus) -> None:
        super()._learn(train)
        self._set_masking()

    def _set_masking(self) -> None:
        tokenizer = self.tokenizer
        mask_id = tokenizer.mask_id
        if mask_id is None:
            raise ConfigError(f"the tokenizer has no piece {MASK}", f"tokenizer.user_symbols=['{MASK}']")
        special = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, mask_id]
        self.masking = Masking(self.config.bert, mask_id, special, np.array(tokenizer.word_starts()))

    @property
    def _block(self) -> int:
        """Tokens of a sequence beside [CLS] and [SEP], or [CLS], [SEP] and [SEP]."""
        return self.config.model.max_length - (3 if self.config.bert.nsp else 2)

    def _units(self, split: str) -> Corpus:
        """With next-sentence prediction sentences are tokenised each by itself."""
        corpus = self._split(split)
        return corpus.sentences(self.config.data.cache) if self.config.bert.nsp else corpus

    def _paired(self, split: str) -> SentencePairs:
        if split not in self._pairs:
            corpus, tokens = self._split(split), self._tokens(split)
            counts = (len(sentences_of(text)) for text in corpus.documents)
            documents = np.repeat(np.arange(len(corpus)), np.fromiter(counts, np.int64, len(corpus)))
            pairs = SentencePairs(tokens.lengths - 1, documents, self._block)
            if not len(pairs):
                cause = f"{corpus.origin}: no document has two sentences that fit into {self._block} tokens"
                raise DataError(cause, "put a sentence a line with data.documents=blank, or set bert.nsp=false")
            self._pairs[split] = pairs
        return self._pairs[split]

    def num_batches(self, split: str) -> int:
        """Batches in an epoch."""
        if self.config.bert.nsp:
            return -(-len(self._paired(split)) // self._sequences_a_batch)
        return super().num_batches(split)

    def rows(self, split: str, epoch: int, index: int) -> np.ndarray:
        """Rows of batch `index` of `epoch`: places of blocks in its stream, or pairs of sentences."""
        if not self.config.bert.nsp:
            return super().rows(split, epoch, index)
        order = self._pair_orders[epoch] if split == "train" else np.arange(len(self._paired(split)))
        return order[index * self._sequences_a_batch : (index + 1) * self._sequences_a_batch]

    def _pair_order(self, epoch: int) -> np.ndarray:
        return shuffled(len(self._paired("train")), self.config.seed, epoch)

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> MaskedBatch:
        """The given sequences of an epoch, with fresh masks in training and always the same ones elsewhere."""
        stream = epoch if split == "train" else 0
        nsp, apart = self.config.bert.nsp, not self.config.data.across_documents
        texts, kinds, follows, documents = [], [], [], []
        masked: list[Masked] = []
        for row in rows:
            random = np.random.default_rng((self.config.seed, stream, int(row), split != "train"))
            first, second, follow, numbers = self._texts(split, stream, int(row), random)
            tokenizer = self.tokenizer
            parts = [[tokenizer.bos_id], first, [tokenizer.eos_id]]
            if second is not None:
                parts += [second, [tokenizer.eos_id]]
            tokens = np.concatenate(parts).astype(np.int64)
            kinds.append(np.repeat([0, 1], [len(first) + 2, len(tokens) - len(first) - 2]))
            masked.append(self.masking(tokens, random))
            texts.append(masked[-1].tokens)
            follows.append(int(follow))
            if apart and numbers is not None:
                documents.append(np.pad(numbers, 1, mode="edge"))  # [CLS] is of the first document, [SEP] of the last
        tokens, lengths = pad(texts, self.tokenizer.pad_id)
        width = tokens.shape[1]
        return MaskedBatch(
            torch.from_numpy(np.asarray(rows, dtype=np.int64)),
            tokens,
            lengths,
            pad(kinds, 0)[0] if nsp else None,
            torch.from_numpy(np.concatenate([one.places + i * width for i, one in enumerate(masked)])),
            torch.from_numpy(np.concatenate([one.targets for one in masked])),
            torch.from_numpy(np.repeat(np.arange(len(rows)), [len(one.places) for one in masked])),
            torch.tensor(follows) if nsp else None,
            pad(documents, -1)[0] if apart else None,
        )

    def _texts(
        self, split: str, epoch: int, row: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None, bool, np.ndarray | None]:
        """Tokens of A and B, and whether B follows; or of a block of running text, and each one's document."""
        tokens = self._tokens(split)
        if not self.config.bert.nsp:
            text, documents = self._running(split, epoch, row)
            stop = max(1, len(text) - 1)
            return text[:stop], None, True, documents[:stop]
        first, second, follows = self._paired(split).pair(row, random)
        a, b = (np.concatenate([tokens[i][:-1] for i in part]) for part in (first, second))
        most = self._block
        b = b[: max(1, most - len(a))]
        return a[-(most - len(b)) :], b, follows, None  # a single endless sentence loses its beginning

    def _kind_of_sequences(self) -> str:
        return "sentence pairs" if self.config.bert.nsp else super()._kind_of_sequences()

    # --- model and loss ---

    def model(self) -> BERTForPretraining:
        """A new encoder with its pre-training heads for this vocabulary."""
        return BERTForPretraining(self.config.model, self.tokenizer.vocab_size, nsp=self.config.bert.nsp)

    def loss(self, model: BERTForPretraining, batch: MaskedBatch) -> Loss:
        """Cross-entropy of the hidden tokens; with next-sentence prediction its own, weighted as many times.

        The paper adds the mean over tokens and the mean over sequences. Here a sequence's next-sentence loss counts as
        often as it has hidden tokens, so that both are sums over one count, and any split into micro-batches and ranks
        gives the same step.
        """
        chosen, hidden = model(batch.tokens, batch.lengths, batch.segments, batch.places, batch.documents)
        weight, bias = model.output_layer()
        total, log_likelihood = head_cross_entropy(chosen, weight, batch.targets, bias=bias)
        count = torch.tensor(len(batch.targets), device=hidden.device)
        parts = {"mlm_loss": -log_likelihood}
        if not model.training:
            parts["mlm_correct"] = (model.logits(chosen).argmax(-1) == batch.targets).sum()
        if batch.follows is not None:
            scores = model.follows(hidden).float()
            each = nn.functional.cross_entropy(scores, batch.follows, reduction="none")
            times = torch.bincount(batch.rows, minlength=len(each))
            nsp = (each * times).sum()
            total = total + nsp
            parts["nsp_loss"] = nsp
            if not model.training:
                parts["nsp_correct"] = (scores.argmax(-1) == batch.follows).sum()
        return Loss(total, count, parts)

    # --- evaluation and use ---

    def evaluate(self, model: BERTForPretraining, split: str, scoring: Scoring) -> Evaluation:
        """Loss, perplexity and accuracy at the hidden tokens; accuracy of next-sentence prediction."""
        sums, count = summed_loss(self, model, split)
        scores = {name: sums[name] / count for name in ("loss", "mlm_loss", "nsp_loss") if name in sums}
        scores["perplexity"] = math.exp(min(scores["mlm_loss"], 700))
        scores["mlm_accuracy"] = 100 * sums["mlm_correct"] / count
        if "nsp_correct" in sums:
            scores["nsp_accuracy"] = 100 * sums["nsp_correct"] / len(self._paired(split))
        corpus = self._split(split)
        evaluation = Evaluation(scores, data_sha256=corpus.hash, notes=list(corpus.notes))
        if scoring.decoded and scoring.samples:
            evaluation.samples = self._samples(model, split, scoring.samples)
        return evaluation

    @torch.no_grad()
    def _samples(self, model: BERTForPretraining, split: str, count: int) -> list[Sample]:
        """Hidden tokens of some sequences, and what the model puts in their place."""
        batch = next(batches_of(self, model, split))
        chosen, _ = model(batch.tokens, batch.lengths, batch.segments, batch.places, batch.documents)
        guesses = model.logits(chosen).argmax(-1).tolist()
        found = []
        for row in range(min(count, len(batch.lengths))):
            mine = (batch.rows == row).nonzero()[:, 0].tolist()
            text = self.tokenizer.decode(batch.tokens[row, : int(batch.lengths[row])].tolist())
            truth, guess = ([ids[i] for i in mine] for ids in (batch.targets.tolist(), guesses))
            found.append(Sample(text, " ".join(self.tokenizer.pieces(truth)), " ".join(self.tokenizer.pieces(guess))))
        return found

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Return the column of texts."""
        return (self.config.data.column,)

    def _read_inputs(self, given: list[Input]) -> list[Answer[tuple[str, np.ndarray]] | Refusal]:
        """Return each line with its tokens; BERT's `[MASK]` is a mask token too."""
        tokenizer, most = self.tokenizer, self.config.model.max_length
        answers: list[Answer[tuple[str, np.ndarray]] | Refusal] = []
        for line in given:
            text = line if isinstance(line, str) else line[0]
            ids = tokenizer.encode(text.replace(BERT_MASK, MASK))
            cut = len(ids) > most - 2
            row = np.array([tokenizer.bos_id, *ids[: most - 2], tokenizer.eos_id])
            if cut:
                size = f"{len(ids):,} tokens, the model reads {most - 2:,}"
                answers.append(self._too_long(size, "shorten the line", (text, row), "its end was not read"))
            elif self.masking.mask_id in ids or not text.strip():
                answers.append(Readable((text, row)))
            else:
                answers.append(Readable((text, row), f"no {MASK} in it, so that nothing was filled in"))
        return answers

    @torch.inference_mode()
    def _answer(self, model: BERTForPretraining, rows: list[tuple[str, np.ndarray]]) -> list[Prediction]:
        """Each line with its hidden tokens filled in; the best fillings of each, with their probabilities."""
        tokenizer, device = self.tokenizer, next(model.parameters()).device
        texts = [text for text, _ in rows]
        tokens, lengths = (part.to(device) for part in pad([ids for _, ids in rows], tokenizer.pad_id))
        places = (tokens == self.masking.mask_id).flatten().nonzero()[:, 0]
        chosen, _ = model(tokens, lengths, None, places)
        number = min(max(FILLINGS, self.top), tokenizer.vocab_size)
        probability, token = model.logits(chosen).float().softmax(-1).topk(number, dim=-1)
        predictions, width = [], tokens.shape[1]
        for row, text in enumerate(texts):
            mine = (places // width == row).nonzero()[:, 0].tolist()
            fillings = [
                [
                    {"text": tokenizer.decode([one]).strip(), "probability": round(p, 6)}
                    for one, p in zip(token[i].tolist(), probability[i].tolist(), strict=True)
                ]
                for i in mine
            ]
            filled = tokens[row, 1 : int(lengths[row]) - 1].clone()
            filled[filled == self.masking.mask_id] = token[mine, 0]
            text = tokenizer.decode(filled.tolist()) if mine else text
            predictions.append(Prediction(text, {"fillings": fillings}))
        return predictions
