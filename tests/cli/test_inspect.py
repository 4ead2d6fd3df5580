"""`tformer inspect` as a user types it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.fixtures.write import DATA, FOLDER
from tformer_cli.cli import inspect as command
from tformer_cli.cli.main import main
from tformer_cli.errors import DataError, RunError
from tformer_cli.predictors.base import Prediction

FIGURES = ["--figures", "lens,vectors"]
QUICK = ["--figures", "vectors", "--format", "none", "-q"]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A tiny run, in a working folder with the files of its data."""
    folder = tmp_path / "work"
    shutil.copytree(DATA, folder)
    monkeypatch.chdir(folder)
    shutil.copytree(FOLDER / "bert", tmp_path / "bert")
    return tmp_path / "bert"


def numbers(folder: Path) -> dict:
    return json.loads((folder / "inspect.json").read_text(encoding="utf-8"))


OUTSIDE = tuple(
    f"invalid value for '--examples': must be {limit}" for limit in ("at most 100", "at least 1", "from 1 to 100")
)
"""The messages for a number that is too large or too small; older versions of typer name both limits."""


def error(capsys) -> str:
    """Return the one line of error that was printed."""
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1].removeprefix("error: ")


def test_the_folder_is_in_the_run_and_has_every_file(run, capsys):
    assert main(["inspect", str(run), "a good film", "what a bore", *FIGURES]) == 0
    content = numbers(run / "inspect")
    names = [figure["name"] for figure in content["figures"]]
    assert names == ["lens-1", "lens-1-layers", "lens-2", "lens-2-layers", "vectors-1", "vectors-2"]
    files = {path.name for path in (run / "inspect").iterdir()}
    assert files == {"index.html", "inspect.json", *(f"{name}.{end}" for name in names for end in ("svg", "png"))}
    assert [figure["example"] for figure in content["figures"]][:4:2] == ["a good film", "what a bore"]
    page = (run / "inspect" / "index.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in page for name in names)
    assert f"6 figures in {run / 'inspect' / 'index.html'}" in capsys.readouterr().err


def test_json_has_the_numbers_that_are_drawn(run):
    assert main(["inspect", str(run), "a good film", *FIGURES, "--format", "none"]) == 0
    figures = {figure["name"]: figure for figure in numbers(run / "inspect")["figures"]}
    lens, vectors = figures["lens-1"], figures["vectors-1"]
    assert len(lens["probabilities"]) == len(lens["layers"]) == 2
    assert len(lens["probabilities"][0]) == len(lens["positions"]) == len(vectors["tokens"])
    assert all(0 < value <= 1 for row in lens["probabilities"] for value in row)
    assert all(-1 <= value <= 1 for row in vectors["cosines"] for value in row)


def test_examples_of_a_split_are_the_default_and_their_number_is_chosen(run):
    cache = f"data.cache={run / 'cache'}"
    assert main(["inspect", str(run), cache, *QUICK]) == 0
    assert len(numbers(run / "inspect")["figures"]) == 2
    assert main(["inspect", str(run), cache, *QUICK, "--examples", "3", "--split", "train"]) == 0
    assert len(numbers(run / "inspect")["figures"]) == 3


def test_without_inputs_a_line_says_what_is_used(run, capsys):
    cache = f"data.cache={run / 'cache'}"
    loud = [part for part in QUICK if part != "-q"]
    assert main(["inspect", str(run), cache, *loud, "--examples", "1", "--split", "train"]) == 0
    assert "no inputs given: 1 example of the train split" in capsys.readouterr().err
    assert main(["inspect", str(run), "a film", *loud]) == 0
    assert "no inputs given" not in capsys.readouterr().err


def test_inputs_are_read_from_standard_input(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a film\na good film\n")))
    assert main(["inspect", str(run), "-", *QUICK]) == 0
    assert [figure["example"] for figure in numbers(run / "inspect")["figures"]] == ["a film", "a good film"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["inspect", str(run), "-", *QUICK]) == 1
    assert error(capsys) == "standard input: no inputs in it: give some, or leave it out"


def test_the_column_of_a_table_is_that_of_training_or_named(run, tmp_path, capsys):
    table = tmp_path / "reviews.csv"
    table.write_text("text,title\na film,good\nso good,bad\n", encoding="utf-8")
    for columns, examples in (([], ["a film", "so good"]), (["--column", "title"], ["good", "bad"])):
        assert main(["inspect", str(run), str(table), *columns, *QUICK]) == 0
        assert [figure["example"] for figure in numbers(run / "inspect")["figures"]] == examples
    table.write_text("x,y\na film,good\n", encoding="utf-8")
    assert main(["inspect", str(run), str(table), *QUICK]) == 1
    assert error(capsys).endswith(": which is to be read? --column NAME (or its index, from 0)")


def test_a_row_without_text_is_skipped_as_by_predict(run, tmp_path, capsys):
    table = tmp_path / "reviews.jsonl"
    table.write_text('{"text": "a film"}\n{"text": null}\n{"text": "so good"}\n', encoding="utf-8")
    loud = [part for part in QUICK if part != "-q"]
    assert main(["inspect", str(run), str(table), "trainer.on_bad_sample=skip", *loud]) == 0
    assert [figure["example"] for figure in numbers(run / "inspect")["figures"]] == ["a film", "so good"]
    assert f"skipped: {table}:2: " in capsys.readouterr().err


def test_a_text_without_tokens_is_one_line(run, monkeypatch, capsys):
    reading = "tformer_cli.predictors.masked_tokens.MaskedTokensPredictor.read_inputs"
    monkeypatch.setattr(reading, lambda self, inputs: [Prediction("")])
    assert main(["inspect", str(run), "", *QUICK]) == 1
    assert error(capsys) == "input 1: it has no tokens: leave it out, or give a text with a word or more"


def test_names_of_figures_may_have_spaces_around_them(run):
    assert main(["inspect", str(run), "a film", "--figures", " vectors, lens", "--format", "none", "-q"]) == 0
    assert {figure["kind"] for figure in numbers(run / "inspect")["figures"]} == {"vectors", "lens"}


def test_output_formats_and_quiet(run, tmp_path, capsys):
    output = tmp_path / "new" / "pages"
    assert main(["inspect", str(run), "a film", *FIGURES, "--format", "svg", "-o", str(output), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert not (run / "inspect").exists() and not list(output.glob("*.png"))
    assert (output / "lens-1.svg").read_text(encoding="utf-8").startswith("<svg")
    assert main(["inspect", str(run), "a film", *FIGURES, "--format", "png", "-o", str(output), "-q"]) == 0
    assert not list(output.glob("*.svg")) and (output / "lens-1.png").read_bytes().startswith(b"\x89PNG")


def test_the_list_names_each_kind_and_needs_no_run(capsys):
    from tformer_cli.figures import kinds

    assert command.figure_names() == list(kinds())
    for arguments in (["no such run"], []):
        assert main(["inspect", *arguments, "--figures", "list"]) == 0
        out = capsys.readouterr().out
        assert all(f"\n{name}" in f"\n{out}" for name in kinds())
    assert main(["inspect"]) == 2
    assert error(capsys) == "missing argument 'run': see `tformer inspect --help`"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--figures", "nonsense"], 2, "--figures: no figure 'nonsense': there are: attention"),
        (["--figures", "spectrogram"], 2, "--figures spectrogram: the inputs are not recordings: leave it out"),
        (["--layers", "2"], 2, "--layers 2: the model has 1 attention layers: 1 to 1"),
        (["--layers", "one"], 2, "--layers: 'one' is neither a number nor a range: such as 1,3 or 2-4"),
        (["--layers", "0"], 2, "--layers: '0': the first is 1: such as 1,3 or 2-4"),
        (["--heads", "1,0-2"], 2, "--heads: '0-2': the first is 1: such as 1,3 or 2-4"),
        (["--heads", "2-1"], 2, "--heads: '2-1' ends before it begins: 1-2"),
        (["--heads", "1,9"], 2, "--heads 9: the model has 2 attention heads: 1 to 2"),
        (
            ["--query", "walrus"],
            2,
            "--query 'walrus' is not among the positions of the attention layers: there are: <s>, a",
        ),
        (["--format", "pdf"], 2, "--format: 'pdf' is not one of svg, png, none"),
        (["--split", "dev"], 2, "--split"),
        (["--examples", "101"], 2, OUTSIDE),
        (["--examples", "0"], 2, OUTSIDE),
        (["--senses", "walrus"], 1, "--senses walrus: none of the texts has the word (1 read)"),
    ],
)
def test_mistakes_are_one_line(run, capsys, arguments, status, message):
    figures = [] if "--figures" in arguments else FIGURES
    assert main(["inspect", str(run), "a good film", *figures, *arguments]) == status
    assert error(capsys).startswith(message)
    assert not (run / "inspect").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figures", "lens,nonsense"], "--figures: no figure 'nonsense'"),
        (["--layers", "0"], "--layers: '0'"),
        (["--heads", "x"], "--heads: 'x'"),
        (["--examples", "0"], "invalid value for '--examples'"),
        (["--format", "svg,pdf"], "--format: 'pdf'"),
        (["--split", "dev"], "--split: 'dev'"),
        (["--output", "."], "which is not from an earlier tformer inspect"),
        (["--output", "sentiment.tsv"], "already exists"),
    ],
)
def test_mistakes_of_options_are_seen_before_the_run_is_opened(run, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(command, "open_inspected", None)
    monkeypatch.setattr("tformer_cli.figures.kinds", None)
    assert main(["inspect", str(run), *arguments]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line and "unexpected" not in line


def test_a_layer_or_a_figure_that_the_model_lacks_is_seen_before_anything_is_drawn(run, capsys):
    for arguments in (["--figures", "vectors,spectrogram"], ["--layers", "2"]):
        assert main(["inspect", str(run), "a film", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {arguments[0]}")


def test_an_input_that_is_too_long_is_one_line(run, capsys):
    """Its remedy has no option that the command lacks."""
    assert main(["inspect", str(run), "fine", "film " * 30, *FIGURES]) == 1
    assert error(capsys) == "input line 2: 30 tokens, the model reads 14: shorten the line"


def test_a_folder_that_holds_something_else_is_left_alone(run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    assert main(["inspect", str(run), "a film", *FIGURES, "-o", str(other)]) == 1
    assert error(capsys) == (
        f"{other} holds letter.txt, which is not from an earlier tformer inspect: move it, or name another folder with"
        " --output"
    )
    assert [path.name for path in other.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("name", ["letter.txt", "lens-1.svg", "vectors-1.svg/photo.svg", "inspect.json"])
def test_files_of_the_user_beside_figures_are_left_alone(run, capsys, name):
    """A folder with another file, an unknown figure, a folder in place of a figure, or JSON of another program."""
    assert main(["inspect", str(run), "a film", *QUICK]) == 0
    path = run / "inspect" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"figures": 3}')
    before = {path: path.is_file() and path.read_bytes() for path in (run / "inspect").rglob("*")}
    assert main(["inspect", str(run), "a film", *QUICK]) == 1
    foreign = "index.html" if name == "inspect.json" else name.partition("/")[0]
    assert error(capsys).startswith(f"{run / 'inspect'} holds {foreign}, which is not from an earlier tformer inspect")
    assert {path: path.is_file() and path.read_bytes() for path in (run / "inspect").rglob("*")} == before


def test_a_link_to_a_folder_is_followed(run, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "pages")
    for text in ("a film", "a good film"):
        assert main(["inspect", str(run), text, *QUICK, "-o", str(link)]) == 0
        assert link.is_symlink() and numbers(tmp_path / "pages")["figures"][0]["example"] == text


def test_the_current_folder_is_written(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "pages").mkdir()
    for text in ("a film", "a good film"):
        monkeypatch.chdir(tmp_path / "pages")
        assert main(["inspect", str(run), text, *QUICK, "-o", "."]) == 0
        assert numbers(tmp_path / "pages")["figures"][0]["example"] == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert", "pages", "work"]


def test_the_root_of_the_file_system_is_refused(run, capsys):
    assert main(["inspect", str(run), "a film", *QUICK, "-o", "/"]) == 1
    assert error(capsys) == "/ is the root of the file system: name a folder with --output"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="every folder is writable to this user")
def test_a_folder_that_cannot_be_written_is_one_line(run, tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert main(["inspect", str(run), "a film", *FIGURES, "-o", str(tmp_path / "closed" / "pages")]) == 1
    assert "closed" in error(capsys)


def test_a_file_in_the_place_of_the_folder_is_one_line(run, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["inspect", str(run), "a film", *FIGURES, "-o", str(tmp_path / "file")]) == 1
    assert error(capsys).startswith(f"{tmp_path / 'file'} already exists")
    assert main(["inspect", str(run), "a film", *FIGURES, "-o", str(tmp_path / "file" / "pages")]) == 1
    assert error(capsys).endswith(f"{tmp_path / 'file'} is not a writable folder: choose another with --output")


def test_a_second_call_replaces_the_first(run):
    assert main(["inspect", str(run), "a good film", "what a bore", *FIGURES, "-q"]) == 0
    assert main(["inspect", str(run), "a film", "--figures", "vectors", "-q"]) == 0
    assert {path.stem for path in (run / "inspect").iterdir()} == {"index", "inspect", "vectors-1"}
    assert not [path for path in run.iterdir() if path.name.startswith(".inspect")]


def test_an_error_while_files_are_written_leaves_the_earlier_folder(run, monkeypatch, capsys):
    assert main(["inspect", str(run), "a good film", *QUICK]) == 0
    before = (run / "inspect" / "inspect.json").read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tformer_cli.runs.writing.write_files", full)
    assert main(["inspect", str(run), "another film", *QUICK]) == 1
    assert "No space left on device" in error(capsys)
    assert (run / "inspect" / "inspect.json").read_bytes() == before


@pytest.mark.parametrize("failing", [1, 2])
def test_an_error_while_the_folder_is_replaced_leaves_the_earlier_one(tmp_path, monkeypatch, failing):
    pages, files = tmp_path / "pages", {"index.html": b"old", "inspect.json": b'{"figures": []}'}
    command.write_folder(pages, files)
    rename, calls = os.rename, []

    def rename_or_fail(*arguments):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError(16, "Device or resource busy")
        rename(*arguments)

    monkeypatch.setattr(os, "rename", rename_or_fail)
    with pytest.raises(RunError, match="busy"):
        command.write_folder(pages, {"index.html": b"new", "inspect.json": b"new"})
    assert len(calls) == 2 * failing - 1 and list(tmp_path.iterdir()) == [pages]
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == files


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_call_that_is_killed_while_it_writes_leaves_the_earlier_folder(run, tmp_path):
    files = {"index.html": b"old", "inspect.json": b'{"figures": []}'}
    command.write_folder(tmp_path / "pages", files)
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from tformer_cli.cli.inspect_folder import write_folder\n"
        "class Slow(dict):\n"
        "    def items(self):\n"
        "        yield 'index.html', b'new'\n"
        "        print('writing', flush=True)\n"
        "        time.sleep(600)\n"
        "        yield 'inspect.json', b'new'\n"
        f"write_folder(Path({str(tmp_path / 'pages')!r}), Slow())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert {path.name: path.read_bytes() for path in (tmp_path / "pages").iterdir()} == files
    command.write_folder(tmp_path / "pages", {"inspect.json": b"[]"})
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["inspect.json"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_folder_that_a_killed_call_moved_aside_is_put_back_and_replaced(tmp_path, monkeypatch):
    """It is put back even if the next call fails; what else killed calls have left is removed."""
    pages, files = tmp_path / "pages", {"index.html": b"old", "inspect.json": b'{"figures": []}'}
    command.write_folder(pages, files)
    program = (
        "import os\n"
        "from pathlib import Path\n"
        "from tformer_cli.cli.inspect_folder import write_folder\n"
        "rename = os.rename\n"
        "os.rename = lambda *paths: (rename(*paths), os.kill(os.getpid(), 9))\n"
        f"write_folder(Path({str(pages)!r}), {{'inspect.json': b'new'}})\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert not pages.exists()
    with monkeypatch.context() as patch:
        patch.setattr("tformer_cli.runs.writing.write_files", lambda *arguments: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(RunError, match="full"):
            command.write_folder(pages, {"inspect.json": b"[]"})
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == files
    (scratch,) = (path for path in tmp_path.iterdir() if path != pages)
    for path in (*scratch.rglob("*"), scratch):
        os.utime(path, (time.time() - 3600,) * 2)
    command.write_folder(pages, {"inspect.json": b"[]"})
    assert list(tmp_path.iterdir()) == [pages] and [path.name for path in pages.iterdir()] == ["inspect.json"]


def test_a_folder_that_a_killed_call_has_left_incomplete_is_named_as_such(run, tmp_path, capsys):
    (tmp_path / "pages" / ".writing").mkdir(parents=True)
    assert main(["inspect", str(run), "a film", *QUICK, "-o", str(tmp_path / "pages")]) == 1
    assert error(capsys) == (
        f"{tmp_path / 'pages'} holds .writing: another call fills it, or was killed before it was complete: wait for"
        " it, name another folder, or remove this one"
    )


def test_senses_of_a_word_are_read_from_a_file(run, tmp_path):
    sentences = ["a good film", "what a bore", "GOOD", "the film is good", "goodness"]
    (tmp_path / "sentences.txt").write_text("\n".join(sentences), encoding="utf-8")
    arguments = ["inspect", str(run), "--senses", "good", str(tmp_path / "sentences.txt")]
    assert main([*arguments, *QUICK]) == 0
    figures = {figure["name"]: figure for figure in numbers(run / "inspect")["figures"]}
    assert set(figures) == {"vectors-map", "vectors-nearest", "vectors-layers"}
    assert {"a good film", "the film is good"} <= set(figures["vectors-map"]["contexts"])
    assert not any("goodness" in context for context in figures["vectors-map"]["contexts"])


def test_senses_alone_draw_the_figures_of_the_word(run, tmp_path):
    long = "film " * 100  # too long to be an example, of which none is drawn
    (tmp_path / "sentences.txt").write_text(f"{long}\na good film\nso good", encoding="utf-8")
    arguments = ["inspect", str(run), "--senses", "good", str(tmp_path / "sentences.txt"), "--format", "none", "-q"]
    assert main(arguments) == 0
    assert {figure["kind"] for figure in numbers(run / "inspect")["figures"]} == {"vectors"}
    assert not numbers(run / "inspect")["missing"]


def test_a_word_in_no_text_is_an_error_before_predictions(run, monkeypatch, capsys):
    monkeypatch.setattr("tformer_cli.inspectors.base.TextInspector.examples", None)
    assert main(["inspect", str(run), "a good film", "--senses", "walrus", "--figures", "lens,vectors"]) == 1
    assert error(capsys).startswith("--senses walrus: none of the texts has the word (1 read)")


def test_tensorboard_has_an_image_of_each_figure(run, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(["inspect", str(run), "a film", *FIGURES, "--format", "none", "--tensorboard"]) == 0
    assert f"tensorboard --logdir {run / 'inspect'}" in capsys.readouterr().err
    events = EventAccumulator(str(run / "inspect"), size_guidance={"images": 0})
    events.Reload()
    names = [figure["name"] for figure in numbers(run / "inspect")["figures"]]
    assert sorted(events.Tags()["images"]) == sorted(f"inspect/{name}" for name in names)
    assert events.Images(f"inspect/{names[0]}")[0].step == 2
    assert main(["inspect", str(run), "a film", *QUICK]) == 0  # the file of events is from an earlier call
    assert sorted(path.name for path in (run / "inspect").iterdir()) == ["index.html", "inspect.json"]


@pytest.fixture
def run_without_data(run) -> Path:
    """A run whose data is gone."""
    Path("sentiment.tsv").unlink()
    return run


def test_figures_of_the_model_alone_need_no_data(run_without_data, capsys):
    run, cache = run_without_data, f"data.cache={run_without_data / 'cache'}"
    assert main(["inspect", str(run), cache, "--format", "none"]) == 0
    content, err = numbers(run / "inspect"), capsys.readouterr().err
    assert {figure["kind"] for figure in content["figures"]} == {"positions"}
    assert content["missing"]["attention"].startswith("there are no inputs: ")
    assert "sentiment.tsv" in content["missing"]["attention"]
    assert content["missing"]["filters"] == "the model has no encoder of images"
    assert content["missing"]["attention"] in err
    assert main(["inspect", str(run), cache, "--figures", "positions", "--format", "none", "-q"]) == 0


@pytest.mark.parametrize("arguments", [["--figures", "positions,attention"], ["--query", "film"]])
def test_a_figure_that_needs_the_data_is_one_line_without_it(run_without_data, capsys, arguments):
    assert main(["inspect", str(run_without_data), f"data.cache={run_without_data / 'cache'}", *arguments]) == 1
    assert "sentiment.tsv" in error(capsys)


def fail_with(monkeypatch, failure: BaseException) -> None:
    """Replace all kinds of figures by three, of which the second one fails after its first figure."""
    from tformer_cli.figures import base, kinds, vectors

    def fail(subject):
        yield from list(vectors.KIND.draw(subject))[:1]
        raise failure

    failing = base.Kind("failing", "Failing", "", fail, lambda subject: "")
    chosen = kinds()
    monkeypatch.setattr(
        "tformer_cli.figures.kinds", lambda: {"vectors": chosen["vectors"], "failing": failing, "lens": chosen["lens"]}
    )
    monkeypatch.setattr("tformer_cli.figures.MODULES", ("vectors", "failing", "lens"))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (DataError("no weights", "give some"), "no weights: give some"),
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
    ],
)
def test_a_kind_that_fails_leaves_the_others(run, capsys, monkeypatch, failure, reason):
    fail_with(monkeypatch, failure)
    assert main(["inspect", str(run), "a film", "--format", "none"]) == 0
    content = numbers(run / "inspect")
    assert [figure["kind"] for figure in content["figures"]] == ["vectors", "lens", "lens"]
    assert content["missing"] == {"failing": reason}
    assert f"failing: {reason}" in capsys.readouterr().err
    assert main(["inspect", str(run), "a film", "--format", "none", "--figures", "vectors,failing"]) == 1
    remedy = "" if isinstance(failure, DataError) else ": use fewer --examples, --figures or --layers"
    assert error(capsys) == f"{reason}{remedy}"


def test_a_fault_of_the_program_is_no_missing_figure(run, capsys, monkeypatch):
    fail_with(monkeypatch, ValueError("a fault"))
    assert main(["inspect", str(run), "a film", "--format", "none"]) not in (0, 1, 2)
    assert "unexpected ValueError: a fault" in error(capsys)


def test_calibration_of_the_split_is_left_out_beside_inputs_unless_it_is_named():
    assert "calibration" in command.chosen_kinds("")
    assert "calibration" not in command.chosen_kinds("", given=True)
    assert list(command.chosen_kinds("calibration", given=True)) == ["calibration"]


@pytest.mark.parametrize("given", [True, False])
def test_a_part_of_the_texts_is_reported(run, tmp_path, monkeypatch, capsys, given):
    monkeypatch.setattr("tformer_cli.cli.inspect_inputs.MOST_TEXTS", 3)
    (tmp_path / "sentences.txt").write_text("a good film\n" * 5)
    inputs = [str(tmp_path / "sentences.txt")] if given else ["--split", "train"]
    main(["inspect", str(run), f"data.cache={run / 'cache'}", *inputs, "--senses", "film", *QUICK[:-1]])
    expected = (
        "only the first 3 inputs are read" if given else "--senses reads 3 texts of the train split, evenly spaced"
    )
    assert expected in capsys.readouterr().err.splitlines()


def test_products_are_computed_in_float32_and_the_precision_is_restored(run, monkeypatch):
    from tformer_cli.figures import base

    seen = []

    def draw(subject):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return iter(())

    spy = base.Kind("spy", "Spy", "", draw, lambda subject: "")
    monkeypatch.setattr("tformer_cli.figures.kinds", lambda: {"spy": spy})
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    try:
        assert main(["inspect", str(run), "a film", "--format", "none", "-q"]) == 0
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", before[1])
    finally:
        torch.set_float32_matmul_precision(before[0])
    assert seen == [("highest", False)]


def test_quantised_products_of_a_run_are_not_used(run, tmp_path, monkeypatch):
    shutil.copytree(FOLDER / "translation", tmp_path / "translation")
    monkeypatch.setattr("tformer_cli.predictors.translation.Int8Decoder", None)  # a call of it fails
    arguments = ["inspect", str(tmp_path / "translation"), "decode.precision=int8", "The cat eats."]
    assert main([*arguments, "--figures", "attention", "--layers", "1", "--format", "none", "-q"]) == 0
