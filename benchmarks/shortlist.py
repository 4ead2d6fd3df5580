"""Processor time of a decoding step's output layer over the vocabulary and over shortlists, in turn on one thread.

`OMP_NUM_THREADS=1 python benchmarks/shortlist.py`. The weights are random; a step computes the logits and their
normaliser, and selects the best tokens.
"""

from __future__ import annotations

import statistics
import time

import torch

from tformer_cli.decode.select import Head
from tformer_cli.decode.short_head import ShortHead

SHAPES = ((64, 5, 6_000, 128), (320, 1, 6_000, 128), (64, 5, 32_000, 512), (320, 1, 32_000, 512))
"""Sentences, hypotheses of each, tokens of the vocabulary, width."""
SHORTLIST, RUNS = 300, 9
"""Tokens of each shortlist, and number of measurements of each kind."""


def milliseconds(head: Head, hidden: torch.Tensor) -> float:
    """Return the processor time of a step."""
    begin = time.process_time()
    head.project(hidden)
    head.best(torch.zeros(hidden.shape[:2]), hidden.shape[1])
    return 1000 * (time.process_time() - begin)


def main() -> None:
    """Print a table with medians and ranges."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread, {RUNS} runs of each, {SHORTLIST} tokens in a shortlist\n")
    print("| sentences x hypotheses | vocabulary | width | all tokens, ms | shortlists, ms | gathering, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    nothing = torch.zeros(0, dtype=torch.int64)
    for sentences, hypotheses, vocabulary, width in SHAPES:
        weight, hidden = torch.randn(vocabulary, width) / 50, torch.randn(sentences, hypotheses, width)
        tokens = torch.stack([torch.randperm(vocabulary)[:SHORTLIST].sort()[0] for _ in range(sentences)])
        begin = time.process_time()
        short = ShortHead((weight, None), sentences * hypotheses, nothing, (tokens, torch.ones_like(tokens).bool()))
        gathering = 1000 * (time.process_time() - begin)
        times: list[list[float]] = [[], []]
        for run in range(-2, RUNS):
            for head, durations in zip(
                (Head((weight, None), sentences * hypotheses, nothing), short), times, strict=True
            ):
                milliseconds(head, hidden)  # first accesses to its buffers
                durations += [milliseconds(head, hidden)] * (run >= 0)
        shown = [f"{statistics.median(part):.1f} ({min(part):.1f}-{max(part):.1f})" for part in times]
        print(
            f"| {sentences} x {hypotheses} | {vocabulary:,} | {width} | {' | '.join(shown)} | {gathering:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
