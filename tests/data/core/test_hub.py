"""Datasets of the hub and local snapshots, whose code is never run."""

from __future__ import annotations

import json
import logging
import os
import pickle
import tarfile
from pathlib import Path

import datasets
import pytest

from tformer_cli.config.compose import compose
from tformer_cli.data.core.hub import hub_data, hub_path, hub_rows, hub_splits
from tformer_cli.data.core.hub_log import quiet_hub, without_bars
from tformer_cli.data.core.splits import find_split
from tformer_cli.errors import DataError


class Evil:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder with a pickle in it, which must not be unpickled or imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    ran = tmp_path / "ran"
    (tmp_path / "train.pkl").write_bytes(pickle.dumps(Evil(ran)))
    yield tmp_path
    assert not ran.exists()


def config(path: object):
    return compose("text/classification", [f"data.path={path}", "data.source=hub"]).data


BUILDERS = ["pandas", "csv", "json", "text", "parquet", "arrow", "webdataset", "imagefolder", "audiofolder", "xml"]


@pytest.mark.parametrize("name", [*BUILDERS, "hf://datasets/pandas", "hf://datasets/pandas/", "pandas/"])
def test_the_name_of_a_builder_is_no_data_set(folder, name):
    for ask in (hub_splits, lambda config: hub_data(config, "train")):
        with pytest.raises(DataError, match="is a builder of the datasets library, not a data set: give a folder"):
            ask(config(name))


@pytest.mark.parametrize("name", ["text", "pandas", "./csv", "elsewhere"])
def test_a_folder_is_a_folder_whatever_its_name(folder, name):
    (folder / name).mkdir()
    (folder / name / "train.csv").write_text("text,label\na good film,1\n")
    assert hub_splits(config(name)) == ["train"]
    assert list(hub_data(config(name), "train")) == [{"text": "a good film", "label": 1}]


def test_a_script_beside_the_data_is_never_run(folder):
    data_folder = folder / "films"
    data_folder.mkdir()
    (data_folder / "films.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    (data_folder / "train.csv").write_text("text,label\na,1\n")
    with pytest.raises(DataError, match="scripts are no longer supported"):
        hub_splits(config("films"))
    with pytest.raises(DataError):
        hub_splits(config("films/films.py"))
    (data_folder / "films.py").rename(data_folder / "other.py")
    assert hub_splits(config("films")) == ["train"]  # data beside a file that is not read


@pytest.mark.parametrize("ending", ["pkl", "pickle", "pt", "pth", "npy", "bin"])
def test_pickles_are_not_read(folder, ending):
    data_folder = folder / "pickles"
    data_folder.mkdir()
    (folder / "train.pkl").rename(data_folder / f"train.{ending}")
    with pytest.raises(DataError, match="pickles"):
        hub_splits(config(data_folder))


def test_archives_whose_reader_can_unpickle_are_refused(folder):
    data_folder = folder / "web"
    data_folder.mkdir()
    with tarfile.open(data_folder / "train.tar", "w") as archive:
        archive.add(folder / "train.pkl", "0.pth")
    with pytest.raises(DataError, match="would read it with 'webdataset', which tformer does not use: convert"):
        hub_splits(config(data_folder))


def test_other_builders_are_refused_by_name(folder, monkeypatch):
    from tformer_cli.data.core import hub

    (folder / "films").mkdir()
    (folder / "films" / "train.csv").write_text("text,label\na,1\n")
    monkeypatch.setattr(hub, "BUILDERS", frozenset({"json"}))
    with pytest.raises(DataError, match="would read it with 'csv', which tformer does not use"):
        hub_splits(config("films"))


def test_an_id_of_the_hub_stays_one():
    assert hub_path("stanfordnlp/imdb") == "stanfordnlp/imdb"
    assert hub_path("imdb") == "imdb"


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_a_folder_of_save_to_disk(folder, streaming):
    """Class names are read from one split or several, and data.source=files names the setting to use."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    saved = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]}, features=features)
    saved.save_to_disk(folder / "one", num_shards=2)
    datasets.DatasetDict({"train": saved}).save_to_disk(folder / "several")
    for name in ("one", "several"):
        settings = [f"data.path={folder / name}", "data.source=hub", f"data.streaming={streaming}"]
        read = compose("text/classification", settings).data
        assert hub_splits(read) == ["train"]
        rows = hub_rows(read, "train", ("text", "label"), values=("label",))
        assert list(rows) == [["a", "no"], ["b", "yes"], ["c", "yes"]]
        files = compose("text/classification", [f"data.path={folder / name}"]).data
        with pytest.raises(DataError, match="written by save_to_disk of datasets: read it with data.source=hub"):
            find_split(files, "train")


@pytest.mark.parametrize("name", ["../elsewhere.arrow", "pipe.arrow", "gone.arrow"])
def test_a_saved_split_reads_no_files_but_its_own(folder, name):
    data_folder = folder / "one"
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(data_folder)
    os.mkfifo(data_folder / "pipe.arrow")
    (folder / "elsewhere.arrow").write_bytes((data_folder / "data-00000-of-00001.arrow").read_bytes())
    state = json.loads((data_folder / "state.json").read_text())
    (data_folder / "state.json").write_text(json.dumps(state | {"_data_files": [{"filename": name}]}))
    with pytest.raises(DataError, match="named in state.json"):
        hub_data(config(data_folder), "train")


def test_what_the_libraries_show_is_restored_in_whatever_order_contexts_end(monkeypatch):
    logger = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setattr(quiet_hub, "before", [])
    bars = datasets.is_progress_bar_enabled()
    for setting in (quiet_hub, without_bars):
        first, second = setting(), setting()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert setting.read() == setting.value
        second.__exit__(None, None, None)
    assert logger.level == logging.INFO and datasets.is_progress_bar_enabled() == bars
