"""The Python interface to trained runs.

    from tformer_cli import load

    run = load("runs/m30k")
    print(run.predict(["A dog runs."])[0].text)
    print(run.evaluate("test").scores)

The functions write no results, and start processes only if `workers` asks for them. `load` completes a save that was
interrupted, as the command line does, and caches its choices for the machine and a shortlist (`decode.shortlist`). Each
call restores the caller's number of threads, precision of float32 matrix products and implementation of attention.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tformer_cli.config.schema import Experiment
from tformer_cli.errors import DataError
from tformer_cli.evaluators.base import Evaluation, Scoring
from tformer_cli.machine import flushes_subnormals
from tformer_cli.nn import backend
from tformer_cli.predictors.base import Input, Prediction
from tformer_cli.tokenizers.tokenizer import Vocabulary
from tformer_cli.trained.applicable import check_settings
from tformer_cli.trained.opening import Opened, open_run


@dataclass(frozen=True)
class Run:
    """A loaded run, which `load` returns.

    Attributes:
        opened: the run's task, model and machine.
    """

    opened: Opened

    @property
    def config(self) -> Experiment:
        """The configuration of the run, with the settings given to `load`."""
        return self.opened.config

    @property
    def model(self) -> nn.Module:
        """The model, on its device, in evaluation mode."""
        return self.opened.model

    @property
    def tokenizer(self) -> Vocabulary | None:
        """The tokenizer; None if the model does not read or generate text."""
        return getattr(self.opened.task.data, "tokenizer", None)

    def predict(self, inputs: Iterable[Input | Path]) -> list[Prediction]:
        """Return a prediction for each input, in order.

        Args:
            inputs: texts; lists of texts for pairs, questions and words; paths of images or recordings; or labels of
                images to generate ("": each label in turn). The details of a prediction contain the generated `image`.

        Raises:
            DataError: if an input is malformed, too long or unreadable, or if a text or path is given in place of a
                list.
            ConfigError: if the run makes no predictions.
        """
        if isinstance(inputs, (str, Path)):
            kind = "text" if isinstance(inputs, str) else "path"
            raise DataError(f"predict needs a list of inputs, not one {kind}", f"predict([{kind}])")
        examples = [str(item) if isinstance(item, Path) else item for item in inputs]
        with _machine(self.opened):
            return list(self.opened.predict(examples))

    def evaluate(self, split: str = "test", *, predictions: bool = False) -> Evaluation:
        """Return the scores on a split of the run's data, with their signatures.

        Args:
            split: train, validation or test.
            predictions: whether the result includes the predictions of all examples.

        Raises:
            DataError: if there is no such split, or its data cannot be read.
        """
        with _machine(self.opened):
            return self.opened.evaluate(split, Scoring(predictions=predictions))


def load(
    run: str | Path,
    *,
    checkpoint: str = "",
    device: str = "auto",
    precision: str = "",
    workers: int = 1,
    settings: Sequence[str] = (),
) -> Run:
    """Load a trained run.

    Args:
        run: run folder or checkpoint.
        checkpoint: best, latest, or the name of a checkpoint; empty: the best, which may be the average, or the latest.
        device: auto, cpu, cuda or mps.
        precision: fp32 or bf16; empty: the precision with which training scored the run.
        workers: number of processes that decode on a CPU; 1: this one; 0: as many as physical cores.
        settings: other settings as on the command line, such as `decode.beam=1` or `data.test=new.jsonl`.

    Raises:
        RunError: if there is no complete checkpoint.
        ConfigError: if a setting is unknown or without effect, or the trained model cannot change it.
    """

    def overrides(config: Experiment) -> list[str]:
        decodes = hasattr(getattr(config, "decode", None), "workers")
        return [
            *([f"trainer.precision={precision}"] if precision else []),
            *([f"decode.workers={workers}"] if decodes else []),
            *settings,
        ]

    with _restored():
        opened = open_run(
            Path(run), checkpoint=checkpoint, device=device, overrides=overrides,
            check=lambda task: check_settings(task, settings),
        )  # fmt: skip
    return Run(opened)


@contextmanager
def _restored() -> Iterator[None]:
    """Restore the caller's threads, precision of matrix products, implementation of attention and subnormal numbers."""
    threads, attention, products = torch.get_num_threads(), backend.attention, torch.get_float32_matmul_precision()
    flushes = flushes_subnormals()
    try:
        yield
    finally:
        torch.set_flush_denormal(flushes)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)
        backend.attention = attention


@contextmanager
def _machine(opened: Opened) -> Iterator[Any]:
    """Compute with the run's threads and attention inside the context."""
    with _restored():
        torch.set_num_threads(opened.machine.threads)
        torch.set_flush_denormal(True)
        backend.attention = opened.machine.attention
        if opened.machine.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        yield
