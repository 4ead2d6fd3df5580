"""Checks for infinity and NaN, which stop a run before they are evaluated or saved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tformer_cli.data.core.batch import Batch
from tformer_cli.errors import RunError
from tformer_cli.runs.writing import replace_file

MARK = "not-finite-rank"
"""Prefix of the files in a run folder that record the samples of such a step."""


class NotFiniteError(RunError):
    """A loss, gradient or weight is infinite or not a number."""


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether all numbers of tensors are finite; synchronises with the device once."""
    answers = [tensor.detach().isfinite().all() for tensor in tensors if tensor.is_floating_point()]
    return not answers or bool(torch.stack([answer.to(answers[0].device) for answer in answers]).all())


def not_finite(
    run: Path, rank: int, step: int, what: str, batches: Sequence[Batch], cause: Path | None = None
) -> NotFiniteError:
    """Record the samples of a step that is not finite.

    Args:
        run: the run folder.
        rank: rank of this process.
        step: step at which it was detected.
        what: name of the value that is not finite.
        batches: batches of the step; none: no samples are the cause.
        cause: the checkpoint whose weights always lead to this; None: later steps may be the cause.

    Returns:
        The error to raise.
    """
    ids = [int(i) for batch in batches for i in batch.sample_ids]
    place = run / f"{MARK}{rank}.json"
    replace_file(place, json.dumps({"step": step, "sample_ids": ids}).encode())
    return NotFiniteError(
        f"step {step}: {what}" + (f"; the batch's samples are in {place}" if batches else ""),
        "lower optim.lr or raise optim.warmup_steps, "
        + (f"remove {cause}, whose weights give this, then --resume" if cause else "then --resume"),
    )


def forget(run: Path) -> None:
    """Remove the record of `not_finite` after that step has succeeded."""
    for place in run.glob(f"{MARK}*.json"):
        place.unlink(missing_ok=True)


def diverged(run: Path) -> bool:
    """Return whether a run stopped at a step that was not finite, and has saved nothing since."""
    return any(run.glob(f"{MARK}*.json"))
