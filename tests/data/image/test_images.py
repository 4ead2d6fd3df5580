"""Pictures: every layout gives the same pixels; every fault is one line, or left out and counted."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tformer_cli import raw_lines
from tformer_cli.config.schema import BadSample, LabelledImageDataConfig, Resample, Source, Target
from tformer_cli.data.core import media_sources
from tformer_cli.data.core.labels import LabelSet
from tformer_cli.data.image import images as reading
from tformer_cli.data.image.images import Images, duplicates, picture_files, read_images
from tformer_cli.errors import ConfigError, DataError

SIDE, CLASSES = 8, ("cat", "dog")
NOISE = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)


def made_up(count: int = 12, side: int = SIDE, channels: int = 1) -> np.ndarray:
    """Pictures, (N, H, W, C) uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(stream, kind, **options)
    return stream.getvalue()


def config(path, **settings) -> LabelledImageDataConfig:
    defaults = {"image_size": SIDE, "crop_share": 1.0, "channels": 1, "cache": str(Path(path).parent / "cache")}
    return LabelledImageDataConfig(path=str(path), **{**defaults, **settings})


def read(settings: LabelledImageDataConfig, split: str = "train", *, skip: bool = False, **options) -> Images:
    bad = BadSample.skip if skip else BadSample.stop
    return read_images(settings, split, seed=1, on_bad_sample=bad, **options)[split]


def fault(settings: LabelledImageDataConfig, split: str = "train", **options) -> str:
    with pytest.raises(DataError) as caught:
        read(settings, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(split: Images) -> list[list]:
    return [split.pixels[row].tolist() for row in range(len(split))]


def folder(path: Path, pictures: np.ndarray, labels=None) -> Path:
    for number, picture in enumerate(pictures):
        class_folder = path / (labels[number] if labels else CLASSES[number % 2])
        class_folder.mkdir(parents=True, exist_ok=True)
        (class_folder / f"{number:03}.png").write_bytes(encoded(picture))
    return path


def class_label_metadata(names: list[str]) -> dict[str, str]:
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def table(pictures, labels, kind: str = "struct", names: list[str] | None = None) -> pyarrow.Table:
    bytes_of = [encoded(picture) if isinstance(picture, np.ndarray) else picture for picture in pictures]
    images = [{"bytes": value, "path": None} for value in bytes_of] if kind == "struct" else bytes_of
    columns = pyarrow.table({"image": images, "label": labels, "other": list(range(len(images)))})
    return columns.replace_schema_metadata(class_label_metadata(names)) if names else columns


def idx(path: Path, pictures: np.ndarray, labels: list[int], stem: str = "train", ending: str = "") -> Path:
    path.mkdir(exist_ok=True)
    pack = gzip.compress if ending else bytes
    heads = struct.pack(">4I", 0x803, *pictures.shape[:3]), struct.pack(">2I", 0x801, len(labels))
    (path / f"{stem}-images-idx3-ubyte{ending}").write_bytes(pack(heads[0] + pictures.tobytes()))
    (path / f"{stem}-labels-idx1-ubyte{ending}").write_bytes(pack(heads[1] + bytes(labels)))
    return path


# --- layouts ---


def layouts(data_folder: Path) -> dict[str, LabelledImageDataConfig]:
    """The same pictures in each layout; training and test."""
    configs = {}
    for split, pictures in (("train", made_up()), ("test", made_up(16)[12:])):
        numbers = [number % 2 for number in range(len(pictures))]
        names = [str(number) for number in numbers]
        folder(data_folder / "folder" / split, pictures, names)
        for ending, stem in (("", ""), (".gz", "")):
            idx(
                data_folder / f"idx{ending}{stem}", pictures, numbers, {"train": "train", "test": "t10k"}[split], ending
            )
        for kind in ("struct", "binary"):
            (data_folder / kind).mkdir(exist_ok=True)
            pyarrow.parquet.write_table(table(pictures, numbers, kind), data_folder / kind / f"{split}.parquet")
        for kind, write in (("arrow", pyarrow.ipc.new_file), ("stream", pyarrow.ipc.new_stream)):
            (data_folder / kind).mkdir(exist_ok=True)
            columns = table(pictures, names)
            with write(str(data_folder / kind / f"{split}.arrow"), columns.schema) as writer:
                writer.write_table(columns)
        paths = [f"{split}/{name}/{number:03}.png" for number, name in enumerate(names)]
        rows = list(zip(paths, numbers, strict=True))
        base = data_folder / "folder"
        (base / f"{split}_csv.csv").write_text("image,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
        (base / f"{split}_tsv.tsv").write_text("label\timage\n" + "".join(f"{label}\t{path}\n" for path, label in rows))
        lines = (json.dumps({"image": path, "label": label}) for path, label in rows)
        (base / f"{split}_json.jsonl").write_text("\n".join(lines))
        pyarrow.parquet.write_table(pyarrow.table({"image": paths, "label": numbers}), base / f"{split}_paths.parquet")
        configs |= {
            name: (data_folder / name, {})
            for name in ("folder", "idx", "idx.gz", "struct", "binary", "arrow", "stream")
        }
        for name in ("csv", "tsv", "json", "paths"):
            configs[name] = (base, {"train": f"train_{name}", "test": f"test_{name}"})
    return {
        name: config(path, cache=str(data_folder / "cache"), validation_share=0, **more)
        for name, (path, more) in configs.items()
    }


def test_the_same_pictures_are_the_same_in_every_layout(tmp_path):
    for split, pictures in (("train", made_up()), ("test", made_up(16)[12:])):
        hashes = set()
        for name, settings in layouts(tmp_path).items():
            images = read(settings, split)
            order = np.argsort(images.labels, kind="stable") if "folder" not in name else np.arange(len(images))
            images = images.select(order, images.origin)  # folders come class by class
            expected = [*range(0, len(pictures), 2), *range(1, len(pictures), 2)]
            assert pixels(images) == [pictures[row].tolist() for row in expected], name
            assert images.labels == ["0"] * (len(pictures) // 2) + ["1"] * (len(pictures) // 2), name
            hashes.add(images.hash)
        assert len(hashes) == 1


def test_names_say_the_file_or_the_row(tmp_path):
    settings = layouts(tmp_path)
    assert read(settings["folder"]).names[1] == str(tmp_path / "folder" / "train" / "0" / "002.png")
    assert read(settings["csv"]).names[1] == str(tmp_path / "folder" / "train/1/001.png")
    assert read(settings["struct"]).names[1] == f"row 2 of {tmp_path / 'struct' / 'train.parquet'}"
    assert read(settings["idx"]).names[1] == f"row 2 of {tmp_path / 'idx' / 'train-images-idx3-ubyte'}"


@pytest.mark.parametrize("name", ["val", "validation", "valid", "dev"])
def test_validation_folders(tmp_path, name):
    folder(tmp_path / "train", made_up())
    folder(tmp_path / name, made_up(16)[12:])
    assert len(read(config(tmp_path), "validation")) == 4 and len(read(config(tmp_path))) == 12


def test_classes_without_splits_give_a_validation_split_that_the_seed_draws(tmp_path):
    data_folder = folder(tmp_path / "all", made_up(20))
    folder(data_folder / "test", made_up(24)[20:])
    settings = config(data_folder, validation_share=0.25)
    parts = [read_images(settings, "train", seed=seed, on_bad_sample=BadSample.stop) for seed in (1, 1, 2)]
    first, again, other = ([part[name].names for name in ("train", "validation")] for part in parts)
    assert first == again != other and sorted(first[0] + first[1]) == sorted(other[0] + other[1])
    assert len(first[0]) == 15 and len(first[1]) == 5 and set(parts[0]["train"].labels) == set(CLASSES)
    assert len(read(settings, "test")) == 4
    assert duplicates(parts[0]["validation"], parts[0]["train"]) == 0


def test_a_number_of_training_images_is_drawn_from_each_label_and_grows_by_more_of_them(tmp_path):
    labels = ["cat"] * 16 + ["dog"] * 8
    data_folder = folder(tmp_path / "all", made_up(24), labels)

    def names(size: int, seed: int = 1, **options) -> list[set[str]]:
        settings = config(data_folder, validation_share=0.25, size=size)
        splits = read_images(settings, "train", seed=seed, on_bad_sample=BadSample.stop, **options)
        return [set(splits[name].names) for name in ("train", "validation")]

    few, more, every, other = names(6), names(9), names(0), names(6, seed=2)
    assert [len(train) for train, _ in (few, more, every)] == [6, 9, 18]
    assert sum("/cat/" in name for name in few[0]) == 4 and few[0] < more[0] < every[0]
    assert few[1] == more[1] == every[1] and few[0] != other[0] and names(18) == every
    assert len(names(6, labelled=False)[0]) == 6
    with pytest.raises(ConfigError, match=r"data.size: 19 is more than the 18 images of .*all: data.size=0 takes all"):
        names(19)


def test_pictures_without_labels(tmp_path):
    data_folder = tmp_path / "all"
    (data_folder / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(("b.png", "deep/a.png", "deep/er/c.png")):
        (data_folder / name).write_bytes(encoded(made_up()[number]))
    images = read(config(data_folder, validation_share=0), labelled=False)
    assert images.labels is None and [Path(name).name for name in images.names] == ["b.png", "a.png", "c.png"]
    with pytest.raises(DataError, match="no labels were read"):
        LabelSet.of(images, Target.label, ",")
    pyarrow.parquet.write_table(table(made_up(), [0] * 12), tmp_path / "both.parquet")
    settings = config(tmp_path, train="both", validation_share=0)
    assert read(settings, labelled=False).labels is None and read(settings).labels == ["0"] * 12
    pyarrow.parquet.write_table(table(made_up(), [0] * 12).drop(["label"]), tmp_path / "train.parquet")
    assert len(read(config(tmp_path / "train.parquet", validation_share=0), labelled=False)) == 12


def test_class_names_of_a_table(tmp_path):
    labels = [number % 2 for number in range(12)]
    pyarrow.parquet.write_table(table(made_up(), labels, names=list(CLASSES)), tmp_path / "train.parquet")
    assert read(config(tmp_path, validation_share=0)).labels[:3] == ["cat", "dog", "cat"]
    pyarrow.parquet.write_table(table(made_up(), [*labels[:-1], 2], names=list(CLASSES)), tmp_path / "train.parquet")
    message = fault(config(tmp_path, validation_share=0), skip=True)
    assert message.startswith(f"{tmp_path / 'train.parquet'}: row 12: label is 2, but there are names for 2 classes")


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_data(tmp_path, monkeypatch, streaming):
    import datasets

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub-cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    labels = datasets.ClassLabel(names=list(CLASSES))
    features = datasets.Features({"image": datasets.Image(), "label": labels, "other": datasets.Value("int64")})
    values = {"image": [{"bytes": encoded(picture), "path": None} for picture in made_up()], "label": [0, 1] * 6}
    data_folder = tmp_path / "snapshot"
    data_folder.mkdir()
    datasets.Dataset.from_dict({**values, "other": [0] * 12}, features).to_parquet(data_folder / "train.parquet")
    settings = config(data_folder, source=Source.hub, streaming=streaming, validation_share=0)
    images = read(settings)
    assert pixels(images) == made_up().tolist() and images.labels == list(CLASSES) * 6
    assert "no column 'img': columns there: 'image', " in fault(
        config(data_folder, source=Source.hub, streaming=streaming, image="img")
    )
    folder(tmp_path / "classes" / "train", made_up())
    images = read(config(tmp_path / "classes", source=Source.hub, streaming=streaming, validation_share=0))
    assert sorted(map(str, pixels(images))) == sorted(map(str, made_up().tolist()))
    assert set(images.labels) == set(CLASSES)


def test_built_in_digits(tmp_path, monkeypatch):
    digits = config(tmp_path, source=Source.builtin)
    digits.path = "digits"
    parts = read_images(digits, "train", seed=1, on_bad_sample=BadSample.stop)
    test = read(digits, "test")
    assert len(parts["train"]) + len(parts["validation"]) + len(test) == 1797 and len(test) == round(1797 / 6)
    every = np.stack([test.pixels[row] for row in range(len(test))])
    assert every.min() == 0 and every.max() == 255 and every.shape[1:] == (8, 8, 1)
    assert {*test.labels} == {str(digit) for digit in range(10)}
    assert read_images(digits, "test", seed=5, on_bad_sample=BadSample.stop)["test"].names == test.names
    digits.size = 100
    assert len(read(digits)) == 90
    digits.path = "letters"
    assert "no built-in data of this kind are called 'letters': data.path=digits" in fault(digits)
    digits.path = "digits"
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ConfigError, match="scikit-learn, which is not installed: pip install"):
        read(digits)


# --- faults ---


def test_bad_rows_of_tables(tmp_path):
    pictures = [*made_up(4), b"", None, b"no picture"]
    pyarrow.parquet.write_table(table(pictures, [0, 1] * 3 + [0]), tmp_path / "train.parquet")
    settings = config(tmp_path, validation_share=0)
    assert fault(settings).startswith(f"row 5 of {tmp_path / 'train.parquet'}: empty (0 bytes)")
    images = read(settings, skip=True)
    assert pixels(images) == made_up(4).tolist() and images.notes[0].startswith("3 of 7 pictures")
    (tmp_path / "other.csv").write_text("image,label\nnot_there.png,a\n")
    settings = config(tmp_path, train="other.csv")
    assert f"not_there.png: no such file, named in {tmp_path}/other.csv:2: add the file" in fault(settings)
    assert "no picture of 1 can be read: " in fault(settings, skip=True)
    (tmp_path / "other.csv").write_text("file,label\nx.png,a\n")
    assert "no column 'image'" in fault(settings) and "data.image, data.label" in fault(settings)
    pyarrow.parquet.write_table(pyarrow.table({"image": [1.5], "label": [0]}), tmp_path / "numbers.parquet")
    assert "image is neither a picture's bytes nor a path" in fault(config(tmp_path, train="numbers"))
    pyarrow.parquet.write_table(table(made_up(2), [0, None]), tmp_path / "null.parquet")
    assert "null.parquet: row 2: label is missing (null)" in fault(config(tmp_path, train="null"))
    (tmp_path / "broken.arrow").write_bytes(b"ARROW1 and no more")
    assert "broken.arrow: cannot be read as Arrow" in fault(config(tmp_path, train="broken"))


def test_a_column_of_bytes_and_paths(tmp_path, monkeypatch):
    """Files that only late rows name would not be part of the key of the cache, so such a column is refused."""
    monkeypatch.setattr(media_sources, "SAMPLED_ROWS", 2)
    pictures = made_up(5)
    (tmp_path / "a.png").write_bytes(encoded(pictures[3]))
    inside, outside = [{"bytes": encoded(pictures[0]), "path": "x.png"}], [{"bytes": None, "path": "a.png"}]

    def write(images, labels):
        columns = {"image": images, "label": pyarrow.array(labels, pyarrow.int64())}
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")

    settings = config(tmp_path, validation_share=0)
    write([*inside * 3, *outside], [0, 1, 0, 1])
    assert fault(settings) == (
        f"{tmp_path / 'train.parquet'}: row 4: image is a path, but rows before it hold the bytes of a picture: "
        "write bytes in all rows, or paths in all"
    )
    write([*inside, *outside, *inside], [0, 1, 0])  # noticed in time
    assert pixels(read(settings))[1] == pictures[3].tolist()
    (tmp_path / "a.png").write_bytes(encoded(pictures[4]))
    assert pixels(read(settings))[1] == pictures[4].tolist()
    write(outside * 3, [None, None, 0])  # rows that are left out do not count as bytes
    assert len(read(settings, skip=True)) == 1


def test_folders_that_are_no_data(tmp_path):
    (tmp_path / "train").mkdir()
    assert "train: no folders of classes" in fault(config(tmp_path))
    folder(tmp_path / "train", made_up())
    (tmp_path / "train" / "empty").mkdir()
    (tmp_path / "train" / "empty" / "notes.txt").write_text("none yet")
    assert "empty: no picture in this class" in fault(config(tmp_path), skip=True)
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    assert "no split 'train' in" in fault(config(nothing)) and "no such folder" in fault(config(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="different columns"):
        read(config(tmp_path, label="image"))


def test_what_is_no_picture_is_passed_over_and_counted(tmp_path):
    data_folder = folder(tmp_path / "train", made_up())
    for name in ("cat/Thumbs.db", "cat/.hidden.png", "dog/notes.txt", "LICENSE", ".DS_Store"):
        (data_folder / name).write_text("x")
    (data_folder / ".git").mkdir()
    (data_folder / "cat" / "UPPER.PNG").write_bytes(encoded(made_up()[0]))
    images = read(config(tmp_path, validation_share=0))
    assert len(images) == 13 and set(images.labels) == set(CLASSES)
    assert images.notes == (
        "6 of 19 files were left out: 4 hidden, 1 without an ending, 1 .txt "
        "(LICENSE, dog/notes.txt, .git, .DS_Store, cat/.hidden.png, ...)",
    )  # fmt: skip


def test_an_idx_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_lines, "LARGE_BYTES", 100_000)
    data_folder = idx(tmp_path, np.zeros((3000, 20, 20), np.uint8), [0, 1] * 1500, ending=".gz")
    assert "train-images-idx3-ubyte.gz: unpacks to more than 100 times" in fault(
        config(data_folder, validation_share=0)
    )


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_faults_of_idx_files(tmp_path, ending):
    data_folder = idx(tmp_path / "idx", made_up(), [0, 1] * 6, ending=ending)
    settings = config(data_folder, validation_share=0)
    pictures, labels = (data_folder / f"train-{name}-ubyte{ending}" for name in ("images-idx3", "labels-idx1"))
    original = pictures.read_bytes()
    pack, unpack = (gzip.compress, gzip.decompress) if ending else (bytes, bytes)

    pictures.write_bytes(pack(unpack(original)[:-1]))
    assert "cut off: its header declares 12 items, but it has 11" in fault(settings, skip=True)
    pictures.write_bytes(pack(unpack(original) + b"x"))
    assert "its header declares 12 items, but it has more" in fault(settings)
    pictures.write_bytes(pack(b"\0\0\x08\x01" + unpack(original)[4:]))
    assert "not an IDX file of pictures: it begins with 00000801: expected 00000803" in fault(settings)
    for content in (b"", bytes(3)):
        pictures.write_bytes(pack(content))
        assert "not an IDX file of pictures: it begins with " in fault(settings)
    pictures.write_bytes(pack(struct.pack(">4I", 0x803, 12, 1 << 31, 1 << 31)))
    assert "pictures of 2147483648 x 2147483648 pixels" in fault(settings)
    if ending:
        pictures.write_bytes(original[:-20])
        assert "damaged gzip file" in fault(settings)
    pictures.write_bytes(original)
    idx(tmp_path / "other", made_up(), [0] * 11, ending=ending)
    labels.write_bytes((tmp_path / "other" / labels.name).read_bytes())
    assert "has 12 pictures and" in (message := fault(settings)) and "11 labels" in message
    labels.unlink()
    assert f"{labels}: No such file" in fault(settings)
    assert len(read(settings, labelled=False)) == 12


def test_labels_of_another_split_are_named_by_their_file(tmp_path):
    folder(tmp_path / "train", made_up())
    folder(tmp_path / "val", made_up(2), ["cat", "bird"])
    train, validation = read(config(tmp_path)), read(config(tmp_path), "validation")
    labels = LabelSet.of(train, Target.label, ",")
    assert labels.names == CLASSES and labels.numbers(train).tolist() == [0] * 6 + [1] * 6
    file = tmp_path / "val" / "bird" / "001.png"
    with pytest.raises(DataError) as caught:
        labels.numbers(validation)
    cause, remedy = caught.value.cause, caught.value.remedy
    assert cause == f"{file}: label 'bird' is not in the training split"
    assert remedy == "labels there: cat, dog; correct it, or train with examples of it"
    with pytest.raises(DataError, match="here: every row has the label 'cat': a classifier needs two or more"):
        LabelSet.of(train.select(np.arange(3), "here"), Target.label, ",")


# --- what is kept ---


def test_what_is_kept_is_opened_again(tmp_path, monkeypatch):
    data_folder = folder(tmp_path / "data" / "train", made_up()).parent
    settings = config(data_folder, validation_share=0)
    first = read(settings)
    expected = pixels(first)
    monkeypatch.setattr(reading, "read_picture", None)
    again = read(settings)
    assert pixels(again) == expected and again.hash == first.hash and again.names == first.names
    assert isinstance(again.pixels.content.array.base, np.memmap)
    monkeypatch.undo()
    [cached] = (tmp_path / "cache" / "pictures").iterdir()
    before = (cached / "content.npy").read_bytes()
    (cached / "content.npy").write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert pixels(read(settings)) == expected and (cached / "content.npy").read_bytes() == before
    (data_folder / "train" / "cat" / "000.png").write_bytes(encoded(made_up(13)[12]))
    assert read(settings).pixels[0].tolist() == made_up(13)[12].tolist()
    for other in ({"channels": 3}, {"image_size": 6}, {"image_size": 6, "resample": Resample.nearest}):
        assert read(config(data_folder, validation_share=0, **other)).hash != first.hash


@pytest.mark.parametrize("layout", ["folder", "struct", "idx.gz", "csv"])
def test_pictures_over_the_limit_are_decoded_at_each_use(tmp_path, layout):
    settings = layouts(tmp_path)[layout]
    cached = read(settings)
    settings.decoded_gib = 1e-9
    images = read(settings)
    assert pixels(images) == pixels(cached) and images.labels == cached.labels and images.names == cached.names
    assert len(set(images.digests.tolist())) == 12 and duplicates(images, read(settings, "test")) == 0
    rows = np.array([3, 1, 3])
    copy = pickle.loads(pickle.dumps(images.select(rows, "here")))
    assert [p.tolist() for p in copy.pixels.gather(np.arange(3))] == [pixels(cached)[row] for row in rows]


def test_bad_pictures_that_are_decoded_at_each_use(tmp_path):
    data_folder = folder(tmp_path / "data" / "train", made_up()).parent
    (data_folder / "train" / "cat" / "000.png").write_bytes(encoded(NOISE)[:-12])
    settings = config(data_folder, validation_share=0, decoded_gib=0)
    images = read(settings)
    with pytest.raises(DataError, match=r"000\.png: cut off") as caught:
        images.pixels[0]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # a worker's error reaches its parent
    images = read(settings, skip=True)
    assert len(images) == 11 and len(pixels(images)) == 11 and "1 of 12 pictures" in images.notes[0]


def test_pictures_of_one_size_come_as_one_array(tmp_path):
    data_folder = folder(tmp_path / "data" / "train", made_up(20, channels=3)).parent
    images = read(config(data_folder, validation_share=0, channels=3))
    rows = np.array([5, 0, 5, 19])
    batch = images.pixels.gather(rows)
    assert isinstance(batch, np.ndarray) and batch.shape == (4, SIDE, SIDE, 3) and batch.flags.writeable
    assert batch.tolist() == [images.pixels[int(row)].tolist() for row in rows]
    chosen = images.pixels.select(np.array([7, 3]))
    assert chosen.gather(np.array([1])).tolist() == [images.pixels[3].tolist()]
    assert [p.tolist() for p in images.pixels[2:4]] == [images.pixels[2].tolist(), images.pixels[3].tolist()]
    assert images.pixels[-1].tolist() == images.pixels[19].tolist()
    with pytest.raises(IndexError):
        images.pixels[20]
    (data_folder / "train" / "cat" / "wide.png").write_bytes(encoded(made_up(1, 16)[0, :8]))
    mixed = read(config(data_folder, validation_share=0, channels=3))
    assert [p.shape for p in mixed.pixels.gather(np.array([0, 10]))] == [(8, 8, 3), (8, 16, 3)]


def test_another_process_maps_the_file_again(tmp_path):
    data_folder = folder(tmp_path / "data" / "train", made_up(64)).parent
    images = read(config(data_folder, validation_share=0))
    sent = pickle.dumps(images.pixels)
    assert pixels(images) == [p.tolist() for p in pickle.loads(sent)]
    assert b"content.npy" in sent and images.pixels[0].tobytes() not in sent


def test_where_nothing_can_be_kept(tmp_path):
    data_folder = folder(tmp_path / "data" / "train", made_up()).parent
    (tmp_path / "file").write_text("in the way")
    images = read(config(data_folder, validation_share=0, cache=str(tmp_path / "file")))
    cached = read(config(data_folder, validation_share=0))
    assert pixels(images) == pixels(cached) and "pictures are kept for this run alone: " in images.notes[0]
    assert pickle.loads(pickle.dumps(images.pixels))[3].tolist() == images.pixels[3].tolist()


def test_pictures_that_are_in_two_splits(tmp_path):
    folder(tmp_path / "train", made_up(12))
    folder(tmp_path / "val", made_up(12)[9:])
    settings = config(tmp_path)
    assert duplicates(read(settings, "validation"), read(settings)) == 3


def test_many_pictures_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_A_JOB", 2)
    pyarrow.parquet.write_table(table(made_up(100), [0] * 100), tmp_path / "train.parquet")
    images = read(config(tmp_path, validation_share=0))
    assert pixels(images) == made_up(100).tolist()


def test_picture_files(tmp_path):
    data_folder = folder(tmp_path / "here", made_up(4))
    (data_folder / "Thumbs.db").write_text("x")
    assert [path.name for path in picture_files(data_folder)] == ["000.png", "002.png", "001.png", "003.png"]
    assert picture_files(data_folder / "cat" / "000.png") == [data_folder / "cat" / "000.png"]
    (tmp_path / "none").mkdir()
    for path, message in ((tmp_path / "none", "no picture"), (tmp_path / "absent", "no such folder or file")):
        with pytest.raises(DataError, match=message):
            picture_files(path)


def test_cifar_10(real_data, tmp_path):
    if not (real_data / "cifar10" / "test.parquet").is_file():
        pytest.skip(f"no CIFAR-10 at {real_data}")
    rows = pyarrow.parquet.ParquetFile(real_data / "cifar10" / "test.parquet")
    some = pyarrow.Table.from_batches([next(rows.iter_batches(200))])
    pyarrow.parquet.write_table(some, tmp_path / "train.parquet")
    images = read(config(tmp_path, image_size=32, channels=3, validation_share=0))
    batch = images.pixels.gather(np.arange(200))
    assert batch.shape == (200, 32, 32, 3) and {*images.labels} == {str(label) for label in range(10)}
    content = some["image"][17].as_py()["bytes"]
    assert batch[17].tolist() == np.asarray(Image.open(io.BytesIO(content))).tolist()
    assert 50 < batch.mean() < 200


def test_files_that_a_table_names_are_read_again_if_they_change(tmp_path):
    """A table of the Hugging Face hub may have paths in place of bytes, here in all rows but the first."""
    pictures = made_up(4)
    names = [f"{number}.png" for number in range(4)]
    images = [{"bytes": encoded(pictures[0]), "path": names[0]}, *({"bytes": None, "path": name} for name in names[1:])]
    kinds = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = pyarrow.table({"image": pyarrow.array(images, kinds), "label": [0, 1, 0, 1]})
    pyarrow.parquet.write_table(columns, tmp_path / "train.parquet")
    for others in (pictures[1:], 255 - pictures[1:]):
        for name, picture in zip(names[1:], others, strict=True):
            (tmp_path / name).write_bytes(encoded(picture))
        second = read(config(tmp_path)).pixels[1]  # some rows are held out
        assert any(np.array_equal(second, picture) for picture in others)
