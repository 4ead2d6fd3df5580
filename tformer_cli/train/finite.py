"""Infinity and NaN: they stop a run before anything of them is scored or saved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tformer_cli.errors import RunError
from tformer_cli.tasks.base import Batch
from tformer_cli.train.checkpoint import replace_file

MARK = "not-finite-rank"
"""Begins the names of the files in a run folder that say which samples such a step met."""


class NotFiniteError(RunError):
    """A loss, gradient or weight is infinite or not a number."""


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every number of some tensors is finite; waits for the device once."""
    answers = [tensor.detach().isfinite().all() for tensor in tensors if tensor.is_floating_point()]
    return not answers or bool(torch.stack([answer.to(answers[0].device) for answer in answers]).all())


def not_finite(
    run: Path, rank: int, step: int, what: str, batches: Sequence[Batch], cause: Path | None = None
) -> NotFiniteError:
    """Write down which samples a step met.

    Args:
        run: the run folder.
        rank: of this process.
        step: at which it was noticed.
        what: is not finite.
        batches: of the step.
        cause: the checkpoint whose weights give this, whatever comes after them; None: the steps since may.

    Returns:
        The error to raise.
    """
    ids = [int(i) for batch in batches for i in batch.sample_ids]
    place = run / f"{MARK}{rank}.json"
    replace_file(place, json.dumps({"step": step, "sample_ids": ids}).encode())
    return NotFiniteError(
        f"step {step}: {what}; the batch's samples are in {place}",
        "lower optim.lr or raise optim.warmup_steps, "
        + (f"remove {cause}, whose weights give this, then --resume" if cause else "then --resume"),
    )


def forget(run: Path) -> None:
    """Remove what `not_finite` wrote, once that step has been passed."""
    for place in run.glob(f"{MARK}*.json"):
        place.unlink(missing_ok=True)


def diverged(run: Path) -> bool:
    """Whether a run stopped at a step that was not finite, and has saved nothing since."""
    return any(run.glob(f"{MARK}*.json"))
