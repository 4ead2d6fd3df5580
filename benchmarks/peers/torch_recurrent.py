"""A recurrent encoder-decoder with Luong's attention in plain PyTorch, trained in a usual loop.

Encoder and decoder are `torch.nn.LSTM`, so that one call computes all target positions. The encoder reads packed
sequences (`packed`) or padded ones. Padded ones are faster, but give wrong results, since the backward direction starts
in the padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measure import BOS, EOS, PAD, Pairs, TrainingClock, gemm_gflops, padded, report, start
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Translator(nn.Module):
    """A bidirectional LSTM, an LSTM that starts from its projected final states, and bilinear attention.

    Args:
        vocab_size: size of the joint vocabulary.
        dim: width of embeddings, of each direction and of the decoder.
        dropout: dropout of embeddings and of the input of the output layer.
        packed: whether the encoder reads packed sequences.
    """

    def __init__(self, vocab_size: int, dim: int, dropout: float, *, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.embedding, self.dropout = nn.Embedding(vocab_size, dim), nn.Dropout(dropout)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        self.encoder = nn.LSTM(dim, dim, batch_first=True, bidirectional=True)
        self.hidden, self.cell = nn.Linear(2 * dim, dim), nn.Linear(2 * dim, dim)
        self.decoder = nn.LSTM(dim, dim, batch_first=True)
        self.score = nn.Linear(2 * dim, dim, bias=False)
        self.combine = nn.Linear(3 * dim, dim, bias=False)

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the scaled embeddings (B, T, D) of tokens (B, T)."""
        return self.dropout(self.embedding(tokens) * self.embedding.embedding_dim**0.5)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """Return the logits (B, T, V) for sources (B, S), their lengths (B,) and target inputs (B, T)."""
        x = self.embed(source)
        if self.packed:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            states, (h, c) = self.encoder(packed)
            states, _ = pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])
        else:
            states, (h, c) = self.encoder(x)
        h, c = (torch.cat((part[0], part[1]), 1) for part in (h, c))
        first = (torch.tanh(self.hidden(h))[None], self.cell(c)[None])
        outputs, _ = self.decoder(self.embed(target), first)
        scores = outputs @ self.score(states).mT
        scores = scores.masked_fill((source == PAD)[:, None], -torch.inf)
        context = scores.softmax(-1) @ states
        hidden = torch.tanh(self.combine(torch.cat((context, outputs), 2)))
        return F.linear(self.dropout(hidden), self.embedding.weight)


def batches(pairs: Pairs, budget: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield batches of pairs of similar lengths in random order, without end.

    Args:
        pairs: the training pairs.
        budget: maximum number of tokens of the longer side, with padding.
        seed: seed of the order.

    Yields:
        Source and its lengths, target inputs and targets.
    """
    sizes = [(max(len(pairs.source(i)), len(pairs.target(i))) + 1, i) for i in range(len(pairs))]
    groups: list[list[int]] = [[]]
    for size, row in sorted(sizes):
        if size * (len(groups[-1]) + 1) > budget:
            groups.append([])
        groups[-1].append(row)
    random = np.random.default_rng(seed)
    while True:
        for number in random.permutation(len(groups)):
            sources = [[*pairs.source(row), EOS] for row in groups[number]]
            targets = [[*pairs.target(row), EOS] for row in groups[number]]
            inputs = padded([[BOS, *row[:-1]] for row in targets], PAD)
            lengths = torch.tensor([len(row) for row in sources])
            yield padded(sources, PAD), lengths, inputs, padded(targets, PAD)


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train until the time of the clock is over."""
    shape, clock = job["shape"], TrainingClock(job)
    model = Translator(shape["vocab_size"], shape["dim"], shape["dropout"], packed=job["packed"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=job["learning_rate"], weight_decay=0.0, fused=True)
    for source, lengths, inputs, targets in batches(Pairs.load(job["data"], "train"), job["batch_tokens"], job["seed"]):
        with torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bf16"):
            logits = model(source, lengths, inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if clock.tick(int((targets != PAD).sum()), targets.numel(), loss.detach()):
            break
    return clock.result() | {"parameters": sum(p.numel() for p in model.parameters())}


def main() -> None:
    """Run `python torch_recurrent.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    facts = {"precision": job["precision"], "versions": {"torch": torch.__version__}}
    report(output, train(job) | facts | {"gemm_gflops": [before, gemm_gflops()]})


if __name__ == "__main__":
    main()
