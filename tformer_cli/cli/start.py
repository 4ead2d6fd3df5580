"""The option `--from`, which names the model that fine-tuning starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.config.schema import Experiment
from tformer_cli.errors import RunError

if TYPE_CHECKING:
    from tformer_cli.data.core.dataset import Data
    from tformer_cli.interop.formats import Foreign

FOREIGN = "hf:"
FILES = ("*.json", "*.safetensors", "*.spm", "*.model", "*.txt", "tokenizer/*")
"""Patterns of the files that are downloaded for a model of the hub; they exclude pickled files."""


@dataclass
class Start:
    """The model that fine-tuning starts from: a run, a checkpoint, or a model in the format of another library."""

    folder: Path
    foreign: bool
    imported: Foreign | None = None
    """The content of a folder of another library, after `adapt` has read it."""

    @classmethod
    def find(cls, name: str) -> Start:
        """Find the model of `--from NAME`; a model of the hub is downloaded unless it is cached.

        Args:
            name: folder of a run or checkpoint, hf:FOLDER, or hf:ID of a model on the Hugging Face hub.

        Raises:
            RunError: if there is no such folder or model.
        """
        if not name.startswith(FOREIGN):
            if not Path(name).is_dir():
                remedy = "--from takes the folder of a run; `tformer runs` lists them"
                raise RunError(f"{name}: no such run folder", remedy)
            if _is_foreign(Path(name)):
                raise RunError(f"{name}: not a run, but a model in the format of another library", f"--from hf:{name}")
            return cls(Path(name), foreign=False)
        folder = Path(name.removeprefix(FOREIGN))
        return cls(folder if folder.is_dir() else _fetch(str(folder)), foreign=True)

    def adapt(self, config: Experiment, overrides: Sequence[str]) -> Experiment:
        """Return the configuration of the recipe with the architecture of this model."""
        from tformer_cli.train.initial import with_architecture, with_inputs

        if self.foreign:
            from tformer_cli.cli.output import note
            from tformer_cli.interop.foreign import read_foreign

            source, target = (getattr(config.data, f"{side}_language", side) for side in ("source", "target"))
            self.imported = read_foreign(self.folder, (source, target), note).for_task(config.task, note)
            if self.imported.inputs is not None:
                config = with_inputs(config, self.imported.inputs)
            adapted = with_architecture(config, self.imported.model, str(self.folder), overrides)
            _note_size(adapted, self.imported.inputs)
            return adapted
        from tformer_cli.config.compose import from_yaml
        from tformer_cli.runs.folder import locate

        checkpoint = locate(self.folder)[1]
        initial = from_yaml(checkpoint / "config.yaml")
        config = with_inputs(config, initial)
        adapted = with_architecture(config, initial.model, str(checkpoint), overrides)
        _note_size(adapted, initial)
        return adapted

    def load(self, data: Data[Any, Any]) -> None:
        """Load what data take from a run, such as its tokenizer; a model of another library has not been converted."""
        from tformer_cli.runs.folder import locate

        if not self.foreign:
            data.start_from(locate(self.folder)[1])

    def checkpoint(self, config: Experiment, run: Path) -> Path:
        """Return the checkpoint to start from.

        A model of another library is first written as a checkpoint, `RUN/initial`, which is removed after loading.
        """
        if self.imported is None:
            return self.folder
        from tformer_cli.interop.foreign import write_checkpoint
        from tformer_cli.runs.folder import INITIAL

        write_checkpoint(self.imported, run / INITIAL, config, f"{FOREIGN}{self.folder}")
        return run / INITIAL


def _note_size(config: Experiment, start: Experiment | None) -> None:
    """Print a note if the images have another size than those that the starting model was trained on."""
    from tformer_cli.cli.output import note
    from tformer_cli.config.schema import ImageExperiment

    if isinstance(config, ImageExperiment) and isinstance(start, ImageExperiment):
        sizes = [experiment.data.height_width for experiment in (config, start)]
        if sizes[0] != sizes[1]:
            new, old = (" x ".join(map(str, size)) for size in sizes)
            resized = ", and its positions are resized" if hasattr(config.model, "positions") else ""
            note(f"note: images have {new} pixels; the model was trained on {old}{resized}")


def _is_foreign(folder: Path) -> bool:
    """Return whether a folder contains a model of another library, and no run or checkpoint."""
    ours = ("config.yaml", "checkpoints", "manifest.json")
    return (folder / "config.json").is_file() and not any((folder / name).exists() for name in ours)


def _fetch(name: str) -> Path:
    """Return the folder of a model of the hub, which is downloaded unless it is in the local cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    from tformer_cli.cli.output import note
    from tformer_cli.data.core.hub_log import quiet_hub

    note(f"{name} is not a folder here: looking for it on the Hugging Face hub")
    try:
        with quiet_hub():
            return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(
            f"{FOREIGN}{name}: neither a folder nor an accessible model of the hub ({cause})",
            "download the model on a machine with access, and give hf:FOLDER",
        ) from error
