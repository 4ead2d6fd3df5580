"""Output of `predict` for runs that make images: a PNG file with a grid of all images, or a folder with a file each."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tformer_cli.cli.arguments import PredictionArguments
from tformer_cli.errors import ConfigError

BORDER_PIXELS, BORDER = 2, 255
"""Width and brightness of the lines between the images of a grid."""
PNG = ".png"


def check(task: Any, arguments: PredictionArguments) -> None:
    """Refuse inputs, options for inputs, and a missing or unsuitable output, before images are made.

    Raises:
        ConfigError: if an input or option is given, or the output is unsuitable; the error names the first.
        RunError: if the output cannot be written.
    """
    from tformer_cli.cli.prediction_output import check_output_path
    from tformer_cli.runs.writing import check_new_folder

    name, output = task.config.task, arguments.output
    if arguments.input_arguments:
        cause = f"{arguments.input_arguments[0]}: a run of {name} reads no input"
        raise ConfigError(cause, "leave it out; --count N makes N images")
    for option, value in (("--column", arguments.columns), ("--format", arguments.form)):
        if value:
            raise ConfigError(f"{option} has no effect on a run of {name}", "it reads no input")
    if arguments.header is not None:
        raise ConfigError(f"--header and --no-header have no effect on a run of {name}", "it reads no input")
    if output is None:
        cause = f"a run of {name} makes images, which need a file or a folder"
        raise ConfigError(cause, f"--output images{PNG}, or --output FOLDER for a file each")
    if str(output) == "-" and arguments.as_json:
        raise ConfigError("--json and --output - both write to standard output", f"--output images{PNG}")
    if str(output) == "-" or output.suffix.lower() == PNG:
        check_output_path(output)
    elif output.suffix and not output.is_dir():
        cause = f"--output {output}: images are written as PNG"
        raise ConfigError(cause, f"--output {output.with_suffix(PNG)}, or --output FOLDER for a file each")
    else:
        check_new_folder(output)


def write(predictions: Iterable[Any], output: Path, *, as_json: bool) -> None:
    """Write all images, and with `as_json` print a JSON object for each, with its file or its place in the grid.

    Args:
        predictions: predictions with an `image`, (H, W, C) uint8, its `row` and `column` in a grid, its `label` and
            `index` in their details.
        output: a file, `-` for standard output, or a folder.
        as_json: whether to print JSON objects.
    """
    from tformer_cli.cli.output import note, result
    from tformer_cli.draw import png
    from tformer_cli.runs.writing import output_file, write_new_folder

    records = [prediction.details for prediction in predictions]
    if str(output) == "-":
        sys.stdout.buffer.write(png(grid(records)))
        sys.stdout.buffer.flush()
        return
    if output.suffix.lower() == PNG:
        with output_file(output) as file:
            file.write(png(grid(records)))
        files = [output] * len(records)
    else:
        names = [_name(record) for record in records]
        images = (png(_drawable(record["image"])) for record in records)
        write_new_folder(output, dict(zip(names, images, strict=True)))
        files = [output / name for name in names]
    if not as_json:
        note(f"{len(records):,} image{'s'[: len(records) != 1]} in {output}")
        return
    in_grid = output.suffix.lower() == PNG
    left_out = {"image"} if in_grid else {"image", "row", "column"}
    for record, path in zip(records, files, strict=True):
        shown = {"file": str(path)} | {key: value for key, value in record.items() if key not in left_out}
        result(json.dumps(shown, ensure_ascii=False) + "\n")


def grid(records: list[dict[str, Any]]) -> Any:
    """Return all images in one, (height, width) or (height, width, 3), uint8."""
    import numpy as np

    height, width, channels = records[0]["image"].shape
    rows, columns = (1 + max(record[key] for record in records) for key in ("row", "column"))
    down, right = height + BORDER_PIXELS, width + BORDER_PIXELS
    shape = (rows * down + BORDER_PIXELS, columns * right + BORDER_PIXELS, channels)
    sheet = np.full(shape, BORDER, np.uint8)
    for record in records:
        top, left = record["row"] * down + BORDER_PIXELS, record["column"] * right + BORDER_PIXELS
        sheet[top : top + height, left : left + width] = record["image"]
    return _drawable(sheet)


def _drawable(image: Any) -> Any:
    """Return an image, (H, W, C), as Pillow reads it: grey ones without their channel."""
    return image[..., 0] if image.shape[-1] == 1 else image


def _name(record: dict[str, Any]) -> str:
    """Return the name of an image's file: its number, and its label if there is one."""
    label = re.sub(r"[^\w.-]+", "_", record["label"] or "")[:40]
    return f"{record['index']:05d}{'-' if label else ''}{label}{PNG}"
