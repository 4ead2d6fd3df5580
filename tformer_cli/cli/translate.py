"""`tformer translate` and `tformer predict`: one answer a line, in order."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tformer_cli.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from tformer_cli.cli.inputs import Line

RUN = typer.Argument(help="Run folder, or a checkpoint in one.")
INPUTS = typer.Argument(
    None,
    metavar="[FILE]... [KEY=VALUE]...",
    help="Text, a line each, or tables; none: standard input. Settings, as decode.length_penalty=0.6.",
)
PROMPTS = typer.Argument(
    None,
    metavar="[TEXT | FILE | FOLDER]... [KEY=VALUE]...",
    help="Text itself, or files of it, a line each, or tables; or pictures, recordings, folders of them. None: standard"
    " input, where these are named by their paths. Settings, as decode.length_penalty=0.6.",
)
COLUMN = typer.Option(
    None,
    "--column",
    metavar="NAME",
    help="Tables: column to read, or its place from 0; of a pair, given twice.  [default: as in training]",
    show_default=False,
)
FORMAT = typer.Option(
    "",
    "--format",
    help="How files are read: lines, csv, tsv, json, jsonl, parquet, arrow or conll.  [default: by their names]",
    show_default=False,
)
ON_LONG = typer.Option(
    "",
    "--on-long",
    help="A line that is longer than the model reads: error, cut or skip.  [default: error; labels and answers: cut]",
    show_default=False,
)
BEAM = typer.Option(None, "--beam", min=1, help="Beam width; 1 is greedy.", show_default=False)
N_BEST = typer.Option(None, "--n-best", min=1, help="Answers per line, one below the other.", show_default=False)
BATCH = typer.Option(None, "--batch", min=1, help="Lines decoded together.", show_default=False)
WORKERS = typer.Option(
    None, "--workers", min=0, help="Most processes, on a CPU; 0: as many as physical cores.", show_default=False
)
MAX_LENGTH = typer.Option(None, "--max-length", min=1, help="Most tokens that are written.", show_default=False)
TEMPERATURE = typer.Option(None, "--temperature", help="When drawing: lower is safer.", show_default=False)
TOP_K = typer.Option(None, "--top-k", min=0, help="Draw among the K most probable.", show_default=False)
TOP = typer.Option(
    None, "--top", min=1, help="Labels, or fillings, shown of each input, likeliest first.", show_default=False
)
TOP_P = typer.Option(None, "--top-p", help="Draw among the most probable, up to this sum.", show_default=False)
AS_JSON = typer.Option(False, "--json", help="One JSON object a line: input, text, scores, hypotheses.")
OUTPUT = typer.Option(None, "--output", "-o", help="File to write.  [default: standard output]", show_default=False)
DEVICE = typer.Option("auto", "--device", help="auto, cpu, cuda or mps.")
CHECKPOINT = typer.Option(
    "", "--checkpoint", help="best, latest, or a name in the run's checkpoints.", show_default=False
)

OPTIONS = {name: "--" + name.replace("_", "-") for name in ("beam", "n_best", "batch", "workers", "max_length",
                                                           "temperature", "top_k", "top_p", "top")}  # fmt: skip
"""Options by the settings that they stand for."""


@dataclass(frozen=True)
class Asked:
    """What the user gave.

    Attributes:
        run: the run folder.
        inputs: texts, files, folders and settings.
        decode: settings of the search that options stand for; None: not given.
        columns: of tables.
        form: how files are read.
        on_long: what becomes of long lines.
        as_json: whether answers are JSON objects.
        output: file to write; None: standard output.
        device: where to compute.
        checkpoint: which one.
        top: labels shown of each input; 0: the likeliest, or all in JSON.
        literal: arguments may be texts themselves.
    """

    run: Path
    inputs: list[str]
    decode: Mapping[str, float | None]
    columns: tuple[str, ...]
    form: str
    on_long: str
    as_json: bool
    output: Path | None
    device: str
    checkpoint: str
    top: int = 0
    literal: bool = False

    @property
    def given(self) -> list[str]:
        """What is to be read."""
        return [item for item in self.inputs if not is_setting(item)]

    @property
    def settings(self) -> list[str]:
        """KEY=VALUE, with those that options stand for."""
        settings = [item for item in self.inputs if is_setting(item)]
        return settings + [f"decode.{key}={value}" for key, value in self.decode.items() if value is not None]

    @property
    def texts(self) -> list[str]:
        """What is given as text itself."""
        return [item for item in self.given if self.literal and is_text(item)]

    @property
    def files(self) -> list[Path]:
        """What is given as files or folders."""
        texts = self.texts
        return [Path(item) for item in self.given if item not in texts]


def translate(
    run: Path = RUN,
    inputs: list[str] = INPUTS,
    column: list[str] = COLUMN,
    form: str = FORMAT,
    on_long: str = ON_LONG,
    beam: int = BEAM,
    n_best: int = N_BEST,
    batch: int = BATCH,
    workers: int = WORKERS,
    as_json: bool = AS_JSON,
    output: Path = OUTPUT,
    device: str = DEVICE,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Translate text with a trained run: one line out for each line in, in order; an empty line stays empty.

    With --n-best N there are N lines for each line in, best first; --json keeps them in one object, with
    scores.
    """
    decode = {"beam": beam, "n_best": n_best, "batch": batch, "workers": workers}
    _answer(
        Asked(run, inputs or [], decode, tuple(column or ()), form, on_long, as_json, output, device, checkpoint),
        translating=True,
    )


def predict(
    run: Path = RUN,
    inputs: list[str] = PROMPTS,
    column: list[str] = COLUMN,
    form: str = FORMAT,
    on_long: str = ON_LONG,
    beam: int = BEAM,
    n_best: int = N_BEST,
    batch: int = BATCH,
    workers: int = WORKERS,
    max_length: int = MAX_LENGTH,
    temperature: float = TEMPERATURE,
    top_k: int = TOP_K,
    top_p: float = TOP_P,
    top: int = TOP,
    as_json: bool = AS_JSON,
    output: Path = OUTPUT,
    device: str = DEVICE,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Answer with a trained run of any task: one answer for each line, row, picture or recording, in order.

    A language model writes the text on; a single text given as an argument is written on as you watch.
    """
    decode = {"beam": beam, "n_best": n_best, "batch": batch, "workers": workers, "max_length": max_length}
    decode |= {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    columns = tuple(column or ())
    _answer(
        Asked(
            run, inputs or [], decode, columns, form, on_long, as_json, output, device, checkpoint, top or 0, True
        )  # fmt: skip
    )


def _answer(asked: Asked, *, translating: bool = False) -> None:
    from tformer_cli.cli import inputs, text
    from tformer_cli.config.schema import TextExperiment
    from tformer_cli.writing import check_output

    given, texts, files = asked.given, asked.texts, asked.files
    _check_arguments(given, texts)
    text.check(path for path in files if not path.is_dir())
    inputs.Reading(asked.columns, asked.form, words=True, expected=asked.columns).check()
    if asked.output is not None and str(asked.output) != "-":
        check_output(asked.output)
    from tformer_cli.tasks.files import AnswersFiles
    from tformer_cli.train.restore import open_run

    opened = open_run(asked.run, checkpoint=asked.checkpoint, device=asked.device, overrides=asked.settings)
    task = opened.task
    check_options(task, asked, translating=translating)
    n_best = opened.config.decode.n_best if isinstance(opened.config, TextExperiment) else 1
    if isinstance(task, AnswersFiles):
        lines = inputs.media(task, [Path(item) for item in given], asked.columns)
        write = as_rows
    else:
        text.check(files)
        stream = getattr(task, "stream", None)
        one_text = len(texts) == len(given) == 1 and n_best == 1
        if stream is not None and one_text and not asked.as_json and asked.output is None:
            _watch(stream, opened.model, texts[0])
            return
        lines = _lines(asked, inputs.reading_of(task, asked.columns, asked.form))
        write = as_lines
    records = in_order(lines, partial(task.predict, opened.model), at_once=not given and sys.stdin.isatty())
    records = ((line, best(answer, asked.top)) for line, answer in records)
    write = as_object if asked.as_json else write
    notes = Notes()
    try:
        _write((write(line, notes.of(line, answer), n_best, asked.top) for line, answer in records), asked.output)
    finally:
        notes.say()


def _check_arguments(given: list[str], texts: list[str]) -> None:
    """Refuse texts that are not UTF-8, and folders and standard input in the wrong place.

    Raises:
        ConfigError: naming the first.
    """
    from tformer_cli.cli.main import is_undecodable, printable

    for item in texts:
        if is_undecodable(item):
            raise ConfigError(f"the text {printable(item)[:60]} is not UTF-8", "convert it, or put it into a file")
    if given.count("-") > 1:
        raise ConfigError("standard input is named twice", "it can be read once: name - once")


def _lines(asked: Asked, how: Any) -> Iterator[Line]:
    """The texts, and what is in the files, in the order that they are given; or what is in standard input."""
    from tformer_cli.cli import inputs

    texts = asked.texts
    if not asked.given:
        yield from inputs.read([], how)
    for number, item in enumerate(asked.given, 1):
        if item in texts:
            yield inputs.Line(item, f"text {number}" if len(asked.given) > 1 else "the text", item)
        else:
            yield from inputs.read([Path(item)], how)


def check_options(task: Any, asked: Asked, *, translating: bool) -> None:
    """Refuse options and settings of the search that mean nothing for a run, and set those that are the task's own.

    Raises:
        RunError: if the run does not translate, and is to.
        ConfigError: naming the option.
    """
    from tformer_cli.tasks.inputs import OnLong

    kind = task.config.task
    if translating and not task.translates:
        raise RunError(f"{asked.run} is a run of {kind}, which does not translate", f"tformer predict {asked.run}")
    named = {name: OPTIONS[name] for name, value in asked.decode.items() if value is not None}
    named |= {"top": "--top"} if asked.top else {}
    for item in asked.inputs:
        if is_setting(item) and item.startswith("decode."):
            key = item.split("=", 1)[0]
            named.setdefault(key.removeprefix("decode."), key)
    for name, option in named.items():
        if name not in task.options:
            there = ", ".join(text for name, text in OPTIONS.items() if name in task.options) or "none"
            raise ConfigError(f"{option} means nothing for a run of {kind}", f"options that do: {there}")
        if reason := task.unused(name):
            raise ConfigError(f"{option} has no effect", reason)
    if asked.top:
        task.top = asked.top
    if asked.on_long:
        names = [choice.name for choice in OnLong]
        if asked.on_long not in names:
            raise ConfigError(f"--on-long: {asked.on_long!r} is not one of {', '.join(names)}")
        if task.on_long is None:
            raise ConfigError(f"--on-long means nothing for a run of {kind}", "none of its inputs is too long")
        task.on_long = OnLong[asked.on_long]


def best(answer: Any, top: int) -> Any:
    """An answer with the probabilities of its likeliest labels alone, likeliest first; 0: as it is."""
    if top and "probabilities" in answer.details:
        ranked = sorted(answer.details["probabilities"].items(), key=lambda item: -item[1])[:top]
        answer.details["probabilities"] = dict(ranked)
    if top and "fillings" in answer.details:
        answer.details["fillings"] = [fillings[:top] for fillings in answer.details["fillings"]]
    return answer


def _watch(stream: Callable[[Any, str, Callable[[str], None]], None], model: Any, prompt: str) -> None:
    """Write a prompt on as it is written; nothing is printed before it is known that it fits."""
    from tformer_cli.cli.output import result
    from tformer_cli.tasks.inputs import BadInput

    said = False

    def say(text: str) -> None:
        nonlocal said
        result(text if said else prompt + text)
        said = True

    try:
        stream(model, prompt, say)
    except BadInput as error:
        raise DataError(f"the text: {error.reason}", error.remedy) from error
    result("\n" if said else f"{prompt}\n")


def is_text(given: str) -> bool:
    """Whether an argument is itself the input: neither a file nor the likely name of one."""
    if given == "-" or (given and _on_disk(given, Path.exists)):
        return False
    return re.fullmatch(r"\S+\.(txt|tsv|csv|jsonl?|parquet|arrow|conllu?|gz|[a-z]{2})|\S*/\S*", given) is None


def is_setting(given: str) -> bool:
    """Whether an argument is KEY=VALUE and not the name of a file."""
    return re.match(r"[a-z_]+(\.[a-z_0-9]+)+=", given) is not None and not _on_disk(given, Path.exists)


def _on_disk(given: str, check: Callable[[Path], bool]) -> bool:
    try:
        return check(Path(given))
    except (OSError, ValueError):  # a text can be too long for a name
        return False


def in_order(
    lines: Iterable[Line], answers: Callable[[Iterable[Any]], Iterator[Any]], *, at_once: bool = False
) -> Iterator[tuple[Line, Any]]:
    """Pair every input with its answer, in order, as soon as it is there.

    Args:
        lines: the input.
        answers: from inputs to one answer each, in order; it may read ahead as far as it likes.
        at_once: answer each line before the next is read, for someone who types.

    Raises:
        DataError: at an input that is malformed or too long, after the answers before it; names its place.
    """
    from tformer_cli.tasks.inputs import BadInput

    waiting: deque[Line] = deque()

    def read() -> Iterator[Any]:
        for line in lines:
            waiting.append(line)
            yield line.value

    def given() -> Iterator[Any]:
        if not at_once:
            yield from answers(read())
            return
        for value in read():
            yield next(iter(answers([value])))

    try:
        for answer in given():
            yield waiting.popleft(), answer
    except BadInput as error:
        raise DataError(f"{waiting[0].place}: {error.reason}", error.remedy) from error


class Notes:
    """What the user should know of inputs that were skipped, cut, or not understood: said at the end, by reason."""

    most = 5

    def __init__(self) -> None:
        self._notes: dict[str, list[str]] = {}

    def of(self, line: Line, answer: Any) -> Any:
        """Take up what an answer says of its input."""
        if "error" in answer.details:
            self._add("left out", line.place, answer.details["error"])
        elif "note" in answer.details:
            self._add("note", line.place, answer.details["note"])
        return answer

    def _add(self, kind: str, place: str, reason: str) -> None:
        line = reason if place in reason else f"{place}: {reason}"
        self._notes.setdefault(kind, []).append(line)

    def say(self) -> None:
        """Print how many there are of each kind, and the first of them."""
        from tformer_cli.cli.output import note

        for kind, lines in self._notes.items():
            for line in lines[: self.most]:
                note(f"{kind}: {line}")
            if len(lines) > self.most:
                note(f"{kind}: {len(lines) - self.most:,} more, {len(lines):,} in all")
        self._notes.clear()


def as_lines(line: Line, answer: Any, n_best: int, top: int = 0) -> str:
    """Plain text: always `n_best`, or `top`, lines, so that line i of the input begins at line i times as many."""
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
    """A file's name and an answer to it, a line each; nothing for one that was left out."""
    if "error" in answer.details:
        return ""
    rows = [row for row in as_lines(line, answer, n_best, top).splitlines() if row]
    return "".join(f"{one_line(line.shown)}\t{row}\n" for row in rows or [""])


def one_line(name: str) -> str:
    r"""A file's name in one cell of a line: a line break as `\n`, a tab as `\t`."""
    return name.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def as_object(line: Line, answer: Any, n_best: int = 1, top: int = 0) -> str:
    """A JSON object: the input, the answer, and whatever the task adds to it."""
    record = {"input": line.shown, "text": answer.text, **answer.details}
    return json.dumps(record, ensure_ascii=False, default=lambda value: value.tolist()) + "\n"


def _write(records: Iterable[str], output: Path | None) -> None:
    from tformer_cli.cli.output import note, result
    from tformer_cli.writing import output_file

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
