"""Splits of recordings: rows of a table by a column or a folder, folders, and a part that is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.speech.test_recordings import RATE, config, fault, folder, metadata, read, samples, sounds, table, words
from tformer_cli.config.schema import BadSample, FeatureConfig
from tformer_cli.data.speech.audio import wav
from tformer_cli.data.speech.recordings import read_recordings


def test_splits_in_a_column(tmp_path):
    names = ["train", "test", "train", "val", "train", "test"]
    for ending in (".csv", ".parquet"):
        settings = config(metadata(tmp_path / ending[1:], ending, split=names))
        for split, rows in (("train", [0, 2, 4]), ("validation", [3]), ("test", [1, 5])):
            assert samples(read(settings, split)) == [sounds()[row].tolist() for row in rows]
    file = config(tmp_path / "csv" / "metadata.csv")
    assert len(read(file)) == 3 and len(read(file, "test")) == 2 and len(read(file, "validation")) == 1
    other = config(tmp_path / "csv", split_column="other")
    assert len(read(other)) == 6 and "no test split" in fault(other, "test")
    assert "no split 'eval'" in fault(config(tmp_path / "csv", test="eval"), "test")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_rows_with_an_empty_cell_belong_to_no_split(tmp_path, ending):
    empty = None if ending != ".csv" else " "
    settings = config(metadata(tmp_path / "all", ending, split=["train", empty, "train", "val", "", "test"]))
    train = read(settings)
    assert samples(train) == [sounds()[row].tolist() for row in (0, 2)]
    path = tmp_path / "all" / f"metadata{ending}"
    assert train.notes == (f"{path}: 2 rows with an empty 'split' belong to no split",)
    assert len(read(settings, "test")) == len(read(settings, "validation")) == 1
    nothing = config(metadata(tmp_path / "nothing", ending, count=3, split=[empty, "", empty]))
    assert len(read(nothing)) == 3 and not read(nothing).notes


@pytest.mark.parametrize("name", ["train", "Train", "TRAINING"])
def test_splits_in_a_column_have_usual_names_in_any_case(tmp_path, name):
    data_folder = metadata(tmp_path / "all", split=[name, "test", name, "Dev", name, "test"])
    for path in (data_folder, data_folder / "metadata.csv"):
        for split, rows in (("train", [0, 2, 4]), ("validation", [3]), ("test", [1, 5])):
            assert samples(read(config(path), split)) == [sounds()[row].tolist() for row in rows]


def test_a_column_of_splits_without_a_training_split(tmp_path):
    for splits, message in (
        (["a", "b", "c"], "no training split 'train': splits there: 'a', 'b', 'c'; name it: data.train=..."),
        (["train", "Train", "c"], "'Train' and 'train' are spellings of one split"),
        (
            ["train", "training", "c"],
            "several names of the training split: splits there: 'c', 'train', 'training'; name",
        ),
    ):
        path = metadata(tmp_path / "all", count=3, split=splits) / "metadata.csv"
        assert f"{path}: {message}" in fault(config(path))
        assert len(read(config(path, train="c"))) == 1


def in_folders(parent: Path, folders: list[str], ending: str = ".csv") -> Path:
    """Write recordings in folders, and one table of them without a column of splits."""
    rows = []
    for row, (name, sound, text) in enumerate(zip(folders, sounds(len(folders)), words(len(folders)), strict=True)):
        path = parent / name / f"{row}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(sound, RATE))
        rows.append({"file_name": path.relative_to(parent).as_posix(), "transcription": text})
    table(parent / f"metadata{ending}", rows)
    return parent


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_splits_are_the_first_folders_of_files(tmp_path, ending):
    data_folder = in_folders(tmp_path / "all", ["Train/a", "test", "Train", "val/b", "Train/a", "test"], ending)
    for path in (data_folder, data_folder / f"metadata{ending}"):
        for split, rows in (("train", [0, 2, 4]), ("validation", [3]), ("test", [1, 5])):
            assert samples(read(config(path), split)) == [sounds()[row].tolist() for row in rows]
        assert read(config(path, only="transcription!=one")).texts == ["four"]
    assert read(config(data_folder), "test").origin == f"{data_folder / f'metadata{ending}'}, test/"


def test_folders_of_files_that_are_not_all_splits(tmp_path):
    assert len(read(config(in_folders(tmp_path / "speakers", ["ann", "theo", ""])))) == 3
    data_folder = in_folders(tmp_path / "some", ["ann", "test", "train"])
    message = "metadata.csv:2: file_name has no folder of a split, such as 'test' in other rows: add a column 'split'"
    for path in (data_folder, data_folder / "metadata.csv"):
        assert message in fault(config(path))
    assert "no split 'train'" in fault(config(in_folders(tmp_path / "tests", ["test", "test"])))
    named = in_folders(tmp_path / "named", ["Part1", "part2"])
    settings = {"train": "part1", "test": "part2"}
    assert read(config(named, **settings)).texts == ["one"] and len(read(config(named, **settings), "test")) == 1
    assert len(read(config(named))) == 2
    (data_folder / "metadata.csv").rename(data_folder / "train.csv")  # the table names its split
    assert len(read(config(data_folder / "train.csv"))) == 3


def test_a_split_without_validation_draws_one(tmp_path):
    settings = config(metadata(tmp_path / "all", count=20), validation_share=0.2)
    parts = [
        read_recordings(settings, FeatureConfig(), "train", seed=seed, on_bad_sample=BadSample.stop)
        for seed in (1, 1, 2)
    ]
    first, again, other = ([part[name].names for name in ("train", "validation")] for part in parts)
    assert first == again != other and sorted(first[0] + first[1]) == sorted(other[0] + other[1])
    assert len(first[0]) == 16 and len(first[1]) == 4


def test_a_folder_that_is_all_but_the_other_splits(tmp_path):
    for name in ("train-a", "train-b", "test", "dev"):
        for path in folder(tmp_path / "all" / name, 2):
            path.with_suffix(".txt").write_text(name)
    assert read(config(tmp_path / "all")).texts == ["train-a"] * 2 + ["train-b"] * 2
    assert read(config(tmp_path / "all", train="train-*")).texts == ["train-a"] * 2 + ["train-b"] * 2
    assert read(config(tmp_path / "all"), "test").texts == ["test"] * 2
    assert read(config(tmp_path / "all"), "validation").texts == ["dev"] * 2
