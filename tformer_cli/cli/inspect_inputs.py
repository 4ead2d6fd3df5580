"""The run and the inputs of `tformer inspect`, as examples for figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.cli.arguments import PredictionArguments, machine_names, named_as_options
from tformer_cli.errors import DataError, TformerError

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment
    from tformer_cli.figures.base import Options, Subject
    from tformer_cli.inspectors.base import Example
    from tformer_cli.trained.opening import Opened

MOST_TEXTS = 20_000
"""Maximum number of texts that are read for `--senses`."""


def exact_decoding(config: Experiment) -> list[str]:
    """Return the settings with which a run decodes in float32; none if its task does not decode."""
    has_precision = hasattr(getattr(config, "decode", None), "precision")
    return ["decode.precision=fp32"] if has_precision else []


def open_inspected(arguments: PredictionArguments) -> Opened:
    """Open the run with float32 weights, and check its inputs and settings.

    Raises:
        ConfigError: if a setting does not apply, or the run cannot be inspected.
    """
    from tformer_cli.cli import text
    from tformer_cli.cli.arguments import check_options
    from tformer_cli.cli.translate import check_arguments
    from tformer_cli.trained.opening import open_run

    check_arguments(arguments.input_arguments, arguments.texts)
    text.check(path for path in arguments.files if not path.is_dir())
    with named_as_options(machine_names(arguments.device)):
        return open_run(
            arguments.run, checkpoint=arguments.checkpoint, device=arguments.device,
            overrides=lambda config: [*arguments.settings, *exact_decoding(config)],
            check=lambda task: check_options(task, arguments, translating=False),
        )  # fmt: skip


def subject_of(
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
        ConfigError: if `--query` is not among the positions, or the model lacks a layer or head.
        DataError: if an input is malformed, too long or unreadable.
    """
    from tformer_cli.evaluators.base import Scoring
    from tformer_cli.figures.base import Subject, attention_layers, check_numbers
    from tformer_cli.figures.looks import check_query
    from tformer_cli.figures.vectors import check_senses
    from tformer_cli.predictors.text import TextPredictor

    check_numbers(attention_layers(opened.model), options)
    if isinstance(opened.task.predictor, TextPredictor):
        opened.task.predictor.on_long_remedy = ""  # this command does not cut or skip inputs
    inspector = opened.task.inspector
    texts, examples, reason = inputs_of(opened.task, arguments, report), [], ""
    if options.senses:
        texts = texts or _texts_of_split(inspector, split, report)
        check_senses(inspector, opened.model, options.senses, texts)
    if arguments.input_arguments and count:
        examples = inspector.examples(opened.model, texts[:count])
        if len(texts) > count:
            report(f"figures of the first {count} of {len(texts):,} inputs: --examples N draws more")
    elif count:
        needed = bool(explicit or options.query or options.senses)
        examples, reason = _examples_of_split(opened, split, count, needed, report)

    @cache
    def rows() -> Sequence[Any]:
        report(f"predictions of the {split} split ...")
        return opened.evaluate(split, Scoring(predictions=True, samples=0, thorough=False)).predictions

    subject = Subject(opened.model, inspector, examples, options, texts, rows, report, split)
    check_query(subject)
    return subject, reason


def _examples_of_split(opened: Opened, split: str, count: int, needed: bool, report: Any) -> tuple[list[Example], str]:
    """Return examples of a split, and the reason why there are none; if they are needed, the reason is raised."""
    try:
        opened.check_division(split)
        examples = opened.task.inspector.of_split(opened.model, split, count)
    except TformerError as error:  # its data is gone, or a library is missing
        if needed:
            raise
        reason = f"there are no inputs: {error}"
        report(reason)
        return [], reason
    plural = "" if len(examples) == 1 else "s"
    report(f"no inputs given: {len(examples)} example{plural} of the {split} split")
    return examples, ""


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
    values: list[Any] = []
    try:
        for line in islice(lines, MOST_TEXTS + 1):
            if line.fault:
                report(f"skipped: {line.fault if line.location in line.fault else f'{line.location}: {line.fault}'}")
            else:
                values.append(line.value)
    except DataError as error:  # --format of this command is the format of figures
        raise DataError(error.cause, re.sub(r"(, or |^)--format.*", "", error.remedy or "")) from error
    if len(values) > MOST_TEXTS:
        report(f"only the first {MOST_TEXTS:,} inputs are read")
    if not values:
        names = ", ".join(text.name_of(Path(item)) for item in arguments.input_arguments)
        raise DataError(f"{names}: no inputs in it", "give some, or leave it out")
    return values[:MOST_TEXTS]
