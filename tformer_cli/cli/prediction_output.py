"""Output of predictions in the order of the inputs, as lines or JSON, to standard output or a file."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tformer_cli.cli.reading import Line
from tformer_cli.errors import DataError, RunError
from tformer_cli.raw_lines import one_line


def in_order(
    lines: Iterable[Line], predict: Callable[[Iterable[Any]], Iterator[Any]], *, at_once: bool = False
) -> Iterator[tuple[Line, Any]]:
    """Yield every input with its prediction, in order, as soon as it is available.

    An input with a fault is not predicted: its prediction is empty, with the fault in `details["error"]`.

    Args:
        lines: the inputs.
        predict: function from inputs to one prediction each, in order; it may read ahead.
        at_once: whether each line is predicted before the next is read, for interactive input.

    Raises:
        DataError: for an input that is malformed or too long, after the predictions before it; the error names its
            location.
    """
    from tformer_cli.predictors.base import Prediction
    from tformer_cli.predictors.inputs import BadInput

    waiting: deque[Line] = deque()

    def read() -> Iterator[Any]:
        for line in lines:
            waiting.append(line)
            if not line.fault:
                yield line.value

    def skipped() -> Iterator[tuple[Line, Any]]:
        while waiting and waiting[0].fault:
            line = waiting.popleft()
            yield line, Prediction("", {"error": line.fault})

    def predictions() -> Iterator[Any]:
        if not at_once:
            yield from predict(read())
            return
        for value in read():
            yield next(iter(predict([value])))

    try:
        for prediction in predictions():
            yield from skipped()
            yield waiting.popleft(), prediction
        yield from skipped()
    except BadInput as error:
        yield from skipped()
        raise DataError(f"{waiting[0].location}: {error.reason}", error.remedy) from error


def best(prediction: Any, top: int) -> Any:
    """Return a prediction with only the `top` most probable labels or fillings, in order; 0: unchanged."""
    if top and "probabilities" in prediction.details:
        ranked = sorted(prediction.details["probabilities"].items(), key=lambda item: -item[1])[:top]
        prediction.details["probabilities"] = dict(ranked)
    if top and "fillings" in prediction.details:
        prediction.details["fillings"] = [fillings[:top] for fillings in prediction.details["fillings"]]
    return prediction


class Notes:
    """Notes about skipped, cut or malformed inputs, printed at the end by reason."""

    max_lines = 5

    def __init__(self) -> None:
        self._notes: dict[str, list[str]] = {}

    def of(self, line: Line, prediction: Any) -> Any:
        """Record the notes of a prediction about its input.

        Raises:
            RunError: if a number of the prediction is NaN, for example because finite weights overflow.
        """
        if _has_nan(prediction.details):
            cause = f"{line.location}: the model's output is not finite"
            raise RunError(cause, "its weights overflow: choose another checkpoint with --checkpoint")
        if "error" in prediction.details:
            self._add("skipped", line.location, prediction.details["error"])
        elif "note" in prediction.details:
            self._add("note", line.location, prediction.details["note"])
        return prediction

    def _add(self, heading: str, location: str, reason: str) -> None:
        line = reason if location in reason else f"{location}: {reason}"
        self._notes.setdefault(heading, []).append(line)

    def print(self) -> None:
        """Print the first notes under each heading, and the number of all."""
        from tformer_cli.cli.output import note

        for heading, lines in self._notes.items():
            for line in lines[: self.max_lines]:
                note(f"{heading}: {line}")
            if len(lines) > self.max_lines:
                note(f"{heading}: {len(lines) - self.max_lines:,} more, {len(lines):,} in all")
        self._notes.clear()


def _has_nan(value: Any) -> bool:
    """Return whether a JSON value contains NaN."""
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def as_lines(line: Line, prediction: Any, n_best: int, top: int = 0) -> str:
    """Return plain text: always `n_best` or `top` lines, so that the output for each input has a known position."""
    if top and "probabilities" in prediction.details:
        texts = [f"{name}\t{share:.4f}" for name, share in prediction.details["probabilities"].items()]
    elif top and prediction.details.get("fillings"):
        ranks = zip(*prediction.details["fillings"], strict=True)
        texts = ["\t".join(f"{word['text']}\t{word['probability']:.4f}" for word in rank) for rank in ranks]
    else:
        texts = prediction.texts(n_best)
    texts += [""] * (max(n_best, top) - len(texts))
    return "".join(one_line(text) + "\n" for text in texts)


def as_rows(line: Line, prediction: Any, n_best: int, top: int) -> str:
    """Return lines with the name of a file and its prediction; nothing for a skipped file."""
    from tformer_cli.data.core.media import shown

    if "error" in prediction.details:
        return ""
    rows = [row for row in as_lines(line, prediction, n_best, top).split("\n") if row]
    return "".join(f"{shown(line.shown)}\t{row}\n" for row in rows or [""])


def as_object(line: Line, prediction: Any, n_best: int = 1, top: int = 0) -> str:
    """Return a JSON object with the input, the prediction, and the details of the task."""
    record = {"input": line.shown, "text": prediction.text, **prediction.details}
    return json.dumps(record, ensure_ascii=False, default=lambda value: value.tolist()) + "\n"


def check_output_path(output: Path | None) -> None:
    """Refuse an output file that cannot be written, before slow work starts.

    Raises:
        RunError: if it is a folder, its folder does not exist, or it is a file of a run.
        PermissionError: if it is not writable.
    """
    from tformer_cli.runs.writing import check_output

    if output is None or str(output) == "-":
        return
    check_output(output)
    target = Path(os.path.realpath(output))
    if not any((folder / "checkpoints").is_dir() for folder in target.parents):
        return
    from tformer_cli.runs.folder import is_part_of_run

    if is_part_of_run(target):
        raise RunError(f"{output} is a file of a run, which would be lost", "choose another name")


def write(records: Iterable[str], output: Path | None) -> None:
    """Write records to a file atomically, or to standard output (None or `-`) one by one."""
    from tformer_cli.cli.output import note, result
    from tformer_cli.runs.writing import output_file

    if output is None or str(output) == "-":
        for record in records:
            result(record)
        return
    file = None
    try:
        with output_file(output) as file:
            for record in records:
                if record:
                    file.write(record.encode("utf-8", "backslashreplace"))
    except BaseException:
        if file is not None and file.partial is not None:
            count = f"{file.records:,} prediction{'s'[: file.records != 1]}"
            note(f"{os.fspath(file.partial)} contains the first {count}; {output} is unchanged")
        raise
