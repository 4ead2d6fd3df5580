"""The arguments of `translate` and `predict`: texts, files, settings and options, and checks that they suit a run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.errors import ConfigError, DataError, RunError, TformerError

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment

OPTIONS = {name: "--" + name.replace("_", "-") for name in ("beam", "n_best", "batch", "workers", "max_length",
                                                           "temperature", "top_k", "top_p", "top", "count", "label",
                                                           "seed")}  # fmt: skip
"""Options by the settings that they set."""
DEVICE_NAME = {"trainer.device": "--device"}
PRECISION_NAME = {"trainer.precision": "--precision"}


@dataclass(frozen=True)
class PredictionArguments:
    """The arguments of the user.

    Attributes:
        run: the run folder.
        inputs: texts, files, folders and settings.
        decode: search settings given as options; None: not given.
        columns: columns of tables.
        form: format of files; empty: detected.
        on_long: treatment of inputs beyond the model's limit; empty: the default of the task.
        as_json: whether to print JSON objects.
        output: file to write; None: standard output.
        device: device of the model.
        checkpoint: name of the checkpoint.
        top: number of labels per input; 0: the most probable one, or all in JSON.
        literal: whether arguments may be texts.
        header: whether the first line of CSV and TSV names the columns; None: not given.
        precision: precision of the model; empty: the precision of the run's scores in training.
        draft: file with a draft of the translation of each input; None: there are none.
    """

    run: Path
    inputs: list[str]
    decode: Mapping[str, float | str | None]
    columns: tuple[str, ...]
    form: str
    on_long: str
    as_json: bool
    output: Path | None
    device: str
    checkpoint: str
    top: int = 0
    literal: bool = False
    header: bool | None = None
    precision: str = ""
    draft: Path | None = None

    @property
    def input_arguments(self) -> list[str]:
        """The arguments that are inputs."""
        return [item for item in self.inputs if not is_setting(item)]

    @property
    def settings(self) -> list[str]:
        """The settings KEY=VALUE, including those given as options."""
        settings = [item for item in self.inputs if is_setting(item)]
        settings += [f"decode.{key}={value}" for key, value in self.decode.items() if value is not None]
        return settings + precision_setting(self.precision)

    @property
    def options(self) -> dict[str, str]:
        """The options or keys that the user gave for search settings and `top`, by the names of these settings."""
        from tformer_cli.trained.applicable import decode_settings

        named = {name: OPTIONS[name] for name, value in self.decode.items() if value is not None}
        named |= {"top": OPTIONS["top"]} if self.top else {}
        return decode_settings([item for item in self.inputs if is_setting(item)]) | named

    @property
    def names(self) -> dict[str, str]:
        """Options by the settings that they set, without those that are given as settings."""
        from tformer_cli.trained.applicable import decode_settings

        as_settings = decode_settings([item for item in self.inputs if is_setting(item)])
        names = {f"decode.{name}": OPTIONS[name] for name in self.decode if name not in as_settings}
        return names | machine_names(self.device, self.precision)

    @property
    def texts(self) -> list[str]:
        """The inputs given as text."""
        return [item for item in self.input_arguments if self.literal and is_text(item)]

    @property
    def files(self) -> list[Path]:
        """The inputs given as files or folders."""
        texts = self.texts
        return [Path(item) for item in self.input_arguments if item not in texts]


def precision_setting(precision: str) -> list[str]:
    """Return the setting of `--precision`; none if it was not given."""
    return [f"trainer.precision={precision}"] if precision else []


def machine_names(device: str, precision: str = "") -> dict[str, str]:
    """Return `--device` and `--precision` by the settings that they set, without those that were not given."""
    return ({} if device == "auto" else DEVICE_NAME) | (PRECISION_NAME if precision else {})


def check_files(arguments: PredictionArguments, *, translating: bool) -> None:
    """Refuse files that cannot be opened, before the run is loaded.

    Raises:
        RunError: if `translate` is used on a run that does not translate.
        DataError: if a file cannot be opened; `translate` reads files only, and the remedy for a text says so.
    """
    from tformer_cli.cli import text
    from tformer_cli.config.schema import ParallelDataConfig

    try:
        text.check(path for path in arguments.files if not path.is_dir())
    except DataError as error:
        if not translating:
            raise
        config = _config_of(arguments.run)
        if config is not None and not isinstance(getattr(config, "data", None), ParallelDataConfig):
            raise _cannot_translate(arguments.run, config.task) from error
        for item in filter(is_text, arguments.input_arguments):
            if error.cause == f"{item}: no such file":
                remedy = f'to translate a text: tformer predict {arguments.run} "{item}", or give it on standard input'
                raise DataError(error.cause, remedy) from error
        raise


def _config_of(run: Path) -> Experiment | None:
    """Return the configuration of a run or checkpoint; None if there is no readable one."""
    from tformer_cli.config.compose import from_yaml
    from tformer_cli.runs.folder import CONFIG

    try:
        return from_yaml(run / CONFIG) if (run / CONFIG).is_file() else None
    except TformerError:
        return None


def _cannot_translate(run: Path, task: str) -> RunError:
    """Return the error for `translate` on a run of another task."""
    return RunError(f"{run} is a run of {task}, which does not translate", f"tformer predict {run}")


def check_options(task: Any, arguments: PredictionArguments, *, translating: bool) -> None:
    """Refuse options and search settings that do not apply to a run.

    Raises:
        RunError: if `translate` is used on a run that does not translate.
        ConfigError: if an option does not apply; the error names it.
    """
    from tformer_cli.predictors.inputs import OnLong
    from tformer_cli.trained.applicable import check_settings

    name = task.config.task
    if translating and not task.predictor.translates:
        raise _cannot_translate(arguments.run, name)
    if arguments.draft is not None and not task.predictor.takes_drafts:
        cause = f"--draft: the model of {arguments.run} does not edit drafts, it generates translations token by token"
        raise ConfigError(cause, "leave it out, or use a run whose model edits (see `tformer recipes`)")
    check_settings(task, arguments.settings, arguments.options, OPTIONS)
    if arguments.on_long:
        names = [choice.name for choice in OnLong]
        if arguments.on_long not in names:
            raise ConfigError(f"--on-long: {arguments.on_long!r} is not one of {', '.join(names)}")
        if task.predictor.on_long is None:
            raise ConfigError(f"--on-long has no effect on a run of {name}", "none of its inputs is too long")


@contextlib.contextmanager
def named_as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Replace settings in errors by the options that set them.

    Args:
        options: options by settings, such as `{"decode.beam": "--beam"}`.

    Raises:
        ConfigError: the error of the block, with `decode.beam=5` replaced by `--beam 5`.
    """
    try:
        yield
    except ConfigError as error:
        cause, remedy = error.cause, error.remedy
        for key, option in options.items():
            name = re.compile(rf"(?<![\w.']){re.escape(key)}(?![\w.])(=?)")
            cause, remedy = (
                name.sub(rf"{option}\1", text).replace(f"{option}=", f"{option} ") for text in (cause, remedy)
            )
        raise ConfigError(cause, remedy) from error


def use_options(task: Any, arguments: PredictionArguments) -> None:
    """Set the options of the task, after `check_options`."""
    from tformer_cli.predictors.inputs import OnLong

    if arguments.top:
        task.predictor.top = arguments.top
    if arguments.on_long:
        task.predictor.on_long = OnLong[arguments.on_long]


def is_text(argument: str) -> bool:
    """Return whether an argument is an input text: neither a file nor likely the name of a file."""
    if argument == "-" or (argument and _exists(argument)):
        return False
    return (
        re.fullmatch(r"\S+\.(txt|tsv|csv|jsonl?|parquet|arrow|feather|conllu?|gz|[a-z]{2})|\S*/\S*", argument) is None
    )


def is_setting(argument: str) -> bool:
    """Return whether an argument is KEY=VALUE, with a group as in `decode.beam=1` or `seed`, and not a file's name."""
    return re.match(r"[a-z_]+(\.[a-z_0-9]+)+=|seed=\d+$", argument) is not None and not _exists(argument)


def _exists(argument: str) -> bool:
    try:
        return Path(argument).exists()
    except (OSError, ValueError):  # a text can be too long for a file name
        return False
