"""The items' data sets: where each is found, and how it is made ready, once, for every program."""

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
"""Of running text and its sentences; pairs have `--vocab-size`."""


@dataclass(frozen=True)
class DataSet:
    """A folder that an option names, or that is found by the data set's name in TFORMER_DATA; or what tformer brings.

    Attributes:
        option: of the command line, without its dashes; empty: it comes with tformer.
        file: what must be in the folder.
        about: what the option's help says.
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
    """An option for each data set's folder."""
    for name, data_set in DATA_SETS.items():
        if not data_set.option:
            continue
        help_text = f"{data_set.about}; default: {name} of TFORMER_DATA"
        parser.add_argument(f"--{data_set.option}", type=Path, metavar="FOLDER", help=help_text)


def folder_of(name: str, options: argparse.Namespace) -> Path:
    """The folder of a data set; where it is made, of one that comes with tformer.

    Raises:
        SystemExit: if what must be in it is not there.
    """
    data_set = DATA_SETS[name]
    if not data_set.option:
        return WORK / name
    given = getattr(options, data_set.option)
    folder = given or Path(os.environ.get("TFORMER_DATA") or ROOT / "../shared/data") / name
    file = data_set.file.format(source=options.source)
    if not (folder / file).is_file():
        raise SystemExit(f"error: {folder}: no {file}: give --{data_set.option} FOLDER, or set TFORMER_DATA")
    return folder.resolve()


def prepare(name: str, options: argparse.Namespace, weights: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """The texts as ids, by a vocabulary trained once or that of trained weights, pictures, or sound; and their facts.

    Returns:
        A folder with `data.npz`, of texts and sound with `tokenizer.model`, and but for pairs also what tformer reads;
        and its facts.
    """
    if name == "multi30k":
        source, target = options.source, options.target
        made = WORK / f"{source}-{target}-{weights.resolve().name if weights else options.vocab_size}"
        arguments = ["prepare.py", folder_of(name, options), made, source, target, options.vocab_size]
        arguments += [weights] if weights else []
    elif name == "cifar10":
        made = WORK / name
        arguments = ["prepare_images.py", folder_of(name, options), made, name]
    elif name == "spoken_numbers":
        made = WORK / name
        arguments = ["prepare_speech.py", made, name]
    else:
        made = WORK / f"{name}-{TEXT_VOCAB_SIZE}"
        arguments = ["prepare_text.py", folder_of(name, options), made, name, TEXT_VOCAB_SIZE]
    if weights or not (made / "facts.json").exists():
        print(f"preparing {made.name} ...", flush=True)
        script, *others = map(str, arguments)
        subprocess.run([sys.executable, HERE / script, *others], check=True)
    return made, json.loads((made / "facts.json").read_text(encoding="utf-8"))
