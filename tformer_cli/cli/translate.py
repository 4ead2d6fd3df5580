"""`tformer translate` and `tformer predict`: one answer a line, in order."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import typer

from tformer_cli.errors import ConfigError, DataError

RUN = typer.Argument(help="Run folder, or a checkpoint in one.")
INPUTS = typer.Argument(
    None,
    metavar="[FILE]... [KEY=VALUE]...",
    help="Text, a line each; none: standard input. Settings, as decode.length_penalty=0.6.",
)
PROMPTS = typer.Argument(
    None,
    metavar="[TEXT | FILE | FOLDER]... [KEY=VALUE]...",
    help="Text itself, or files of it, a line each; or pictures, recordings, folders of them. None: standard input,"
    " where these are named by their paths. Settings, as decode.length_penalty=0.6.",
)
BEAM = typer.Option(None, "--beam", min=1, help="Beam width; 1 is greedy.", show_default=False)
N_BEST = typer.Option(None, "--n-best", min=1, help="Answers per line, one below the other.", show_default=False)
BATCH = typer.Option(None, "--batch", min=1, help="Lines decoded together.", show_default=False)
WORKERS = typer.Option(
    None, "--workers", min=0, help="Most processes, on a CPU; 0: as many as physical cores.", show_default=False
)
MAX_LENGTH = typer.Option(None, "--max-length", min=1, help="Most tokens that are written.", show_default=False)
TEMPERATURE = typer.Option(None, "--temperature", help="When drawing: lower is safer.", show_default=False)
TOP_K = typer.Option(None, "--top-k", min=0, help="Draw among the K most probable.", show_default=False)
TOP = typer.Option(None, "--top", min=1, help="Labels shown of each input, likeliest first.", show_default=False)
TOP_P = typer.Option(None, "--top-p", help="Draw among the most probable, up to this sum.", show_default=False)
AS_JSON = typer.Option(False, "--json", help="One JSON object a line: input, text, scores, hypotheses.")
OUTPUT = typer.Option(None, "--output", "-o", help="File to write.  [default: standard output]", show_default=False)
DEVICE = typer.Option("auto", "--device", help="auto, cpu, cuda or mps.")
CHECKPOINT = typer.Option(
    "", "--checkpoint", help="best, latest, or a name in the run's checkpoints.", show_default=False
)


def translate(
    run: Path = RUN,
    inputs: list[str] = INPUTS,
    beam: int = BEAM,
    n_best: int = N_BEST,
    batch: int = BATCH,
    workers: int = WORKERS,
    as_json: bool = AS_JSON,
    output: Path = OUTPUT,
    device: str = DEVICE,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Translate text with a trained run: one line out for each line in, in order; an empty line stays empty.

    With --n-best N there are N lines for each line in, best first; --json keeps them in one object, with
    scores.
    """
    decode = {"beam": beam, "n_best": n_best, "batch": batch, "workers": workers}
    _answer(run, inputs or [], decode, as_json, output, device, checkpoint)


def predict(
    run: Path = RUN,
    inputs: list[str] = PROMPTS,
    beam: int = BEAM,
    n_best: int = N_BEST,
    batch: int = BATCH,
    workers: int = WORKERS,
    max_length: int = MAX_LENGTH,
    temperature: float = TEMPERATURE,
    top_k: int = TOP_K,
    top_p: float = TOP_P,
    top: int = TOP,
    as_json: bool = AS_JSON,
    output: Path = OUTPUT,
    device: str = DEVICE,
    checkpoint: str = CHECKPOINT,
) -> None:
    """Answer with a trained run of any task: one answer for each line, picture or recording, in order.

    A language model writes the text on; a single text given as an argument is written on as you watch.
    """
    decode = {"beam": beam, "n_best": n_best, "batch": batch, "workers": workers, "max_length": max_length}
    decode |= {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    _answer(run, inputs or [], decode, as_json, output, device, checkpoint, literal=True, top=top or 0)


def _answer(
    run: Path,
    inputs: list[str],
    decode: Mapping[str, float | None],
    as_json: bool,
    output: Path | None,
    device: str,
    checkpoint: str,
    *,
    literal: bool = False,
    top: int = 0,
) -> None:
    from tformer_cli.cli import text
    from tformer_cli.config.schema import TextExperiment

    settings = [given for given in inputs if is_setting(given)]
    rest = [given for given in inputs if not is_setting(given)]
    settings += [f"decode.{key}={value}" for key, value in decode.items() if value is not None]
    texts = [given for given in rest if literal and is_text(given)]
    files = [Path(given) for given in rest if given not in texts]
    text.check(path for path in files if not path.is_dir())
    from tformer_cli.tasks.files import AnswersFiles
    from tformer_cli.train.restore import open_run

    opened = open_run(run, checkpoint=checkpoint, device=device, overrides=settings)
    n_best = opened.config.decode.n_best if isinstance(opened.config, TextExperiment) else 1
    if isinstance(opened.task, AnswersFiles):
        lines = _files(opened.task.files_of, [Path(given) for given in rest])
        write = as_rows
    else:
        text.check(files)
        stream = getattr(opened.task, "stream", None)
        if stream is not None and rest == texts[:1] and not as_json and output is None and n_best == 1:
            _watch(stream, opened.model, texts[0])
            return
        lines = itertools.chain(texts, text.lines(files) if files or not texts else [])
        write = as_lines
    records = in_order(lines, partial(opened.task.predict, opened.model), at_once=not rest and sys.stdin.isatty())
    records = ((line, best(answer, top)) for line, answer in records)
    write = as_object if as_json else write
    _write((write(line, answer, n_best, top) for line, answer in records), output)


def _files(files_of: Callable[[Path], list[Path]], given: Sequence[Path]) -> Iterator[str]:
    """The files that are given, those in folders, or, of none, those that standard input names.

    Raises:
        DataError: if there is no such file or folder: of those given, before the first is answered.
    """
    from tformer_cli.cli import text

    for path in given:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
    return (str(file) for path in given or map(Path, text.lines([])) for file in files_of(path))


def best(answer: Any, top: int) -> Any:
    """An answer with the probabilities of its likeliest labels alone, likeliest first; 0: as it is.

    Raises:
        ConfigError: if the run does not classify.
    """
    if not top or "error" in answer.details:
        return answer
    if "probabilities" not in answer.details:
        raise ConfigError("--top goes with runs that classify", "--n-best gives more than one answer of a search")
    ranked = sorted(answer.details["probabilities"].items(), key=lambda item: -item[1])[:top]
    answer.details["probabilities"] = dict(ranked)
    return answer


def _watch(stream: Callable[[Any, str, Callable[[str], None]], None], model: Any, prompt: str) -> None:
    from tformer_cli.cli.output import result

    result(prompt)
    stream(model, prompt, result)
    result("\n")


def is_text(given: str) -> bool:
    """Whether an argument is itself the input: neither a file nor the likely name of one."""
    if given == "-" or _on_disk(given, Path.is_file):
        return False
    return re.fullmatch(r"\S+\.(txt|tsv|csv|jsonl?|gz|[a-z]{2})|\S*/\S*", given) is None


def is_setting(given: str) -> bool:
    """Whether an argument is KEY=VALUE and not the name of a file."""
    return re.match(r"[a-z_]+(\.[a-z_0-9]+)+=", given) is not None and not _on_disk(given, Path.exists)


def _on_disk(given: str, check: Callable[[Path], bool]) -> bool:
    try:
        return check(Path(given))
    except OSError:  # a text can be too long for a name
        return False


def in_order(
    lines: Iterable[str], answers: Callable[[Iterable[str]], Iterator[Any]], *, at_once: bool = False
) -> Iterator[tuple[str, Any]]:
    """Pair every line with its answer, in order, as soon as it is there.

    Args:
        lines: the input.
        answers: from lines to one answer each, in order; it may read ahead as far as it likes.
        at_once: answer each line before the next is read, for someone who types.
    """
    if at_once:
        for line in lines:
            yield line, next(iter(answers([line])))
        return
    waiting: deque[str] = deque()

    def read() -> Iterator[str]:
        for line in lines:
            waiting.append(line)
            yield line

    for answer in answers(read()):
        yield waiting.popleft(), answer


def as_lines(line: str, answer: Any, n_best: int, top: int = 0) -> str:
    """Plain text: always `n_best`, or `top`, lines, so that line i of the input begins at line i times as many."""
    if n_best > 1 and answer.details.get("hypotheses"):
        texts = [hypothesis["text"] for hypothesis in answer.details["hypotheses"][:n_best]]
    elif top and "probabilities" in answer.details:
        texts = [f"{name}\t{share:.4f}" for name, share in answer.details["probabilities"].items()]
    else:
        texts = [answer.text]
    texts += [""] * (max(n_best, top) - len(texts))
    return "".join(text.replace("\r", " ").replace("\n", " ") + "\n" for text in texts)


def as_rows(path: str, answer: Any, n_best: int, top: int) -> str:
    """A file's name and an answer to it, a line each; what kept it from being answered goes to standard error."""
    from tformer_cli.cli.output import note

    if "error" in answer.details:
        note(f"left out: {answer.details['error']}")
        return ""
    rows = [row for row in as_lines(path, answer, n_best, top).splitlines() if row]
    return "".join(f"{path}\t{row}\n" for row in rows or [""])


def as_object(line: str, answer: Any, n_best: int = 1, top: int = 0) -> str:
    """A JSON object: the input, the answer, and whatever the task adds to it."""
    record = {"input": line, "text": answer.text, **answer.details}
    return json.dumps(record, ensure_ascii=False, default=lambda value: value.tolist()) + "\n"


def _write(records: Iterable[str], output: Path | None) -> None:
    from tformer_cli.cli.output import result

    if output is None:
        for record in records:
            result(record)
        return
    with output.open("w", encoding="utf-8", newline="\n", errors="backslashreplace") as file:
        for record in records:
            file.write(record)
            file.flush()
