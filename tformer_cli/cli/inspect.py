"""The command `tformer inspect`, which draws figures that look inside a trained model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tformer_cli.cli.arguments import PredictionArguments
from tformer_cli.cli.choices import one_of, run_folders
from tformer_cli.cli.inspect_folder import FORMATS, check_folder, contents, write_events, write_folder
from tformer_cli.cli.inspect_inputs import open_inspected, subject_of
from tformer_cli.cli.options import CHECKPOINT, DEVICE, QUIET, RUN, check_split, split_option
from tformer_cli.cli.translate import COLUMN
from tformer_cli.errors import ConfigError, TformerError

if TYPE_CHECKING:
    from tformer_cli.figures.base import Kind, Subject
    from tformer_cli.figures.page import Section
    from tformer_cli.trained.opening import Opened

USUAL_EXAMPLES = 2
MOST_EXAMPLES = 100
"""Maximum number of inputs that figures are drawn of."""
MEMORY, MEMORY_REMEDY = "out of memory", "use fewer --examples, --figures or --layers"

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
    from tformer_cli.figures import MODULES

    return list(MODULES)


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
    help="Show the attention of this token, patch (`row 1, column 2`) or time (`0.40 s`).  [default: the query with the"
    " most distant attention; for cross-attention, the most concentrated]",
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

    if figures.strip() == "list":
        _list()
        return
    if run is None:
        raise ConfigError("missing argument 'run'", "see `tformer inspect --help`")
    check_split(split)
    check_names(figures)
    formats, numbers = chosen_formats(form), (numbers_of(layers, "--layers"), numbers_of(heads, "--heads"))
    arguments = PredictionArguments(
        run, inputs or [], {}, tuple(column or ()), "", "", False, None, device, checkpoint,
        literal=True, precision="fp32",
    )  # fmt: skip
    from tformer_cli.figures.base import Options  # which imports PyTorch
    from tformer_cli.runs.folder import run_of

    shown = output or run_of(run) / "inspect"
    folder = Path(os.path.realpath(shown))  # the target of a symbolic link is replaced, not the link
    check_folder(folder)
    options = Options(*numbers, query, senses)
    kinds = chosen_kinds(figures or ("vectors" if senses else ""), given=bool(arguments.input_arguments))
    report = partial(note, quiet=quiet)
    opened = open_inspected(arguments)
    without = all(kind.of_model for kind in kinds.values()) and not arguments.input_arguments
    count = 0 if without or (senses and kinds.keys() == {"vectors"}) else examples
    with drawing():
        subject, reason = subject_of(opened, arguments, options, count, split, bool(figures), report)
        sections = draw_all(subject, kinds.values(), explicit=bool(figures), report=report, reason=reason)
        files = contents(f"Inside {opened.run}", _facts(opened, arguments), sections, formats)
    write_folder(folder, files)
    if tensorboard:
        write_events(folder, sections, opened)
        report(f"to open the events: tensorboard --logdir {shown}")
    count = sum(len(section.figures) for section in sections)
    report(f"{count:,} figure{'' if count == 1 else 's'} in {shown / 'index.html'}")


@contextmanager
def drawing() -> Iterator[None]:
    """Compute in exact float32, and raise an error that names the options of this command if memory is exhausted.

    Raises:
        TformerError: if memory is exhausted.
    """
    from tformer_cli.cli.main import is_out_of_memory
    from tformer_cli.machine import exact_products

    try:
        with exact_products():
            yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TformerError(MEMORY, MEMORY_REMEDY) from error


def _list() -> None:
    """Print the kinds of figures."""
    from tformer_cli.cli.output import table
    from tformer_cli.figures import kinds

    table(("figures", "what they show"), [(kind.name, kind.about) for kind in kinds().values()], unwrapped=("figures",))


def check_names(names: str) -> None:
    """Refuse names of `--figures` that are unknown.

    Raises:
        ConfigError: if a name is unknown.
    """
    every = figure_names()
    for name in map(str.strip, names.split(",") if names else []):
        if name not in every:
            raise ConfigError(f"--figures: no figure {name!r}", f"there are: {', '.join(every)}")


def chosen_kinds(names: str, *, given: bool = False) -> dict[str, Kind]:
    """Return the kinds of figures that `--figures` names; if it is empty, all but those that take long.

    Args:
        names: value of `--figures`, see `check_names`.
        given: whether the user gives inputs; kinds that show the split are then left out, unless they are named.
    """
    from tformer_cli.figures import kinds

    every = kinds()
    if not names:
        return {name: kind for name, kind in every.items() if not (kind.explicit or (given and kind.of_split))}
    chosen = [name.strip() for name in names.split(",")]
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
    """Return the numbers, from 1, of a list with ranges, such as 1,3-5.

    Raises:
        ConfigError: if it is malformed.
    """
    numbers: list[int] = []
    for part in text.split(",") if text else []:
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        if match is None:
            raise ConfigError(f"{option}: {part!r} is neither a number nor a range", "such as 1,3 or 2-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if first < 1:
            raise ConfigError(f"{option}: {part.strip()!r}: the first is 1", "such as 1,3 or 2-4")
        if last < first:
            raise ConfigError(f"{option}: {part.strip()!r} ends before it begins", f"{last}-{first}")
        numbers += range(first, last + 1)
    return tuple(dict.fromkeys(numbers))


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
    from tformer_cli.cli.main import is_out_of_memory
    from tformer_cli.figures.page import Section

    asked = {"looks": subject.options.query, "vectors": subject.options.senses}
    sections, kinds = list[Section](), list(kinds)
    for kind in kinds if explicit else ():
        missing = "" if kind.of_split else kind.missing(subject)  # the split is predicted only when it is drawn
        if missing:
            raise ConfigError(f"--figures {kind.name}: {missing}", "leave it out")
    for kind in kinds:
        if reason and not kind.of_model:
            sections.append(Section(kind, missing=reason))
            continue
        try:
            section = _section(subject, kind, report)
        except Exception as error:
            memory = is_out_of_memory(error)
            if explicit or asked.get(kind.name) or not (isinstance(error, TformerError) or memory):
                raise
            section = Section(kind, missing=MEMORY if memory else str(error))
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
