"""The command `tformer tokenize`, which trains, uses and inspects tokenizers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tformer_cli.cli.choices import FORMATS, one_of
from tformer_cli.cli.options import HEADER, OUTPUT_FILE, OUTPUT_FOLDER
from tformer_cli.errors import ConfigError

if TYPE_CHECKING:
    from tformer_cli.config.schema import TokenizerConfig
    from tformer_cli.tokenizers.tokenizer import Vocabulary

app = typer.Typer(help="Train, use and inspect tokenizers: train, encode, decode, info.", rich_markup_mode=None)

TOKENIZER = typer.Argument(help="Tokenizer folder, .model file, or run folder.")
FILES = typer.Argument(None, metavar="[FILE]...", help="Text files or tables. If omitted, standard input is read.")
COLUMN = typer.Option(None, "--column", metavar="NAME", help="Tables: column of the text.", show_default=False)
FORMAT = typer.Option(
    "",
    "--format",
    help="lines, csv, tsv, json, jsonl, parquet or arrow.  [default: by file name]",
    show_default=False,
    autocompletion=one_of(*FORMATS),
)
LANGUAGE = typer.Option(None, "--language", help="Language of separate vocabularies.", show_default=False)


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def train(
    files: Annotated[list[Path], typer.Argument(help="Text files; the suffix is the language, as in train.en.")],
    output: Annotated[Path, OUTPUT_FOLDER],
    kind: Annotated[
        str, typer.Option("--kind", help="unigram, bpe or char.", autocompletion=one_of("unigram", "bpe", "char"))
    ] = "unigram",
    vocab_size: Annotated[
        int, typer.Option("--vocab-size", help="Size of the vocabulary, special tokens included.")
    ] = 8000,
    separate: Annotated[bool, typer.Option("--separate", help="Train a vocabulary for each language.")] = False,
    byte_fallback: Annotated[bool, typer.Option("--byte-fallback", help="Encode unknown characters as bytes.")] = False,
    lossless: Annotated[bool, typer.Option("--lossless", help="Keep white space and Unicode forms.")] = False,
    coverage: Annotated[
        float, typer.Option("--character-coverage", help="Share of characters in the text that have a piece.")
    ] = 1.0,
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbol", help="A piece that is never split; may be repeated.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 1,
    column: str = COLUMN,
    form: str = FORMAT,
    header: bool = HEADER,
) -> None:
    """Train a tokenizer; use it with `tokenizer.path=FOLDER`."""
    from tformer_cli.cli import text
    from tformer_cli.cli.output import note
    from tformer_cli.runs.writing import check_new_folder, write_new_folder

    check_new_folder(output)
    text.check(files)
    config = _config(
        kind=kind, vocab_size=vocab_size, joint=not separate, byte_fallback=byte_fallback, lossless=lossless,
        character_coverage=coverage, user_symbols=list(symbols or []),
    )  # fmt: skip
    by_language: dict[str, list[Path]] = {}
    for file in files:
        by_language.setdefault(_language(file), []).append(file)
    if separate and len(by_language) < 2:
        raise ConfigError("--separate needs files of two languages", "name them by language, as train.en train.de")
    from tformer_cli.tokenizers.tokenizer import Tokenizer

    texts = {language: _texts(paths, column, form, header) for language, paths in by_language.items()}
    tokenizer = Tokenizer.train(texts, config, seed)
    write_new_folder(output, tokenizer.files())
    note(f"written: {output} ({kind}, {tokenizer.vocab_size:,} pieces)")


def _language(file: Path) -> str:
    """Return the language at the end of a file name such as train.en or train.en.gz."""
    name = Path(file.name.removesuffix(".gz"))
    return name.suffix.removeprefix(".") or name.name


def _texts(files: list[Path], column: str | None, form: str, header: bool | None) -> Iterator[str]:
    """Yield the lines of texts, and the column of tables; a text with line breaks is several lines."""
    for line in _values(files, column, form, header):
        yield from line.split("\n")


def _values(files: list[Path], column: str | None, form: str, header: bool | None) -> Iterator[str]:
    from tformer_cli.cli.inputs import read
    from tformer_cli.cli.reading import Reading

    reading = Reading((column,) if column else (), form, header=header)
    reading.check()
    return (line.value for line in read(files, reading))


def _config(**options: object) -> TokenizerConfig:
    """Return the settings that options give, after checking their types and ranges."""
    from tformer_cli.config.schema import TokenizerConfig
    from tformer_cli.config.values import convert, leaves

    return TokenizerConfig(**{key: convert(value, leaves(TokenizerConfig)[key]) for key, value in options.items()})


@app.command()
def encode(
    tokenizer: Path = TOKENIZER,
    files: list[Path] = FILES,
    ids: Annotated[bool, typer.Option("--ids", help="Print ids instead of pieces.")] = False,
    language: str = LANGUAGE,
    column: str = COLUMN,
    form: str = FORMAT,
    header: bool = HEADER,
    output: Path = OUTPUT_FILE,
) -> None:
    """Tokenize text: print a line of pieces, or ids, for each line or row."""
    from tformer_cli.cli import text
    from tformer_cli.cli.prediction_output import check_output_path, write

    text.check(files or [])
    check_output_path(output)
    loaded = _load(tokenizer)
    encoded = (loaded.encode(line, language) for line in _values(files or [], column, form, header))
    write((" ".join(map(str, row) if ids else loaded.pieces(row, language)) + "\n" for row in encoded), output)


@app.command()
def decode(
    tokenizer: Path = TOKENIZER, files: list[Path] = FILES, language: str = LANGUAGE, output: Path = OUTPUT_FILE
) -> None:
    """Decode ids, as `encode --ids` prints them: print a line of text for each line."""
    from tformer_cli.cli import text
    from tformer_cli.cli.prediction_output import check_output_path, write

    text.check(files or [])
    check_output_path(output)
    loaded = _load(tokenizer)
    size = loaded.vocab_size_of(language)
    lines = enumerate(text.lines(files or []), 1)
    write((loaded.decode(_ids(line, number, size), language) + "\n" for number, line in lines), output)


def _ids(line: str, number: int, size: int) -> Iterator[int]:
    for token in line.split():
        if not (token.isascii() and token.isdecimal() and len(token) < 10 and int(token) < size):
            raise ConfigError(f"line {number}: {token[:40]!r} is not an id below {size}", "`encode --ids` prints ids")
        yield int(token)


@app.command()
def info(
    tokenizer: Path = TOKENIZER, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Print kind, size, hash and special tokens of a tokenizer."""
    from tformer_cli.cli.output import result, table

    loaded = _load(tokenizer)
    languages = list(loaded.languages)
    facts = {
        "kind": loaded.kind,
        "vocab_size": {name: loaded.vocab_size_of(name) for name in languages} if languages else loaded.vocab_size,
        "languages": languages or "joint",
        "lossless": loaded.lossless,
        "pad_id": loaded.pad_id,
        "unk_id": loaded.unk_id,
        "bos_id": loaded.bos_id,
        "eos_id": loaded.eos_id,
        "hash": loaded.hash,
    }
    if as_json:
        result(json.dumps(facts, ensure_ascii=False) + "\n")
    else:
        table(
            ("item", "value"),
            [
                (key, json.dumps(value) if isinstance(value, (dict, list)) else str(value))
                for key, value in facts.items()
            ],
        )


def _load(path: Path) -> Vocabulary:
    from tformer_cli.tokenizers.tokenizer import Tokenizer

    return Tokenizer.load(path)
