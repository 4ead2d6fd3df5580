"""`--from`: what fine-tuning starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tformer_cli.config.schema import Experiment
from tformer_cli.errors import RunError

if TYPE_CHECKING:
    from tformer_cli.interop.formats import Foreign

FOREIGN = "hf:"
FILES = ("*.json", "*.safetensors", "*.spm", "*.model", "*.txt", "tokenizer/*")
"""What a model of the hub may consist of; nothing pickled is fetched."""


@dataclass
class Start:
    """A run or checkpoint, or a folder in the Hugging Face format."""

    folder: Path
    foreign: bool
    imported: Foreign | None = None
    """What a foreign folder holds, once `adapt` has read it."""

    @classmethod
    def find(cls, name: str) -> Start:
        """What `--from NAME` means.

        Args:
            name: folder of a run or checkpoint, hf:FOLDER, or hf:ID of a model on the Hugging Face hub.

        Raises:
            RunError: if there is no such thing.
        """
        if not name.startswith(FOREIGN):
            if not Path(name).is_dir():
                remedy = "--from takes the folder of a run; `tformer runs` lists them"
                raise RunError(f"{name}: no such run folder", remedy)
            if _is_foreign(Path(name)):
                raise RunError(f"{name}: no run, but a model in the format of another library", f"--from hf:{name}")
            return cls(Path(name), foreign=False)
        folder = Path(name.removeprefix(FOREIGN))
        return cls(folder if folder.is_dir() else _fetch(str(folder)), foreign=True)

    def adapt(self, config: Experiment, overrides: Sequence[str]) -> Experiment:
        """The recipe's configuration with this model's architecture."""
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

    def checkpoint(self, config: Experiment, run: Path) -> Path:
        """Where the loop starts from: another library's model is first written as a checkpoint, `RUN/initial`.

        It is removed when the model has its weights.
        """
        if self.imported is None:
            return self.folder
        from tformer_cli.interop.foreign import write_checkpoint
        from tformer_cli.runs.folder import INITIAL

        write_checkpoint(self.imported, run / INITIAL, config, f"{FOREIGN}{self.folder}")
        return run / INITIAL


def _note_size(config: Experiment, start: Experiment | None) -> None:
    """Print a note if images have another size than those of the starting model's training."""
    from tformer_cli.cli.output import note
    from tformer_cli.config.schema import ImageExperiment

    if isinstance(config, ImageExperiment) and isinstance(start, ImageExperiment):
        own, other = (each.data.height_width for each in (config, start))
        if own != other:
            sizes = [" x ".join(map(str, size)) for size in (own, other)]
            given = str(start.data.image_size).replace(" ", "")
            note(f"pictures are seen as {sizes[0]}, those of the weights were {sizes[1]}: data.image_size={given}")


def _is_foreign(folder: Path) -> bool:
    """Return whether a folder contains a model of another library, and no run or checkpoint."""
    ours = ("config.yaml", "checkpoints", "manifest.json")
    return (folder / "config.json").is_file() and not any((folder / name).exists() for name in ours)


def _fetch(name: str) -> Path:
    """A model of the hub, from its local cache where it lies there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    from tformer_cli.cli.output import note
    from tformer_cli.data.core.hub_log import quiet_hub

    note(f"{name} is no folder here: asking the Hugging Face hub for it")
    try:
        with quiet_hub():
            return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunError(
            f"{FOREIGN}{name}: neither a folder nor a model that the hub gives ({cause})",
            "download the model on a machine that can, and give hf:FOLDER",
        ) from error
