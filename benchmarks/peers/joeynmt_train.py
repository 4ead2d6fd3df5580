"""Training with JoeyNMT's own loop and its token batches."""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

import torch
from joeynmt import training
from joeynmt_job import configuration, write_data
from measure import TrainingClock, gemm_gflops, report, start


def watch(clock: TrainingClock) -> dict[str, Any]:
    """Let JoeyNMT's `TrainManager` tick the clock; its own code runs unchanged.

    A step's batch is noted where the loss is computed, the tick comes when the gradients are reset after the
    optimiser's step.
    """
    seen: dict[str, Any] = {}
    train_step, fit = training.TrainManager._train_step, training.TrainManager.train_and_validate

    def noted_step(self: Any, batch: Any) -> Any:
        loss, correct = train_step(self, batch)
        seen["batch"] = (batch.ntokens, batch.trg.numel(), loss)
        return loss, correct

    def noted_fit(self: Any, **data: Any) -> None:
        seen["parameters"] = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        zero_grad = self.model.zero_grad

        def noted_zero_grad(*args: Any, **kwargs: Any) -> None:
            zero_grad(*args, **kwargs)
            # The loop looks at is_max_update only after the next batch, which the clock does not count.
            if "batch" in seen and clock.tick(*seen.pop("batch")):
                self.stats.is_max_update = True

        self.model.zero_grad = noted_zero_grad
        fit(self, **data)

    training.TrainManager._train_step, training.TrainManager.train_and_validate = noted_step, noted_fit
    return seen


def main() -> None:
    """`python joeynmt_train.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    clock = TrainingClock(job)
    seen = watch(clock)
    with tempfile.TemporaryDirectory() as name:
        folder = write_data(job, Path(name))
        (folder / "model").mkdir()
        training.train(0, 1, configuration(job, folder), skip_test=True)
    result = clock.result()
    result |= {
        "gemm_gflops": [before, gemm_gflops()],
        "parameters": seen["parameters"],
        "versions": {"joeynmt": importlib.metadata.version("joeynmt"), "torch": torch.__version__},
    }
    report(output, result)


if __name__ == "__main__":
    main()
