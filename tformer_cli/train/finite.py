"""Checks for values that are not finite, which stop a run before they are evaluated or saved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tformer_cli.data.core.batch import Batch
from tformer_cli.errors import RunError
from tformer_cli.runs.writing import replace_file

PREFIX = "not-finite-rank"
"""Prefix of the files in a run folder that record the samples of a step that is not finite."""


class NotFiniteError(RunError):
    """A loss, gradient or weight is infinite or not a number."""


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all elements of the tensors are finite; the call synchronises with the device once."""
    flags = [tensor.detach().isfinite().all() for tensor in tensors if tensor.is_floating_point()]
    return not flags or bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())


def not_finite(
    run: Path, rank: int, step: int, value: str, batches: Sequence[Batch], cause: Path | None = None
) -> NotFiniteError:
    """Record the samples of a step that is not finite.

    Args:
        run: the run folder.
        rank: rank of this process.
        step: step at which it was detected.
        value: description of the value that is not finite.
        batches: batches of the step; empty if no samples are the cause.
        cause: checkpoint whose weights always lead to this; None: later steps may be the cause.

    Returns:
        The error to raise.
    """
    ids = [int(i) for batch in batches for i in batch.sample_ids]
    path = run / f"{PREFIX}{rank}.json"
    replace_file(path, json.dumps({"step": step, "sample_ids": ids}).encode())
    return NotFiniteError(
        f"step {step}: {value}" + (f"; the batch's samples are in {path}" if batches else ""),
        "lower optim.lr or raise optim.warmup_steps, "
        + (f"remove {cause}, whose weights cause this, then --resume" if cause else "then --resume"),
    )


def remove_records(run: Path) -> None:
    """Remove the records of `not_finite` after a later step has been saved."""
    for path in run.glob(f"{PREFIX}*.json"):
        path.unlink(missing_ok=True)


def diverged(run: Path) -> bool:
    """Return whether a run stopped at a step that was not finite, and has saved nothing since."""
    return any(run.glob(f"{PREFIX}*.json"))
