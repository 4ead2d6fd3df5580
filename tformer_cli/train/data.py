"""The stream of micro-batches that a rank trains on: from any step on, at no cost, with any number of workers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from tformer_cli.data.batching import stream_position
from tformer_cli.tasks.base import Batch, Task
from tformer_cli.train.parallel import Ranks

Item = TypeVar("Item")


class _MicroBatches(Dataset[Batch]):
    """Micro-batch m is batch m % n of epoch m // n: a pure function, whichever process computes it."""

    def __init__(self, task: Task) -> None:
        self.task, self.num_batches = task, task.num_batches("train")

    def __getitem__(self, micro_batch: int) -> Batch:
        return self.task.batch("train", *stream_position(micro_batch, self.num_batches))


class _Numbers:
    """This rank's micro-batches in order: step s takes accumulate * world of them, every world-th is ours."""

    def __init__(self, start: int, accumulate: int, ranks: Ranks) -> None:
        self.start, self.accumulate, self.ranks = start, accumulate, ranks

    def __iter__(self) -> Iterator[int]:
        number = self.start * self.accumulate * self.ranks.world + self.ranks.rank
        while True:
            yield number
            number += self.ranks.world


def _worker_signals(worker: int) -> None:
    """Workers leave Ctrl-C and termination to the main process, which saves first and then ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


def _as_is(item: Item) -> Item:
    return item


def batches(task: Task, *, start: int, accumulate: int, ranks: Ranks, device: torch.device) -> Iterator[Batch]:
    """This rank's micro-batches for ever, from optimiser step `start` on.

    Args:
        task: gives each batch as a pure function of its number.
        start: optimiser steps already taken.
        accumulate: micro-batches a rank sums into one step.
        ranks: this process among others; ranks see disjoint micro-batches.
        device: where the batches are moved to; from page-locked memory if it is a GPU.
    """
    workers = task.config.data.workers
    loader = DataLoader(
        _MicroBatches(task),
        batch_size=None,
        sampler=_Numbers(start, accumulate, ranks),
        num_workers=workers,
        collate_fn=_as_is,
        pin_memory=device.type == "cuda",
        worker_init_fn=_worker_signals if workers else None,
        prefetch_factor=4 if workers else None,
    )
    for batch in loader:
        yield batch.to(device, non_blocking=True)
