"""Texts and arrays that lie in files."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tformer_cli import raw_lines
from tformer_cli.config.schema import (
    CorpusDataConfig,
    Documents,
    ParallelDataConfig,
    TokenizerConfig,
    TokenizerKind,
)
from tformer_cli.data.core import store
from tformer_cli.data.core.store import ArrayWriter, RaggedWriter, Texts, chunks, gather, text_digest
from tformer_cli.data.text.corpus import read_corpus
from tformer_cli.data.text.encoded import tokenize_corpus, tokenize_parallel
from tformer_cli.data.text.parallel import read_parallel
from tformer_cli.errors import DataError
from tformer_cli.tokenizers.tokenizer import Tokenizer

LINES = ["one", "", "zwei ä", "日本語" * 50, " \u2028 ", "last"]


@pytest.fixture(params=[1, 7, 1 << 20], ids=["byte", "few", "many"])
def texts(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Texts:
    monkeypatch.setattr(store, "READ_BYTES", request.param)
    monkeypatch.setattr(store, "OFFSETS_AT_ONCE", 3)
    return gather(([line] for line in LINES), 1, cache=str(tmp_path), origin="here")[0]


def test_texts_are_a_sequence(texts: Texts) -> None:
    assert len(texts) == len(LINES) and list(texts) == LINES
    assert [texts[i] for i in range(-len(LINES), len(LINES))] == LINES * 2
    assert texts[np.int64(2)] == LINES[2]
    for index in (len(LINES), -len(LINES) - 1):
        with pytest.raises(IndexError):
            texts[index]
    for part in (slice(2), slice(-2, None), slice(None, -1), slice(1, 4), slice(4, 1), slice(9, 99)):
        assert list(texts[part]) == LINES[part] and len(texts[part]) == len(LINES[part])
    assert list(texts[1:5][1:3]) == LINES[2:4] and texts[1:5][-1] == LINES[4]
    with pytest.raises(ValueError, match="without gaps"):
        texts[::2]


def test_two_readers_do_not_disturb_each_other(texts: Texts) -> None:
    assert [pair[0] for pair in zip(texts, texts, strict=True)] == LINES
    assert all(first == second == texts[i] for i, (first, second) in enumerate(zip(texts, texts, strict=True)))


def test_another_process_gets_the_texts(texts: Texts) -> None:
    assert pickle.loads(pickle.dumps(texts)) == LINES


def test_columns_and_no_rows(tmp_path: Path) -> None:
    left, right = gather(iter([("a", "b"), ("c", "")]), 2, cache=str(tmp_path), origin="here")
    assert (list(left), list(right)) == (["a", "c"], ["b", ""])
    (nothing,) = gather([], 1, cache=str(tmp_path), origin="here")
    assert len(nothing) == 0 and list(nothing) == [] and list(nothing[:5]) == []


def test_nothing_stays_in_the_cache_folder(tmp_path: Path, texts: Texts) -> None:
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert list(gather([["a"]], 1, cache=str(tmp_path / "file"), origin="here")[0]) == ["a"]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArrayWriter, "append", full)
    with pytest.raises(DataError, match=r"No space left on device: free some space, or .*data\.cache"):
        gather([["a"]], 1, cache=str(tmp_path), origin="here")


@pytest.mark.parametrize(("text", "message"), [("a\0", "row 2: a NUL"), ("\ud800", "row 2: an unpaired surrogate")])
def test_what_is_no_text_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"here: {message}"):
        gather([["good"], [text]], 1, cache=str(tmp_path), origin="here")


def test_digest_is_of_the_text_wherever_it_lies(texts: Texts) -> None:
    assert text_digest([texts], "") == text_digest([LINES], "") != text_digest([texts[:-1]], "")
    assert text_digest([["a", "b"], ["c", "d"]], "") != text_digest([["a"], ["b", "c", "d"]], "")


@pytest.mark.parametrize("in_memory", [True, False])
def test_arrays_grow_and_are_as_numpy_writes_them(tmp_path: Path, in_memory: bool) -> None:
    with (tmp_path / "a.npy").open("w+b") as file:
        writer = ArrayWriter(io.BytesIO() if in_memory else file, np.uint16)
        for size in (0, 3, 100_000, 1):
            writer.append(np.arange(size))
        array = writer.finish()
        expected = np.concatenate([np.arange(size, dtype=np.uint16) for size in (0, 3, 100_000, 1)])
        assert array.dtype == np.uint16 and np.array_equal(array, expected)
    if not in_memory:
        assert np.array_equal(np.load(tmp_path / "a.npy", mmap_mode="r", allow_pickle=False), expected)
        np.save(tmp_path / "b.npy", expected)
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_sequences_lie_end_to_end() -> None:
    writer = RaggedWriter(io.BytesIO(), io.BytesIO(), np.uint32)
    for rows in ([[1, 2], []], [], [[3]]):
        writer.extend(np.array(sum(rows, []), np.uint32), np.array([len(row) for row in rows], np.int64))
    values, offsets = writer.finish()
    assert (values.tolist(), offsets.tolist()) == ([1, 2, 3], [0, 2, 2, 3])


def test_chunks_are_short_where_texts_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHARACTERS_AT_ONCE", 10)
    assert list(chunks(iter(["a"] * 5), 2)) == [["a", "a"], ["a", "a"], ["a"]]
    assert list(chunks(["a", "b" * 20, "c", "d" * 9, "e"], 9)) == [["a", "b" * 20], ["c", "d" * 9], ["e"]]
    assert list(chunks([], 3)) == []


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus and pairs of 100 kB and of 2 MB are read, hashed, learnt from and encoded in about the same memory."""
    for name, size in (("READ_BYTES", 1 << 14), ("CHARACTERS_AT_ONCE", 1 << 14), ("OFFSETS_AT_ONCE", 64)):
        monkeypatch.setattr(store, name, size)
    monkeypatch.setattr(raw_lines, "BLOCK_BYTES", 1 << 14)
    line = "abc ba " * 140
    tokenizer = Tokenizer.train({"x": [line] * 9}, TokenizerConfig(kind=TokenizerKind.char, vocab_size=20))
    languages = {"source_language": "en", "target_language": "de"}

    def peak(lines: int) -> int:
        folder = tmp_path / str(lines)
        folder.mkdir()
        for name in ("train.txt", "train.en", "train.de"):
            (folder / name).write_text((line + "\n") * lines, encoding="utf-8")
        (folder / "val.txt").write_text(line, encoding="utf-8")
        where = {"path": str(folder), "cache": str(folder)}
        tracemalloc.start()
        corpus = read_corpus(CorpusDataConfig(documents=Documents.line, **where), "train")["train"]
        tokens, note = tokenize_corpus(corpus, tokenizer, str(folder))
        pairs = ParallelDataConfig(**where, **languages)
        both = tokenize_parallel(read_parallel(pairs, "train"), tokenizer, pairs, training=False, max_length=9)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(corpus) == len(tokens) == len(both) == lines and not note + both.note
        return peak_bytes

    small = peak(100)
    assert peak(800) < small + 200_000
