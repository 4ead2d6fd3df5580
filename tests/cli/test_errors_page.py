"""Each `console` block of docs/errors.md shows what its command prints.

`python -m tests.cli.test_errors_page`, from the project's root, writes into the page what the commands print now.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.properties.families import FAMILIES, SENTIMENT, SMALL
from tformer_cli.cli.main import main
from tformer_cli.runs.folder import Lock

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
BLOCK = re.compile(r"^```console\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
RUNS = {
    "reviews": "text classification",
    "remarks": "text classification",
    "captions": "translation",
    "digits": "vit",
}
"""Run folders, and the family of each."""


def examples(page: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of the page that are run, and what it says they print."""
    for block in BLOCK.findall(page):
        command, _, printed = block.partition("\n")
        yield command.removeprefix("$ "), printed


def write(path: str, content: str | bytes) -> None:
    """Write a file, with its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


def make_texts() -> None:
    """Write the texts and tables that the page's commands read, into the current folder."""
    write("pairs/train.en", "The cat sleeps.\nWe read.\n")
    write("pairs/train.de", "Die Katze schläft.\n")
    write("pairs/val.en", "We read.\n")
    write("pairs/val.de", "Wir lesen.\n")
    write("praise/train.jsonl", '{"text": "good", "label": "praise"}\n{"text": "bad"}\n')
    write("scores.csv", "comment,stars\nfine,5\ndull,2\n")
    write("few.csv", "text,label\nfine,positive\ndull,negative\n")
    write("other/test.csv", "text,label\nfine,good\ndull,bad\n")
    write("latin.txt", "café\n".encode("latin-1"))
    write("windows.txt", "one\n".encode("utf-16"))
    write("empty.txt", "")
    write("names.conll", "Ann B-PER\nsaw O\nBob\n\n")
    write("cut.txt.gz", gzip.compress(b"one\ntwo\n" * 99)[:-12])
    write("long.en", 600 * "the " + "cat\n")
    write("report.docx", "PK")
    write("thesis/thesis.tex", "x")
    write("mine.yaml", "task: translation\noptim:\n  lr: quick\n")


def make_media() -> None:
    """Write the pictures and recordings that the page's commands read."""
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (9, 9, 3), np.uint8)).save(picture, "PNG")
    write("photos/train/cat/1.png", picture.getvalue())
    Path("photos/train/dog").mkdir()
    write("cut.png", picture.getvalue()[:100])
    write("album/metadata.csv", "file_name,text\ntrain/1.png,a cat\n2.png,a dog\n")
    write("trip/metadata.csv", "file_name,text\n1.png,a cat\n2.png,a dog\n")
    Path("calls").mkdir()
    soundfile.write("calls/a.wav", np.zeros(800), 8000)


def make_world() -> None:
    """Write data and trained runs into the current folder."""
    make_texts()
    make_media()
    comments = Path(SENTIMENT).read_text(encoding="utf-8")
    for name in ("train", "validation"):
        write(f"essays/{name}.txt", comments)
    write("comments.tsv", comments)
    write("remarks.tsv", comments.replace("film", "play"))
    for name, family in RUNS.items():
        chosen = next(each for each in FAMILIES if each.name == family)
        settings = [each for each in chosen.settings if not each.startswith("trainer.")]
        texts = {"reviews": "comments.tsv"}.get(name, f"{name}.tsv")
        settings = [f"data.path={texts}" if SENTIMENT in each else each for each in settings]
        limits = ["trainer.steps=1", "trainer.minutes=0", "trainer.evaluate_limit=4"]
        assert main(["pretrain", chosen.recipe, *SMALL, *settings, *limits, "--run", f"runs/{name}", "--quiet"]) == 0
    shutil.copytree("runs/reviews", "runs/damaged", symlinks=True)
    weights = Path("runs/damaged/checkpoints/step-00000001/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    """A folder with data and trained runs, one of which another process writes."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            make_world()
            yield Path(folder)
        finally:
            os.chdir(before)


def printed(command: str) -> str:
    """Return what a command prints, results first."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    lock = Lock(Path("runs/busy")) if "runs/busy" in command else None
    with redirect_stdout(out), redirect_stderr(err):
        assert main(shlex.split(command)[1:]) != 0
    if lock is not None:
        lock.release()
    text = "".join(stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return text.replace(f"{Path.cwd()}{os.sep}", "")


@pytest.mark.parametrize(("command", "shown"), list(examples(PAGE.read_text(encoding="utf-8"))))
def test_the_page_shows_what_is_printed(world, monkeypatch, command, shown):
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    monkeypatch.chdir(world)
    actual = printed(command)
    assert actual == shown
    assert actual.splitlines()[-1].startswith("error: ") and actual.count("error: ") == 1


def test_the_page_is_a_good_sample():
    assert len(list(examples(PAGE.read_text(encoding="utf-8")))) >= 30


def rewrite() -> None:
    """Write what the commands print now into the page."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_world()
        page = PAGE.read_text(encoding="utf-8")
        for command, shown in examples(page):
            block = f"```console\n$ {command}\n"
            page = page.replace(f"{block}{shown}```\n", f"{block}{printed(command)}```\n")
        os.chdir(before)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(rewrite())
