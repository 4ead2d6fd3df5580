"""Import of pre-trained models of other libraries."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tformer_cli.config.schema import Experiment
from tformer_cli.data.text.encoding_version import EncodingVersion
from tformer_cli.errors import ConfigError
from tformer_cli.interop.formats import Foreign, importers
from tformer_cli.interop.gate import Say, warn
from tformer_cli.interop.reading import CONFIG, read_json
from tformer_cli.interop.writing import tokenizer_files
from tformer_cli.train.initial import OUTPUT_NAMES


def read_foreign(path: Path, languages: tuple[str, str] = ("source", "target"), say: Say = warn) -> Foreign:
    """Read a model from a folder with the importer for its architecture.

    Args:
        path: folder with config.json, and model.safetensors or its shards; models of text have a tokenizer too.
        languages: names of the source and target language, for a tokenizer with a model for each.
        say: receives warnings about parts that are not imported.

    Raises:
        ConfigError: if the architecture or a setting is not supported, or the weights do not fit.
        DataError: if a file is missing or damaged, or all weights are pickled.
    """
    path = Path(path)
    settings = read_json(path / CONFIG)
    for importer in importers():
        if importer.accepts(settings):
            return importer.read(path, settings, languages, say)
    known = [name for importer in importers() for name in importer.architectures]
    cause = f"{path / CONFIG}: {_architecture(settings)} is not supported"
    raise ConfigError(cause, f"tformer reads {', '.join(known[:-1])} and {known[-1]}")


def _architecture(settings: Mapping[str, Any]) -> str:
    """Return the architecture that a `config.json` names, shortened."""
    listed = settings.get("architectures")
    named = listed[0] if isinstance(listed, list) and listed else settings.get("model_type")
    return str(named or "an unnamed architecture")[:60]


def write_checkpoint(foreign: Foreign, target: Path, config: Experiment, source: str) -> None:
    """Write a model from `read_foreign` as a checkpoint that every command can read.

    Args:
        foreign: settings, weights and tokenizer.
        target: the checkpoint's folder.
        config: configuration of the checkpoint; the settings of the foreign model replace its `model`.
        source: name of the model, for messages.

    Raises:
        RunError: if the checkpoint cannot be written.
    """
    from tformer_cli.runs.checkpoint import tensors_to_bytes, usable_files, write_folder

    experiment = dataclasses.replace(config, model=foreign.model)
    files: dict[str, bytes] = {}
    if foreign.tokenizer is not None:
        files |= tokenizer_files(foreign.tokenizer) | EncodingVersion().files()
    if foreign.labels:
        files[OUTPUT_NAMES] = json.dumps(foreign.labels).encode()
    write_folder(
        target, usable_files(tensors_to_bytes(foreign.weights), {"step": 0, "source": source}, experiment, files)
    )
