"""Recordings: every source gives the same sound and words; every fault is one line, or left out and counted."""

from __future__ import annotations

import csv
import json
import pickle
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tformer_cli.config.schema import BadSample, FeatureConfig, Features, Source, SpeechDataConfig
from tformer_cli.data.speech import recordings as reading
from tformer_cli.data.speech.audio import wav
from tformer_cli.data.speech.recordings import BadRecording, Recordings, read_recording, read_recordings
from tformer_cli.errors import ConfigError, DataError, install_command

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")
RATE = 8000
WORDS = ("one", "two three", "four", "five five")


def sounds(count: int = 6) -> list[np.ndarray]:
    """Recordings of different lengths, int16."""
    random = np.random.default_rng(0)
    return [random.integers(-9000, 9000, 400 + 50 * number).astype(np.int16) for number in range(count)]


def words(count: int = 6) -> list[str]:
    return [WORDS[number % len(WORDS)] for number in range(count)]


def config(path, **settings) -> SpeechDataConfig:
    defaults = {"sample_rate": RATE, "cache": str(Path(path).parent / "cache"), "validation_share": 0}
    return SpeechDataConfig(path=str(path), **{**defaults, **settings})


STORED = FeatureConfig(kind=Features.stored, bins=13)


def read(
    settings: SpeechDataConfig, split: str = "train", *, skip: bool = False, features: FeatureConfig | None = None
) -> Recordings:
    bad = BadSample.skip if skip else BadSample.stop
    return read_recordings(settings, features or FeatureConfig(), split, seed=1, on_bad_sample=bad)[split]


def fault(settings: SpeechDataConfig, split: str = "train", **options) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        read(settings, split, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def samples(split: Recordings) -> list[list]:
    return [split.sound[row].tolist() for row in range(len(split))]


def folder(parent: Path, count: int = 6) -> list[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    paths = [parent / f"{number:03}.wav" for number in range(count)]
    for path, sound in zip(paths, sounds(count), strict=True):
        path.write_bytes(wav(sound, RATE))
    return paths


def table(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def metadata(parent: Path, ending: str = ".csv", count: int = 6, **columns) -> Path:
    """Recordings with a table among them; further columns are lists."""
    rows = [
        {"file_name": path.name, "transcription": text, **{name: values[row] for name, values in columns.items()}}
        for row, (path, text) in enumerate(zip(folder(parent, count), words(count), strict=True))
    ]
    table(parent / f"metadata{ending}", rows)
    return parent


def sphinx_file(frames: np.ndarray) -> bytes:
    return struct.pack(">i", frames.size) + frames.astype(">f4").tobytes()


# --- sources ---


def sources(parent: Path) -> dict[str, SpeechDataConfig]:
    """The same recordings from each source."""
    configs = {}
    for ending in (".csv", ".tsv", ".jsonl", ".parquet"):
        configs[ending] = config(metadata(parent / f"meta{ending}" / "all", ending))
        metadata(parent / f"split{ending}" / "all" / "train", ending)
        configs[f"folder {ending}"] = config(parent / f"split{ending}" / "all")
    paths = folder(parent / "wavs")
    rows = [{"audio": f"wavs/{path.name}", "sentence": text} for path, text in zip(paths, words(), strict=True)]
    table(parent / "named" / "train.tsv", [{**row, "audio": str(parent / row["audio"])} for row in rows])
    configs["absolute"] = config(parent / "named")
    configs["file"] = config(table(parent / "mine.csv", rows))
    inside = [{"bytes": path.read_bytes(), "path": None} for path in paths]
    for name, values in (("struct", inside), ("binary", [each["bytes"] for each in inside])):
        rows = [{"audio": value, "text": text} for value, text in zip(values, words(), strict=True)]
        configs[name] = config(table(parent / name / "train.parquet", rows).parent)
    for path, text in zip(folder(parent / "beside" / "all" / "deep"), words(), strict=True):
        path.with_suffix(".txt").write_text(f"  {text.replace(' ', chr(10))}\n")
    configs["beside"] = config(parent / "beside" / "all")
    for path in folder(parent / "libri" / "all" / "train-clean" / "12"):
        path.rename(path.with_name(f"12-{path.name}"))
    lines = "".join(f"12-{number:03} {text}\n" for number, text in enumerate(words()))
    (parent / "libri" / "all" / "train-clean" / "12" / "12.trans.txt").write_text(lines)
    configs["trans.txt"] = config(parent / "libri" / "all", train="train-clean")
    base = parent / "sphinx" / "all"
    folder(base / "wav" / "set")
    (base / "etc").mkdir()
    (base / "etc" / "mine_train.fileids").write_text("".join(f"set/{number:03}\n" for number in range(6)))
    lines = "".join(f"<s> {text} </s> ({number:03})\n" for number, text in enumerate(words()))
    (base / "etc" / "mine_train.transcription").write_text(lines)
    configs["sphinx"] = config(base)
    return configs


def test_the_same_recordings_are_the_same_from_every_source(tmp_path):
    hashes = set()
    for name, settings in sources(tmp_path).items():
        recordings = read(settings)
        assert samples(recordings) == [sound.tolist() for sound in sounds()], name
        assert recordings.texts == words() and recordings.lengths.tolist() == [400, 450, 500, 550, 600, 650], name
        assert recordings.sound[0].dtype == np.int16 and len(recordings.names) == len(recordings) == 6, name
        hashes.add(recordings.hash)
    assert len(hashes) == 1


def test_names_say_the_file_or_the_row(tmp_path):
    settings = sources(tmp_path)
    assert read(settings[".csv"]).location(1) == str(tmp_path / "meta.csv" / "all" / "001.wav")
    assert read(settings["struct"]).names[1] == f"row 2 of {tmp_path / 'struct' / 'train.parquet'}"


def test_a_hash_of_all_sound_and_text(tmp_path):
    settings = config(metadata(tmp_path / "all"))
    first = read(settings)
    changed = sounds()[2]
    changed[100] += 1
    (tmp_path / "all" / "002.wav").write_bytes(wav(changed, RATE))
    second = read(settings)
    assert second.hash != first.hash and (second.digests != first.digests).tolist() == [row == 2 for row in range(6)]
    lines = (tmp_path / "all" / "metadata.csv").read_text()
    (tmp_path / "all" / "metadata.csv").write_text(lines.replace("four", "fore"))
    assert read(settings).hash not in (first.hash, second.hash)
    part = second.select(np.array([4, 1]), "some")
    assert part.texts == ["one", "two three"] and samples(part) == [sounds()[row].tolist() for row in (4, 1)]
    assert [each.tolist() for each in part.sound.gather(np.array([1]))] == [sounds()[1].tolist()]


def test_the_table_may_be_named_in_capitals(tmp_path):
    settings = config(metadata(tmp_path / "all"))
    first = read(settings)
    (tmp_path / "all" / "metadata.csv").rename(tmp_path / "all" / "METADATA.CSV")
    assert read(settings).texts == first.texts


def test_only_some_rows(tmp_path):
    data_folder = metadata(tmp_path / "all", speaker=["theo", "ann", "theo", "bob", "ann", "theo"], split=["train"] * 6)
    assert samples(read(config(data_folder, only="speaker=theo"))) == [sounds()[row].tolist() for row in (0, 2, 5)]
    assert samples(read(config(data_folder, only="speaker!=theo"))) == [sounds()[row].tolist() for row in (1, 3, 4)]
    assert "no column 'voice': columns there: 'file_name', " in fault(config(data_folder, only="voice=theo"))
    assert "speaker=carl: there are no recordings" in fault(config(data_folder, only="speaker=carl"))
    message = "data.only: 'theo' is not a condition: write COLUMN=VALUE or COLUMN!=VALUE"
    assert fault(config(data_folder, only="theo")) == message
    beside = sources(tmp_path / "more")["beside"]
    beside.only = "speaker=theo"
    assert "is no table" in fault(beside)


def test_only_some_rows_of_a_table_that_holds_the_sound(tmp_path):
    rows = [{"audio": wav(sound, RATE), "text": "x", "age": age} for age, sound in enumerate(sounds())]
    data_folder = table(tmp_path / "all" / "train.parquet", rows).parent
    for only, expected in (("age=3", [3]), ("age!=3", [0, 1, 2, 4, 5]), ("", range(6)), ("age=3", [3])):
        assert samples(read(config(data_folder, only=only))) == [sounds()[row].tolist() for row in expected]


def test_columns(tmp_path):
    rows = [{"clip": path.name, "said": "x"} for path in folder(tmp_path / "all")]
    data_folder = table(tmp_path / "all" / "metadata.jsonl", rows).parent
    assert len(read(config(data_folder, audio="clip", text="said"))) == 6
    message = fault(config(data_folder))
    assert (
        "no column of recordings: file_name, audio, path, audio_filepath: "
        "columns there: 'clip', 'said'; name the right one with data.audio" in message
    )
    assert "no column of transcripts" in fault(config(data_folder, audio="clip"))
    assert "no column 'heard': columns there: 'clip', 'said'; name the right one with data.text" in fault(
        config(data_folder, audio="clip", text="heard")
    )
    assert "both name 'clip'" in fault(config(data_folder, audio="clip", text="clip"))


def test_lower_case(tmp_path):
    data_folder = metadata(tmp_path / "all")
    (data_folder / "metadata.csv").write_text("file_name,transcription\n000.wav,ÄB  C\u00a0D\n")
    assert read(config(data_folder)).texts == ["ÄB C D"]
    assert read(config(data_folder, lower_case=True)).texts == ["äb c d"]


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_data(tmp_path, monkeypatch, streaming):
    import datasets

    offline(tmp_path, monkeypatch)
    data_folder = tmp_path / "snapshot"
    data_folder.mkdir()
    kinds = {
        "audio": {"_type": "Audio"}, "sentence": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["a", "b"], "_type": "ClassLabel"}, "other": {"dtype": "int64", "_type": "Value"},
    }  # fmt: skip
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    inside = pyarrow.array([{"bytes": wav(sound, RATE), "path": None} for sound in sounds()], kind)
    data = pyarrow.table({"audio": inside, "sentence": words(), "label": [0, 1] * 3, "other": [0] * 6})
    data = data.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": kinds}})})
    pyarrow.parquet.write_table(data, data_folder / "train.parquet")
    assert isinstance(datasets.Features.from_arrow_schema(data.schema)["audio"], datasets.Audio)
    settings = config(data_folder, source=Source.hub, streaming=streaming)
    recordings = read(settings)
    assert samples(recordings) == [sound.tolist() for sound in sounds()] and recordings.texts == words()
    settings.text, settings.only = "label", "other=0"
    assert read(settings).texts == ["a", "b"] * 3
    settings.only = "nothing=0"
    assert "no column 'nothing'" in fault(settings)


def offline(folder: Path, monkeypatch) -> None:
    """Make `datasets` use a cache in a folder, and no network."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "hub-cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("kind", ["metadata.csv", "metadata.jsonl", "metadata.parquet", "train.parquet", "hub"])
def test_recordings_that_a_table_names_are_read_again_if_they_change(kind, tmp_path, monkeypatch):
    """A table of the Hugging Face hub may have paths in place of bytes."""
    paths, settings = folder(tmp_path / "data"), config(tmp_path / "data")
    if kind.startswith("metadata"):
        metadata(tmp_path / "data", Path(kind).suffix)
    else:
        audio = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        named = pyarrow.array([{"bytes": None, "path": str(path)} for path in paths], audio)
        rows = pyarrow.table({"audio": named, "transcription": words()})
        if kind == "hub":
            offline(tmp_path, monkeypatch)
            settings = config(tmp_path / "data", source=Source.hub)
            kinds = {"audio": {"_type": "Audio"}, "transcription": {"dtype": "string", "_type": "Value"}}
            rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": kinds}})})
        pyarrow.parquet.write_table(rows, tmp_path / "data" / "train.parquet")
    first, last = read(settings).sound[0].tolist(), np.arange(500, dtype=np.int16)
    paths[0].write_bytes(wav(last, RATE))
    assert read(settings).sound[0].tolist() == last.tolist() != first


def test_stored_features(tmp_path):
    base, random = tmp_path / "an4", np.random.default_rng(0)
    frames = [random.standard_normal((length, 13)).astype(np.float32) for length in (5, 9, 2)]
    for path in ("etc", "feat/s/a", "feat/s/b"):
        (base / path).mkdir(parents=True)
    ids = ["s/a/x-1", "s/a/x-2", "s/b/y-1"]
    for name, values in zip(ids, frames, strict=True):
        (base / "feat" / f"{name}.mfc").write_bytes(sphinx_file(values))
    for split, rows in (("train", [0, 1]), ("test", [2])):
        (base / "etc" / f"an4_{split}.fileids").write_text("".join(f"{ids[row]}\n" for row in rows))
        lines = "".join(f"SAY {row} ({Path(ids[row]).name})\n" for row in reversed(rows))
        (base / "etc" / f"an4_{split}.transcription").write_text(lines)
    recordings = read(config(base), features=STORED)
    assert [recordings.sound[row].tolist() for row in range(2)] == [each.tolist() for each in frames[:2]]
    assert recordings.texts == ["SAY 0", "SAY 1"] and recordings.lengths.tolist() == [5, 9]
    assert read(config(base), "test", features=STORED).lengths.tolist() == [2]
    part = recordings.select(np.array([1]), "one")
    again = pickle.loads(pickle.dumps(part.sound))
    assert isinstance(again.values.base, np.memmap) and (again[0] == part.sound[0]).all()
    assert len(pickle.dumps(part.sound)) < 1000
    assert part.sound[0].shape == (9, 13) and part.sound[0].dtype == np.float32
    message = fault(config(base), features=FeatureConfig(kind=Features.stored, bins=12))
    assert "s/a/x-1.mfc: 65 numbers are not a multiple of features.bins=12" in message
    (base / "etc" / "an4_train.transcription").write_text("SAY 0 (x-1)\n")
    assert "x-2.mfc: no transcript" in fault(config(base), features=STORED)
    (base / "etc" / "an4_train.transcription").write_text("SAY 0 (x-1)\nSAY 0 (x-1)\nSAY 1 (x-1)\n")
    assert "an4_train.transcription:3: 'x-1' has another transcript above" in fault(config(base), features=STORED)
    (base / "etc" / "an4_train.transcription").write_text("SAY 0 (s/a/x-1)\nSAY 2 (s/b/x-1)\nSAY 1 (x-2)\n")
    assert read(config(base), features=STORED).texts == ["SAY 0", "SAY 1"]
    (base / "etc" / "an4_train.transcription").write_text("SAY 0\n")
    assert "an4_train.transcription:1: not a transcript" in fault(config(base), features=STORED)


def test_built_in_numbers(tmp_path, monkeypatch):
    calls = []

    def spoken_numbers(split: str, size: int, seed: int, sample_rate: int, language: str):
        calls.append((split, size, seed, sample_rate, language))
        for number, (sound, text) in enumerate(zip(sounds(), words(), strict=True)):
            yield f"number {number}", sound.astype(np.float32) / 32768, text

    module = types.ModuleType("spoken_numbers")
    module.__file__ = __file__
    module.spoken_numbers = spoken_numbers
    module.writer = lambda language: str
    monkeypatch.setitem(sys.modules, "tformer_cli.builtin.spoken_numbers", module)
    monkeypatch.setattr("tformer_cli.builtin.spoken_numbers", module, raising=False)
    settings = config(tmp_path / "x", source=Source.builtin, size=6)
    settings.path = "numbers"
    recordings = read(settings)
    assert samples(recordings) == [sound.tolist() for sound in sounds()] and recordings.texts == words()
    read(settings), read(settings, "test")
    assert calls == [("train", 6, 1, RATE, "en"), ("test", 0, 1, RATE, "en")]
    settings.path = "letters"
    assert "no built-in data of this kind are called 'letters': data.path=numbers" in fault(settings)
    settings.path = "numbers"
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert f"espeakng-loader, which is not installed: {install_command('demo')}" in fault(settings)


# --- faults ---


def broken(data_folder: Path) -> dict[int, str]:
    """Recordings of which some are broken, by their rows; what is said of them."""
    metadata(data_folder, count=10)
    content = (data_folder / "001.wav").read_bytes()
    (data_folder / "001.wav").write_bytes(content[:-200])
    (data_folder / "002.wav").write_text("words, not sound")
    (data_folder / "003.wav").unlink()
    (data_folder / "004.wav").write_bytes(wav(np.zeros(0, np.int16), RATE))
    (data_folder / "005.wav").write_bytes(content[:24] + bytes(4) + content[28:])
    (data_folder / "006.wav").write_bytes(b"")
    lines = (data_folder / "metadata.csv").read_text()
    (data_folder / "metadata.csv").write_text(lines.replace(f"007.wav,{words(10)[7]}", "007.wav, "))
    return {
        1: "cut off: its header declares 900 bytes of sound, but it has 700",
        2: "not a recording in a supported format",
        3: "no such file, named in", 4: "no samples", 5: "a rate of 0 samples a second", 6: "empty (0 bytes)",
        7: "transcription is missing (empty)",
    }  # fmt: skip


def test_what_cannot_be_read_is_named(tmp_path):
    data_folder = tmp_path / "all"
    for row, message in broken(data_folder).items():
        lines = (data_folder / "metadata.csv").read_text().splitlines()
        metadata_file = table(data_folder / "one.csv", [{"file_name": "000.wav", "transcription": "x"}])
        metadata_file.write_text(f"{lines[0]}\n{lines[row + 1]}\n")
        name = f"{metadata_file}:2" if row == 7 else data_folder / f"{row:03}.wav"
        assert fault(config(metadata_file)).startswith(f"{name}: {message}")
        if row == 3:
            remedy = "add the file or remove the row, or skip such files: trainer.on_bad_sample=skip"
            assert fault(config(metadata_file)) == f"{name}: {message} {metadata_file}:2: {remedy}"


def test_what_cannot_be_read_is_left_out_and_counted(tmp_path):
    bad = broken(tmp_path / "all")
    settings = config(tmp_path / "all")
    for _ in range(2):  # anew, and as it was kept
        recordings = read(settings, skip=True)
        assert samples(recordings) == [sounds(10)[row].tolist() for row in (0, 8, 9)]
        assert recordings.texts == [words(10)[row] for row in (0, 8, 9)]
        [note] = recordings.notes
        assert note.startswith(f"7 of 10 recordings could not be read and were left out: {tmp_path}")
        assert "001.wav (cut off: its header declares 900 bytes" in note and note.endswith(", ...")
    assert "001.wav: cut off" in fault(settings)
    for row in (0, 8, 9):
        (tmp_path / "all" / f"{row:03}.wav").unlink()
    assert "no recording of 10 can be read: " in fault(settings, skip=True) and len(bad) == 7


def test_null_transcripts_and_recordings_in_a_table(tmp_path):
    rows = [{"audio": wav(sound, RATE), "text": text} for sound, text in zip(sounds(), words(), strict=True)]
    rows[1]["text"] = rows[2]["audio"] = None
    rows[3]["text"] = "a\0"
    settings = config(table(tmp_path / "all" / "train.parquet", rows).parent)
    assert f"{tmp_path / 'all' / 'train.parquet'}: row 2: text is missing (null)" in fault(settings)
    recordings = read(settings, skip=True)
    assert (
        len(recordings) == 3 and "3 of 6 recordings" in recordings.notes[0] and "empty (0 bytes)" in recordings.notes[0]
    )
    assert "row 4 (text holds a NUL character)" in recordings.notes[0]


def test_nothing_there(tmp_path):
    (tmp_path / "bare").mkdir()
    assert "no split 'train'" in fault(config(tmp_path / "bare"))
    assert "no such folder or file" in fault(config(tmp_path / "none"))
    (tmp_path / "bare" / "train").mkdir()
    assert "no recording: expected files that end with one of .wav" in fault(config(tmp_path / "bare"))
    (tmp_path / "bare" / "train" / "metadata.csv").write_text("file_name,transcription\n")
    assert "there are no rows" in fault(config(tmp_path / "bare"))
    (tmp_path / "bare" / "words.md").write_text("x")
    assert "neither a table, nor a folder" in fault(config(tmp_path / "bare", train="words.md"))


def test_recordings_without_a_transcript_beside(tmp_path):
    for path in folder(tmp_path / "all")[1:]:
        path.with_suffix(".txt").write_text("word")
    (tmp_path / "all" / "notes.md").write_text("x")
    assert "000.wav: no transcript" in fault(config(tmp_path / "all"))
    recordings = read(config(tmp_path / "all"), skip=True)
    assert len(recordings) == 5 and "1 of 6" in recordings.notes[1]
    assert recordings.notes[0] == "1 of 7 files was left out: 1 .md (notes.md)"


# --- what is kept ---


def test_what_is_kept_is_opened_again(tmp_path, monkeypatch):
    data_folder = metadata(tmp_path / "all", ".parquet")
    first = read(config(data_folder))
    assert isinstance(first.sound.values.base, np.memmap)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_sound", None)
        again = read(config(data_folder))
        assert again.hash == first.hash and samples(again) == samples(first)
        again = pickle.loads(pickle.dumps(first.sound))
        assert isinstance(again.values.base, np.memmap) and again[2].tolist() == first.sound[2].tolist()
        for change in ({"sample_rate": 16_000}, {"only": "transcription=one"}):
            with pytest.raises(TypeError):
                read(config(data_folder, **change))
    assert read(config(data_folder, sample_rate=4000)).lengths.tolist() == [200, 225, 250, 275, 300, 325]
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    recordings = read(config(data_folder, cache=str(blocked)))
    assert samples(recordings) == samples(first) and "data.cache" in recordings.notes[0]


def test_many_recordings_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_A_JOB", 2)
    recordings = read(config(metadata(tmp_path / "all", count=50)))
    assert samples(recordings) == [sound.tolist() for sound in sounds(50)]


def test_one_recording_is_read_as_a_split_is(tmp_path):
    data_folder = metadata(tmp_path / "all")
    settings = config(data_folder, sample_rate=11_025)
    recordings = read(settings)
    for row in range(3):
        assert (read_recording(data_folder / f"{row:03}.wav", settings) == recordings.sound[row] / 32768).all()


# --- real data ---


def real(real_data: Path, name: str, tmp_path: Path, **settings) -> SpeechDataConfig:
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name} at {real_data}")
    return config(real_data / name, cache=str(tmp_path), **settings)


def test_spoken_digits(real_data, tmp_path):
    settings = real(real_data, "fsdd", tmp_path, only="speaker=george")
    assert len(read(settings)) == 450 and len(read(settings, "test")) == 50
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert set(read(settings).texts) == set(digits)
    test = read(settings, "test")
    samples, rate = soundfile.read(test.names[0], dtype="int16")
    assert rate == RATE and (test.sound[0] == samples).all()


def test_yes_and_no(real_data, tmp_path):
    recordings = read(real(real_data, "yesno", tmp_path))
    assert len(recordings) == 60 and {len(text.split()) for text in recordings.texts} == {8}
    assert (recordings.lengths > 4 * RATE).all()


def test_an4(real_data, tmp_path):
    settings = real(real_data, "an4_mfcc", tmp_path)
    train, test = (read(settings, split, features=STORED) for split in ("train", "test"))
    assert len(train) == 948 and len(test) == 130 and train.texts[0] == "YES" and train.sound[0].shape[1] == 13
    first = np.fromfile(test.names[0], ">f4", offset=4)
    assert (test.sound[0].reshape(-1) == first).all() and test.texts[0] == "RUBOUT G M E F THREE NINE"


def test_sentences_at_mixed_rates(real_data, tmp_path):
    settings = real(real_data, "speech_sentences", tmp_path)
    recordings = read(settings)
    assert len(recordings) == 18
    for row, name in enumerate(recordings.names):
        info = soundfile.info(name)
        assert abs(recordings.lengths[row] - info.frames * RATE / info.samplerate) <= 1
    assert np.abs(recordings.sound[0]).max() > 1000
    assert isinstance(BadRecording("a", "b"), DataError)
