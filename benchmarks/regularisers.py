"""The cost of regularisers: CPU time of training steps with each one, divided by the time without it, in turns.

    python benchmarks/regularisers.py [--pairs 5] [--steps 6]

Two small models train on one thread in float32 with built-in data: a Transformer (128 wide, 2 + 2 layers, vocabulary of
700) and a Conformer (CTC alone). Both runs of a pair take the same batches. A line shows the median of the ratios of
all pairs and their range.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from tformer_cli import tasks  # noqa: E402
from tformer_cli.config.compose import compose  # noqa: E402
from tformer_cli.console import Console  # noqa: E402
from tformer_cli.machine import Machine  # noqa: E402
from tformer_cli.train.loop import Trainer  # noqa: E402
from tformer_cli.train.parallel import Ranks  # noqa: E402

RECIPES = {
    "quickstart/translation": ["data.size=3000", "data.batch_tokens=2048", "model.dropout=0.3"],
    "quickstart/conformer": ["data.size=300", "model.dropout=0.1"],
}
REGULARISERS = {
    "disagreement_subspace=1": ["regularise.disagreement_subspace=1"],
    "disagreement_position=1": ["regularise.disagreement_position=1"],
    "disagreement_output=1": ["regularise.disagreement_output=1"],
    "consistency": ["regularise.consistency=1"],
}


def trainer_of(recipe: str, settings: list[str], folder: Path) -> Trainer:
    """Return a trainer at its first step."""
    task = tasks.build(compose(recipe, [*RECIPES[recipe], *settings, f"data.cache={folder}", "trainer.device=cpu"]))
    task.prepare(folder)
    machine = Machine(torch.device("cpu"), "fp32", "explicit", 1, 1e9)
    return Trainer(task, task.model().train(), folder, machine, Ranks(), Console(quiet=True))


def seconds_of(trainer: Trainer, steps: int) -> float:
    """Take steps over the first batches of an epoch, the same in each call, and return the CPU seconds."""
    view = trainer.task.view("train")
    batches = [view.batch(0, index) for index in range(steps)]
    start = time.process_time()
    for batch in batches:
        trainer.progress.step += 1
        trainer.train_step([batch])
    return time.process_time() - start


def main() -> None:
    """Print the ratios of all regularisers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs for each regulariser")
    parser.add_argument("--steps", type=int, default=6, help="steps of each run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread, {options.pairs} pairs of runs\n")
    for recipe, (name, settings) in itertools.product(RECIPES, REGULARISERS.items()):
        with tempfile.TemporaryDirectory() as folder:
            plain, regularised = (trainer_of(recipe, more, Path(folder)) for more in ([], settings))
            for trainer in (plain, regularised):
                seconds_of(trainer, 2)
            pairs = [[seconds_of(each, options.steps) for each in (plain, regularised)] for _ in range(options.pairs)]
        ratios = [after / before for before, after in pairs]
        step_seconds = statistics.median(before for before, _ in pairs) / options.steps
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{recipe:24} {name:24} {spread}; {1000 * step_seconds:.0f} ms without", flush=True)


if __name__ == "__main__":
    main()
