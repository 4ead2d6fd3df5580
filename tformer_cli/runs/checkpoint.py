"""Checkpoints, in a format that all families share; their content is verified when it is read.

A checkpoint is a folder: `model.safetensors` (the weights for use: the moving average if there is one),
`optimizer.safetensors` (moments, and the raw weights if there is an average), `state.json`, `config.yaml`, and files of
the task (tokenizer, labels). `manifest.json` is written last, and contains the format version, and the size and SHA-256
of each file. The folder is written under a temporary name, synced and renamed, so that a folder with its final name is
always complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from tformer_cli.config.compose import to_yaml
from tformer_cli.config.schema import Experiment
from tformer_cli.errors import RunError
from tformer_cli.regular_files import read_regular
from tformer_cli.runs.verify import FORMAT_VERSION, MANIFEST, damage, read_state, state_of
from tformer_cli.runs.writing import replace_file, sync_folder, write_files, write_remedy

__all__ = ["MANIFEST", "Checkpoints", "damage", "read_state"]
PREFIX, AVERAGED = "step-", "averaged"


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a checkpoint folder atomically: under a temporary name, manifest last, synced and renamed.

    Args:
        target: the folder; an existing one is replaced.
        files: content by name relative to the folder.

    Raises:
        RunError: if it cannot be written (disk full, no permission); an existing folder is then unchanged.
    """
    temporary = target.with_name(f".{target.name}.writing")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        entries = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }
        manifest = {"format_version": FORMAT_VERSION, "files": entries}
        write_files(temporary, {**files, MANIFEST: json.dumps(manifest, indent=1, sort_keys=True).encode()})
        if target.exists():
            os.replace(target, target.with_name(f".{target.name}.deleting"))
        os.replace(temporary, target)
        shutil.rmtree(target.with_name(f".{target.name}.deleting"), ignore_errors=True)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(
            f"{target}: checkpoint cannot be written: {error.strerror or error}",
            f"{write_remedy(error)}, then continue with --resume; earlier checkpoints are whole",
        ) from error


def usable_files(
    weights: bytes, state: Mapping[str, Any], config: Experiment, task_files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the files without which a checkpoint cannot be used, by name.

    Args:
        weights: content of the file of weights.
        state: step, scores and counters.
        config: the configuration.
        task_files: files of the task, such as the tokenizer.
    """
    return {
        "model.safetensors": weights,
        "state.json": json.dumps(state, indent=1).encode(),
        "config.yaml": to_yaml(config).encode(),
        **task_files,
    }


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and persistent buffers by name; shared weights have only their first name."""
    seen: dict[int, str] = {}
    tensors = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen[id(value)] = name
            tensors[name] = value
    return tensors


def load_model_tensors(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load the tensors of `model_tensors` into a model.

    Raises:
        RunError: if weights are missing, superfluous, of another shape or not finite; names the first.
    """
    weights = model_tensors(model)
    missing, unknown = weights.keys() - tensors.keys(), tensors.keys() - weights.keys()
    for kind, names in (("missing", missing), ("unknown", unknown)):
        if names:
            raise RunError(f"{where}: {kind} weights: {', '.join(sorted(names)[:3])}", "it belongs to another model")
    with torch.no_grad():
        for name, value in weights.items():
            if value.shape != tensors[name].shape:
                shapes = f"{tuple(tensors[name].shape)}, the model has {tuple(value.shape)}"
                raise RunError(f"{where}: {name} has shape {shapes}", "it belongs to another model")
            if value.is_floating_point() and not bool(tensors[name].isfinite().all()):
                raise RunError(f"{where}: {name} is not finite: the training diverged", "use an earlier checkpoint")
            value.copy_(tensors[name])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: not a readable safetensors file ({error})") from error


def _order(folder: Path) -> tuple[int, str]:
    """Return the key by which folders of steps are sorted: from step 100,000,000 on, names are longer."""
    return len(folder.name), folder.name


@dataclass
class Checkpoints:
    """The checkpoints of a run; `save` removes old ones.

    Args:
        folder: `RUN/checkpoints`.
        keep: number of the newest checkpoints that are kept.
        keep_best: number of the best checkpoints that are kept.
        higher_is_better: whether a higher `score` in `state.json` is better; `loss` is the validation loss.
    """

    folder: Path
    keep: int = 3
    keep_best: int = 1
    higher_is_better: bool = True

    def steps(self) -> list[Path]:
        """Return all checkpoint folders of training steps, complete or not, oldest first."""
        return sorted((path for path in self.folder.glob(f"{PREFIX}*") if path.is_dir()), key=_order)

    def regular(self) -> list[Path]:
        """Return the checkpoints of scheduled steps, oldest first.

        A signal caused the others. They do not count among the `keep` newest and are never averaged, so that an
        interrupted run ends like an uninterrupted one.
        """
        return [path for path in self.steps() if not state_of(path)[0].get("extra", False)]

    def path(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self.folder / f"{PREFIX}{step:08d}"

    def newest(self, say: Callable[[str], None]) -> Path | None:
        """Return the newest complete checkpoint; None if there are no checkpoints.

        Args:
            say: called with a message for each newer, damaged checkpoint.

        Raises:
            RunError: if there are checkpoints and all are damaged.
        """
        candidates = self.steps()[::-1]
        faults = []
        for path in candidates:
            fault = damage(path) or state_of(path)[1]
            if not fault:
                for skipped in faults:
                    say(f"skipped a damaged checkpoint: {skipped}")
                return path
            faults.append(f"{path.name} {fault}")
        if faults:
            raise RunError(f"{self.folder}: every checkpoint is damaged: {'; '.join(faults)}", "start a new run")
        return None

    def latest(self) -> Path | None:
        """Return the checkpoint of the last step, complete or not."""
        return next(reversed(self.steps()), None)

    def best(self, newest: Path | None = None, *, strict: bool = True) -> Path | None:
        """Return the checkpoint with the best score, as the newest checkpoint records it; the file `best` may be older.

        Args:
            newest: checkpoint whose record is used; None: that of the last step.
            strict: whether a damaged record is an error, since another checkpoint could be the best one.

        Returns:
            Its folder, which may have been removed since; None if no checkpoint has been scored.

        Raises:
            RunError: if the record is damaged.
        """
        newest = newest or self.latest()
        if newest is None:
            return None
        pointer = self._pointer("best")
        state = self._record(newest, strict)
        averaged = self._record(self.folder / AVERAGED, strict and pointer == AVERAGED)
        if averaged and averaged["step"] == state.get("step") and averaged.get("better", pointer == AVERAGED):
            return self.folder / AVERAGED  # version 0.1 recorded this only by the pointer
        return self.path(state["best_step"]) if state.get("best") is not None and state.get("best_step") else None

    def _record(self, folder: Path, strict: bool) -> dict[str, Any]:
        """Return the state of a checkpoint; empty if it is missing, or damaged and not `strict`."""
        state, fault = state_of(folder)
        if fault and strict:
            raise RunError(f"{folder}: damaged: {fault}", "name another one with --checkpoint")
        return state

    def _pointer(self, name: str) -> str:
        """Return the content of a pointer file, "" if there is none."""
        try:
            return read_regular(self.folder / name, largest=1000, links=False).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def ranked(self, newest: Path | None = None) -> list[Path]:
        """Return checkpoints by the metric of the newest one, best first; ties go to the lower loss, then to the older.

        Args:
            newest: last checkpoint to consider; None: that of the last step.
        """
        states = [
            (path, state)
            for path in self.steps()
            if newest is None or _order(path) <= _order(newest)
            for state, fault in [state_of(path)]
            if not fault and state.get("score") is not None and math.isfinite(state["score"])
        ]
        metric = next((state.get("metric") for _, state in reversed(states)), None)
        first = next((state.get("compared_from", 0) for _, state in reversed(states)), 0)
        scored = [
            (-state["score"] if self.higher_is_better else state["score"], state.get("loss") or 0.0, path)
            for path, state in states
            if state.get("metric") == metric and state["step"] >= first
        ]
        return [path for *_, path in sorted(scored)]

    def save(self, step: int, files: Mapping[str, bytes]) -> Path:
        """Write the checkpoint of `step`, update the pointers, then remove old checkpoints."""
        path = self.path(step)
        write_folder(path, files)
        self.settle(path)
        for checkpoint in self.steps():  # those of later steps are damaged and were skipped
            if _order(checkpoint) > _order(path):
                self._remove(checkpoint)
        return path

    def settle(self, newest: Path) -> None:
        """Complete a save after the checkpoint is written: update the pointers, then remove old checkpoints.

        The same call completes a save that was interrupted after its checkpoint was written.
        """
        self.point(newest)
        steps = [path for path in self.steps() if _order(path) <= _order(newest)]
        regular = [path for path in self.regular() if path in steps]
        retained = {
            *regular[-self.keep :],
            *self.ranked(newest)[: self.keep_best],
            self.best(newest, strict=False),
            newest,
        }
        for checkpoint in steps:
            if checkpoint not in retained:
                self._remove(checkpoint)

    def point(self, newest: Path) -> None:
        """Write the files `latest` and `best`, which only inform users and other programs."""
        self._write_pointer("latest", newest)
        best = self.best(newest, strict=False)
        if best is not None:
            self._write_pointer("best", best)

    def _write_pointer(self, name: str, target: Path) -> None:
        if self._pointer(name) != target.name:
            replace_file(self.folder / name, target.name.encode())

    def _remove(self, folder: Path) -> None:
        """Remove a checkpoint; it is renamed first, so that a crash does not leave a partial checkpoint."""
        doomed = folder.with_name(f".{folder.name}.deleting")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def _leftovers(self) -> Iterator[Path]:
        yield from self.folder.glob(".*.writing")
        yield from self.folder.glob(".*.deleting")

    def interrupted(self) -> bool:
        """Return whether the last save was interrupted before its pointers were updated."""
        if any(self._leftovers()):
            return True
        newest = self.latest()
        if newest is None or state_of(newest)[1]:
            return False
        best = self.best(newest, strict=False)
        return self._pointer("latest") != newest.name or (best is not None and self._pointer("best") != best.name)

    def clean(self) -> None:
        """Complete or undo an operation that a crash interrupted."""
        for path in self.folder.glob(".*.writing"):
            target = path.with_name(path.name.removeprefix(".").removesuffix(".writing"))
            if path.is_dir() and not target.exists() and not damage(path):
                os.replace(path, target)  # it is complete, and only the last rename was missing
        for path in list(self._leftovers()):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def complete_save(folder: Path) -> None:
    """Complete or undo an interrupted save in `RUN/checkpoints` if possible; the caller must hold the run's lock.

    Readers do not depend on it, since `Checkpoints.best` and `latest` use the checkpoints themselves.
    """
    checkpoints = Checkpoints(folder)
    with contextlib.suppress(OSError):
        checkpoints.clean()
        newest = checkpoints.latest()
        if newest is not None and not damage(newest):
            checkpoints.point(newest)
