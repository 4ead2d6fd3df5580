"""Shell completion of commands, options, recipes, runs, option groups and settings, also after `=`.

The script of typer for bash cannot complete after `=`, where bash begins a new word. The script here passes the
complete line to the hidden command `complete`, which does not import heavy libraries, and removes the part that bash
treats as earlier words.
"""

from __future__ import annotations

import contextlib
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tformer_cli.cli.choices import one_of
from tformer_cli.errors import ConfigError

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment

BASH = r"""# tformer completion for bash: add to ~/.bashrc:  source <(tformer completion bash)
_tformer() {
    local line=${COMP_LINE:0:COMP_POINT} word IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" complete -- "$line" 2>/dev/null))
    word=${line##*[[:space:]]}
    # Bash begins a new word after `=`: the part before it is on the line already.
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
    fi
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]]; then
        compopt -o nospace
    fi
}
complete -o default -F _tformer tformer
"""

ZSH = r"""#compdef tformer
# tformer completion for zsh: add to ~/.zshrc, after compinit:  source <(tformer completion zsh)
_tformer() {
    local -a candidates open closed
    candidates=("${(@f)$("${words[1]}" complete -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    candidates=(${candidates:#})
    if (( ! $#candidates )); then
        compset -P '*='
        _files
        return
    fi
    open=(${(M)candidates:#*[=./]})
    closed=(${candidates:#*[=./]})
    compadd -S '' -- $open
    compadd -- $closed
}
compdef _tformer tformer
"""

FISH = r"""# tformer completion for fish: save as ~/.config/fish/completions/tformer.fish
complete -c tformer -a '(tformer complete -- (commandline -cp) 2>/dev/null)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

SETTINGS = "overrides"
"""Name of the parameter for settings, after a recipe or a run."""


def completion(
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.", autocompletion=one_of(*sorted(SCRIPTS)))],
) -> None:
    """Print the completion script of a shell; its first lines describe the installation."""
    from tformer_cli.cli.output import result

    if shell not in SCRIPTS:
        raise ConfigError(f"no completion for {shell!r}", f"there is one for {', '.join(SCRIPTS)}")
    result(SCRIPTS[shell])


def complete(line: Annotated[str, typer.Argument(help="The command line up to the cursor.")]) -> None:
    """Print the candidates for the word at the cursor, one per line."""
    from tformer_cli.cli.output import result

    for candidate in candidates(line):
        result(f"{candidate}\n")


def candidates(line: str) -> list[str]:
    """Return the candidates for the last word of a command line; none if the shell should complete file names."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        words = line.split()
    if not line or line[-1].isspace():
        words.append("")
    if len(words) < 2:
        return []
    current = words[-1]
    return [item for item in _possible(words[1:-1], current) if item.startswith(current) and item != current]


def _possible(before: list[str], current: str) -> list[str]:
    """Return the candidates for a word.

    Args:
        before: words between the program and this word.
        current: typed part of the word, which determines whether it is an option or a setting; the candidates need
            not begin with it.
    """
    command, words = _command(), list(before)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    option = _option(command, words[-1]) if words else None
    if option is not None and not option.is_flag:
        return _values(option)
    if current.startswith("-"):
        return _options(command)
    arguments = _arguments(command, words)
    if not arguments and hasattr(command, "commands"):
        names = [name for name, subcommand in command.commands.items() if not subcommand.hidden]
        return names if before else sorted(names)
    declared = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    if not arguments or (len(declared) == 1 and declared[0].nargs == -1):
        return _values(declared[0]) if declared else []
    has_settings = any(parameter.name == SETTINGS for parameter in declared)
    return _settings(arguments[0], arguments[1:], current) if has_settings else []


def _option(command: Any, word: str) -> Any:
    """Return the option of a command with a name; None if there is none."""
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    return next((option for option in options if word in (*option.opts, *option.secondary_opts)), None)


def _values(parameter: Any) -> list[str]:
    """Return the values of a parameter from its `autocompletion`, if it has one."""
    return [item.value for item in parameter.shell_complete(None, "") if item.type == "plain"]


def _options(command: Any) -> list[str]:
    """Return the names of a command's options."""
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    return [*(name for option in options for name in option.opts if name.startswith("--")), "--help"]


def _arguments(command: Any, words: list[str]) -> list[str]:
    """Return the words that are neither options nor their values."""
    arguments, value = [], False
    for word in words:
        if not value and not word.startswith("-"):
            arguments.append(word)
        option = None if value else _option(command, word)
        value = option is not None and not option.is_flag
    return arguments


def _settings(recipe: str, overrides: list[str], current: str) -> list[str]:
    from tformer_cli.config.recipes import fitting, groups
    from tformer_cli.config.values import leaves, nodes

    schema, available = _schema(recipe, overrides), groups()
    key, equals, _ = current.partition("=")
    if equals:
        if key in leaves(schema):
            return [f"{key}={option}" for option in leaves(schema)[key].options]
        return [f"{key}={option}" for option in fitting(key, schema)] if key in nodes(schema) else []
    if "." in current:
        return [f"{name}=" for name in leaves(schema)]
    top = [f"{name}=" for name in leaves(schema) if "." not in name]
    return [
        *(f"{name}=" for name in available if name in nodes(schema)),
        *(f"{name}." for name in nodes(schema)),
        *top,
    ]


def _schema(recipe: str, overrides: list[str]) -> type[Experiment]:
    """Return the settings of a recipe or run, with the model family that overrides select."""
    from tformer_cli.config.compose import schema_of
    from tformer_cli.config.experiments import experiment, tasks

    path = str(Path(recipe) / "config.yaml") if Path(recipe).is_dir() else recipe
    for settings in ([item for item in overrides if "=" in item], []):
        with contextlib.suppress(ConfigError):
            return schema_of(path, settings)
    return experiment(next(iter(tasks())))


@cache
def _command() -> Any:  # a command of the click that typer contains
    from typer.main import get_command

    from tformer_cli.cli import app

    return get_command(app)
