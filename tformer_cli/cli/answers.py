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


def in_order(
    lines: Iterable[Line], answers: Callable[[Iterable[Any]], Iterator[Any]], *, at_once: bool = False
) -> Iterator[tuple[Line, Any]]:
    """Yield every input with its prediction, in order, as soon as it is available.

    An input with a fault is not predicted: its prediction is empty, with the fault in `details["error"]`.

    Args:
        lines: the inputs.
        answers: maps inputs to one prediction each, in order; it may read ahead.
        at_once: predict each line before the next is read, for interactive input.

    Raises:
        DataError: for an input that is malformed or too long, after the predictions before it; names its location.
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

    def given() -> Iterator[Any]:
        if not at_once:
            yield from answers(read())
            return
        for value in read():
            yield next(iter(answers([value])))

    try:
        for answer in given():
            yield from skipped()
            yield waiting.popleft(), answer
        yield from skipped()
    except BadInput as error:
        yield from skipped()
        raise DataError(f"{waiting[0].place}: {error.reason}", error.remedy) from error


def best(answer: Any, top: int) -> Any:
    """Return a prediction with only the `top` most probable labels, in order; 0: unchanged."""
    if top and "probabilities" in answer.details:
        ranked = sorted(answer.details["probabilities"].items(), key=lambda item: -item[1])[:top]
        answer.details["probabilities"] = dict(ranked)
    if top and "fillings" in answer.details:
        answer.details["fillings"] = [fillings[:top] for fillings in answer.details["fillings"]]
    return answer


class Notes:
    """Notes about skipped, cut or malformed inputs, printed at the end by reason."""

    most = 5

    def __init__(self) -> None:
        self._notes: dict[str, list[str]] = {}

    def of(self, line: Line, answer: Any) -> Any:
        """Record the notes of a prediction about its input.

        Raises:
            RunError: if a number of the prediction is not a number, as where finite weights overflow.
        """
        if _has_nan(answer.details):
            cause = f"{line.place}: the model's output is not finite"
            raise RunError(cause, "its weights overflow: choose another checkpoint with --checkpoint")
        if "error" in answer.details:
            self._add("left out", line.place, answer.details["error"])
        elif "note" in answer.details:
            self._add("note", line.place, answer.details["note"])
        return answer

    def _add(self, kind: str, place: str, reason: str) -> None:
        line = reason if place in reason else f"{place}: {reason}"
        self._notes.setdefault(kind, []).append(line)

    def say(self) -> None:
        """Print the number of inputs of each kind, and the first of them."""
        from tformer_cli.cli.output import note

        for kind, lines in self._notes.items():
            for line in lines[: self.most]:
                note(f"{kind}: {line}")
            if len(lines) > self.most:
                note(f"{kind}: {len(lines) - self.most:,} more, {len(lines):,} in all")
        self._notes.clear()


def _has_nan(value: Any) -> bool:
    """Return whether a value of JSON holds a number that is none."""
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def as_lines(line: Line, answer: Any, n_best: int, top: int = 0) -> str:
    """Return plain text: always `n_best` or `top` lines, so that the output of each input line has a known position."""
    if n_best > 1 and answer.details.get("hypotheses"):
        texts = [hypothesis["text"] for hypothesis in answer.details["hypotheses"][:n_best]]
    elif top and "probabilities" in answer.details:
        texts = [f"{name}\t{share:.4f}" for name, share in answer.details["probabilities"].items()]
    elif top and answer.details.get("fillings"):
        ranks = zip(*answer.details["fillings"], strict=True)
        texts = ["\t".join(f"{one['text']}\t{one['probability']:.4f}" for one in rank) for rank in ranks]
    else:
        texts = [answer.text]
    texts += [""] * (max(n_best, top) - len(texts))
    return "".join(text.replace("\r", " ").replace("\n", " ") + "\n" for text in texts)


def as_rows(line: Line, answer: Any, n_best: int, top: int) -> str:
    """Return lines with the name of a file and its prediction; nothing for a skipped file."""
    from tformer_cli.data.core.media import shown

    if "error" in answer.details:
        return ""
    rows = [row for row in as_lines(line, answer, n_best, top).split("\n") if row]
    return "".join(f"{shown(line.shown)}\t{row}\n" for row in rows or [""])


def as_object(line: Line, answer: Any, n_best: int = 1, top: int = 0) -> str:
    """Return a JSON object with the input, the prediction, and the details of the task."""
    record = {"input": line.shown, "text": answer.text, **answer.details}
    return json.dumps(record, ensure_ascii=False, default=lambda value: value.tolist()) + "\n"


def check_place(output: Path | None) -> None:
    """Refuse an output file that cannot be written, before slow work starts.

    Raises:
        RunError: if it is a folder, its folder does not exist, or it is a file that a run consists of.
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
            what = f"{file.records:,} answer{'s'[: file.records != 1]}"
            note(f"{os.fspath(file.partial)} holds the first {what}; {output} was left as it was")
        raise
