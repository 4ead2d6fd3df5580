"""The end of a run after its last step: the average of its checkpoints, `result.json`, and the next command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tformer_cli.config.schema import Average
from tformer_cli.console import spell
from tformer_cli.runs.checkpoint import (
    AVERAGED,
    read_state,
    tensors_to_bytes,
    usable_files,
    write_folder,
)
from tformer_cli.runs.folder import RESULT
from tformer_cli.runs.writing import replace_file
from tformer_cli.signals import name_of
from tformer_cli.train.averaging import average_folders, load_average
from tformer_cli.train.loop import Trainer


def finish(trainer: Trainer) -> None:
    """Average checkpoints if the settings say so, write `result.json`, and print result and next command (rank 0).

    Args:
        trainer: trainer after `fit`.
    """
    run, config, progress, console = trainer.run, trainer.config, trainer.progress, trainer.console
    if trainer.stop or (trainer.stopper.number and config.trainer.average is not Average.none):
        console.say(f"stopped at step {progress.step:,}; to continue: the same command with --resume")
        return
    try:
        result = _write_result(trainer)
    except (KeyboardInterrupt, SystemExit):
        console.say("stopped before the result was written; to continue: the same command with --resume")
        raise
    best = "" if result["best"] is None else f"{result['best']:.4g}"
    where = "by the average of checkpoints" if result["checkpoint"] == AVERAGED else f"at step {result['step']:,}"
    console.say(f"done in {spell(progress.seconds)}: best {result['metric']} {best} {where}")
    if number := trainer.stopper.number:
        console.say(f"{name_of(number)} came after the last step: nothing is lost, the run is complete")
    split = "" if trainer.task.data.has_split("test") else " --split validation"
    use = f"   or   {trainer.task.use.format(run=run)}" if trainer.task.use else ""
    console.say(f"next: tformer evaluate {run}{split}{use}")


def _write_result(trainer: Trainer) -> dict[str, Any]:
    """Average checkpoints if the settings say so, write `result.json`, and return its content.

    Score and step are those of the checkpoint that it names; the step of an average is the last one of the run.
    """
    progress, best = trainer.progress, trainer.checkpoints.best()
    checkpoint = average_checkpoints(trainer) or best
    average = None
    if checkpoint is not None and checkpoint.name == AVERAGED:  # maybe of an earlier call
        average = read_state(checkpoint)
    result = {
        "metric": trainer.validation.metric,
        "best": average["score"] if average else progress.best,
        "step": average["step"] if average else progress.best_step,
        "minutes": round(progress.seconds / 60, 2),
        "checkpoint": checkpoint.name if checkpoint else None,
    }
    replace_file(trainer.run / RESULT, json.dumps(result, indent=1).encode())
    return result


def average_checkpoints(trainer: Trainer) -> Path | None:
    """Average the weights of the last or best kept checkpoints, score the average and save it as `averaged` (rank 0).

    Returns:
        The folder of the average if its score is better than the score of every checkpoint, otherwise None.

    Raises:
        RunError: if no checkpoint is complete, or the average cannot be written.
    """
    settings, progress, validation = trainer.trainer, trainer.progress, trainer.validation
    if settings.average is Average.none:
        return None
    checkpoints = trainer.checkpoints
    newest = checkpoints.path(progress.step)
    last, best = checkpoints.regular()[-settings.keep :], checkpoints.ranked(newest)
    weights, names = average_folders(
        last if settings.average is Average.last else best[: settings.keep_best], trainer.console.say
    )
    load_average(trainer.model, weights)
    evaluation = validation.measure()
    score, loss = validation.score(evaluation), evaluation.scores.get("loss", 0.0)
    trainer.console.say(f"average of {len(names)} checkpoints: {validation.metric} {score:.4g}")
    better = validation.better(score, loss, progress.best, progress.best_loss)
    state = {"step": progress.step, "score": score, "loss": loss, "averaged": names, "better": better}
    state |= trainer.machine.record()
    files = usable_files(tensors_to_bytes(weights), state, trainer.config, trainer.task.data.files())
    write_folder(checkpoints.folder / AVERAGED, files)
    checkpoints.point(newest)
    if not better:
        return None  # the average stays in the run folder, but a single checkpoint is better
    progress.best, progress.best_loss = score, loss
    return checkpoints.folder / AVERAGED
