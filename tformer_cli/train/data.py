"""The stream of micro-batches that a rank trains on; it can start at any step at no cost.

The ranks divide the rows of each batch among themselves, so that a step does not depend on the number of processes.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tformer_cli.data.core.batch import Batch
from tformer_cli.data.core.batching import stream_position
from tformer_cli.data.core.view import View
from tformer_cli.decode.workers import portable
from tformer_cli.signals import start_helper
from tformer_cli.train.parallel import Ranks

Item = TypeVar("Item")


@dataclasses.dataclass
class _Failure:
    """The error of a worker process, passed on as a value; `DataLoader` would convert it to the text of a traceback."""

    error: Exception


class _Shares(Dataset["Batch | _Failure"]):
    """A dataset of this rank's rows of micro-batches; micro-batch m is batch m % n of epoch m // n, of n batches each.

    Neighbouring rows of a batch have similar lengths. Each rank takes every world-th row, so that the shares of the
    ranks have similar sizes.
    """

    def __init__(self, view: View[Any], ranks: Ranks) -> None:
        self.view, self.ranks, self.num_batches = view, ranks, view.num_batches

    def __getitem__(self, micro_batch: int) -> Batch | _Failure:
        if get_worker_info() is None:
            return self.batch(micro_batch)
        try:
            return self.batch(micro_batch)
        except Exception as error:
            return _Failure(portable(error))

    def batch(self, micro_batch: int) -> Batch:
        """Return this rank's rows of a micro-batch."""
        epoch, index = stream_position(micro_batch, self.num_batches)
        rows = self.view.rows(epoch, index)
        share = rows[self.ranks.rank :: self.ranks.world]
        if len(share):
            return self.view.collate(epoch, share)
        return dataclasses.replace(self.view.collate(epoch, rows[:1]), idle=True)


def _start_worker(parent: int, worker: int) -> None:
    """Make a worker ignore signals, which the main process handles, and end with the main process."""
    start_helper(parent)
    torch.set_num_threads(1)


def _as_is(item: Item) -> Item:
    return item


def batches(
    view: View[Any], *, start: int, accumulate: int, ranks: Ranks, device: torch.device, workers: int
) -> Iterator[Batch]:
    """Yield this rank's micro-batches without end, from optimiser step `start` on.

    Args:
        view: view of the training split.
        start: number of optimiser steps that were taken already.
        accumulate: micro-batches per step.
        ranks: rank of this process, and number of ranks. Ranks have disjoint rows; a rank without rows computes a row
            of another rank, and its loss does not count (`Batch.idle`).
        device: device to which batches are moved, from page-locked memory if it is a GPU.
        workers: number of processes that prepare batches; 0: this process.
    """
    loader = DataLoader(
        _Shares(view, ranks),
        batch_size=None,
        sampler=itertools.count(start * accumulate),
        num_workers=workers,
        collate_fn=_as_is,
        pin_memory=device.type == "cuda",
        worker_init_fn=functools.partial(_start_worker, os.getpid()) if workers else None,
        prefetch_factor=4 if workers else None,
    )
    for batch in loader:
        if isinstance(batch, _Failure):
            raise batch.error
        yield batch.to(device, non_blocking=True)
