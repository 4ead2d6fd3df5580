"""The distribution of training and evaluation: one process, or data parallelism over several ranks.

Everything that depends on the number of ranks goes through `Strategy`. A sharded strategy (FSDP2) would have the same
methods: `shard` before the optimiser is built, `wrap` around the step, `full_model` for use outside of a step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tformer_cli.decode.workers import portable
from tformer_cli.errors import RunError
from tformer_cli.signals import StopRequested
from tformer_cli.train.parallel import Ranks

J = TypeVar("J")
R = TypeVar("R")


class PeerError(RunError):
    """Another rank failed, and reports its error itself."""


class Strategy:
    """A strategy with replicated weights: each rank computes a share of each batch, and gradients are averaged.

    Args:
        ranks: rank of this process, and number of ranks.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def shard(self, model: nn.Module) -> nn.Module:
        """Return this rank's part of the model, before the optimiser is built; here each rank has the full model."""
        return model

    def wrap(self, step: nn.Module) -> nn.Module:
        """Return a training step whose backward pass averages the gradients over the ranks.

        The same parameters must require gradients now and whenever the step runs.
        """
        return DistributedDataParallel(step) if self.ranks.world > 1 else step

    def accumulating(self, step: nn.Module, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Return a context for a micro-batch: gradients are averaged in the last one of a step only."""
        if isinstance(step, DistributedDataParallel) and not last:
            return step.no_sync()
        return contextlib.nullcontext()

    def norm(self, gradients: Iterable[Tensor]) -> Tensor:
        """Return the global norm of gradients, a scalar on the device."""
        return torch.nn.utils.get_total_norm(list(gradients))

    @contextlib.contextmanager
    def full_model(self, model: nn.Module) -> Iterator[nn.Module]:
        """Return the full model inside the context, for use outside of a training step; it is the same on all ranks.

        Weights are equal already. Buffers are not: each rank has its own running statistics of batch normalisation
        from the last step on. Those of rank 0 count, which are also those of a checkpoint.
        """
        if self.ranks.world > 1:
            for buffer in filter(torch.is_floating_point, model.buffers()):
                dist.broadcast(buffer, 0)
        yield model

    def share(self, compute: Callable[[Sequence[J]], Iterable[R]], jobs: Sequence[J], /) -> Iterable[R]:
        """Return the results of all jobs on every rank, in their order; each rank computes every world-th job.

        Within `synchronized`, a failure or a request to stop on one rank ends the work on all of them.

        Args:
            compute: function that yields the results of jobs; the results are pickled.
            jobs: all jobs, the same on every rank.

        Raises:
            PeerError: if another rank failed.
            StopRequested: if another rank was asked to stop.
        """
        rank, world = self.ranks.rank, self.ranks.world
        if world == 1:
            return compute(jobs)
        shares = self._exchange(list(compute(jobs[rank::world])))
        results: list[Any] = [None] * len(jobs)
        for number, share in enumerate(shares):
            results[number::world] = share
        return results

    @contextlib.contextmanager
    def synchronized(self) -> Iterator[None]:
        """Pass failures and requests to stop on to all ranks; inside, every rank makes the same calls of `share`.

        Raises:
            PeerError: if another rank failed.
            StopRequested: if another rank was asked to stop.
        """
        if self.ranks.world == 1:
            yield
            return
        try:
            yield
        except (PeerError, _Stopped):
            raise  # the other ranks have been informed
        except StopRequested as error:
            self._exchange(error)
            raise
        except Exception as error:
            self._exchange(portable(error))
            raise
        self._exchange(None)

    def _exchange(self, message: Any) -> list[Any]:
        """Send a message to all ranks, and return theirs.

        Raises:
            PeerError: if the message of another rank is an error.
            StopRequested: if it is a request to stop.
        """
        messages: list[Any] = [None] * self.ranks.world
        dist.all_gather_object(messages, message)
        if isinstance(message, Exception):
            return messages
        for rank, received in enumerate(messages):
            if isinstance(received, StopRequested):
                raise _Stopped
            if isinstance(received, Exception):
                raise PeerError(f"rank {rank}: {received}", getattr(received, "remedy", ""))
        return messages


class _Stopped(StopRequested):
    """Another rank was asked to stop."""
