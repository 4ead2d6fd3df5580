"""The start of a run from a checked configuration: lock, data, model, loop and result."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

from tformer_cli.errors import RunError
from tformer_cli.signals import exit_status

NEVER_RESUMED = "choose another folder with --run, or continue this run with --resume"


def launch(
    config,
    run: Path,
    *,
    resume: bool = False,
    initial: Path | None = None,
    processes: int = 1,
    quiet: bool = False,
    fit_vocabulary: bool = False,
) -> None:
    """Train a model in one process or several.

    Args:
        config: a checked `Experiment`.
        run: the run folder.
        resume: continue from the newest complete checkpoint in it, if there is one.
        initial: run or checkpoint with initial weights and tokenizer (fine-tuning).
        processes: number of ranks on this machine, each with a share of the cores; with torchrun its ranks are used.
        quiet: print only errors.
        fit_vocabulary: reduce `tokenizer.vocab_size` if the text has fewer pieces, instead of raising an error.

    Raises:
        TformerError: for errors that the user can correct.
        SystemExit: after a signal stopped the run and it was saved; the status is 128 plus the signal's number.
    """
    if processes > 1 and "RANK" not in os.environ:
        from tformer_cli.train.processes import run_ranks

        run_ranks(processes, train, (config, run, resume, initial, quiet, fit_vocabulary))
        return
    train(config, run, resume, initial, quiet, fit_vocabulary)


def train(config, run: Path, resume: bool, initial: Path | None, quiet: bool, fit_vocabulary: bool = False) -> None:
    """Train in this process, which may be one rank of several; see `launch` for the arguments and errors."""
    from tformer_cli.machine import pick_device, tune_process

    tune_process()  # before torch allocates anything large
    from tformer_cli.console import Console
    from tformer_cli.runs.folder import Lock, clear_start
    from tformer_cli.train import parallel
    from tformer_cli.train.ending import finish
    from tformer_cli.train.layers import compile_blocks

    ranks = parallel.join(pick_device(config.trainer.device).type, config.trainer.distributed_timeout)
    console = Console(quiet=quiet or not ranks.first)
    run, initial = _shared(ranks, run, initial)
    lock, failed = None, True
    try:
        lock = Lock(run) if ranks.first else None
        newest = _newest_checkpoint(run, lock, resume, ranks, console)
        task = _task(config, newest, initial, console)
        initial_labels = _initial_labels(task, initial)
        rebuild = partial(_task, newest=newest, initial=initial, console=console) if fit_vocabulary else None
        task = _prepare(task, run, ranks, console, rebuild)
        trainer = _trainer(task, run, newest, ranks, console)
        if newest is None and initial is not None:
            _start_from(initial, trainer, initial_labels)
        if config.trainer.compile:
            compile_blocks(trainer.model)
        ranks.wait()  # until every rank has read the initial weights
        if ranks.first:
            clear_start(run)
            if trainer.progress.best is None:
                trainer.validation.check_metric()
            _write_start(task, run, trainer.machine)
            _header(trainer, ranks, run, console)
        trainer.fit()
        if ranks.first:
            finish(trainer)
        ranks.wait()
        failed = False
    except RuntimeError as error:
        raise parallel.explained(error, ranks) from error
    finally:
        parallel.leave(ranks, failed=failed)
        if lock is not None:
            lock.release()
    if stopped_by := trainer.stop_signal or trainer.stopper.number:
        raise SystemExit(exit_status(stopped_by))


def _shared(ranks, run: Path, initial: Path | None) -> tuple[Path, Path | None]:
    """Return the folders chosen by rank 0, on every rank."""
    chosen = json.loads(ranks.same_text(json.dumps([str(run), str(initial) if initial is not None else None])))
    return Path(chosen[0]), Path(chosen[1]) if chosen[1] is not None else None


def _newest_checkpoint(run: Path, lock, resume: bool, ranks, console) -> Path | None:
    """Return the checkpoint to resume from, after rank 0, which holds the lock, has completed interrupted saves.

    Raises:
        RunError: if there is a checkpoint, and `resume` is false.
    """
    from tformer_cli.runs.checkpoint import Checkpoints

    checkpoints = Checkpoints(run / "checkpoints")
    if lock is not None:
        if lock.note:
            console.say(lock.note)
        checkpoints.clean()
    ranks.wait()
    newest = checkpoints.newest(console.say)
    if newest is not None and not resume:
        raise RunError(f"{run}: already holds a run", NEVER_RESUMED)
    if newest is None and resume:
        console.say(f"{run}: no checkpoint to resume from: a new run begins there")
    return newest


def _task(config, newest: Path | None, initial: Path | None, console):
    """Return the run's task, loaded from the checkpoint to resume or from the run to start from."""
    from tformer_cli import tasks
    from tformer_cli.runs.folder import locate
    from tformer_cli.trained.opening import open_companions

    task = tasks.build(config)
    if newest is not None:
        _check_same(config, newest, console)
        task.data.load(newest)
    elif initial is not None:
        task.data.start_from(locate(initial)[1])
    open_companions(task)
    return task


def _initial_labels(task, initial: Path | None) -> tuple[str, ...] | None:
    """Return the output names of the run to start from, before `prepare` replaces them by the names in the data.

    The result is None if the run has another task.
    """
    from tformer_cli.config.compose import from_yaml
    from tformer_cli.runs.folder import CONFIG, locate

    if initial is None:
        return ()
    same_task = from_yaml(locate(initial)[1] / CONFIG).task == task.config.task
    return task.data.output_names if same_task else None


def _prepare(task, run: Path, ranks, console, rebuild):
    """Prepare a task on every rank; rank 0 is first, and the others read its results from the cache.

    Args:
        task: the task.
        run: the run folder.
        ranks: the process group.
        console: the console.
        rebuild: function that builds the task again for a configuration with a smaller vocabulary; None: a text with
            too few pieces raises an error.

    Returns:
        The task, or one with a smaller vocabulary.
    """
    task.require()  # importing the libraries may take seconds, in which no data is prepared
    if ranks.first:
        with console.if_slow("preparing the data (encoded texts, decoded images and audio are cached for later runs)"):
            task = _prepare_here(task, run, console, rebuild)
    ranks.wait()
    return task if ranks.first else _prepare_here(task, run, console, rebuild)


def _prepare_here(task, run: Path, console, rebuild):
    """Prepare a task in this process, with the largest suitable vocabulary if it may be smaller than configured."""
    from tformer_cli.config.compose import VOCABULARY_SIZE, override
    from tformer_cli.tokenizers.training import VocabularySizeError

    while True:
        try:
            task.prepare(run)
            return task
        except VocabularySizeError as error:
            if rebuild is None:
                raise
            smaller = f"{VOCABULARY_SIZE}={error.suitable}"
            console.say(f"note: {smaller}: {error.cause.removeprefix(VOCABULARY_SIZE + ': ')}")
            task = rebuild(override(task.config, [smaller]))


def _trainer(task, run: Path, newest: Path | None, ranks, console):
    """Build the trainer of a prepared task, with seeded weights or the weights of the checkpoint to resume from."""
    from tformer_cli.machine import prepare
    from tformer_cli.runs.checkpoint import read_state
    from tformer_cli.train.learner import seed_step
    from tformer_cli.train.loop import Trainer
    from tformer_cli.train.saving import restore

    chosen = read_state(newest, resumable=True)["machine"] if newest is not None else None
    local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    attention = task.config.model.attention_shape(task.data.usual_length)
    machine = prepare(task.config.trainer, ranks=local_ranks, chosen=chosen, **attention)
    seed_step(task.config.seed, 0, 0)
    trainer = Trainer(task, task.model().to(machine.device), run, machine, ranks, console)
    if newest is not None:
        restore(trainer, newest)
        console.say(f"resumed from {newest} at step {trainer.progress.step:,}")
    return trainer


def _start_from(initial: Path, trainer, labels: tuple[str, ...] | None) -> None:
    """Load the weights of another run into a new one; `labels` are the output names of the other run."""
    from tformer_cli.runs.checkpoint import read_state
    from tformer_cli.runs.folder import locate
    from tformer_cli.train.initial import load_initial

    checkpoint = locate(initial)[1]
    note = load_initial(trainer.model, checkpoint, trainer.task.data.output_names, labels)
    source = read_state(checkpoint).get("source", initial)  # RUN/initial will be removed
    trainer.console.say(f"started from {source}{note}")
    trainer.learner.start_average()


def _check_same(config, newest: Path, console) -> None:
    """Refuse to resume a run with other settings.

    Data may have moved; its hash must be the same. After a step that was not finite the settings of `STEERING` may
    change. The metric may change as long as nothing has been scored.

    Raises:
        RunError: if relevant settings differ; the message names them.
    """
    from tformer_cli.config.compose import differences, from_yaml
    from tformer_cli.runs.checkpoint import read_state
    from tformer_cli.runs.folder import HARMLESS, LOCATIONS, STEERING
    from tformer_cli.train.finite import diverged

    state = read_state(newest)
    allowed = (*HARMLESS, *LOCATIONS, *(STEERING if diverged(newest.parent.parent) else ()))
    allowed += ("trainer.metric",) if state.get("best") is None else ()
    changed = differences(from_yaml(newest / "config.yaml"), config)
    if refused := [line for line in changed if not line.startswith(allowed)]:
        raise RunError(
            f"{newest}: made with other settings: {'; '.join(refused)}", "resume with the same, or use another --run"
        )
    for line in changed:
        if line.startswith(STEERING):
            console.say(f"from step {state['step'] + 1:,} on: {line}")


def _write_start(task, run: Path, machine) -> None:
    """Write the files that describe a run; `config.yaml`, which identifies a run folder, is first."""
    from tformer_cli.config.compose import to_yaml
    from tformer_cli.runs.folder import CONFIG, write_environment
    from tformer_cli.runs.writing import replace_file, write_remedy

    try:
        replace_file(run / CONFIG, to_yaml(task.config).encode())
        write_environment(run, machine.describe())
        for name, content in task.data.run_files().items():
            replace_file(run / name, content)
    except OSError as error:
        raise RunError(
            f"{run}: cannot be written: {error.strerror}", f"{write_remedy(error)}, or choose another --run"
        ) from error


def _header(trainer, ranks, run: Path, console) -> None:
    """Print the header of a run: model, data, length, folder, and notes about settings."""
    from tformer_cli.train.notes import length, notes

    task, model, machine, progress = trainer.task, trainer.model, trainer.machine, trainer.progress
    batches, accumulate = trainer.view.num_batches, trainer.trainer.accumulate * len(trainer.updates)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    facts = [
        ("recipe", task.config.recipe),
        ("model", f"{task.config.model.family}, {parameters / 1e6:.2f} M parameters"),
        *task.describe(),
        ("length", length(trainer.budget, batches, accumulate, progress.step, progress.seconds)),
        ("machine", machine.describe() + (f", {ranks.world} processes" if ranks.world > 1 else "")),
        ("run", str(run)),
    ]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        console.say(f"{name:>{width}}  {value}")
    for line in notes(task.config, trainer.budget, model, ranks.world):
        console.say(f"note: {line}")
