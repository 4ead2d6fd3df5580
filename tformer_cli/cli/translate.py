"""The commands `tformer translate` and `tformer predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from tformer_cli.cli.arguments import PredictionArguments
from tformer_cli.cli.choices import FORMATS, LONG_INPUTS, one_of
from tformer_cli.cli.options import CHECKPOINT, DEVICE, HEADER, OUTPUT_FILE, PRECISION, RUN
from tformer_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tformer_cli.cli.reading import Line
    from tformer_cli.predictors.base import Prediction

INPUTS = typer.Argument(
    None,
    metavar="[FILE]... [KEY=VALUE]...",
    help="Text files or tables. If omitted, standard input is read. Settings, such as decode.length_penalty=0.6.",
)
PROMPTS = typer.Argument(
    None,
    metavar="[TEXT | FILE | FOLDER]... [KEY=VALUE]...",
    help="Texts, text files or tables; or images, recordings and folders of them. If omitted, standard input is"
    " read: texts or paths of files, one per line. Settings, such as decode.length_penalty=0.6.",
)
COLUMN = typer.Option(
    None,
    "--column",
    metavar="NAME",
    help="Tables: name of the column, or its index from 0; twice for pairs.  [default: as in training]",
    show_default=False,
)
FORMAT = typer.Option(
    "",
    "--format",
    help="Format of files: lines, csv, tsv, json, jsonl, parquet, arrow or conll.  [default: by file name]",
    autocompletion=one_of(*FORMATS, "conll"),
    show_default=False,
)
ON_LONG = typer.Option(
    "",
    "--on-long",
    help="Inputs beyond the model's maximum length: error, cut or skip.  [default: error; classification and"
    " question answering: cut]",
    autocompletion=one_of(*LONG_INPUTS),
    show_default=False,
)
DRAFT = typer.Option(
    None,
    "--draft",
    metavar="FILE",
    help="Models that edit: translations to start from, one for each line of the input.",
    show_default=False,
)
BEAM = typer.Option(None, "--beam", min=1, help="Beam width; 1: greedy search.", show_default=False)
N_BEST = typer.Option(
    None, "--n-best", min=1, help="Number of outputs per input, on separate lines.", show_default=False
)
BATCH = typer.Option(None, "--batch", min=1, help="Number of inputs in a batch.", show_default=False)
WORKERS = typer.Option(
    None, "--workers", min=0, help="Decoding processes on a CPU; 0: one per physical core.", show_default=False
)
MAX_LENGTH = typer.Option(None, "--max-length", min=1, help="Maximum output length in tokens.", show_default=False)
TEMPERATURE = typer.Option(None, "--temperature", help="Sampling: divisor of the logits.", show_default=False)
TOP_K = typer.Option(
    None, "--top-k", min=0, help="Sampling: draw from the K most probable tokens; 0: all.", show_default=False
)
TOP = typer.Option(
    None, "--top", min=1, help="Number of labels or fillings per input, most probable first.", show_default=False
)
TOP_P = typer.Option(
    None, "--top-p", help="Sampling: draw from the smallest set of tokens with this probability.", show_default=False
)
COUNT = typer.Option(None, "--count", min=1, help="Image generation: number of images.", show_default=False)
LABEL = typer.Option(
    None, "--label", help="Image generation: label of all images.  [default: each in turn]", show_default=False
)
SEED = typer.Option(None, "--seed", min=0, help="Sampling, image generation: random seed.", show_default=False)
AS_JSON = typer.Option(
    False, "--json", help="Print a JSON object per input, with scores; decode.alignments=true adds alignments."
)
OUTPUT_OR_IMAGES = typer.Option(
    None,
    "--output",
    "-o",
    help="File to write; image generation: a .png file with all images, or a folder.  [default: standard output]",
    show_default=False,
)


def translate(
    run: Path = RUN,
    inputs: list[str] = INPUTS,
    column: list[str] = COLUMN,
    form: str = FORMAT,
    header: bool = HEADER,
    on_long: str = ON_LONG,
    draft: Path = DRAFT,
    beam: int = BEAM,
    n_best: int = N_BEST,
    batch: int = BATCH,
    workers: int = WORKERS,
    as_json: bool = AS_JSON,
    output: Path = OUTPUT_FILE,
    device: str = DEVICE,
    precision: str = PRECISION,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Translate text with a trained run: print a line for each line of input; the output of an empty line is empty.

    With --n-best N there are N lines for each line of input, best first; --json prints them in one object with scores.
    """
    decode = {"beam": beam, "n_best": n_best, "batch": batch, "workers": workers}
    columns = tuple(column or ())
    arguments = PredictionArguments(
        run, inputs or [], decode, columns, form, on_long, as_json, output, device, checkpoint,
        header=header, precision=precision, draft=draft,
    )  # fmt: skip
    _predict(arguments, translating=True)


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
    count: int = COUNT,
    label: str = LABEL,
    seed: int = SEED,
    as_json: bool = AS_JSON,
    output: Path = OUTPUT_OR_IMAGES,
    device: str = DEVICE,
    precision: str = PRECISION,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Predict with a trained run of any task: print an output for each line, row, image or recording, in order.

    A language model continues texts; the continuation of a single text given as an argument is streamed. A generator
    of images reads nothing and writes images to --output.
    """
    decode = {"beam": beam, "n_best": n_best, "batch": batch, "workers": workers, "max_length": max_length}
    decode |= {"temperature": temperature, "top_k": top_k, "top_p": top_p, "count": count, "label": label, "seed": seed}
    columns = tuple(column or ())
    _predict(
        PredictionArguments(
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


def _predict(arguments: PredictionArguments, *, translating: bool = False) -> None:
    """Load a run, and write its predictions for the inputs."""
    from tformer_cli.cli import drafts, image_output, inputs, prediction_output, text
    from tformer_cli.cli.arguments import check_files, check_options, named_as_options, use_options
    from tformer_cli.cli.reading import Reading
    from tformer_cli.config.schema import DecodeConfig, TextExperiment

    paths_and_texts, texts, files = arguments.input_arguments, arguments.texts, arguments.files
    check_arguments(paths_and_texts, texts)
    if any(setting.startswith("seed=") for setting in arguments.settings):
        raise ConfigError("seed has no effect on predictions", "decode.seed=N draws other samples")
    check_files(arguments, translating=translating)
    if arguments.draft is not None:
        drafts.check(arguments.draft, files)
    Reading(arguments.columns, arguments.form, words=True, expected=arguments.columns, header=arguments.header).check()
    if arguments.output is None or not arguments.output.is_dir():
        prediction_output.check_output_path(arguments.output)
    from tformer_cli.cli.media_inputs import media
    from tformer_cli.trained.opening import open_run

    with named_as_options(arguments.names):
        opened = open_run(
            arguments.run,
            checkpoint=arguments.checkpoint,
            device=arguments.device,
            overrides=arguments.settings,
            check=partial(check_options, arguments=arguments, translating=translating),
        )
    task = opened.task
    use_options(task, arguments)
    if task.predictor.reads == "nothing":
        image_output.check(task, arguments)
        predictions = opened.predict(task.predictor.requests())
        image_output.write(predictions, cast(Path, arguments.output), as_json=arguments.as_json)
        return
    prediction_output.check_output_path(arguments.output)  # it may be a folder
    decode = opened.config.decode if isinstance(opened.config, TextExperiment) else DecodeConfig()
    n_best = decode.n_best
    if task.predictor.reads == "files":
        if arguments.header is not None:
            cause = f"--header and --no-header have no effect on a run of {task.config.task}"
            raise ConfigError(cause, "the first line of its tables names the columns")
        if "" in paths_and_texts:  # it would stand for the current folder
            raise ConfigError("the path of an input is empty", "give a path; a variable of the shell may be unset")
        lines = media(task, [Path(item) for item in paths_and_texts], arguments.columns)
        write = prediction_output.as_rows
    else:
        text.check(files)
        one_text = len(texts) == len(paths_and_texts) == 1 and n_best == 1 and (decode.sample or decode.beam == 1)
        if task.predictor.streams and one_text and not arguments.as_json and arguments.output is None:
            with opened.machine.autocast():
                _stream(task.predictor.stream, opened.model, texts[0])
            return
        lines = lines_of(arguments, inputs.reading_of(task, arguments.columns, arguments.form, arguments.header))
        lines = lines if arguments.draft is None else drafts.paired(lines, arguments.draft)
        write = prediction_output.as_lines
    write = prediction_output.as_object if arguments.as_json else write
    at_once = not paths_and_texts and sys.stdin.isatty()
    records = prediction_output.in_order(lines, opened.predict, at_once=at_once)
    _write(records, write, n_best, arguments)


def _write(
    records: Iterable[tuple[Any, Prediction]], write: Callable[..., Any], n_best: int, arguments: PredictionArguments
) -> None:
    """Write the predictions in the order of the inputs, and print notes about inputs at the end.

    Args:
        records: inputs with their predictions.
        write: function that returns the output for an input, its prediction, `n_best` and the number of ranked labels.
        n_best: number of hypotheses that are written.
        arguments: arguments of the command.
    """
    from tformer_cli.cli import prediction_output
    from tformer_cli.cli.output import note

    notes, count = prediction_output.Notes(), 0

    def counted() -> Iterator[tuple[Any, Prediction]]:
        nonlocal count
        for count, record in enumerate(records, 1):  # noqa: B007 - the number of all is used after the loop
            yield record

    try:
        prediction_output.write(
            (
                write(line, prediction_output.best(notes.of(line, prediction), arguments.top), n_best, arguments.top)
                for line, prediction in counted()
            ),
            arguments.output,
        )
    finally:
        notes.print()
    if not count and not arguments.input_arguments:
        note("standard input is empty: there is nothing to predict")


def check_arguments(arguments: list[str], texts: list[str]) -> None:
    """Refuse texts that are not UTF-8, and standard input that is named twice.

    Raises:
        ConfigError: if one of these is given; the error names the first text.
    """
    from tformer_cli.cli.main import is_undecodable, printable

    for item in texts:
        if is_undecodable(item):
            raise ConfigError(f"the text {printable(item)[:60]} is not UTF-8", "convert it, or put it into a file")
    if arguments.count("-") > 1:
        raise ConfigError("standard input is named twice", "it can be read only once: give - once")


def lines_of(arguments: PredictionArguments, how: Any) -> Iterator[Line]:
    """Yield the texts and the contents of files in the order of the arguments, or the contents of standard input."""
    from tformer_cli.cli import inputs
    from tformer_cli.cli.reading import Line

    texts, items = arguments.texts, arguments.input_arguments
    if not items:
        yield from inputs.read([], how)
    for number, item in enumerate(items, 1):
        if item in texts:
            yield Line(item, f"text {number}" if len(items) > 1 else "the text", item)
        else:
            yield from inputs.read([Path(item)], how)


def _stream(stream: Callable[[Any, str, Callable[[str], None]], Prediction], model: Any, prompt: str) -> None:
    """Stream the continuation of a prompt, and print notes about it as for other inputs.

    Nothing is printed if the prompt is too long, and an empty line if it is skipped.
    """
    from tformer_cli.cli.output import result
    from tformer_cli.cli.prediction_output import Notes
    from tformer_cli.cli.reading import Line
    from tformer_cli.predictors.inputs import BadInput

    line, notes, printed = Line(prompt, "the text", prompt), Notes(), False

    def write(text: str) -> None:
        nonlocal printed
        result(text if printed else prompt + text)
        printed = True

    try:
        prediction = notes.of(line, stream(model, prompt, write))
    except BadInput as error:
        raise DataError(f"{line.location}: {error.reason}", error.remedy) from error
    result("\n" if printed or "error" in prediction.details else f"{prompt}\n")
    notes.print()
