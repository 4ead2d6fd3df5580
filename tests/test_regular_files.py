"""Every reader refuses pipes and devices with an error of one line, and does not block."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.properties.families import FAMILIES, family_named
from tformer_cli.cli.main import main
from tformer_cli.cli.summary import summarise
from tformer_cli.config.compose import compose
from tformer_cli.config.yaml import read_yaml
from tformer_cli.data.core import files
from tformer_cli.data.image.idx import idx_items
from tformer_cli.data.image.pictures import BadPicture, read_picture
from tformer_cli.data.speech.stored_features import read_features
from tformer_cli.decode.ngram import read_ngrams
from tformer_cli.errors import TformerError
from tformer_cli.interop.reading import read_json, read_weights
from tformer_cli.regular_files import NotRegularError, append_regular, open_regular, read_regular
from tformer_cli.runs.folder import Lock
from tformer_cli.runs.verify import damage
from tformer_cli.tokenizers.tokenizer import Tokenizer
from tformer_cli.train.log import JsonLines

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


@pytest.fixture(autouse=True)
def no_hang():
    """Interrupt a test that blocks on a pipe."""

    def late(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["pipe", "device"])
def irregular(request, tmp_path):
    """Return a function that creates a special file."""

    def make(name: str, folder: Path = tmp_path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if request.param == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        return path

    return make


READERS = {
    "a.txt": lambda path: list(files.lines(path)),
    "a.txt.gz": lambda path: list(files.lines(path)),
    "a.csv": lambda path: list(files.table_rows(path, ("a", "b"))),
    "a.jsonl": lambda path: list(files.table_rows(path, ("a", "b"))),
    "a.parquet": lambda path: list(files.table_rows(path, ("a", "b"))),
    "a.arrow": lambda path: list(files.table_rows(path, ("a", "b"))),
    "a-idx3-ubyte": lambda path: list(idx_items(path, 0x803)),
    "b-idx3-ubyte.gz": lambda path: list(idx_items(path, 0x803)),
    "a.npy": lambda path: read_features(path, 13),
    "a.arpa": read_ngrams,
    "a.yaml": read_yaml,
    "config.json": read_json,
    "model.safetensors": lambda path: read_weights(path.parent),
    "a.model": Tokenizer.load,
}


@pytest.mark.parametrize("name", READERS)
def test_readers_refuse_it_in_a_line(irregular, name):
    with pytest.raises(TformerError) as caught:
        READERS[name](irregular(name))
    assert "\n" not in str(caught.value)


def test_pictures_refuse_it(irregular):
    data = compose("vit/folder", ["data.path=x"]).data
    with pytest.raises(BadPicture):
        read_picture(irregular("a.png"), data)


@pytest.mark.parametrize("name", ["metrics.jsonl", "performance.jsonl"])
def test_a_run_writes_into_no_pipe_and_through_no_link(irregular, tmp_path, name):
    with pytest.raises(TformerError, match="not a regular file"):
        JsonLines(irregular(name), 0)
    user_file = tmp_path / "own"
    user_file.write_text("precious")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(user_file)
    with pytest.raises(TformerError, match="not a regular file, but a link"):
        JsonLines(tmp_path / name, 0)
    assert user_file.read_text() == "precious"


def test_a_lock_is_no_pipe(irregular, tmp_path):
    irregular(".lock")
    with pytest.raises(TformerError, match="cannot be written: not a regular file"):
        Lock(tmp_path)


@pytest.mark.parametrize(
    "name", ["result.json", "metrics.jsonl", "config.yaml", "checkpoints/latest", "checkpoints/best"]
)
def test_a_list_of_runs_does_not_wait_for_it(irregular, tmp_path, name):
    irregular(name)
    summarise(tmp_path)


@pytest.mark.parametrize("verb", ["evaluate", "predict", "export"])
@pytest.mark.parametrize("name", ["config.yaml", "checkpoints/best"])
def test_verbs_refuse_a_run_that_holds_it(irregular, tmp_path, capsys, verb, name):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("recipe: x\n")
    irregular(name, run)
    more = ["--output", str(tmp_path / "out")] if verb == "export" else []
    assert main([verb, str(run), *more]) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("what", ["recipe", "data", "tokenizer"])
def test_training_refuses_it(irregular, tmp_path, capsys, what):
    family = family_named("text classification")
    others = [item for item in family.settings if not item.startswith("data.path=")]
    untrained = [item for item in family.settings if not item.startswith("tokenizer.")]
    settings = {
        "recipe": [str(irregular("x.yaml"))],
        "data": [family.recipe, *others, f"data.path={irregular('data/train.tsv')}"],
        "tokenizer": [family.recipe, *untrained, f"tokenizer.path={irregular('t.model')}"],
    }[what]
    assert main(["pretrain", *settings, f"data.cache={tmp_path}", "--run", str(tmp_path / "run")]) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1


def test_checkpoints_hold_files_and_folders_only(tmp_path):
    from tformer_cli.runs.checkpoint import usable_files, write_folder

    folder = tmp_path / "step-00000001"
    config = FAMILIES[0].config(tmp_path)
    write_folder(folder, usable_files(b"weights", {"step": 1}, config, {"tokenizer/a": b"x"}))
    assert damage(folder) == ""
    (folder / "labels.json").symlink_to("/etc/hostname")  # not in the manifest, but a task would read it
    assert damage(folder) == "holds labels.json, which is a link"
    (folder / "labels.json").unlink()
    os.mkfifo(folder / "tokenizer" / "b")
    assert damage(folder) == "holds tokenizer/b, which is no regular file"


def test_regular_files_are_read_and_links_where_they_may_be(tmp_path):
    path, link = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"text")
    link.symlink_to(path)
    assert read_regular(path) == read_regular(link) == b"text"
    with pytest.raises(OSError, match="but a link"):
        read_regular(link, links=False)
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_regular(path, largest=3)
    with pytest.raises(NotRegularError, match="not a regular file, but a folder"):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "c")
    with append_regular(path) as file:
        file.write(b" and more")
    assert path.read_bytes() == b"text and more"
