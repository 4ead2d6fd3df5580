"""Shell completion of verbs, options, recipes, runs, groups and keys, after `=` too.

Typer's own script for bash cannot complete after `=`, where bash begins a new word. Ours hands the whole line
to the hidden verb `complete`, which imports nothing heavy, and takes off again what bash has as earlier
words.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from tformer_cli.errors import ConfigError

BASH = r"""# tformer completion for bash: add to ~/.bashrc:  source <(tformer completion bash)
_tformer() {
    local line=${COMP_LINE:0:COMP_POINT} word IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" complete -- "$line" 2>/dev/null))
    word=${line##*[[:space:]]}
    # Bash begins a new word after `=`: what stands before it is on the line already.
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
    local -a found open closed
    found=("${(@f)$("${words[1]}" complete -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( ! $#found )); then
        compset -P '*='
        _files
        return
    fi
    open=(${(M)found:#*[=./]})
    closed=(${found:#*[=./]})
    compadd -S '' -- $open
    compadd -- $closed
}
compdef _tformer tformer
"""

FISH = r"""# tformer completion for fish: save as ~/.config/fish/completions/tformer.fish
complete -c tformer -a '(tformer complete -- (commandline -cp) 2>/dev/null)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}

TRAINING = ("pretrain", "finetune")
WITH_RUN = ("translate", "predict", "evaluate", "export")
OPTION_VALUES = {
    "--split": ["train", "validation", "test"],
    "--to": ["huggingface"],
    "--device": ["auto", "cpu", "cuda", "mps"],
    "--checkpoint": ["best", "latest"],
    "--kind": ["unigram", "bpe", "char"],
    "--on-long": ["error", "cut", "skip"],
    "--format": ["lines", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "conll"],
}
WITH_PATH = ("--run", "--from", "--output", "-o", "--predictions")


def completion(shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the completion script of a shell; its first lines say where it goes."""
    from tformer_cli.cli.output import result

    if shell not in SCRIPTS:
        raise ConfigError(f"no completion for {shell!r}", f"there is one for {', '.join(SCRIPTS)}")
    result(SCRIPTS[shell])


def complete(line: Annotated[str, typer.Argument(help="The command line up to the cursor.")]) -> None:
    """Print what may stand where the cursor is, one candidate a line."""
    from tformer_cli.cli.output import result

    for candidate in candidates(line):
        result(f"{candidate}\n")


def candidates(line: str) -> list[str]:
    """What may stand at the end of a command line; nothing where the shell's own file names serve best."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        words = line.split()
    if not line or line[-1].isspace():
        words.append("")
    if len(words) < 2:
        return []
    current = words[-1]
    return [word for word in _possible(words[1:-1], current) if word.startswith(current) and word != current]


def _possible(before: list[str], current: str) -> list[str]:
    """Candidates for a word, given those between the program and it; what is typed of it is not looked at."""
    if not before:
        return _verbs() if not current.startswith("-") else ["--help", "--version"]
    verb, previous = before[0], before[-1]
    if previous in OPTION_VALUES:
        return OPTION_VALUES[previous]
    if previous in WITH_PATH:
        return _runs() if previous == "--from" else []
    if current.startswith("-"):
        return _options(before)
    arguments = _arguments(before[1:])
    if verb == "completion":
        return sorted(SCRIPTS)
    if verb == "tokenize" and not arguments:
        return ["train", "encode", "decode", "info"]
    if verb == "recipes":
        return _recipes() if arguments == ["show"] else ["show"]
    if verb in WITH_RUN and not arguments:
        return _runs()
    if verb in TRAINING and not arguments:
        return _recipes()
    return _settings(arguments[0], current) if verb in (*TRAINING, "evaluate") else []


def _arguments(words: list[str]) -> list[str]:
    """The words that are neither options nor their values."""
    taking = {*OPTION_VALUES, *WITH_PATH, "--processes", "--jobs", "-j"}
    return [
        word
        for index, word in enumerate(words)
        if not word.startswith("-") and (index == 0 or words[index - 1] not in taking)
    ]


def _settings(recipe: str, current: str) -> list[str]:
    from tformer_cli.config.recipes import fitting, groups
    from tformer_cli.config.values import leaves, nodes

    schema, available = _schema(recipe), groups()
    key, equals, _ = current.partition("=")
    if equals:
        if key in leaves(schema):
            return [f"{key}={option}" for option in leaves(schema)[key].options]
        return [f"{key}={option}" for option in fitting(key, leaves(schema))] if key in nodes(schema) else []
    if "." in current:
        return [f"{name}=" for name in leaves(schema)]
    top = [f"{name}=" for name in leaves(schema) if "." not in name]
    return [
        *(f"{name}=" for name in available if name in nodes(schema)),
        *(f"{name}." for name in nodes(schema)),
        *top,
    ]


def _schema(recipe: str) -> type:
    """The schema of a recipe's task, by a glance at its text."""
    from tformer_cli.config.recipes import find
    from tformer_cli.config.schema import EXPERIMENTS

    try:
        path = Path(recipe) / "config.yaml" if Path(recipe).is_dir() else find(recipe)
        match = re.search(r"^[\s-]*(?:schema|task):\s*(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    except (ConfigError, OSError, UnicodeDecodeError):
        match = None
    return EXPERIMENTS.get(match[1] if match else "", next(iter(EXPERIMENTS.values())))


def _recipes() -> list[str]:
    from tformer_cli.config.recipes import names

    return names()


def _runs() -> list[str]:
    from tformer_cli.cli.summary import find_runs

    return [str(run) for run in find_runs(Path("runs"))] if Path("runs").is_dir() else []


def _verbs() -> list[str]:
    return sorted(name for name, command in _command().commands.items() if not command.hidden)


def _options(before: list[str]) -> list[str]:
    command = _command()
    for word in before:
        command = getattr(command, "commands", {}).get(word, command)
    found = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
    return [*found, "--help"]


def _command() -> Any:  # of the click that typer brings
    from typer.main import get_command

    from tformer_cli.cli import app

    return get_command(app)
