"""Sequence-level distillation: parallel text whose targets are the outputs of a trained run.

A student that learns from the outputs of a teacher's beam search instead of the references reaches almost the same
score in greedy search (Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.2).

The text is written to `OUTPUT.partial`, which becomes `OUTPUT` when it is complete. The card `distilled.json` in it
records how many lines are on disk. It is updated whenever every line that was read has an output. After an
interruption the same command continues there.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tformer_cli import __version__
from tformer_cli.config.schema import DecodeConfig, TextExperiment
from tformer_cli.config.splits import SPLITS
from tformer_cli.config.values import plain
from tformer_cli.console import Console
from tformer_cli.errors import DataError, RunError
from tformer_cli.predictors.inputs import BadInput, OnLong
from tformer_cli.raw_lines import one_line
from tformer_cli.runs.checkpoint import read_state
from tformer_cli.runs.folder import Lock
from tformer_cli.runs.writing import PARTIAL, Output, check_new_folder, replace_file, sync, sync_folder, writing
from tformer_cli.tasks.task import Task
from tformer_cli.trained.distilled_card import CARD, Progress, check_files, encoded_card, file_hash, read_card
from tformer_cli.trained.opening import Opened, open_run

Digest = Any
"""A hash object of `hashlib`; its type has no public name."""


@dataclass
class Distilled:
    """A finished distillation.

    Attributes:
        folder: the folder with the texts and the card.
        progress: numbers of lines and bytes that are written.
        before: number of lines that an earlier command had written; all of them if there was nothing left to do.
        notes: notes for the user, one line each.
    """

    folder: Path
    progress: Progress
    before: int
    notes: list[str]


def distill_run(
    run: Path,
    output: Path,
    split: str = "train",
    overrides: Sequence[str] = (),
    checkpoint: str = "",
    device: str = "auto",
    *,
    on_long: str = "skip",
    quiet: bool = False,
    check: Callable[[Task], None] | None = None,
) -> Distilled:
    """Write a folder of parallel text in which a trained run's outputs replace the targets of a split.

    The folder holds each split of the data as two files, such as `train.en` and `train.de`. Line n of the outputs
    belongs to line n of the split; with `decode.n_best=N`, lines N (n - 1) + 1 to N n do, and the source is repeated.

    Args:
        run: run folder or checkpoint of a run that translates texts.
        output: folder to write.
        split: the split whose sources are read: train, validation or test. The other splits are copied.
        overrides: settings that differ from the run's, such as `data.path=FOLDER` or `decode.beam=8`.
        checkpoint: name of the checkpoint; empty: the averaged or best.
        device: auto, cpu, cuda or mps.
        on_long: name of an `OnLong`, the treatment of sources that are longer than the model reads.
        quiet: whether to show no progress.
        check: see `open_run`.

    Raises:
        RunError: if the folder holds something else, or text that was made with other settings; nothing is changed.
    """
    output = Path(os.path.realpath(output)) if output.is_symlink() or output.name in ("", "..") else output
    if not (output / CARD).is_file():
        check_new_folder(output)
    _check_partial(_partial(output))
    opened = open_run(run, checkpoint=checkpoint, device=device, overrides=overrides, check=check)
    opened.task.predictor.on_long = OnLong[on_long]
    origin = _origin(opened, split, on_long)
    if (output / CARD).is_file():
        return _complete(output, origin)
    folder = _partial(output)
    lock = Lock(folder, kind="folder", option="--output")
    try:
        check_new_folder(output)  # another process may have completed it
        progress, digest = _resumed(folder, origin, _target_file(opened, split))
        before = progress.lines
        _write_outputs(opened, folder, split, origin, progress, digest, Console(quiet=quiet, unit="line"))
        _write_others(opened, folder, split)
        _finish(folder, output, _target_file(opened, split), origin, progress)
    finally:
        lock.release()
    notes = [*_data(opened).split(split).notes, *progress.notes()]
    if split != "validation" and "validation" not in origin["copied"]:
        notes.append("the data has no validation split: name one for the student with data.validation=...")
    return Distilled(output, progress, before, notes)


def _partial(output: Path) -> Path:
    return output.with_name(output.name + PARTIAL)


def _check_partial(folder: Path) -> None:
    """Check that the folder of the unfinished text holds nothing else.

    Raises:
        RunError: if it holds files but no card.
    """
    if not (folder / CARD).is_file() and set(os.listdir(folder) if folder.is_dir() else ()) - {".lock"}:
        raise RunError(f"{folder} holds something else", "move it away, or choose another --output")


def _data(opened: Opened) -> Any:
    """Return the data: splits of sentence pairs with the names of both languages."""
    return opened.task.data


def _decode(opened: Opened) -> DecodeConfig:
    assert isinstance(opened.config, TextExperiment)
    return opened.config.decode


def _origin(opened: Opened, split: str, on_long: str) -> dict[str, Any]:
    """Return everything that the outputs depend on, for the card."""
    data = _data(opened)
    text, decode = data.split(split), plain(_decode(opened))
    del decode["workers"]
    return {
        "tformer": __version__,
        "torch": torch.__version__,
        "run": str(opened.run),
        "checkpoint": opened.checkpoint.name,
        "checkpoint_sha256": opened.sha256,
        "parameters": sum(parameter.numel() for parameter in opened.model.parameters()),
        "averaged": _averaged(opened),
        "device": opened.machine.device.type,
        "precision": opened.machine.precision,
        "attention": opened.machine.attention,
        "threads": opened.machine.threads if opened.machine.device.type == "cpu" else None,
        **{f"{name}_sha256": digest for name, digest in opened.used.items()},
        "split": split,
        "data": text.origin,
        "data_sha256": text.hash,
        "copied": {
            name: data.split(name).hash for name in SPLITS if name != split and data.has_split(name)
        },
        "source_language": data.source_language,
        "target_language": data.target_language,
        "decode": decode,
        "on_long": on_long,
    }  # fmt: skip


def _averaged(opened: Opened) -> str:
    """Return which weights the checkpoint holds: `none`, `ema DECAY`, or the names of the averaged checkpoints."""
    ema, names = opened.saved.trainer.ema, read_state(opened.checkpoint).get("averaged", [])
    return "; ".join([f"ema {ema:g}"] * bool(ema) + [f"mean of {', '.join(names)}"] * bool(names)) or "none"


def _complete(output: Path, origin: dict[str, Any]) -> Distilled:
    """Return the text that an earlier command completed.

    Raises:
        RunError: if it has another origin, or its files have changed.
    """
    progress = read_card(output, origin, "made")
    check_files(output)
    return Distilled(output, progress, progress.lines, progress.notes())


def _resumed(folder: Path, origin: dict[str, Any], name: str) -> tuple[Progress, Digest]:
    """Return the progress of an interrupted command, and remove the lines that this progress does not count.

    Args:
        folder: the unfinished folder.
        origin: what the outputs depend on.
        name: name of the file of outputs.

    Returns:
        The progress, and the hash of the outputs so far.

    Raises:
        RunError: if it has another origin, or its lines have changed.
    """
    _check_partial(folder)
    digest = hashlib.sha256()
    if not (folder / CARD).is_file():
        progress = Progress(sha256=digest.hexdigest())
        replace_file(folder / CARD, encoded_card(origin, progress))
        return progress, digest
    progress = read_card(folder, origin, "started")
    with open(folder / name, "ab+") as file:
        file.seek(0)
        size = progress.size
        while size and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
        if digest.hexdigest() != progress.sha256:
            cause = f"{folder / name}: changed after it was written"
            raise RunError(cause, f"remove {folder}, or choose another --output")
        file.truncate(progress.size)
    return progress, digest


def _target_file(opened: Opened, split: str) -> str:
    return f"{split}.{_data(opened).target_language}"


def _write_outputs(
    opened: Opened,
    folder: Path,
    split: str,
    origin: dict[str, Any],
    progress: Progress,
    digest: Digest,
    console: Console,
) -> None:
    """Append the outputs of all lines after those of `progress`; update the card whenever no line is waiting."""
    sources, count = _data(opened).split(split).sources, _decode(opened).n_best
    path = folder / _target_file(opened, split)
    before = recorded = num_read = progress.lines
    begin = time.monotonic()

    def remaining_sources() -> Iterator[str]:
        nonlocal num_read
        for source in islice(iter(sources), before, None):
            num_read += 1
            yield source

    opened.task.predictor.before = before
    console.start()
    try:
        with open(path, "ab", buffering=0) as file:
            output = Output(path, file)
            for prediction in opened.predict(remaining_sources()):
                content = b"".join(_line(text) for text in prediction.texts(count))
                output.write(content)
                digest.update(content)
                progress.size += len(content)
                progress.add(prediction)
                if progress.lines == num_read:
                    progress.sha256 = digest.hexdigest()
                    sync(file.fileno())
                    replace_file(folder / CARD, encoded_card(origin, progress))
                    recorded = progress.lines
                    share = progress.lines / len(sources)
                    done = (progress.lines - before) / max(len(sources) - before, 1)
                    console.advance(progress.lines, len(sources), share, (time.monotonic() - begin) * (1 / done - 1))
                    console.step(progress.lines, {})
    except BaseException as error:
        console.stop()
        console.say(
            f"{folder} holds the first {recorded:,} of {len(sources):,} lines; the same command continues there"
        )
        if isinstance(error, BadInput):
            raise DataError(f"{origin['data']}: line {error.number + 1}: {error.reason}", error.remedy) from error
        raise
    console.stop()


def _line(text: str) -> bytes:
    """Return a text as a line of a file, as `tformer translate` writes it."""
    return (one_line(text) + "\n").encode("utf-8", "backslashreplace")


def _write_others(opened: Opened, folder: Path, split: str) -> None:
    """Write the sources of the split, each as often as it has outputs, and the other splits as they are."""
    data, repeats = _data(opened), _decode(opened).n_best
    _write_lines(folder / f"{split}.{data.source_language}", data.split(split).sources, repeats)
    for name in (name for name in SPLITS if name != split and data.has_split(name)):
        _write_lines(folder / f"{name}.{data.source_language}", data.split(name).sources)
        _write_lines(folder / f"{name}.{data.target_language}", data.split(name).targets)


def _write_lines(path: Path, texts: Iterable[str], repeats: int = 1) -> None:
    with writing(str(path)), open(path, "wb") as file:
        for text in texts:
            file.write(_line(text) * repeats)
        file.flush()
        sync(file.fileno())


def _finish(folder: Path, output: Path, target: str, origin: dict[str, Any], progress: Progress) -> None:
    """Write the card, and give the complete folder its name.

    Args:
        folder: the unfinished folder.
        output: the name of the complete one.
        target: name of the file of outputs.
        origin: what the outputs depend on.
        progress: what was written.

    Raises:
        RunError: if the file of outputs does not have the recorded content.
    """
    files = {
        path.name: file_hash(path)
        for path in sorted(folder.iterdir())
        if path.name != CARD and not path.name.startswith(".")
    }
    if (folder / target).stat().st_size != progress.size or files[target] != progress.sha256:
        cause = f"{folder / target}: does not hold the outputs that were written"
        raise RunError(cause, f"remove {folder}, and repeat the command")
    replace_file(folder / CARD, encoded_card(origin, progress, files=files))
    (folder / ".lock").unlink(missing_ok=True)
    sync_folder(folder)
    if output.is_dir():
        output.rmdir()  # it is empty
    os.replace(folder, output)
    sync_folder(output.absolute().parent)
