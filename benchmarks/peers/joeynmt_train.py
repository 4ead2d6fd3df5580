"""Training with the loop and the token batches of JoeyNMT."""

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
    """Let JoeyNMT's `TrainManager` tick the clock; the rest of its code is unchanged.

    The batch of a step is recorded when the loss is computed. The clock ticks when the gradients are reset after the
    step of the optimiser.
    """
    recorded: dict[str, Any] = {}
    train_step, fit = training.TrainManager._train_step, training.TrainManager.train_and_validate

    def timed_step(self: Any, batch: Any) -> Any:
        loss, correct = train_step(self, batch)
        recorded["batch"] = (batch.ntokens, batch.trg.numel(), loss)
        return loss, correct

    def timed_fit(self: Any, **data: Any) -> None:
        recorded["parameters"] = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        zero_grad = self.model.zero_grad

        def timed_zero_grad(*args: Any, **kwargs: Any) -> None:
            zero_grad(*args, **kwargs)
            # The loop checks is_max_update only after the next batch, which the clock does not count.
            if "batch" in recorded and clock.tick(*recorded.pop("batch")):
                self.stats.is_max_update = True

        self.model.zero_grad = timed_zero_grad
        fit(self, **data)

    training.TrainManager._train_step, training.TrainManager.train_and_validate = timed_step, timed_fit
    return recorded


def main() -> None:
    """Run `python joeynmt_train.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    clock = TrainingClock(job)
    recorded = watch(clock)
    with tempfile.TemporaryDirectory() as name:
        folder = write_data(job, Path(name))
        (folder / "model").mkdir()
        training.train(0, 1, configuration(job, folder), skip_test=True)
    result = clock.result()
    result |= {
        "gemm_gflops": [before, gemm_gflops()],
        "parameters": recorded["parameters"],
        "versions": {"joeynmt": importlib.metadata.version("joeynmt"), "torch": torch.__version__},
    }
    report(output, result)


if __name__ == "__main__":
    main()
