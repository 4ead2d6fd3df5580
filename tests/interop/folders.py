"""Models written to and read from folders without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tformer_cli.interop import huggingface_bert, huggingface_gpt, huggingface_seq2seq
from tformer_cli.interop.foreign import read_foreign
from tformer_cli.interop.gate import Say, warn
from tformer_cli.runs.writing import write_new_folder


def import_model(folder: Path, languages: tuple[str, str] = ("source", "target"), say: Say = warn) -> tuple[Any, ...]:
    """Return settings, weights and tokenizer of a model of text."""
    foreign = read_foreign(folder, languages, say)
    return foreign.model, foreign.weights, foreign.tokenizer


def import_pictures(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the experiment and the weights of an image model."""
    foreign = read_foreign(folder)
    return foreign.inputs, foreign.weights


def export_bert(model: Any, tokenizer: Any, output: Path, *arguments: Any, **settings: Any) -> None:
    write_new_folder(output, huggingface_bert.export_files(model, tokenizer, *arguments, **settings))


def export_gpt(model: Any, tokenizer: Any, output: Path, *arguments: Any) -> None:
    write_new_folder(output, huggingface_gpt.export_files(model, tokenizer, *arguments))


def export_seq2seq(model: Any, tokenizer: Any, output: Path, *arguments: Any) -> None:
    write_new_folder(output, huggingface_seq2seq.export_files(model, tokenizer, *arguments))
