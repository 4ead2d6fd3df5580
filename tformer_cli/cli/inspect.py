"""The command `tformer inspect`, which draws figures that look inside a trained model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tformer_cli.cli.arguments import PredictionArguments, machine_names, named_as_options
from tformer_cli.cli.choices import one_of, run_folders
from tformer_cli.cli.options import CHECKPOINT, DEVICE, QUIET, RUN, check_split, split_option
from tformer_cli.cli.translate import COLUMN
from tformer_cli.errors import ConfigError, DataError, RunError, TformerError

if TYPE_CHECKING:
    from tformer_cli.figures.base import Kind, Options, Subject
    from tformer_cli.figures.page import Section
    from tformer_cli.train.restore import Opened

FORMATS = ("svg", "png")
USUAL_EXAMPLES = 2
MOST_EXAMPLES, MOST_TEXTS = 100, 20_000
"""Maximum numbers of inputs that figures are drawn of, and of texts that are read for `--senses`."""
MODEL_ALONE = {"positions", "relative", "filters"}
"""Kinds of figures that need no inputs."""
MEMORY = "out of memory"
OF_SPLIT = {"calibration"}
"""Kinds of figures of all predictions of the split, whatever inputs the user gives."""

INSPECTED = typer.Argument(None, metavar="RUN", help=RUN.help, autocompletion=run_folders, show_default=False)
"""The run, which `--figures list` does not need."""
INPUTS = typer.Argument(
    None,
    metavar="[TEXT | FILE | FOLDER]... [KEY=VALUE]...",
    help="Texts, text files or tables; or images, recordings and folders of them. - reads standard input. If"
    " omitted, examples of --split are used. Settings, such as decode.beam=1.",
)


def figure_names() -> list[str]:
    """Return the names of all kinds of figures."""
    from tformer_cli.figures import kinds

    return list(kinds())


FIGURES = typer.Option(
    "",
    "--figures",
    metavar="NAME,NAME",
    help="Kinds of figures; `list` prints them.  [default: all that the model has, without throughput; for given inputs"
    " without calibration]",
    autocompletion=lambda: ["list", *figure_names()],
    show_default=False,
)
LAYERS = typer.Option(
    "", "--layers", metavar="NUMBERS", help="Layers, from 1, such as 1,3 or 2-4.  [default: all]", show_default=False
)
HEADS = typer.Option("", "--heads", metavar="NUMBERS", help="Heads, from 1.  [default: all]", show_default=False)
EXAMPLES = typer.Option(
    USUAL_EXAMPLES,
    "--examples",
    min=1,
    max=MOST_EXAMPLES,
    metavar="N",
    help=f"Number of inputs that figures are drawn of, at most {MOST_EXAMPLES}.",
)
SPLIT = split_option("validation")
QUERY = typer.Option(
    "",
    "--query",
    metavar="TOKEN",
    help="Token, patch (`row 1, column 2`) or time (`0.40 s`) whose attention is shown.  [default: one that looks far]",
    show_default=False,
)
SENSES = typer.Option(
    "",
    "--senses",
    metavar="WORD",
    help="Text: compare the vectors of this word in all inputs; draws only these figures, unless --figures names more.",
    show_default=False,
)
FORMAT = typer.Option(
    ",".join(FORMATS),
    "--format",
    metavar="NAME,NAME",
    help="Files of each figure: svg, png or none.",
    autocompletion=one_of(*FORMATS, "none"),
)
OUTPUT = typer.Option(
    None, "--output", "-o", metavar="FOLDER", help="Folder to write.  [default: RUN/inspect]", show_default=False
)
TENSORBOARD = typer.Option(False, "--tensorboard", help="Also write the figures for TensorBoard into the folder.")


def inspect(
    run: Path = INSPECTED,
    inputs: list[str] = INPUTS,
    figures: str = FIGURES,
    layers: str = LAYERS,
    heads: str = HEADS,
    examples: int = EXAMPLES,
    split: str = SPLIT,
    query: str = QUERY,
    senses: str = SENSES,
    form: str = FORMAT,
    output: Path = OUTPUT,
    column: list[str] = COLUMN,
    tensorboard: bool = TENSORBOARD,
    device: str = DEVICE,
    checkpoint: str = CHECKPOINT,
    quiet: bool = QUIET,
) -> None:
    """Look inside a trained model: draw attention, positions and more, on your inputs or on examples of its data.

    The folder has a page, index.html, each figure as SVG and PNG, and inspect.json with the numbers behind them.
    """
    import os

    from tformer_cli.cli.output import note
    from tformer_cli.figures.base import Options

    if figures.strip() == "list":
        _list()
        return
    if run is None:
        raise ConfigError("missing argument 'run'", "see `tformer inspect --help`")
    check_split(split)
    formats = chosen_formats(form)
    options = Options(numbers_of(layers, "--layers"), numbers_of(heads, "--heads"), query, senses)
    arguments = PredictionArguments(
        run,
        inputs or [],
        {},
        tuple(column or ()),
        "",
        "",
        False,
        None,
        device,
        checkpoint,
        literal=True,
        precision="fp32",
    )
    kinds = chosen_kinds(figures or ("vectors" if senses else ""), given=bool(arguments.input_arguments))
    shown = output or run_folder(run) / "inspect"
    folder = Path(os.path.realpath(shown))  # the target of a symbolic link is replaced, not the link
    check_folder(folder)

    def report(line: str) -> None:
        note(line, quiet=quiet)

    opened = _open(arguments)
    without = kinds.keys() <= MODEL_ALONE and not arguments.input_arguments
    count = 0 if without or (senses and kinds.keys() == {"vectors"}) else examples
    with exact_products():
        subject, reason = _subject(opened, arguments, options, count, split, bool(figures), report)
        sections = draw_all(subject, kinds.values(), explicit=bool(figures), report=report, reason=reason)
    files = contents(f"Inside {opened.run}", _facts(opened, arguments), sections, formats)
    write_folder(folder, files)
    if tensorboard:
        _write_events(folder, sections, opened)
        report(f"to open the events: tensorboard --logdir {shown}")
    count = sum(len(section.figures) for section in sections)
    report(f"{count:,} figure{'' if count == 1 else 's'} in {shown / 'index.html'}")


def _list() -> None:
    """Print the kinds of figures."""
    from tformer_cli.cli.output import table
    from tformer_cli.figures import kinds

    table(("figures", "what they show"), [(kind.name, kind.about) for kind in kinds().values()], unwrapped=("figures",))


def chosen_kinds(names: str, *, given: bool = False) -> dict[str, Kind]:
    """Return the kinds of figures that `--figures` names; if it is empty, all but those that take long.

    Args:
        names: value of `--figures`.
        given: whether the user gives inputs; kinds that show the split are then left out, unless they are named.

    Raises:
        ConfigError: if a name is unknown.
    """
    from tformer_cli.figures import kinds

    every = kinds()
    if not names:
        return {name: kind for name, kind in every.items() if not (kind.explicit or (given and name in OF_SPLIT))}
    chosen = [name.strip() for name in names.split(",")]
    for name in chosen:
        if name not in every:
            raise ConfigError(f"--figures: no figure {name!r}", f"there are: {', '.join(every)}")
    return {name: every[name] for name in every if name in chosen}


def chosen_formats(names: str) -> tuple[str, ...]:
    """Return the formats that `--format` names.

    Raises:
        ConfigError: if one is unknown.
    """
    if names == "none":
        return ()
    for name in names.split(","):
        if name not in FORMATS:
            raise ConfigError(f"--format: {name!r} is not one of {', '.join(FORMATS)}, none")
    return tuple(name for name in FORMATS if name in names.split(","))


def numbers_of(text: str, option: str) -> tuple[int, ...]:
    """Return the numbers of a list with ranges, such as 1,3-5.

    Raises:
        ConfigError: if it is malformed.
    """
    numbers: list[int] = []
    for part in text.split(",") if text else []:
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        if match is None:
            raise ConfigError(f"{option}: {part!r} is no number and no range", "such as 1,3 or 2-4")
        first, last = int(match[1]), int(match[2] or match[1])
        numbers += range(first, last + 1)
    return tuple(dict.fromkeys(numbers))


def run_folder(path: Path) -> Path:
    """Return the folder of a run, given this folder or a checkpoint in it.

    Raises:
        RunError: if there is no run.
    """
    from tformer_cli.runs.folder import locate

    return locate(path, "")[0]


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but figures of an earlier call, before slow work starts.

    Raises:
        RunError: if it does, or it cannot be written.
    """
    import os

    from tformer_cli.runs.writing import check_new_folder

    if not folder.name:
        raise RunError(f"{folder} is the root of the file system", "name a folder with --output")
    parent = next(path for path in folder.absolute().parents if os.path.lexists(path))
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise RunError(f"{folder}: {parent} is no folder that can be written", "choose another with --output")
    if not folder.is_dir():
        check_new_folder(folder)
    elif foreign := foreign_entry(folder):
        cause = f"{folder} holds {foreign}, which is not from an earlier tformer inspect"
        raise RunError(cause, "move it, or name another folder with --output")


def foreign_entry(folder: Path) -> str:
    """Return the name of an entry that is no file of an earlier call, such as a user's; empty: there is none."""
    import json

    names = {"index.html", "inspect.json"}
    try:
        content = json.loads((folder / "inspect.json").read_bytes())
        names |= {f"{figure['name']}.{end}" for figure in content["figures"] for end in FORMATS}
    except (OSError, ValueError, TypeError, KeyError):
        names = set()
    for path in sorted(folder.iterdir()):
        is_events = bool(names) and path.name.startswith("events.out.tfevents.")
        if not (path.name in names or is_events) or path.is_symlink() or not path.is_file():
            return path.name
    return ""


@contextmanager
def exact_products() -> Iterator[None]:
    """Compute products and convolutions of GPUs in float32 within the context, not in TF32, which has fewer digits."""
    import torch

    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def _open(arguments: PredictionArguments) -> Opened:
    """Open the run with float32 weights, and check its inputs and settings.

    Raises:
        ConfigError: if a setting does not apply, or the run cannot be inspected.
    """
    from tformer_cli.cli import text
    from tformer_cli.cli.arguments import check_options
    from tformer_cli.cli.translate import check_arguments
    from tformer_cli.train.restore import open_run

    check_arguments(arguments.input_arguments, arguments.texts)
    text.check(path for path in arguments.files if not path.is_dir())
    with named_as_options(machine_names(arguments.device)):
        return open_run(
            arguments.run, checkpoint=arguments.checkpoint, device=arguments.device,
            overrides=[*arguments.settings, "decode.precision=fp32"],
            check=lambda task: check_options(task, arguments, translating=False),
        )  # fmt: skip


def _subject(
    opened: Opened,
    arguments: PredictionArguments,
    options: Options,
    count: int,
    split: str,
    explicit: bool,
    report: Any,
) -> tuple[Subject, str]:
    """Return the model with its examples, and the reason why there are none; empty: there are some.

    Args:
        opened: the model.
        arguments: inputs.
        options: what the user wants to see.
        count: number of examples; 0: none are needed.
        split: split of the examples if the user gives no inputs.
        explicit: whether the user names figures, so that it is an error if the split cannot be read.
        report: function that receives lines.

    Raises:
        ConfigError: if `--query` is not among the positions.
        DataError: if an input is malformed, too long or unreadable.
    """
    from tformer_cli.evaluators.base import Scoring
    from tformer_cli.figures.base import Subject
    from tformer_cli.figures.places import check_query
    from tformer_cli.figures.vectors import check_senses
    from tformer_cli.predictors.text import TextPredictor

    if isinstance(opened.task.predictor, TextPredictor):
        opened.task.predictor.on_long_remedy = ""  # this command does not cut or skip inputs
    inspector = opened.task.inspector
    texts, examples, reason = inputs_of(opened.task, arguments, report), [], ""
    if options.senses:
        texts = texts or _texts_of_split(inspector, split, report)
        check_senses(inspector, opened.model, options.senses, texts)
    if arguments.input_arguments and count:
        examples = inspector.examples(opened.model, texts[:count])
        if len(texts) > count > 0:
            report(f"figures of the first {count} of {len(texts):,} inputs: --examples N draws more")
    elif count:
        try:
            examples = inspector.of_split(opened.model, split, count)
        except TformerError as error:  # its data is gone, or a library is missing
            if explicit or options.query or options.senses:
                raise
            reason = f"there are no inputs: {error}"
            report(reason)
        else:
            plural = "" if len(examples) == 1 else "s"
            report(f"no inputs given: {len(examples)} example{plural} of the {split} split")

    if options.query:
        check_query(options.query, examples)

    @cache
    def rows() -> Sequence[Any]:
        report(f"predictions of the {split} split ...")
        return opened.evaluate(split, Scoring(predictions=True, samples=0, thorough=False)).predictions

    return Subject(opened.model, inspector, examples, options, texts, rows, report, split), reason


def _texts_of_split(inspector: Any, split: str, report: Any) -> list[Any]:
    """Return the texts of a split for `--senses`."""
    texts = inspector.texts(split, MOST_TEXTS)
    if len(texts) == MOST_TEXTS:
        report(f"--senses reads {MOST_TEXTS:,} texts of the {split} split, evenly spaced")
    return texts


def inputs_of(task: Any, arguments: PredictionArguments, report: Any) -> list[Any]:
    """Return the inputs that the user gives: texts and the contents of files, or paths; none if there are none.

    Raises:
        DataError: if a file cannot be read.
    """
    from tformer_cli.cli import inputs, text
    from tformer_cli.cli.media_inputs import media
    from tformer_cli.cli.translate import lines_of

    if not arguments.input_arguments:
        return []
    if task.predictor.reads == "files":
        lines: Iterable[Any] = media(task, [Path(item) for item in arguments.input_arguments], arguments.columns)
    else:
        lines = lines_of(arguments, inputs.reading_of(task, arguments.columns, "", None))
    try:
        values = [line.value for line in islice(lines, MOST_TEXTS + 1)]
    except DataError as error:  # --format of this command is that of figures
        raise DataError(error.cause, re.sub(r"(, or |^)--format.*", "", error.remedy or "")) from error
    if len(values) > MOST_TEXTS:
        report(f"only the first {MOST_TEXTS:,} inputs are read")
    if not values:
        names = ", ".join(text.name_of(Path(item)) for item in arguments.input_arguments)
        raise DataError(f"{names}: no inputs in it", "give some, or leave it out")
    return values[:MOST_TEXTS]


def draw_all(
    subject: Subject, kinds: Iterable[Kind], *, explicit: bool, report: Any, reason: str = ""
) -> list[Section]:
    """Return the figures of each kind.

    Args:
        subject: the model and its examples.
        kinds: the kinds.
        explicit: whether the user names the kinds, so that one that is missing or fails is an error.
        report: function that receives a line for each kind.
        reason: the reason why there are no examples; empty: there are some.

    Raises:
        ConfigError: if a kind that the user names is missing.
        TformerError: if one that the user names, or that `--query` or `--senses` asks for, cannot be drawn.
    """
    from tformer_cli.cli.main import describe
    from tformer_cli.figures.page import Section

    asked = {"looks": subject.options.query, "vectors": subject.options.senses}
    sections = []
    for kind in kinds:
        if reason and kind.name not in MODEL_ALONE:
            sections.append(Section(kind, missing=reason))
            continue
        try:
            section = _section(subject, kind, report)
        except Exception as error:
            line, _ = describe(error)
            if explicit or asked.get(kind.name) or not (isinstance(error, TformerError) or line.startswith(MEMORY)):
                raise
            section = Section(kind, missing=line if isinstance(error, TformerError) else MEMORY)
            report(f"{kind.title.lower()}: {section.missing}")
        if section.missing and explicit:
            raise ConfigError(f"--figures {kind.name}: {section.missing}", "leave it out")
        sections.append(section)
    return sections


def _section(subject: Subject, kind: Kind, report: Any) -> Section:
    """Return the figures of a kind, or the reason why there are none."""
    from tformer_cli.figures.page import Section
    from tformer_cli.signals import poll

    section = Section(kind, missing=kind.missing(subject))
    if not section.missing:
        report(f"{kind.title.lower()} ...")
        for figure in kind.draw(subject):
            poll()
            section.figures.append(figure)
        section.widget = kind.widget(subject)
    return section


def _facts(opened: Opened, arguments: PredictionArguments) -> list[tuple[str, str]]:
    """Return names and values of the lines about the run."""
    parameters = sum(parameter.numel() for parameter in opened.model.parameters())
    return [
        ("task", opened.config.task),
        ("model", f"{opened.config.model.family}, {parameters:,} parameters"),
        ("checkpoint", opened.checkpoint.name),
        ("weights", "computed in float32, without dropout"),
    ]


def contents(
    title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], formats: Sequence[str]
) -> dict[str, bytes]:
    """Return the files of the folder by name."""
    from tformer_cli.draw import draw, png, svg
    from tformer_cli.figures.page import html, numbers

    files: dict[str, bytes] = {}
    for figure in (figure for section in sections for figure in section.figures):
        if "svg" in formats:
            files[f"{figure.name}.svg"] = svg(figure.picture).encode()
        if "png" in formats:
            files[f"{figure.name}.png"] = png(draw(figure.picture))
    files["index.html"] = html(title, facts, sections, formats).encode()
    files["inspect.json"] = numbers(title, facts, sections).encode()
    return files


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write the folder; an earlier one is replaced when the new one is complete, and remains if any step fails.

    Raises:
        RunError: if it cannot be written, or holds other files by now.
    """
    import os
    import shutil
    import tempfile

    from tformer_cli.runs.writing import write_new_folder

    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            write_new_folder(folder, files)
            return
        check_folder(folder)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name[:50]}.", dir=folder.parent))
        try:
            write_new_folder(scratch / "new", files)
            os.rename(folder, scratch / "old")
            os.rename(scratch / "new", folder)
        finally:
            if (scratch / "old").exists() and not os.path.lexists(folder):
                os.rename(scratch / "old", folder)
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror or error}", "make the folder writable") from error


def _write_events(folder: Path, sections: Sequence[Section], opened: Opened) -> None:
    """Write the figures as images of TensorBoard, at the step of the checkpoint."""
    from tformer_cli.cli.output import note
    from tformer_cli.draw import draw
    from tformer_cli.train.board import Board

    digits = re.search(r"(\d+)$", opened.checkpoint.name)
    step = int(digits[1]) if digits else 0
    board = Board(folder, 0, note)
    for section in sections:
        for figure in section.figures:
            board.add("image", f"inspect/{figure.name}", draw(figure.picture), step, dataformats="HWC")
    board.close()
