"""The recipes and option groups that come with tformer: their files, names and headers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tformer_cli.config.experiments import experiment, families_for
from tformer_cli.config.schema import Experiment
from tformer_cli.config.suggest import suggest
from tformer_cli.config.values import leaves
from tformer_cli.errors import ConfigError


@dataclass(frozen=True)
class RecipeInfo:
    """A recipe and its header.

    Attributes:
        name: name for `tformer pretrain`, such as `translation/multi30k_en_de`.
        path: path of its file.
        description: the header's first line.
        header: its further `KEY: VALUE` lines: command, hardware, time, expected, measured.
    """

    name: str
    path: Path
    description: str = ""
    header: dict[str, str] = field(default_factory=dict)


@cache
def folder(name: str) -> Path:
    """Return the folder of option groups or recipes: inside the package if installed, beside it in a checkout.

    Args:
        name: `conf` or `recipes`.

    Raises:
        ConfigError: if the folder does not exist.
    """
    package = Path(__file__).resolve().parent.parent
    for base in (package, package.parent):
        if (base / name).is_dir():
            return base / name
    raise ConfigError(f"the folder {name} of tformer is missing in {package}", "install tformer again")


def groups() -> dict[str, list[str]]:
    """Return the options of each option group: `{"model": ["transformer_base", ...], ...}`."""
    conf = folder("conf")
    options: dict[str, list[str]] = {}
    for path in sorted(conf.glob("*/*.yaml")):
        options.setdefault(path.parent.name, []).append(path.stem)
    return options


def fitting(group: str, schema: type[Experiment]) -> list[str]:
    """Return the options of a group that suit a task: all of their settings are settings of the task.

    Options of the group `model` may be of any family that the task can be trained with.

    Args:
        group: name of the group.
        schema: settings of the task.
    """
    fitting_families = families_for(schema.task)
    options = []
    for option in groups().get(group, []):
        text = (folder("conf") / group / f"{option}.yaml").read_text(encoding="utf-8")
        name = family_of(group, option)
        if name and name not in fitting_families:
            continue
        settings = leaves(experiment(schema.task, name) if name else schema)
        if all(f"{group}.{key}" in settings for key in re.findall(r"^(\w+):", text, re.MULTILINE)):
            options.append(option)
    return options


def family_of(group: str, option: str) -> str:
    """Return the model family of an option; "" if it has none, or there is no such option."""
    path = folder("conf") / group / f"{option}.yaml"
    if group != "model" or option not in groups().get(group, []):
        return ""
    match = re.search(r"^family:\s*(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else ""


def names() -> list[str]:
    """Return the names of the recipes that come with tformer."""
    root = folder("recipes")
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def recipes() -> list[RecipeInfo]:
    """Return the recipes that come with tformer, with their headers."""
    return [_info(name) for name in names()]


def find(recipe: str) -> Path:
    """Return the file of a recipe.

    Args:
        recipe: name of a recipe that comes with tformer, or a path.

    Raises:
        ConfigError: if there is no such recipe; the error suggests the most similar name.
    """
    path = Path(recipe).expanduser()
    name = recipe.removesuffix(".yaml").removesuffix(".yml")
    if path.is_file():
        return path
    if name in names():
        return folder("recipes") / f"{name}.yaml"
    if path.is_dir():
        raise ConfigError(f"{recipe} is a folder, not a recipe", f"give a YAML file, as {path / 'config.yaml'}")
    if name != recipe or recipe.startswith((".", "/", "~")):
        raise ConfigError(f"no such recipe file: {recipe}", "`tformer recipes` lists those that come with tformer")
    by_stem = {name.rpartition("/")[2]: name for name in names()}
    similar = suggest(recipe, names()) or [by_stem[stem] for stem in suggest(recipe.rpartition("/")[2], by_stem)]
    remedy = f"did you mean '{similar[0]}'?" if similar else "`tformer recipes` lists them; a file's name ends in .yaml"
    raise ConfigError(f"unknown recipe {recipe!r}", remedy)


def default_name(recipe: str) -> str:
    """Return the name of a recipe's run folders: its name if it comes with tformer, otherwise the stem of its file."""
    path = find(recipe).resolve()
    root = folder("recipes").resolve()
    return path.relative_to(root).with_suffix("").as_posix() if path.is_relative_to(root) else path.stem


def _info(name: str) -> RecipeInfo:
    path = folder("recipes") / f"{name}.yaml"
    description, header, key = "", {}, ""
    for line in path.read_text(encoding="utf-8").split("\n"):
        if not line.startswith("#"):
            break
        text = line[1:].strip()
        match = re.match(r"# ([a-z]+):\s+(.*)", line)  # further lines of an entry are indented
        if match:
            key = match[1]
            header[key] = match[2]
        elif text and key:
            header[key] += f" {text}"
        elif text:
            description += f" {text}"
    return RecipeInfo(name, path, description.strip(), header)
