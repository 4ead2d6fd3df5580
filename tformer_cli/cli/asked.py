"""Arguments of `translate` and `predict`: texts, files, settings, and options that must fit the run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tformer_cli.errors import ConfigError, RunError

OPTIONS = {name: "--" + name.replace("_", "-") for name in ("beam", "n_best", "batch", "workers", "max_length",
                                                           "temperature", "top_k", "top_p", "top")}  # fmt: skip
"""Options by the settings that they set."""
DEVICE_NAME = {"trainer.device": "--device"}
PRECISION_NAME = {"trainer.precision": "--precision"}


TRAINING = ("optim.", "augment.", "trainer.steps", "trainer.epochs", "trainer.minutes", "data.balance")
"""Beginnings of the settings that only training uses."""


@dataclass(frozen=True)
class Asked:
    """The arguments of the user.

    Attributes:
        run: the run folder.
        inputs: texts, files, folders and settings.
        decode: search settings given as options; None: not given.
        columns: columns of tables.
        form: format of files.
        on_long: treatment of long lines.
        as_json: whether to print JSON objects.
        output: file to write; None: standard output.
        device: device of the model.
        checkpoint: name of the checkpoint.
        top: number of labels per input; 0: the most probable one, or all in JSON.
        literal: whether arguments may be texts.
        header: whether the first line of CSV and TSV names the columns; None: not given.
        precision: precision of the model; empty: that of the run's scores in training.
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
    header: bool | None = None
    precision: str = ""

    @property
    def given(self) -> list[str]:
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
        """The given search settings, and `top`, with the form in which they were given."""
        named = {name: OPTIONS[name] for name, value in self.decode.items() if value is not None}
        named |= {"top": OPTIONS["top"]} if self.top else {}
        return decode_settings([item for item in self.inputs if is_setting(item)]) | named

    @property
    def names(self) -> dict[str, str]:
        """Options by the settings that they stand for, without those that are given as settings."""
        given = decode_settings([item for item in self.inputs if is_setting(item)])
        names = {f"decode.{name}": OPTIONS[name] for name in self.decode if name not in given}
        return names | ({} if self.device == "auto" else DEVICE_NAME) | (PRECISION_NAME if self.precision else {})

    @property
    def texts(self) -> list[str]:
        """The inputs given as text."""
        return [item for item in self.given if self.literal and is_text(item)]

    @property
    def files(self) -> list[Path]:
        """The inputs given as files or folders."""
        texts = self.texts
        return [Path(item) for item in self.given if item not in texts]


def precision_setting(precision: str) -> list[str]:
    """Return the setting that `--precision` stands for; none if it was not given."""
    return [f"trainer.precision={precision}"] if precision else []


def check_options(task: Any, asked: Asked, *, translating: bool) -> None:
    """Refuse options and search settings that do not apply to a run.

    Raises:
        RunError: if `translate` is used on a run that does not translate.
        ConfigError: if an option does not apply; names it.
    """
    from tformer_cli.predictors.inputs import OnLong

    kind = task.config.task
    if translating and not task.predictor.translates:
        raise RunError(f"{asked.run} is a run of {kind}, which does not translate", f"tformer predict {asked.run}")
    check_trained(asked.settings)
    check_decode(task, asked.options)
    if asked.on_long:
        names = [choice.name for choice in OnLong]
        if asked.on_long not in names:
            raise ConfigError(f"--on-long: {asked.on_long!r} is not one of {', '.join(names)}")
        if task.predictor.on_long is None:
            raise ConfigError(f"--on-long means nothing for a run of {kind}", "none of its inputs is too long")


@contextlib.contextmanager
def named_as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Name, in errors, the options that the user typed or can type in place of the settings that they stand for.

    Args:
        options: options by settings, as `{"decode.beam": "--beam"}`.

    Raises:
        ConfigError: as the block raises it; `decode.beam=5` becomes `--beam 5`.
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


def decode_settings(settings: Sequence[str]) -> dict[str, str]:
    """Return the search settings among the given settings, with the form in which they were given."""
    keys = [setting.split("=", 1)[0] for setting in settings]
    return {key.removeprefix("decode."): key for key in keys if key.startswith("decode.")}


def check_trained(settings: Sequence[str]) -> None:
    """Refuse settings that only training uses, as the trained model would be the same without them.

    Raises:
        ConfigError: if there is one; names the first.
    """
    for setting in settings:
        key = setting.split("=", 1)[0]
        if key.startswith(TRAINING):
            raise ConfigError(f"{key} has no effect on a trained model", "leave it out, or set it for training")


def check_decode(task: Any, given: Mapping[str, str]) -> None:
    """Refuse search settings that do not apply to a task.

    Args:
        task: task of the run.
        given: options or keys by the names of settings.

    Raises:
        ConfigError: if one does not apply; names the first.
    """
    from tformer_cli.config.schema import DecodeConfig

    for name, option in given.items():
        if name not in task.predictor.options and (name in OPTIONS or hasattr(DecodeConfig, name)):
            there = ", ".join(text for name, text in OPTIONS.items() if name in task.predictor.options) or "none"
            raise ConfigError(f"{option} means nothing for a run of {task.config.task}", f"options that do: {there}")


def use_options(task: Any, asked: Asked) -> None:
    """Set the options of the task, and refuse those without effect under the run's other settings.

    Raises:
        ConfigError: if an option has no effect; names it.
    """
    from tformer_cli.predictors.inputs import OnLong

    for name, option in asked.options.items():
        if reason := task.predictor.unused(name):
            raise ConfigError(f"{option} has no effect", reason)
    if asked.top:
        task.predictor.top = asked.top
    if asked.on_long:
        task.predictor.on_long = OnLong[asked.on_long]


def is_text(given: str) -> bool:
    """Return whether an argument is an input text: neither a file nor the likely name of one."""
    if given == "-" or (given and _on_disk(given, Path.exists)):
        return False
    return re.fullmatch(r"\S+\.(txt|tsv|csv|jsonl?|parquet|arrow|feather|conllu?|gz|[a-z]{2})|\S*/\S*", given) is None


def is_setting(given: str) -> bool:
    """Return whether an argument is KEY=VALUE and not the name of a file."""
    return re.match(r"[a-z_]+(\.[a-z_0-9]+)+=", given) is not None and not _on_disk(given, Path.exists)


def _on_disk(given: str, check: Callable[[Path], bool]) -> bool:
    try:
        return check(Path(given))
    except (OSError, ValueError):  # a text can be too long for a file name
        return False
