"""The data sets of the benchmarks: their folders, and their preparation, which is done once for all programs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = HERE / "work"
TEXT_VOCAB_SIZE = 8000
"""Size of the vocabulary for running text and its sentences; for pairs, `--vocab-size` sets it."""


@dataclass(frozen=True)
class DataSet:
    """A data set: a folder, given by an option or found by its name in TFORMER_DATA, or built-in data of tformer.

    Attributes:
        option: option of the command line, without its dashes; empty: built-in data.
        file: a file that the folder must contain.
        about: help text of the option.
    """

    option: str
    file: str
    about: str


DATA_SETS = {
    "multi30k": DataSet("data", "train.{source}", "folder of train.* and test*.*"),
    "imdb": DataSet("imdb", "train.jsonl.gz", "folder of train.jsonl.gz with columns text and label"),
    "tinyshakespeare": DataSet("tinyshakespeare", "input.txt", "folder of input.txt"),
    "cifar10": DataSet("cifar10", "train.parquet", "folder of train.parquet with columns image and label"),
    "spoken_numbers": DataSet("", "", "strings of the built-in spoken numbers"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for the folder of each data set."""
    for name, data_set in DATA_SETS.items():
        if not data_set.option:
            continue
        help_text = f"{data_set.about}; default: {name} of TFORMER_DATA"
        parser.add_argument(f"--{data_set.option}", type=Path, metavar="FOLDER", help=help_text)


def folder_of(name: str, options: argparse.Namespace) -> Path:
    """Return the folder of a data set; for built-in data, the folder into which the data is written.

    Raises:
        SystemExit: if the folder does not contain the required file.
    """
    data_set = DATA_SETS[name]
    if not data_set.option:
        return WORK / name
    option = getattr(options, data_set.option)
    folder = option or Path(os.environ.get("TFORMER_DATA") or ROOT / "../shared/data") / name
    file = data_set.file.format(source=options.source)
    if not (folder / file).is_file():
        raise SystemExit(f"error: {folder}: no {file}: give --{data_set.option} FOLDER, or set TFORMER_DATA")
    return folder.resolve()


def prepare(name: str, options: argparse.Namespace, weights: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Prepare a data set: ids of texts, pixels of images or samples of recordings.

    The vocabulary of texts is trained once, or taken from trained weights.

    Returns:
        A folder and the content of its `facts.json`. The folder contains `data.npz`; for texts and recordings also
        `tokenizer.model`; and, except for pairs, the data that tformer reads.
    """
    if name == "multi30k":
        source, target = options.source, options.target
        folder = WORK / f"{source}-{target}-{weights.resolve().name if weights else options.vocab_size}"
        arguments = ["prepare.py", folder_of(name, options), folder, source, target, options.vocab_size]
        arguments += [weights] if weights else []
    elif name == "cifar10":
        folder = WORK / name
        arguments = ["prepare_images.py", folder_of(name, options), folder, name]
    elif name == "spoken_numbers":
        folder = WORK / name
        arguments = ["prepare_speech.py", folder, name]
    else:
        folder = WORK / f"{name}-{TEXT_VOCAB_SIZE}"
        arguments = ["prepare_text.py", folder_of(name, options), folder, name, TEXT_VOCAB_SIZE]
    if weights or not (folder / "facts.json").exists():
        print(f"preparing {folder.name} ...", flush=True)
        script, *script_arguments = map(str, arguments)
        subprocess.run([sys.executable, HERE / script, *script_arguments], check=True)
    return folder, json.loads((folder / "facts.json").read_text(encoding="utf-8"))
