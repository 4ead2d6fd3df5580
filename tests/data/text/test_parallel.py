"""Reading sentence pairs: exact lines, strict errors, splits that are found by name."""

from __future__ import annotations

import gzip
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tformer_cli.config.schema import ParallelDataConfig, Source
from tformer_cli.config.splits import SPLITS
from tformer_cli.data.core.files import read_lines
from tformer_cli.data.text import parallel as source_module
from tformer_cli.data.text.pairs import Pairs
from tformer_cli.data.text.parallel import ParallelSplit, find_pairs, read_parallel
from tformer_cli.errors import ConfigError, DataError

PAIRS = [("a cat", "eine Katze"), ("", "leer"), ("x\u2028y\x85\x0b\x0cz", "Käse \u2029"), ("last", "letzte")]


FULL = [pair for pair in PAIRS if all(pair)]
"""Pairs without an empty side, which tables do not allow."""


def config(path: Path | str = "", **settings) -> ParallelDataConfig:
    settings.setdefault("source_language", "en")
    settings.setdefault("target_language", "de")
    return ParallelDataConfig(path=str(path), **settings)


def write_pair(folder: Path, stem: str, pairs=PAIRS) -> None:
    for column, language in enumerate(("en", "de")):
        (folder / f"{stem}.{language}").write_bytes("".join(pair[column] + "\n" for pair in pairs).encode())


def find_splits(config: ParallelDataConfig) -> dict[str, str]:
    """The existing splits: names in a dataset, or names of files without language and ending of a table."""
    locations = {split: find_pairs(config, split) for split in SPLITS}
    names = {
        split: location if isinstance(location, str) else location[0].name
        for split, location in locations.items()
        if location is not None
    }
    return {split: re.sub(r"\.(en|tsv|csv|jsonl(\.gz)?|parquet)$", "", name) for split, name in names.items()}


def fault(config: ParallelDataConfig, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        read_parallel(config, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\r\n", ["a", "b\r"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"\n\n", ["", ""]),
        (b"\n", [""]),
        (b"a\rb\n", ["a\rb"]),
        ("a\u2028b\u2029\x85\x0b\x0c\x1c\n".encode(), ["a\u2028b\u2029\x85\x0b\x0c\x1c"]),
        (b"x" * 2_000_000 + b"\ny", ["x" * 2_000_000, "y"]),
    ],
    ids=["plain", "no-end", "crlf", "bom", "blank", "one-blank", "cr", "separators", "megabyte"],
)
def test_lines_are_exact(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    file = tmp_path / "text"
    file.write_bytes(data)
    assert read_lines(file) == lines
    with gzip.open(tmp_path / "text.gz", "wb") as stream:
        stream.write(data)
    assert read_lines(tmp_path / "text.gz") == lines


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "text: the file is empty"),
        (b"\xef\xbb\xbf", "text: the file is empty"),
        (b"ok\nab\xffc\n", "text:2: not UTF-8: byte 3 of the line is 0xff"),
        (b"\xe9t\xe9", "text:1: not UTF-8: byte 1 of the line is 0xe9"),
        (b"ok\nok\n\xed\xa0\x80", "text:3: not UTF-8: byte 1"),
        (b"ok\nok\na\0b\n", "text:3: a NUL byte"),
        ("ab".encode("utf-16"), "text: the text is UTF-16"),
    ],
)
def test_bad_bytes_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "text"
    file.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_lines(file)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_damaged_gzip(tmp_path: Path) -> None:
    file = tmp_path / "text.gz"
    for data in (b"no gzip", gzip.compress(b"a line\n" * 1000)[:-20]):
        file.write_bytes(data)
        with pytest.raises(DataError, match="damaged gzip"):
            read_lines(file)


# --- parallel files -----------------------------------------------------------------------------------------


def test_pair_is_read_exactly(tmp_path: Path) -> None:
    write_pair(tmp_path, "train")
    split = read_parallel(config(tmp_path), "train")
    assert list(split) == PAIRS and len(split) == 4
    assert "train.en" in split.origin and "train.de" in split.origin
    swapped = read_parallel(config(tmp_path, source_language="de", target_language="en"), "train")
    assert list(swapped) == [pair[::-1] for pair in PAIRS]
    assert swapped.hash != split.hash
    copied = read_parallel(config(tmp_path, target_language="en", autoencoder=True), "train")
    assert list(copied) == [(source, source) for source, _ in PAIRS]


def test_hash_is_of_the_text_alone() -> None:
    def digest(sources: list[str], targets: list[str]) -> str:
        return ParallelSplit(sources, targets, origin="").hash

    pairs = [
        (["a", "b"], ["c", "d"]),
        (["a", "bc"], ["", "d"]),
        (["ab", ""], ["c", "d"]),
        (["a"], ["c"]),
        (["b", "a"], ["c", "d"]),
    ]
    assert len({digest(*pair) for pair in pairs}) == len(pairs)
    assert ParallelSplit(["a"], ["c"], origin="here").hash == digest(["a"], ["c"])
    many = [str(number) for number in range(25_000)]
    assert digest(many, many) != digest([*many[:-1], "x"], many)


def test_unequal_files_name_both_counts(tmp_path: Path) -> None:
    write_pair(tmp_path, "train")
    (tmp_path / "train.de").write_text("eins\n")
    message = fault(config(tmp_path))
    assert f"{tmp_path}/train.en has 4 lines" in message and f"{tmp_path}/train.de has 1:" in message


def test_absent_language_lists_those_there(tmp_path: Path) -> None:
    write_pair(tmp_path, "train")
    message = fault(config(tmp_path, target_language="fr"))
    assert message == f"{tmp_path}/train.fr: no such file: languages there: de, en"


def test_absent_split_lists_files(tmp_path: Path) -> None:
    write_pair(tmp_path, "valid")
    message = fault(config(tmp_path))
    assert "no split 'train'" in message and "valid.de, valid.en" in message
    assert "no split 'dev'" in fault(config(tmp_path, validation="dev"), "validation")
    assert "no such folder" in fault(config(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="data.path is not set"):
        read_parallel(config(), "train")


@pytest.mark.parametrize("name", ["val", "validation", "valid", "dev"])
def test_validation_is_found(tmp_path: Path, name: str) -> None:
    for stem in ("train", name, "test_2016", "train2"):
        write_pair(tmp_path, stem)
    assert find_splits(config(tmp_path)) == {"train": "train", "validation": name, "test": "test_2016"}


def test_of_two_tests_neither_is_taken(tmp_path: Path) -> None:
    for stem in ("train", "val", "test_a", "test_b"):
        write_pair(tmp_path, stem)
    (tmp_path / "test_c.en").write_text("one side only\n")
    assert find_splits(config(tmp_path)) == {"train": "train", "validation": "val"}
    remedy = "name it: data.test=..., there: test_a, test_b, train, val; or score --split validation"
    assert fault(config(tmp_path), "test") == f"{tmp_path}: no test split was found: {remedy}"
    assert find_splits(config(tmp_path, test="test_b"))["test"] == "test_b"
    write_pair(tmp_path, "test")
    assert find_splits(config(tmp_path))["test"] == "test"


def test_files_of_other_languages_are_named(tmp_path: Path) -> None:
    write_pair(tmp_path, "train")
    languages = "data.source_language=... data.target_language=... name other languages; or score --split validation"
    for name in ("test.fr", "test.cs", "notes.md", ".DS_Store"):
        (tmp_path / name).write_text("une ligne\n")
    remedy = f"expected test.en and test.de, or a table of both; there: test.cs, test.fr; {languages}"
    assert fault(config(tmp_path), "test") == f"{tmp_path}: no test split was found: {remedy}"
    for stem in ("train.en", "train.de", "test.fr", "test.cs"):
        (tmp_path / stem).unlink()
    assert "there: notes.md; data.source" in fault(config(tmp_path), "test")


def test_finding_reads_nothing(tmp_path: Path) -> None:
    write_pair(tmp_path, "train")
    (tmp_path / "test.en").write_bytes(b"\xff\n")
    (tmp_path / "test.de").write_bytes(b"")
    assert find_splits(config(tmp_path)) == {"train": "train", "test": "test"}


@pytest.mark.parametrize("role", ["validation", "test"])
def test_a_split_that_is_not_there_is_named_before_the_training_split_is_read(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_):
        raise AssertionError("the training split is read")

    write_pair(tmp_path, "train")
    monkeypatch.setattr(source_module, "_read_files", fail)
    assert "no split 'vla'" in fault(config(tmp_path, **{role: "vla"}))
    pairs = Pairs(SimpleNamespace(data=config(tmp_path)))
    with pytest.raises(DataError, match="no validation split was found"):
        pairs.prepare(tmp_path)


def test_split_elsewhere_and_by_its_own_name(tmp_path: Path) -> None:
    for folder in ("data", "other"):
        (tmp_path / folder).mkdir()
    write_pair(tmp_path / "data", "train")
    write_pair(tmp_path / "data", "news", [("n", "N")])
    write_pair(tmp_path / "other", "extra", [("e", "E")])
    (tmp_path / "other" / "t.tsv").write_text("en\tde\nt\tT\n")
    settings = config(
        tmp_path / "data",
        test=str(tmp_path / "other" / "extra"),
        validation=str(tmp_path / "other" / "t.tsv"),
    )
    assert list(read_parallel(settings, "test")) == [("e", "E")]
    assert list(read_parallel(settings, "validation")) == [("t", "T")]
    assert list(read_parallel(replace(settings, test="news"), "test")) == [("n", "N")]
    assert list(find_splits(settings)) == ["train", "validation", "test"]


def test_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    write_pair(tmp_path / "data", "train")
    write_pair(tmp_path, "mine", [("m", "M")])
    monkeypatch.chdir(tmp_path)
    assert list(read_parallel(config("data", test="mine"), "test")) == [("m", "M")]


# --- tables -------------------------------------------------------------------------------------------------


def write_table(file: Path) -> None:
    rows = [{"id": 1, "de": target, "en": source} for source, target in FULL]
    if file.name.endswith(".tsv"):
        file.write_text("id\tde\ten\n" + "".join(f"{r['id']}\t{r['de']}\t{r['en']}\n" for r in rows), newline="")
    elif file.name.endswith(".csv"):
        text = "id,de,en\r\n" + "".join(f'{r["id"]},"{r["de"]}","{r["en"]}"\r\n' for r in rows)
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    elif file.name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        data = "".join(json.dumps(row, ensure_ascii=row["en"] == "last") + "\n" for row in rows).encode()
        file.write_bytes(gzip.compress(data) if file.name.endswith(".gz") else data)


KINDS = ["tsv", "csv", "jsonl", "jsonl.gz", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_read_exactly(tmp_path: Path, kind: str) -> None:
    write_table(tmp_path / f"train.{kind}")
    write_table(tmp_path / f"dev.{kind}")
    settings = config(tmp_path)
    assert find_splits(settings) == {"train": "train", "validation": "dev"}
    split = read_parallel(settings, "train")
    assert list(split) == FULL
    assert split.hash == ParallelSplit(*map(list, zip(*FULL, strict=True)), origin="").hash
    file = config(tmp_path / f"train.{kind}")
    assert list(read_parallel(file, "train")) == FULL and list(find_splits(file)) == ["train", "validation"]


@pytest.mark.parametrize("kind", KINDS)
def test_missing_column_lists_columns(tmp_path: Path, kind: str) -> None:
    write_table(tmp_path / f"train.{kind}")
    message = fault(config(tmp_path, target_language="fr"))
    assert "no column 'fr'" in message and "'id', 'de', 'en'" in message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.tsv", "en\tde\na\tb\nc\n", "train.tsv:3: 1 columns, but 2 column names"),
        ("train.tsv", "en\tde\n", "train.tsv: there are no rows"),
        ("train.tsv", "en\tde\ten\na\tb\tc\n", "train.tsv:1: column 'en' is there twice"),
        ("train.csv", 'en,de\na,"b\nc"\nd,e,f\n', "train.csv:4: 3 columns"),
        (
            "train.csv",
            'en,de\na,"b"c\n',
            "train.csv:2: malformed CSV: text after a closing quote",
        ),
        (
            "train.csv",
            'en,de\na,b\nc,"open\n',
            "train.csv:3: malformed CSV: a quote that opens in this row is never",
        ),
        ("train.csv", "en,de\na\rb,c\n", "train.csv:2: malformed CSV: a carriage return within a value"),
        ("train.jsonl", '{"en": "a", "de": "b"}\n{"en": "a"\n', "train.jsonl:2: not JSON"),
        ("train.jsonl", '{"en": "a", "de": "b"}\n[1]\n', "train.jsonl:2: not a JSON object"),
        ("train.jsonl", '{"en": "a", "de": 7}\n', "train.jsonl:1: de is not text"),
        ("train.jsonl", '{"en": "a", "de": null}\n', "train.jsonl:1: de is missing (null)"),
        (
            "train.jsonl",
            '{"en": "a", "de": "\\u0000"}\n',
            "train.jsonl:1: de holds a NUL character: correct it, or skip",
        ),
        (
            "train.jsonl",
            '{"en": "a", "de": "a"}\n{"en": "a", "de": "\\ud800"}\n',
            "train.jsonl:2: de holds an unpaired surrogate (\\ud800), which is not valid Unicode: correct it, or skip",
        ),
        ("train.jsonl", "[" * 100_000 + "\n", "train.jsonl:1: a list, where each line must be an object"),
        ("train.jsonl", '{"en": ' * 100_000 + "\n", "train.jsonl:1: not JSON"),
        ("train.parquet", "no parquet", "train.parquet: cannot be read as Parquet"),
    ],
)
def test_malformed_tables_name_the_row(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    assert fault(config(tmp_path)).startswith(f"{tmp_path}/{message}")


def test_csv_values_may_be_huge_and_span_lines(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    (tmp_path / "train.csv").write_text(f'en,de\n"a, ""b""\nc",{long}\n')
    assert list(read_parallel(config(tmp_path), "train")) == [('a, "b"\nc', long)]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_translation_column(tmp_path: Path, kind: str) -> None:
    rows = [{"id": "1", "translation": {"en": source, "de": target}} for source, target in FULL]
    if kind == "jsonl":
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    assert list(read_parallel(config(tmp_path), "train")) == FULL
    assert "columns there: 'en', 'de'" in fault(config(tmp_path, target_language="fr")).replace(
        "'de', 'en'", "'en', 'de'"
    )


def test_two_tables_of_one_name(tmp_path: Path) -> None:
    write_table(tmp_path / "train.tsv")
    write_table(tmp_path / "train.csv")
    assert "which of train.tsv, train.csv?" in fault(config(tmp_path))
    assert list(read_parallel(config(tmp_path, train="train.csv"), "train")) == FULL


# --- Hugging Face datasets ----------------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local copy of a dataset, a cache of the test's own, and no network."""
    datasets = pytest.importorskip("datasets")
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tmp_path / "snapshot" / "data"
    folder.mkdir(parents=True)
    rows = [{"translation": {"en": source, "de": target}} for source, target in FULL]
    for split, part in (("train", rows), ("validation", rows[:1]), ("test", rows[1:])):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(part), folder / f"{split}-00000-of-00001.parquet")
    return tmp_path / "snapshot"


@pytest.mark.parametrize("streaming", [False, True])
def test_hub_snapshot(snapshot: Path, streaming: bool, capfd: pytest.CaptureFixture) -> None:
    settings = config(snapshot, source=Source.hub, streaming=streaming)
    assert find_splits(settings) == {"train": "train", "validation": "validation", "test": "test"}
    split = read_parallel(settings, "train")
    assert list(split) == FULL and "train" in split.origin
    assert split.hash == ParallelSplit(split.sources, split.targets, origin="").hash
    assert list(read_parallel(settings, "test")) == FULL[1:]
    assert "no column 'fr'" in fault(config(snapshot, source=Source.hub, target_language="fr", streaming=streaming))
    assert "splits there: train, validation, test" in fault(config(snapshot, source=Source.hub, test="exam"), "test")
    assert capfd.readouterr().err == ""


def test_hub_slice(snapshot: Path) -> None:
    assert list(read_parallel(config(snapshot, source=Source.hub, train="train[:2]"), "train")) == FULL[:2]


def test_hub_never_trusts_remote_code(snapshot: Path, tmp_path: Path) -> None:
    (snapshot / "snapshot.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    try:
        read_parallel(config(snapshot, source=Source.hub), "train")
    except DataError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "ran").exists()


def test_hub_absent_or_offline_is_one_line(snapshot: Path, tmp_path: Path) -> None:
    for path in ("nobody/no-such-dataset", str(tmp_path / "absent")):
        assert fault(config(path, source=Source.hub)).startswith(f"data.path: {path}: ")
    with pytest.raises(ConfigError, match="data.path is not set"):
        read_parallel(config(source=Source.hub), "train")


# --- built in -----------------------------------------------------------------------------------------------


def test_builtin_is_in_either_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    from tformer_cli import builtin

    def parallel(name: str, split: str, *, size: int, seed: int) -> list[tuple[str, str]]:
        return [(f"{name} {split} {row}", f"{size} {seed}") for row in range(2)]

    monkeypatch.setattr(builtin, "parallel", parallel, raising=False)
    settings = config("en-ja", source=Source.builtin, source_language="en", target_language="ja", size=7)
    assert find_splits(settings) == {role: role for role in ("train", "validation", "test")}
    assert list(read_parallel(settings, "test", seed=3)) == [
        ("en-ja test 0", "0 3"),
        ("en-ja test 1", "0 3"),
    ]
    settings = config("en-ja", source=Source.builtin, source_language="ja", target_language="en", size=7)
    train = read_parallel(settings, "train")
    assert train.targets == ["en-ja train 0", "en-ja train 1"]
    assert train.sources == ["7 1", "7 1"]  # data.size is of the training split
    with pytest.raises(ConfigError, match=r"data\.target_language.*'de'"):
        read_parallel(config("en-ja", source=Source.builtin), "train")


def test_builtin_data_is_there() -> None:
    settings = config("en-ja", source=Source.builtin, source_language="en", target_language="ja", size=20)
    split = read_parallel(settings, "train")
    assert len(split) == 20 and split.sources[0].isascii() and not split.targets[0].isascii()
    with pytest.raises(DataError, match=r"data\.test=mine has no effect on built-in data.*: .*data\.source=files"):
        read_parallel(replace(settings, test="mine"), "test")
    with pytest.raises(DataError, match="no built-in data of this kind are called 'absent': data.path=en-ja, or"):
        read_parallel(config("absent", source=Source.builtin, source_language="en", target_language="ja"), "train")


def test_multi30k() -> None:
    folder = Path(os.environ.get("TFORMER_DATA", Path(__file__).parents[4] / "shared" / "data")) / "multi30k"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}")
    settings = config(folder)
    assert find_splits(settings) == {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    assert [len(read_parallel(settings, split)) for split in ("train", "validation", "test")] == [
        29000,
        1014,
        1000,
    ]


def test_long_lists_are_cut() -> None:
    assert source_module._list([str(number) for number in range(20)]).endswith("11, and 8 more")


def test_splits_are_known_in_any_capitals(tmp_path):
    for stem in ("Training", "DEV", "Test"):
        write_pair(tmp_path, stem, FULL)
    assert find_splits(config(tmp_path)) == {"train": "Training", "validation": "DEV", "test": "Test"}
    assert len(read_parallel(config(tmp_path), "train")) == len(FULL)


def test_two_places_of_one_split_are_asked_about(tmp_path):
    for stem in ("train", "val"):
        write_pair(tmp_path, stem, FULL)
    (tmp_path / "train.TSV").write_text("en\tde\na\tb\n")
    assert "which of the pair of text files, train.TSV?" in fault(config(tmp_path))
    assert len(read_parallel(config(tmp_path, train="train.TSV"), "train")) == 1
    write_pair(tmp_path, "dev", FULL)
    assert "which one is the validation split: val or dev?" in fault(config(tmp_path), "validation")
    assert len(read_parallel(config(tmp_path, validation="val"), "validation")) == len(FULL)
