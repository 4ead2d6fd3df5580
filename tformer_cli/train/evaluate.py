"""Score a trained run on a split, and write the result so that the number can be checked later."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tformer_cli.analysis.pictures import draw, png
from tformer_cli.config.schema import TextExperiment
from tformer_cli.config.values import plain
from tformer_cli.tasks.base import Evaluation, Scoring
from tformer_cli.train.checkpoint import replace_file
from tformer_cli.train.restore import open_run


@dataclass
class Report:
    """An evaluation and where it was written."""

    evaluation: Evaluation
    path: Path
    pictures: list[Path]


def evaluate_run(
    run: Path, split: str = "test", overrides: Sequence[str] = (), checkpoint: str = "", device: str = "auto"
) -> Report:
    """Score a run.

    Args:
        run: run folder or checkpoint.
        split: train, validation or test.
        overrides: settings that differ from the run's.
        checkpoint: which one; empty: the averaged or best.
        device: auto, cpu, cuda or mps.

    Returns:
        The scores, also in `RUN/evaluation/SPLIT.json` with the scorers' signatures and the SHA-256 of checkpoint
        and data.
    """
    opened = open_run(run, checkpoint=checkpoint, device=device, overrides=overrides)
    with torch.inference_mode():
        evaluation = opened.task.evaluate(opened.model, split, Scoring())
    folder = opened.run / "evaluation"
    folder.mkdir(exist_ok=True)
    pictures = {name: folder / f"{split}-{name}.png" for name in evaluation.pictures}
    for name, path in pictures.items():
        replace_file(path, png(draw(evaluation.pictures[name])))
    record = {
        "split": split,
        **dataclasses.asdict(dataclasses.replace(evaluation, pictures={})),
        "pictures": {name: path.name for name, path in pictures.items()},
        "checkpoint": opened.checkpoint.name,
        "checkpoint_sha256": hashlib.sha256((opened.checkpoint / "manifest.json").read_bytes()).hexdigest(),
        **({"decode": plain(opened.config.decode)} if isinstance(opened.config, TextExperiment) else {}),
    }
    path = folder / f"{split}.json"
    replace_file(path, json.dumps(record, indent=1, ensure_ascii=False).encode())
    return Report(evaluation, path, list(pictures.values()))
