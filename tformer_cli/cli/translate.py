"""`tformer translate` and `tformer predict`: one answer a line, in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tformer_cli.cli.asked import Asked
from tformer_cli.cli.choices import DEVICES, PRECISIONS, one_of, run_folders
from tformer_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tformer_cli.cli.reading import Line

RUN = typer.Argument(help="Run folder, or a checkpoint in one.", autocompletion=run_folders)
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
    autocompletion=one_of("lines", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "conll"),
    show_default=False,
)
HEADER = typer.Option(
    None,
    "--header/--no-header",
    help="CSV, TSV: whether the first line names the columns.  [default: detected, and reported]",
    show_default=False,
)
ON_LONG = typer.Option(
    "",
    "--on-long",
    help="A line that is longer than the model reads: error, cut or skip.  [default: error; labels and answers: cut]",
    autocompletion=one_of("error", "cut", "skip"),
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
DEVICE = typer.Option("auto", "--device", help="auto, cpu, cuda or mps.", autocompletion=one_of(*DEVICES))
PRECISION = typer.Option(
    "",
    "--precision",
    help="fp32 or bf16.  [default: as the run was scored in training]",
    autocompletion=one_of(*PRECISIONS),
    show_default=False,
)
CHECKPOINT = typer.Option(
    "",
    "--checkpoint",
    help="best, latest, or a name in the run's checkpoints.",
    show_default=False,
    autocompletion=one_of("best", "latest"),
)


def translate(
    run: Path = RUN,
    inputs: list[str] = INPUTS,
    column: list[str] = COLUMN,
    form: str = FORMAT,
    header: bool = HEADER,
    on_long: str = ON_LONG,
    beam: int = BEAM,
    n_best: int = N_BEST,
    batch: int = BATCH,
    workers: int = WORKERS,
    as_json: bool = AS_JSON,
    output: Path = OUTPUT,
    device: str = DEVICE,
    precision: str = PRECISION,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Translate text with a trained run: one line out for each line in, in order; an empty line stays empty.

    With --n-best N there are N lines for each line in, best first; --json keeps them in one object, with
    scores.
    """
    decode = {"beam": beam, "n_best": n_best, "batch": batch, "workers": workers}
    columns = tuple(column or ())
    asked = Asked(
        run, inputs or [], decode, columns, form, on_long, as_json, output, device, checkpoint,
        header=header, precision=precision,
    )  # fmt: skip
    _answer(asked, translating=True)


def predict(
    run: Path = RUN,
    inputs: list[str] = PROMPTS,
    column: list[str] = COLUMN,
    form: str = FORMAT,
    header: bool = HEADER,
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
    precision: str = PRECISION,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Predict with a trained run of any task: one output for each line, row, image or recording, in order.

    A language model continues the text; the continuation of a single text given as an argument is streamed.
    """
    decode = {"beam": beam, "n_best": n_best, "batch": batch, "workers": workers, "max_length": max_length}
    decode |= {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    columns = tuple(column or ())
    _answer(
        Asked(
            run,
            inputs or [],
            decode,
            columns,
            form,
            on_long,
            as_json,
            output,
            device,
            checkpoint,
            top or 0,
            True,
            header,
            precision,
        )  # fmt: skip
    )


def _answer(asked: Asked, *, translating: bool = False) -> None:
    from tformer_cli.cli import answers, inputs, text
    from tformer_cli.cli.asked import check_options, named_as_options, use_options
    from tformer_cli.cli.reading import Reading
    from tformer_cli.config.schema import DecodeConfig, TextExperiment

    given, texts, files = asked.given, asked.texts, asked.files
    _check_arguments(given, texts)
    text.check(path for path in files if not path.is_dir())
    Reading(asked.columns, asked.form, words=True, expected=asked.columns, header=asked.header).check()
    answers.check_place(asked.output)
    from tformer_cli.cli.media_inputs import media
    from tformer_cli.train.restore import open_run

    with named_as_options(asked.names):
        opened = open_run(
            asked.run,
            checkpoint=asked.checkpoint,
            device=asked.device,
            overrides=asked.settings,
            check=partial(check_options, asked=asked, translating=translating),
        )
    task = opened.task
    use_options(task, asked)
    decode = opened.config.decode if isinstance(opened.config, TextExperiment) else DecodeConfig()
    n_best = decode.n_best
    if task.predictor.reads == "files":
        if asked.header is not None:
            cause = f"--header and --no-header mean nothing for a run of {task.config.task}"
            raise ConfigError(cause, "its tables name their columns in the first line")
        lines = media(task, [Path(item) for item in given], asked.columns)
        write = answers.as_rows
    else:
        text.check(files)
        one_text = len(texts) == len(given) == 1 and n_best == 1 and (decode.sample or decode.beam == 1)
        if task.predictor.streams and one_text and not asked.as_json and asked.output is None:
            with opened.machine.autocast():
                _watch(task.predictor.stream, opened.model, texts[0])
            return
        lines = _lines(asked, inputs.reading_of(task, asked.columns, asked.form, asked.header))
        write = answers.as_lines
    write = answers.as_object if asked.as_json else write
    at_once = not given and sys.stdin.isatty()
    records = answers.in_order(lines, opened.predict, at_once=at_once)
    notes = answers.Notes()
    try:
        answers.write(
            (
                write(line, answers.best(notes.of(line, answer), asked.top), n_best, asked.top)
                for line, answer in records
            ),
            asked.output,
        )
    finally:
        notes.say()


def _check_arguments(given: list[str], texts: list[str]) -> None:
    """Refuse texts that are not UTF-8, and folders and standard input where they are not allowed.

    Raises:
        ConfigError: if there is one; names the first.
    """
    from tformer_cli.cli.main import is_undecodable, printable

    for item in texts:
        if is_undecodable(item):
            raise ConfigError(f"the text {printable(item)[:60]} is not UTF-8", "convert it, or put it into a file")
    if given.count("-") > 1:
        raise ConfigError("standard input is named twice", "it can be read once: name - once")


def _lines(asked: Asked, how: Any) -> Iterator[Line]:
    """Yield the texts and the contents of files in the given order, or the contents of standard input."""
    from tformer_cli.cli import inputs
    from tformer_cli.cli.reading import Line

    texts = asked.texts
    if not asked.given:
        yield from inputs.read([], how)
    for number, item in enumerate(asked.given, 1):
        if item in texts:
            yield Line(item, f"text {number}" if len(asked.given) > 1 else "the text", item)
        else:
            yield from inputs.read([Path(item)], how)


def _watch(stream: Callable[[Any, str, Callable[[str], None]], None], model: Any, prompt: str) -> None:
    """Stream the continuation of a prompt; nothing is printed before the prompt is known to fit."""
    from tformer_cli.cli.output import result
    from tformer_cli.predictors.inputs import BadInput

    printed = False

    def say(text: str) -> None:
        nonlocal printed
        result(text if printed else prompt + text)
        printed = True

    try:
        stream(model, prompt, say)
    except BadInput as error:
        raise DataError(f"the text: {error.reason}", error.remedy) from error
    result("\n" if printed else f"{prompt}\n")
