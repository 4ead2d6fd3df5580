"""Speech translation: recordings with text of another language."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.tasks.test_speech_recognition import RATE, tone
from tests.tasks.test_speech_recognition import config_of as recognition_of
from tformer_cli import tasks
from tformer_cli.builtin.spoken_numbers import in_japanese, in_words, spoken_numbers
from tformer_cli.config.compose import compose
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.predictors.base import Prediction
from tformer_cli.tasks.task import Task
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

TEXTS = {"low": "tief", "high": "sehr hoch"}
SMALL = [
    "data.sample_rate=8000", "data.batch_seconds=8", "data.target_language=de", "features.margin=15",
    "features.bins=16", "model=conformer_tiny", "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
    "model.subsampling_dim=4", "model.kernel_size=7", "model.dropout=0", "augment.frequency_mask_bins=3",
    "decoder.dim=24", "decoder.heads=2", "decoder.ffn_dim=32", "decoder.depth=1", "decoder.dropout=0",
    "decoder.max_length=16", "tokenizer=char", "trainer.steps=2", "trainer.threads=1", "trainer.device=cpu",
    "trainer.precision=fp32", "trainer.attention=explicit", "trainer.evaluate_every=0",
]  # fmt: skip


def recordings(folder: Path, count: int = 12, header: str = "file_name,transcription,translation") -> Path:
    """Tones of two heights, their names, and these in German."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header]
    for number in range(count):
        word = list(TEXTS)[number % 2]
        soundfile.write(folder / f"{number}.wav", tone(word, 0.4 + 0.05 * (number % 12), number), RATE)
        lines.append(f"{number}.wav,{word},{TEXTS[word]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def config_of(folder: Path, *more: str, data: Path | None = None, count: int = 12):
    data = recordings(folder / "recordings", count) if data is None else data
    return compose("speech_translation/folder", [*SMALL, f"data.path={data}", f"data.cache={folder / 'cache'}", *more])


def prepared(folder: Path, *more: str, data: Path | None = None) -> Task:
    task = tasks.build(config_of(folder, *more, data=data))
    task.prepare(folder)
    return task


def test_it_reads_the_column_of_translations(tmp_path):
    task = prepared(tmp_path, "data.validation_share=0.25")
    assert set(task.data.references("validation")) <= set(TEXTS.values())
    assert set(task.data.references("train")) == set(TEXTS.values())


def _checkpoint(task: Task, folder: Path) -> Path:
    """Write what a checkpoint has of the data."""
    for name, content in task.data.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_recording_without_a_frame_stops_or_is_skipped(tmp_path):
    folder = recordings(tmp_path / "recordings")
    for number in (2, 3):
        soundfile.write(folder / f"{number}.wav", np.zeros(80, np.float32), RATE)
    more = ["features.margin=0", "data.validation_share=0.1"]
    with pytest.raises(DataError, match=r"[23].wav: its translation needs 1 frames, and there are 0"):
        prepared(tmp_path, *more, data=folder)
    train = prepared(tmp_path, *more, "trainer.on_bad_sample=skip", data=folder).data.split("train")
    assert not {"2.wav", "3.wav"} & {Path(name).name for name in train.names}


def test_a_table_without_translations_is_not_read_as_if_it_had_some(tmp_path):
    folder = recordings(tmp_path / "recordings", header="file_name,transcription,other")
    with pytest.raises(DataError, match=r"no column 'translation'.*data.text"):
        prepared(tmp_path, data=folder)


def test_a_text_need_not_fit_the_frames_of_its_recording(tmp_path):
    folder = recordings(tmp_path / "recordings")
    lines = (folder / "metadata.csv").read_text(encoding="utf-8").replace("tief", "so tief wie ein")
    (folder / "metadata.csv").write_text(lines, encoding="utf-8")
    task = prepared(tmp_path, "features.margin=0", "model.subsampling=8", "decoder.max_length=32", data=folder)
    shortest = int(task.data.output_frames(task.data.split("train").lengths).min())
    assert shortest < len("so tief wie ein") == max(map(len, task.data.references("train")))


def test_too_long_translations_are_left_out_of_training_and_refused_in_validation(tmp_path):
    folder = recordings(tmp_path / "recordings")
    lines = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
    lines[1] = "0.wav,low,viel zu tief fuer uns alle"
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    split = [f"{line},{'split' if not row else 'dev' if row == 2 else 'train'}" for row, line in enumerate(lines)]
    (folder / "metadata.csv").write_text("\n".join(split) + "\n", encoding="utf-8")
    task = prepared(tmp_path, "data.validation=dev", data=folder)
    assert len(task.data.split("train")) == 10
    assert ("note", "left out of training: 1 recordings with translations of more than 15 tokens") in task.describe()
    again = tasks.build(task.config)
    again.data.load(_checkpoint(task, tmp_path / "checkpoint"))
    assert np.isfinite(again.evaluate(again.model().eval(), "train", Scoring(decoded=False)).scores["loss"])
    split = [line.replace("sehr hoch,dev", "viel zu hoch fuer uns alle,dev") for line in split]
    (folder / "metadata.csv").write_text("\n".join(split) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1.wav: its translation has \d+ tokens, the decoder takes 15"):
        prepared(tmp_path, "data.validation=dev", data=folder)


def test_the_note_on_too_long_translations_names_the_drawn_validation_split(tmp_path):
    folder = recordings(tmp_path / "recordings")
    location = prepared(tmp_path, "data.validation_share=0.25", data=folder).data.split("validation").location(0)
    lines = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
    row = next(row for row, line in enumerate(lines) if line.split(",")[0] == Path(location).name)
    lines[row] = ",".join([*lines[row].split(",")[:2], "viel zu tief fuer uns alle"])
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = prepared(tmp_path, "data.validation_share=0.25", data=folder)
    assert len(task.data.references("validation")) == 2
    assert ("note", "left out of validation: 1 recordings with translations of more than 15 tokens") in task.describe()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["augment.join=0.5"], "augment.join: recordings with translations are not joined: augment.join=0"),
        (["data.join_high=3"], "data.join_high: recordings with translations are not joined"),
        (["model.decoder_depth=2"], "model.decoder_depth=0 decoder.depth=2"),
        (["features.normalise=none"], "features.margin: sets features to 0"),
        (["augment.frequency_mask_bins=16"], "would mask all of features.bins 16"),
        (["model.family=vit"], "vit does not go with task speech_translation, which needs recording_encoder"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path, settings, message):
    kept = [item for item in SMALL if not (settings == ["model.family=vit"] and item.startswith("model"))]
    with pytest.raises(ConfigError, match=message):
        compose("speech_translation/folder", [*kept, "data.path=x", *settings])


def test_the_language_must_be_given():
    with pytest.raises(ConfigError, match=r"data.target_language must be given: add data.target_language=de"):
        compose("speech_translation/folder", ["data.path=x"])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that has learned both texts."""
    folder = tmp_path_factory.mktemp("speech")
    settings = ["trainer.steps=150", "optim.lr=0.01", "optim.warmup_steps=10", "optim.label_smoothing=0",
                "data.validation_share=0.25", "augment.speeds=[1.0]", "augment.time_masks=0"]  # fmt: skip
    launch(config_of(folder, *settings, count=24), folder / "run", quiet=True)
    return folder / "run"


def test_it_learns_to_translate_recordings_that_it_has_not_heard(run):
    opened = open_run(run, device="cpu")
    evaluation = opened.evaluate("validation", Scoring(predictions=True))
    assert evaluation.scores["exact_match"] == 100.0
    answers = list(opened.predict([row["file"] for row in evaluation.predictions]))
    assert [answer.text for answer in answers] == [row["reference"] for row in evaluation.predictions]


def test_translations_of_the_pieces_of_a_long_recording_are_joined(run, tmp_path):
    opened = open_run(run, device="cpu", overrides=["data.max_seconds=1"])
    sound = np.concatenate([tone("low", 0.8, 1), tone("high", 0.8, 2)])
    soundfile.write(tmp_path / "long.wav", sound, RATE)
    (answer,) = opened.predict([str(tmp_path / "long.wav")])
    assert answer.text == "tief sehr hoch"


def test_long_recordings_are_scored_as_they_are_predicted(run, tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", np.concatenate([tone("low", 0.8, 1), tone("high", 0.8, 2)]), RATE)
    soundfile.write(folder / "3.wav", tone("low", 0.8, 3), RATE)
    rows = [f"{number}.wav,{'tief' if number == 3 else 'tief sehr hoch'}" for number in range(4)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,translation", *rows, ""]), encoding="utf-8")
    opened = open_run(run, device="cpu", overrides=["data.max_seconds=1", f"data.test={folder}"])
    evaluation = opened.evaluate("test", Scoring(predictions=True))
    answers = opened.predict([str(folder / f"{number}.wav") for number in range(4)])
    assert [row["prediction"] for row in evaluation.predictions] == [answer.text for answer in answers]
    assert evaluation.scores["exact_match"] == 100.0
    assert [row["score"] is None for row in evaluation.predictions] == [True, True, True, False]


def test_an_evaluation_decodes_a_long_recording_in_pieces_alone(tmp_path, monkeypatch):
    task = prepared(tmp_path, "data.max_seconds=0.6", "data.validation_share=0.5")
    decoded, texts = [], task.predictor.texts

    def counted(model, memory, sample_ids):
        decoded.extend(memory.lengths.tolist())
        return texts(model, memory, sample_ids)

    monkeypatch.setattr(task.predictor, "texts", counted)
    task.evaluate(task.model().eval(), "validation", Scoring(predictions=True))
    longest = int(task.data.output_frames(np.array([0.6 * RATE]).astype(int))[0])
    sound = task.data.split("validation").sound
    assert max(len(sound[row]) for row in range(len(sound))) > 0.6 * RATE and 0 < max(decoded) <= longest


@pytest.mark.parametrize("more", [[], ["decode.beam=3", "decode.n_best=2"], ["decode.sample=true"]])
def test_a_recording_without_a_frame_has_an_empty_translation(more, tmp_path):
    task = prepared(tmp_path, "features.margin=0", *more)
    torch.manual_seed(0)
    model = task.model().eval()
    sound = (8000 * tone("low", 0.8)).astype(np.int16)
    assert task.data.output_frames(np.array([400])) == 0
    (alone,) = task.predictor.answers(model, [sound[:400]])
    long, short = task.predictor.answers(model, [sound, sound[:400]])
    assert alone.text == short.text == "" and long.text


@pytest.mark.parametrize(("language", "text"), [("de", "eins zwei"), ("ko", "eins zwei"), ("ja", "einszwei")])
def test_translations_are_joined_as_their_language_separates_words(language, text, tmp_path):
    task = tasks.build(config_of(tmp_path, f"data.target_language={language}"))
    parts = [Prediction(part, {}) for part in ("eins ", "", " ", " zwei")]
    assert task.predictor._joined(parts).text == text


def test_it_starts_from_a_recogniser_of_speech(tmp_path):
    launch(recognition_of(tmp_path, "features.margin=15"), tmp_path / "recogniser", quiet=True)
    config = config_of(tmp_path, "optim.lr=0", data=recordings(tmp_path / "translated"))
    launch(config, tmp_path / "run", initial=tmp_path / "recogniser", quiet=True)
    models = [open_run(tmp_path / name, device="cpu").model for name in ("recogniser", "run")]
    before, after = (dict(model.named_parameters()) for model in models)
    tokenizer = open_run(tmp_path / "run", device="cpu").task.data.tokenizer
    assert tokenizer.unk_id not in tokenizer.encode("sehr hoch")  # not the vocabulary of "low" and "high"
    encoder = [name for name in before if name.startswith("encoder.")]
    assert len(encoder) > 10
    for name in encoder:
        assert torch.equal(before[name], after[name]), name


# --- built-in numbers in Japanese ---


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "零"), (1, "一"), (10, "十"), (11, "十一"), (20, "二十"), (100, "百"), (101, "百一"), (110, "百十"),
     (342, "三百四十二"), (999, "九百九十九")],
)  # fmt: skip
def test_numbers_in_japanese(number, text):
    assert in_japanese(number) == text


def test_every_number_has_a_text_of_its_own_in_both_languages():
    assert len({in_japanese(number) for number in range(1000)}) == 1000
    assert len({in_words(number) for number in range(1000)}) == 1000


def test_the_same_sound_has_a_text_in_either_language():
    english, japanese = (list(spoken_numbers("test", 4, 1, RATE, language)) for language in ("en", "ja"))
    for (name, sound, text), (other_name, other_sound, other_text) in zip(english, japanese, strict=True):
        assert name == other_name and np.array_equal(sound, other_sound)
        number = next(number for number in range(1000) if in_words(number) == text)
        assert other_text == in_japanese(number)
    with pytest.raises(DataError, match="not written in 'fr': take one of en, ja"):
        list(spoken_numbers("test", 1, 1, RATE, "fr"))
