"""Checkpoints: one format for all families, one way to write, nothing trusted when read.

A checkpoint is a folder: `model.safetensors` (the weights to use; the moving average where there is one),
`optimizer.safetensors` (moments, and the raw weights beside an average), `state.json`, `config.yaml`, the task's own
files (tokenizer, labels) and, written last, `manifest.json` with format version, size and SHA-256 of each file.
It is written beside its place, synced and renamed, so that under its own name it is always whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from tformer_cli.config.compose import to_yaml
from tformer_cli.config.schema import Experiment
from tformer_cli.errors import RunError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
PREFIX = "step-"


def write_file(path: Path, content: bytes) -> None:
    """Write and sync one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable (nothing to do where folders cannot be opened)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file so that a reader sees the old content or the new, never half."""
    beside = path.with_name(f".{path.name}.writing")
    write_file(beside, content)
    os.replace(beside, path)
    sync_folder(path.parent)


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a checkpoint folder: beside its place, synced, manifest last, renamed.

    Args:
        target: the folder; what lies there is replaced.
        files: content by name relative to the folder.

    Raises:
        RunError: if it cannot be written (disk full, no permission); what was there before is untouched.
    """
    beside = target.with_name(f".{target.name}.writing")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        entries = {}
        for name, content in files.items():
            write_file(beside / name, content)
            entries[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest = {"format_version": FORMAT_VERSION, "files": entries}
        write_file(beside / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
        for folder in {(beside / name).parent for name in files}:
            sync_folder(folder)
        if target.exists():
            os.replace(target, target.with_name(f".{target.name}.deleting"))
        os.replace(beside, target)
        shutil.rmtree(target.with_name(f".{target.name}.deleting"), ignore_errors=True)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise RunError(
            f"{target}: checkpoint cannot be written: {error.strerror or error}",
            "free space or permissions, then continue with --resume; earlier checkpoints are whole",
        ) from error


def usable_files(
    weights: bytes, state: Mapping[str, Any], config: Experiment, task_files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """What a checkpoint needs to be used, by name: weights, state, configuration and the task's own files."""
    return {
        "model.safetensors": weights,
        "state.json": json.dumps(state, indent=1).encode(),
        "config.yaml": to_yaml(config).encode(),
        **task_files,
    }


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; of weights that share memory only the first name."""
    seen: dict[int, str] = {}
    tensors = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen[id(value)] = name
            tensors[name] = value
    return tensors


def load_model_tensors(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put `model_tensors` back.

    Raises:
        RunError: naming the first weights that are missing, left over or of another shape.
    """
    own = model_tensors(model)
    for kind, names in (("missing", own.keys() - tensors.keys()), ("unknown", tensors.keys() - own.keys())):
        if names:
            raise RunError(f"{where}: {kind} weights: {', '.join(sorted(names)[:3])}", "it belongs to another model")
    with torch.no_grad():
        for name, value in own.items():
            if value.shape != tensors[name].shape:
                shapes = f"{tuple(tensors[name].shape)}, the model has {tuple(value.shape)}"
                raise RunError(f"{where}: {name} has shape {shapes}", "it belongs to another model")
            value.copy_(tensors[name])


def damage(folder: Path) -> str:
    """What is wrong with a checkpoint folder, "" if nothing: every file's size and SHA-256 against the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        version, files = manifest["format_version"], manifest["files"]
    except FileNotFoundError:
        return "has no manifest.json"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"has an unreadable manifest.json ({type(error).__name__})"
    if version > FORMAT_VERSION:
        return f"is of format {version}, newer than this tformer knows ({FORMAT_VERSION})"
    for name, entry in files.items():
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts or (folder / name).is_symlink():
            return f"names a file outside itself: {name}"
        try:
            size = (folder / name).stat().st_size
            if size != entry["bytes"]:
                return f"{name} has {size} bytes instead of {entry['bytes']}"
            with open(folder / name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    return f"{name} does not match its SHA-256"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return ""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        RunError: if it is none.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: not a readable safetensors file ({error})") from error


def read_state(folder: Path) -> dict[str, Any]:
    """`state.json` of a checkpoint: step, scores and the loop's counters."""
    return json.loads((folder / "state.json").read_bytes())


@dataclass
class Checkpoints:
    """The checkpoints of a run, and which of them are kept.

    Args:
        folder: `RUN/checkpoints`.
        keep: newest ones kept.
        keep_best: best ones kept.
        higher_is_better: of the metric in `state.json` under `score`; the validation loss is there under `loss`.
    """

    folder: Path
    keep: int = 3
    keep_best: int = 1
    higher_is_better: bool = True

    def steps(self) -> list[Path]:
        """All checkpoint folders of training steps, oldest first; whole or not."""
        return sorted(path for path in self.folder.glob(f"{PREFIX}*") if path.is_dir())

    def path(self, step: int) -> Path:
        """Folder of a step's checkpoint."""
        return self.folder / f"{PREFIX}{step:08d}"

    def newest(self, say: Callable[[str], None]) -> Path | None:
        """The newest whole checkpoint; the damaged ones on the way are named.

        Raises:
            RunError: if there are checkpoints and all are damaged.
        """
        candidates = self.steps()[::-1]
        faults = []
        for path in candidates:
            fault = damage(path)
            if not fault:
                for skipped in faults:
                    say(f"skipped a damaged checkpoint: {skipped}")
                return path
            faults.append(f"{path.name} {fault}")
        if faults:
            raise RunError(f"{self.folder}: every checkpoint is damaged: {'; '.join(faults)}", "start a new run")
        return None

    def best(self) -> Path | None:
        """What the `best` pointer names, if it is there."""
        return self._pointer("best")

    def latest(self) -> Path | None:
        """What the `latest` pointer names, if it is there."""
        return self._pointer("latest")

    def _pointer(self, name: str) -> Path | None:
        try:
            target = (self.folder / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        path = self.folder / target
        return path if target and "/" not in target and path.is_dir() else None

    def ranked(self) -> list[Path]:
        """Scored checkpoints, best first; among equals those of lower loss, then the older."""
        scored = []
        for path in self.steps():
            try:
                state = read_state(path)
            except (OSError, ValueError):
                continue
            if (score := state.get("score")) is not None:
                scored.append((-score if self.higher_is_better else score, state.get("loss") or 0.0, path))
        return [path for *_, path in sorted(scored)]

    def save(self, step: int, files: Mapping[str, bytes]) -> Path:
        """Write the checkpoint of `step`, move the pointers, then drop what need not be kept."""
        path = self.path(step)
        write_folder(path, files)
        replace_file(self.folder / "latest", path.name.encode())
        ranked = self.ranked()
        if ranked:
            replace_file(self.folder / "best", ranked[0].name.encode())
        kept = {*self.steps()[-self.keep :], *ranked[: self.keep_best], path}
        for old in self.steps():
            if old not in kept:
                # renamed first, so that a crash in the middle leaves nothing that looks like a checkpoint
                doomed = old.with_name(f".{old.name}.deleting")
                os.replace(old, doomed)
                shutil.rmtree(doomed, ignore_errors=True)
        return path

    def clean(self) -> None:
        """Finish or remove what a crash left half-done."""
        for path in self.folder.glob(".*.writing"):
            target = path.with_name(path.name.removeprefix(".").removesuffix(".writing"))
            if path.is_dir() and not target.exists() and not damage(path):
                os.replace(path, target)  # whole, only the last rename was missing
        for path in [*self.folder.glob(".*.writing"), *self.folder.glob(".*.deleting")]:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
