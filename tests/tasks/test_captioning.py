"""Captioning: where images and captions come from, what is trained, scored and predicted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from tformer_cli import tasks
from tformer_cli.config.compose import compose
from tformer_cli.draw import Gallery
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.tasks.task import Task
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

SMALL = [
    "data.image_size=8", "data.batch_images=4", "model.stem=patches", "model.patch_size=4", "model.dim=16",
    "model.heads=2", "model.ffn_dim=32", "model.depth=1", "decoder.dim=24", "decoder.heads=2", "decoder.ffn_dim=32",
    "decoder.depth=1", "decoder.max_length=16", "tokenizer=char", "trainer.steps=2", "trainer.threads=1",
    "trainer.device=cpu", "trainer.precision=fp32", "trainer.attention=explicit", "trainer.evaluate_every=0",
    "decode.beam=2",
]  # fmt: skip
CAPTIONS = {"red": "a red tile", "green": "one green tile", "blue": "blue"}
COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


def tiles(folder: Path, count: int = 12, seed: int = 1) -> list[tuple[str, str]]:
    """Write images of one colour with noise; return the name and the caption of each."""
    folder.mkdir(parents=True, exist_ok=True)
    random, rows = np.random.default_rng(seed), []
    for number in range(count):
        colour = list(COLOURS)[number % 3]
        pixels = np.clip(random.integers(-20, 20, (8, 8, 3)) + COLOURS[colour], 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append((f"{number}.png", CAPTIONS[colour]))
    return rows


def table(folder: Path, rows: list[tuple[str, ...]], header: str = "file_name,text") -> Path:
    """Write a metadata.csv."""
    lines = [header, *(",".join(row) for row in rows)]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def prepared(folder: Path, data: Path, *more: str) -> Task:
    settings = [*SMALL, f"data.path={data}", f"data.cache={folder / 'cache'}", *more]
    task = tasks.build(compose("captioning/folder", settings))
    task.prepare(folder)
    return task


# --- where images and captions come from ---


def in_one_folder(folder: Path) -> Path:
    return table(folder, tiles(folder))


def with_a_column_of_splits(folder: Path) -> Path:
    splits = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    rows = [(*row, split) for row, split in zip(tiles(folder), splits, strict=True)]
    return table(folder, rows, "file_name,text,split")


def in_a_folder_for_each_split(folder: Path) -> Path:
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        table(folder / split, tiles(folder / split, count))
    return folder


def in_a_table_of_folders(folder: Path) -> Path:
    rows = []
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        rows += [(f"{split}/{name}", text) for name, text in tiles(folder / split, count)]
    return table(folder, rows)


def in_json_lines(folder: Path) -> Path:
    rows = [{"file_name": name, "caption": text} for name, text in tiles(folder)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def in_parquet(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    images = tiles(folder)
    rows = [{"image": {"bytes": (folder / name).read_bytes(), "path": name}, "text": text} for name, text in images]
    (folder / "table").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "table" / "train.parquet")
    return folder / "table"


def test_a_split_of_several_tables(tmp_path):
    """`data.train=train-*` joins the parts of a download; a folder may have this very name."""
    import pyarrow
    import pyarrow.parquet

    images, rows = tmp_path / "images", tiles(tmp_path / "images")
    (tmp_path / "parts").mkdir()
    for part in range(2):
        inside = [
            {"image": {"bytes": (images / name).read_bytes(), "path": name}, "text": text}
            for name, text in rows[part * 6 : part * 6 + 6]
        ]
        file = tmp_path / "parts" / f"train-0000{part}-of-00002.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(inside), file)
    task = prepared(tmp_path, tmp_path / "parts", "data.train=train-*", "data.validation_share=0.25")
    splits = [task.data.split(split) for split in ("train", "validation")]
    assert [len(split) for split in splits] == [9, 3]
    assert sorted(caption for split in splits for caption in split.labels) == sorted(text for _, text in rows)
    table(tmp_path / "parts" / "train-*", tiles(tmp_path / "parts" / "train-*", 3))
    task = prepared(tmp_path, tmp_path / "parts", "data.train=train-*", "data.validation_share=0.2")
    assert len(task.data.split("train")) + len(task.data.split("validation")) == 15


@pytest.mark.parametrize("path", ["", "metadata.jsonl"])
@pytest.mark.parametrize("row", [0, 7])
def test_each_row_or_none_names_its_split(tmp_path, path, row):
    folder = tmp_path / "images"
    splits = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    rows = [
        {"file_name": name, "text": text, "split": split}
        for (name, text), split in zip(tiles(folder), splits, strict=True)
    ]
    del rows[row]["split"]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    with pytest.raises(DataError, match=rf"metadata.jsonl:{row + 1}: no 'split', which other rows have"):
        prepared(tmp_path, folder / path)


@pytest.mark.parametrize(
    ("layout", "counts"),
    [
        (in_one_folder, (9, 3, None)),
        (with_a_column_of_splits, (6, 3, 3)),
        (in_a_folder_for_each_split, (6, 3, 3)),
        (in_a_table_of_folders, (6, 3, 3)),
        (in_json_lines, (9, 3, None)),
        (in_parquet, (9, 3, None)),
    ],
)
def test_layouts(tmp_path, layout, counts):
    task = prepared(tmp_path, layout(tmp_path / "images"), "data.validation_share=0.25")
    data = task.data
    assert (len(data.split("train")), len(data.split("validation"))) == counts[:2]
    assert data.has_split("test") == (counts[2] is not None)
    if counts[2]:
        assert len(data.split("test")) == counts[2]
    for split in ("train", "validation"):
        images = data.split(split)
        for row, caption in enumerate(data.references(split)):
            mean = images.pixels[row].reshape(-1, 3).mean(0)
            assert CAPTIONS[list(COLOURS)[int(np.argmax(mean))]] == caption  # each image has its own caption


def test_captions_are_single_lines_and_missing_ones_stop_or_are_skipped(tmp_path):
    rows = tiles(tmp_path / "images")
    rows[1] = (rows[1][0], '"a  green\n tile"')
    folder = table(tmp_path / "images", rows)
    task = prepared(tmp_path, folder, "data.validation_share=0.2")
    assert "a green tile" in [*task.data.references("train"), *task.data.references("validation")]
    rows[4] = (rows[4][0], "")
    table(folder, rows)
    with pytest.raises(DataError, match=r"metadata.csv:7: .*text"):
        prepared(tmp_path, folder)
    task = prepared(tmp_path, folder, "trainer.on_bad_sample=skip", "data.validation_share=0.2")
    assert len(task.data.split("train")) + len(task.data.split("validation")) == 11
    assert any("1 of 12" in value for _, value in task.describe())


def test_a_list_of_captions_is_refused(tmp_path):
    rows = [{"file_name": name, "text": [text, text]} for name, text in tiles(tmp_path / "images")]
    place = tmp_path / "images" / "metadata.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match="metadata.jsonl:1: text is not text"):
        prepared(tmp_path, tmp_path / "images")


def test_too_long_captions_are_left_out_of_training_and_refused_in_validation(tmp_path):
    rows = [(*row, "train") for row in tiles(tmp_path / "images", 9)]
    rows[0] = (rows[0][0], "a tile of more than fifteen letters", "train")
    rows += [(rows[3][0], rows[3][1], "validation")]
    folder = table(tmp_path / "images", rows, "file_name,text,split")
    task = prepared(tmp_path, folder)
    assert len(task.data.split("train")) == 8 and len(task.data.tokens("train")) == 8
    assert ("note", "left out of training: 1 captions of more than 15 tokens") in task.describe()
    again = tasks.build(task.config)
    again.data.tokenizer = task.data.tokenizer  # as `evaluate --split train` does, which reads no vocabulary
    assert sum(len(again.view("train").rows(0, index)) for index in range(again.view("train").num_batches)) == 8
    assert np.isfinite(again.evaluate(again.model().eval(), "train", Scoring(decoded=False)).scores["loss"])
    rows[-1] = (rows[3][0], "a tile of more than fifteen letters", "validation")
    table(folder, rows, "file_name,text,split")
    with pytest.raises(DataError, match=r"3.png: its caption has \d+ tokens, the decoder takes 15"):
        prepared(tmp_path, folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.text=words"], "no column 'words'"),
        (["data.image=text", "data.text=text"], "must name different columns"),
        (["data.path=nowhere"], "nowhere"),
    ],
)
def test_wrong_columns_and_folders(tmp_path, settings, message):
    folder = table(tmp_path / "images", tiles(tmp_path / "images"))
    with pytest.raises((ConfigError, DataError), match=message):
        prepared(tmp_path, folder, *settings)


def test_a_folder_without_a_table_is_one_line(tmp_path):
    tiles(tmp_path / "images")
    with pytest.raises(DataError, match=r"no split 'train'.*metadata.csv"):
        prepared(tmp_path, tmp_path / "images")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["augment.mixup=0.5"], "augment.mixup: a blend of two images has no caption: augment.mixup=0"),
        (["data.image_size=10"], "not divisible by 4, as the model needs"),
        (["decode.max_length=20"], "decode.max_length: 20 is more than decoder.max_length 16"),
        (["decoder.heads=5"], "decoder.dim: 24 is not divisible by decoder.heads 5: decoder.heads=4"),
        (["model.family=bert"], "model.family: bert does not go with task captioning, which needs image_memory"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        compose("captioning/folder", [*SMALL, "data.path=x", *settings])


def test_built_in_shapes_have_a_validation_split_and_two_languages(tmp_path):
    settings = [*SMALL, "data.size=30", "data.image_size=16", f"data.cache={tmp_path}", "decoder.max_length=80"]
    for language, word in (("en", " is "), ("ja", "あります")):
        task = tasks.build(compose("quickstart/captions", [*settings, f"data.language={language}"]))
        task.prepare(tmp_path)
        assert len(task.data.split("train")) == 30 and len(task.data.split("validation")) == 200
        assert any(word in caption for caption in task.data.references("validation"))
        assert task.data.split("validation").origin == "built-in shapes, validation"
    wrong = tasks.build(compose("quickstart/captions", [*settings, "data.language=fr"]))
    with pytest.raises(ConfigError, match="data.language: built-in data is in en and ja, not 'fr'"):
        wrong.prepare(tmp_path)


# --- what is trained, scored and predicted ---


def test_loss_is_the_cross_entropy_of_each_token(tmp_path):
    folder = table(tmp_path / "images", tiles(tmp_path / "images"))
    task = prepared(tmp_path, folder, "data.crop_share=1", "data.mean=[0.5]", "data.std=[0.5]")
    model, data = task.model().eval(), task.data
    batch = task.view("validation").collate(0, np.arange(len(data.split("validation"))))
    loss = task.loss(model, batch)
    total = count = 0.0
    for row, caption in enumerate(data.references("validation")):
        ids = data.tokenizer.encode(caption)
        pixels = torch.tensor(data.split("validation").pixels[row]).permute(2, 0, 1)[None].float() / 127.5 - 1
        inputs, targets = torch.tensor([[data.tokenizer.bos_id, *ids]]), torch.tensor([*ids, data.tokenizer.eos_id])
        total += float(functional.cross_entropy(model.logits(model(pixels, inputs))[0], targets, reduction="sum"))
        count += len(targets)
    assert int(loss.count) == count
    assert float(loss.total.detach()) == pytest.approx(total, rel=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that has learned the three captions."""
    folder = tmp_path_factory.mktemp("captions")
    data = table(folder / "images", tiles(folder / "images", 24))
    settings = [
        *SMALL, f"data.path={data}", f"data.cache={folder}", "trainer.steps=120", "optim.lr=0.02",
        "optim.warmup_steps=5", "model.dropout=0", "decoder.dropout=0", "data.validation_share=0.25",
    ]  # fmt: skip
    launch(compose("captioning/folder", settings), folder / "run", quiet=True)
    return folder / "run"


def test_it_learns_to_describe_images_that_it_has_not_seen(run):
    opened = open_run(run, device="cpu")
    evaluation = opened.evaluate("validation", Scoring(predictions=True))
    assert evaluation.scores["exact_match"] == 100.0
    assert evaluation.scores["bleu"] == pytest.approx(100.0)
    first = evaluation.predictions[0]
    assert first["prediction"] == first["reference"] in CAPTIONS.values() and first["file"].endswith(".png")


def test_predictions_for_files_equal_those_of_the_evaluation(run):
    opened = open_run(run, device="cpu")
    rows = opened.evaluate("validation", Scoring(predictions=True)).predictions
    answers = list(opened.predict([row["file"] for row in rows]))
    assert [answer.text for answer in answers] == [row["prediction"] for row in rows]
    scores = [answer.details["hypotheses"][0]["score"] for answer in answers]
    assert scores == pytest.approx([row["score"] for row in rows], rel=1e-4)


@pytest.mark.parametrize("class_token", [False, True])
def test_pictures_show_captions_and_where_each_token_attends(tmp_path, class_token):
    folder = table(tmp_path / "images", tiles(tmp_path / "images"))
    task = prepared(tmp_path, folder, f"model.class_token={class_token}", "data.image_size=[8,16]")
    model = task.model().eval()
    pictures = task.evaluator.pictures(model)
    captions, attention = pictures["captions"], pictures["attention/cross"]
    assert isinstance(captions, Gallery) and isinstance(attention, Gallery)
    assert captions.images[0].shape == (8, 16, 3) and captions.correct == [False] * len(captions.images)
    reference = task.data.references("validation")[0]
    assert len(attention.weights) == len(task.data.tokenizer.encode(reference)) + 1 == len(attention.captions)
    totals = [float(weights.sum()) for weights in attention.weights]
    assert all(weights.shape == (2, 4) for weights in attention.weights)
    assert all(total < 1 for total in totals) if class_token else totals == pytest.approx([1.0] * len(totals))


def test_a_drawn_validation_split_is_limited_as_training_is(tmp_path):
    rows = [(name, "a tile of more than fifteen letters") for name, _ in tiles(tmp_path / "images", 12)]
    rows[:8] = [(name, "a tile") for name, _ in rows[:8]]
    task = prepared(tmp_path, table(tmp_path / "images", rows), "data.validation_share=0.5")
    assert {*task.data.references("train"), *task.data.references("validation")} == {"a tile"}
    assert len(task.data.split("train")) + len(task.data.split("validation")) == 8


def test_rows_with_the_same_image_are_in_one_split(tmp_path):
    rows = [(name, f"{text} {number}") for number in range(3) for name, text in tiles(tmp_path / "images")]
    task = prepared(tmp_path, table(tmp_path / "images", rows), "data.validation_share=0.25", "decoder.max_length=32")
    train, validation = task.data.split("train"), task.data.split("validation")
    assert (len(train), len(validation)) == (27, 9)
    assert not {*train.digests.tolist()} & {*validation.digests.tolist()}


def test_a_run_on_captions_in_another_script_gets_a_new_vocabulary(run, tmp_path):
    rows = [(name, "赤い板") for name, _ in tiles(tmp_path / "images")]
    folder = table(tmp_path / "images", rows)
    config = compose("captioning/folder", [*SMALL, f"data.path={folder}", f"data.cache={tmp_path}", "trainer.steps=1"])
    launch(config, tmp_path / "run", initial=run, quiet=True)
    tokenizer = open_run(tmp_path / "run", device="cpu").task.data.tokenizer
    assert tokenizer.unk_id not in tokenizer.encode("赤い板")


def test_what_is_drawn_for_an_image_depends_on_its_number(run):
    """Ten copies of an image, of which four are read together."""
    opened = open_run(run, device="cpu", overrides=["decode.sample=true", "decode.temperature=5", "decode.beam=1"])
    image = opened.evaluate("validation", Scoring(predictions=True)).predictions[0]["file"]
    texts = [answer.text for answer in opened.predict([image] * 10)]
    assert len(set(texts)) > 8
    assert texts == [answer.text for answer in opened.predict([image] * 10)]


@pytest.mark.parametrize("setting", ["decode.alignments=true", "decode.max_length_b=5", "tokenizer.sampling=0.1"])
def test_settings_without_effect_are_refused(setting):
    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        compose("captioning/folder", [*SMALL, "data.path=x", setting])


def test_a_file_that_is_no_image_is_named(run, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken.png"):
        list(open_run(run, device="cpu").predict([str(tmp_path / "broken.png")]))


def test_a_residual_network_can_take_the_place_of_the_transformer(tmp_path):
    folder = table(tmp_path / "images", tiles(tmp_path / "images"))
    settings = [item for item in SMALL if not item.startswith("model.")]
    network = ["model=resnet18", "model.depths=[1,1]", "model.dim=8"]
    config = compose("captioning/folder", [*settings, *network, f"data.path={folder}", f"data.cache={tmp_path}"])
    launch(config, tmp_path / "run", quiet=True)
    opened = open_run(tmp_path / "run", device="cpu")
    assert type(opened.model.encoder).__name__ == "ResNet"
    assert len(list(opened.predict([str(folder / "0.png")]))) == 1


def test_it_starts_from_a_classifier_of_images(tmp_path):
    """The encoder's weights are those of the other run; the decoder is new."""
    folder = tmp_path / "classes"
    for name, text in tiles(tmp_path / "images"):
        place = folder / text.replace(" ", "_")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "images" / name, place / name)
    vit = [item for item in SMALL if item.startswith(("data.", "model.", "trainer."))]
    config = compose("vit/folder", [*vit, f"data.path={folder}", f"data.cache={tmp_path}", "model.class_token=false"])
    launch(config, tmp_path / "vit", quiet=True)
    data = table(tmp_path / "images", [(f"{number}.png", "a tile") for number in range(12)])
    more = [*SMALL, f"data.path={data}", f"data.cache={tmp_path}", "optim.lr=0", "model.class_token=false"]
    launch(compose("captioning/folder", more), tmp_path / "captions", initial=tmp_path / "vit", quiet=True)
    before, after = (open_run(tmp_path / name, device="cpu").model.state_dict() for name in ("vit", "captions"))
    encoder = [name for name in before if name.startswith("encoder.")]
    assert len(encoder) > 10
    for name in encoder:
        assert torch.equal(before[name], after[name]), name
