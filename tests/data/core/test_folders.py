"""Folders of images and recordings: links, names of splits in any case, nested classes, skipped files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tformer_cli.config.schema import (
    BadSample,
    ClassNames,
    CorpusDataConfig,
    FeatureConfig,
    LabelledImageDataConfig,
    LabelledTextDataConfig,
    ParallelDataConfig,
    Source,
    SpeechDataConfig,
)
from tformer_cli.data.core.media import files_below, listing, passed_over
from tformer_cli.data.core.splits import find_split
from tformer_cli.data.image.images import Images, read_images
from tformer_cli.data.image.picture_sources import LAYOUT
from tformer_cli.data.image.pictures import ENDINGS
from tformer_cli.data.speech.audio import wav
from tformer_cli.data.speech.recordings import Recordings, read_recordings
from tformer_cli.data.text.parallel import find_pairs
from tformer_cli.errors import DataError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(os.fsencode(path.name))).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        picture(folder / name)
    return folder


def read(folder: Path, split: str = "train", **settings) -> Images:
    config = LabelledImageDataConfig(
        path=str(folder), image_size=8, crop_share=1.0, channels=1, validation_share=0,
        cache=str(folder.parent / "cache"), **settings,
    )  # fmt: skip
    return read_images(config, split, seed=1, on_bad_sample=BadSample.stop)[split]


def fault(folder: Path, split: str = "train", **settings) -> str:
    with pytest.raises(DataError) as error:
        read(folder, split, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def spoken(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav(np.arange(800, dtype=np.int16), 8000))
    path.with_suffix(".txt").write_text(text)


def recordings_of(folder: Path, split: str = "train") -> Recordings:
    config = SpeechDataConfig(
        path=str(folder), sample_rate=8000, validation_share=0, cache=str(folder.parent / "cache")
    )
    return read_recordings(config, FeatureConfig(), split, seed=1, on_bad_sample=BadSample.stop)[split]


# --- links ---


def test_links_to_folders_and_files_are_followed(tmp_path):
    pool = pictures(tmp_path / "pool", "cats/1.png", "cats/2.png", "one.png")
    data = pictures(tmp_path / "data", "dog/3.png")
    (data / "cat").symlink_to(pool / "cats")
    (data / "dog" / "linked.png").symlink_to(pool / "one.png")
    (data / "dog" / "more").symlink_to(pool / "cats")
    images = read(data, classes=ClassNames.first)
    assert sorted(images.labels) == ["cat", "cat", "dog", "dog"]
    assert images.notes == ("1 of 5 files was left out: 1 linked to a folder that is read anyway (dog/more)",)
    assert read(tmp_path / "data", train=str(data / "cat" / ".."))  # a path through a link


def test_a_split_may_be_a_link(tmp_path):
    pool = pictures(tmp_path / "pool", "cat/1.png", "dog/2.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(pool)
    assert sorted(read(tmp_path / "data").labels) == ["cat", "dog"]
    spoken(tmp_path / "voices" / "a.wav", "one")
    (tmp_path / "speech" / "train").mkdir(parents=True)
    (tmp_path / "speech" / "train" / "speaker").symlink_to(tmp_path / "voices")
    assert recordings_of(tmp_path / "speech").texts == ["one"]


@pytest.mark.parametrize("target", [".", "..", "../..", "../dog"])
def test_a_loop_of_links_ends_and_is_told(target, tmp_path):
    data = pictures(tmp_path / "data", "cat/1.png", "dog/2.png")
    (data / "cat" / "again").symlink_to(target)
    images = read(data)
    assert sorted(images.labels) == ["cat", "dog"]
    assert "linked to a folder that is read anyway (cat/again)" in images.notes[0]


def test_links_between_folders_are_read_once(tmp_path):
    pool = pictures(tmp_path / "pool", *(f"{name}/{name}.png" for name in "abcdefgh"))
    for folder_name in "abcdefgh":
        for other in "abcdefgh":
            (pool / folder_name / f"to_{other}").symlink_to(f"../{other}")
    assert len(listing(pool, ENDINGS).files) == 8
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "a").symlink_to(pool / "a")
    assert sorted({path.resolve().name for path in files_below(tmp_path / "start", ENDINGS, "picture")}) == [
        f"{name}.png" for name in "abcdefgh"
    ]


def test_a_broken_link_is_a_fault_or_counted(tmp_path):
    data = pictures(tmp_path / "data", "cat/1.png", "dog/2.png")
    (data / "cat" / "old").symlink_to(tmp_path / "gone")
    assert read(data).notes == ("1 of 3 files was left out: 1 with a broken link (cat/old)",)
    (data / "cat" / "old.png").symlink_to(tmp_path / "gone.png")
    assert "old.png: No such file" in fault(data)


def test_a_folder_that_cannot_be_read_is_a_fault(tmp_path, monkeypatch):
    data = pictures(tmp_path / "data", "cat/1.png", "dog/2.png")
    scandir = __import__("os").scandir

    def refusing(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    with pytest.raises(DataError, match=r"dog: the folder cannot be read \(Permission denied\)"):
        listing(data, ENDINGS)


# --- splits ---


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Train", "Val", "Test"),
        ("TRAIN", "VALIDATION", "TEST"),
        ("training", "dev", "testing"),
        ("train", "Valid", "tEst"),
    ],
)
def test_splits_are_known_in_any_capitals(train, validation, test, tmp_path):
    names = [f"{split}/{label}/{label}.png" for split in (train, validation, test) for label in ("cat", "dog")]
    data = pictures(tmp_path / "data", *names)
    for split, folder_name in (("train", train), ("validation", validation), ("test", test)):
        images = read(data, split)
        assert sorted(images.labels) == ["cat", "dog"] and images.origin == str(data / folder_name)
        spoken(tmp_path / "speech" / folder_name / "a.wav", split)
    for split in ("train", "validation", "test"):
        assert recordings_of(tmp_path / "speech", split).texts == [split]


@pytest.mark.parametrize("name", ["Test", "VALIDATION", "Dev"])
def test_a_split_beside_the_classes_is_no_class(name, tmp_path):
    data = pictures(tmp_path / "data", "cat/1.png", "dog/2.png", f"{name}/cat/3.png", f"{name}/dog/4.png")
    images = read(data)
    assert sorted(images.labels) == ["cat", "dog"]
    assert f"taken for other splits, not for classes: {name}" in images.notes


def test_tables_and_lists_in_capitals(tmp_path):
    data = pictures(tmp_path / "data", "p/1.png", "p/2.png")
    (data / "Train.csv").write_text("image,label\np/1.png,cat\n")
    (data / "TEST.csv").write_text("image,label\np/2.png,dog\n")
    assert read(data).labels == ["cat"] and read(data, "test").labels == ["dog"]
    speech = tmp_path / "speech"
    spoken(speech / "a.wav", "")
    spoken(speech / "b.wav", "")
    (speech / "metadata.csv").write_text("file_name,text,split\na.wav,one,Train\nb.wav,two,TEST\n")
    assert recordings_of(speech).texts == ["one"] and recordings_of(speech, "test").texts == ["two"]
    (speech / "metadata.csv").write_text("file_name,text,split\na.wav,one,Train\nb.wav,two,train\n")
    with pytest.raises(DataError, match=r"'Train' and 'train' are spellings of one split"):
        recordings_of(speech)


@pytest.mark.parametrize("other", ["Train", "training"])
def test_two_names_of_one_split_are_refused(other, tmp_path):
    data = pictures(tmp_path / "data", "train/cat/1.png", f"{other}/cat/2.png")
    message = fault(data)
    assert "which one is the train split" in message and other in message
    assert read(data, train=f"./{other}").names == [str(data / other / "cat" / "2.png")]
    data = pictures(tmp_path / "more", "train/cat/1.png", "val/cat/2.png", "dev/cat/3.png")
    assert "which one is the validation split: val or dev" in fault(data, "validation")
    assert read(data, "validation", validation="dev").names == [str(data / "dev" / "cat" / "3.png")]


# --- nested classes ---


def test_nested_folders_are_classes_by_their_paths(tmp_path):
    names = ("animal/cat/1.png", "animal/dog/2.png", "plant/cat/3.png", "stone/4.png")
    data = pictures(tmp_path / "data", *names)
    images = read(data)
    assert sorted(images.labels) == ["animal/cat", "animal/dog", "plant/cat", "stone"]
    assert "nested folders are classes by their paths, as animal/cat" in images.notes[0]
    assert sorted(read(data, classes=ClassNames.first).labels) == ["animal", "animal", "plant", "stone"]
    train = pictures(tmp_path / "divided", *(f"train/{name}" for name in names), *(f"Test/{name}" for name in names))
    assert sorted(read(train, "test").labels) == sorted(images.labels)


def test_pictures_beside_folders_of_pictures_are_refused_unless_it_is_said_what_they_are(tmp_path):
    data = pictures(tmp_path / "data", "cat/1.png", "cat/wild/2.png", "dog/3.png")
    message = fault(data)
    assert "cat has pictures, and cat/wild in it has some too" in message and "data.classes=path" in message
    assert sorted(read(data, classes=ClassNames.path).labels) == ["cat", "cat/wild", "dog"]
    assert sorted(read(data, classes=ClassNames.first).labels) == ["cat", "cat", "dog"]


@pytest.mark.parametrize("name", ["images/train/cat/1.png", "cat/Test/1.png"])
def test_splits_within_classes_are_refused(name, tmp_path):
    data = pictures(tmp_path / "data", name, "dog/2.png")
    assert "the folder of a split within that of a class" in fault(data)


# --- skipped files ---


def test_kinds_that_are_left_out_are_counted(tmp_path):
    data = pictures(tmp_path / "data", "cat/1.png", "dog/2.JPG", "3.png")
    for name in (
        "cat/a.heic",
        "cat/b.HEIC",
        "dog/c.svg",
        "dog/Thumbs.db",
        "dog/._2.jpg",
        "__MACOSX/dog/4.png",
        "x\ny.psd",
    ):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"x")
    images = read(data)
    assert len(images) == 2
    [note] = images.notes
    assert note.startswith("8 of 10 files were left out: 3 hidden, 2 .heic, ")
    assert "1 .svg" in note and "1 .psd" in note and "1 in no class" in note and "x\\ny.psd" in note
    assert "2 .heic" in passed_over(data, ENDINGS)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no picture, and 1 of 1 files was left out: 1 \.heic \(a\.heic\)"):
        files_below(tmp_path / "only", ENDINGS, "picture")
    (data / "empty").mkdir()
    (data / "empty" / "a.heic").write_bytes(b"x")
    assert "empty: no picture in this class, and 1 of 1 files was left out: 1 .heic" in fault(data)


def test_recordings_that_are_left_out_are_counted(tmp_path):
    spoken(tmp_path / "speech" / "a.wav", "one")
    for name in ("b.m4a", "c.m4a", "d.wma"):
        (tmp_path / "speech" / name).write_bytes(b"x")
    assert recordings_of(tmp_path / "speech").notes == (
        "3 of 4 files were left out: 2 .m4a, 1 .wma (b.m4a, c.m4a, d.wma)",
    )


# --- names ---


def test_names_of_any_kind_are_read_or_refused_in_a_line(tmp_path):

    data = pictures(tmp_path / "data", "two\nlines/1.png", "b/line\nbreak.png")
    (data / "b" / "empty\n.png").touch()
    assert "empty\\n.png: empty (0 bytes)" in fault(data)
    (data / "b" / "empty\n.png").unlink()
    picture(Path(os.fsdecode(os.fsencode(data / "b") + b"/caf\xe9.png")))
    assert sorted(read(data).labels) == ["b", "b", "two\nlines"]
    picture(Path(os.fsdecode(os.fsencode(data) + b"/caf\xe9/1.png")))
    assert "caf\\udce9: the name of this class is not UTF-8: rename the folder" in fault(data)


def test_two_tables_of_one_split_are_asked_about(tmp_path):
    picture(tmp_path / "x" / "1.png")
    for name in ("train.csv", "train.JSONL"):
        (tmp_path / name).write_text("image,label\nx/1.png,a\n" if name == "train.csv" else "{}\n")
    assert "which of train.csv, train.JSONL?" in fault(tmp_path)
    spoken(tmp_path / "heard" / "a.wav", "a")
    for name in ("metadata.csv", "metadata.jsonl"):
        (tmp_path / "heard" / name).write_text("file_name,transcription\na.wav,a\n")
    with pytest.raises(DataError, match="which of metadata.csv, metadata.jsonl"):
        recordings_of(tmp_path / "heard")


def test_texts_in_capitals_and_tables_with_semicolons_belong_to_recordings(tmp_path):
    spoken(tmp_path / "capitals" / "a.WAV", "one")
    (tmp_path / "capitals" / "a.txt").rename(tmp_path / "capitals" / "a.TXT")
    assert recordings_of(tmp_path / "capitals").texts == ["one"]
    spoken(tmp_path / "table" / "a.wav", "")
    (tmp_path / "table" / "metadata.csv").write_text("file_name;transcription\na.wav;one, two\n")
    assert recordings_of(tmp_path / "table").texts == ["one, two"]


def names_of(location) -> list[str]:
    return [path.name for path in location or ()]


@pytest.mark.parametrize("task", ["texts", "pictures", "pairs"])
def test_every_task_finds_the_only_test_name(task, tmp_path):
    find = {
        "texts": lambda: find_split(LabelledTextDataConfig(path=str(tmp_path)), "test"),
        "pictures": lambda: find_split(LabelledImageDataConfig(path=str(tmp_path)), "test", LAYOUT),
        "pairs": lambda: find_pairs(
            ParallelDataConfig(path=str(tmp_path), source_language="en", target_language="de"), "test"
        ),
    }[task]
    for name in ("train.csv", "test_2016.csv"):
        (tmp_path / name).touch()
    assert names_of(find()) == ["test_2016.csv"]
    (tmp_path / "test-2017.csv").touch()
    assert find() is None
    (tmp_path / "testing.csv").touch()
    assert names_of(find()) == ["testing.csv"]
    (tmp_path / "Test.csv").touch()
    with pytest.raises(DataError, match="which one is the test split: .*: rename or merge them, or name one"):
        find()


def test_a_folder_that_is_the_training_split_has_no_other_test_name(tmp_path):
    """A class, or a text among others, may have such a name."""
    for name in ("cat", "test_tube"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    (tmp_path / "test_note.txt").touch()
    texts = CorpusDataConfig(path=str(tmp_path))
    assert find_split(LabelledImageDataConfig(path=str(tmp_path)), "test", LAYOUT) is None
    assert find_split(texts, "test") is None
    assert names_of(find_split(texts, "train")) == ["test_note.txt"]


def test_names_beside_a_table_are_those_of_its_splits(tmp_path):
    for name in ("all.csv", "dev.csv", "testing.csv"):
        (tmp_path / name).touch()
    table = str(tmp_path / "all.csv")
    pairs = ParallelDataConfig(path=table, source_language="en", target_language="de")
    for split, name in (("train", "all.csv"), ("validation", "dev.csv"), ("test", "testing.csv")):
        assert names_of(find_pairs(pairs, split)) == [name]
        assert names_of(find_split(LabelledTextDataConfig(path=table), split)) == [name]


@pytest.mark.parametrize(
    ("there", "split", "name"),
    [
        (["train", "test_2016"], "test", "test_2016"),
        (["train", "test_a", "test_b"], "test", None),
        (["train", "testing", "test_b"], "test", "testing"),
        (["Training", "dev"], "train", "Training"),
        (["train", "Dev"], "validation", "Dev"),
    ],
)
def test_splits_of_a_dataset_have_the_same_names(there, split, name, monkeypatch):
    monkeypatch.setattr("tformer_cli.data.core.splits.hub_splits", lambda config: there)
    pairs = ParallelDataConfig(source=Source.hub, path="x", source_language="en", target_language="de")
    texts = LabelledTextDataConfig(source=Source.hub, path="x")
    assert find_pairs(pairs, split) == find_split(texts, split) == name
