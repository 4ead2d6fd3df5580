"""Token arrays: what is kept, what is cached, what happens to a damaged cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tformer_cli.config.schema import ParallelDataConfig, TokenizerConfig, TokenizerKind
from tformer_cli.data.core import cache
from tformer_cli.data.core.cache import default_cache
from tformer_cli.data.core.store import ArrayWriter, Ragged
from tformer_cli.data.text import encoded as text
from tformer_cli.data.text.encoded import ParallelTokens, pad, tokenize_parallel
from tformer_cli.data.text.parallel import ParallelSplit
from tformer_cli.errors import DataError
from tformer_cli.tokenizers.tokenizer import Tokenizer

SOURCES = ["ab ab", "", "b a", "a", "a b a b a b", "b b"]
TARGETS = ["b", "a", "a b", "   ", "b", "a a a a a a a a a"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    settings = TokenizerConfig(kind=TokenizerKind.char, vocab_size=20)
    return Tokenizer.train({"en": ["a b ab ba"], "de": ["b a"]}, settings, seed=1)


@pytest.fixture
def split() -> ParallelSplit:
    return ParallelSplit(SOURCES, TARGETS, origin="here")


def config(cache: Path, **settings) -> ParallelDataConfig:
    return ParallelDataConfig(source_language="en", target_language="de", cache=str(cache), **settings)


def build(split: ParallelSplit, tokenizer: Tokenizer, settings: ParallelDataConfig, **changes) -> ParallelTokens:
    return tokenize_parallel(split, tokenizer, settings, **{"training": True, "max_length": 1000, **changes})


def rows(arrays: Ragged) -> list[list[int]]:
    return [arrays[index].tolist() for index in range(len(arrays))]


def test_evaluation_keeps_every_pair(tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer) -> None:
    tokens = build(split, tokenizer, config(tmp_path, max_length=2, max_ratio=1.5), training=False)
    assert tokens.sample_ids.tolist() == list(range(6)) and tokens.dropped == {}
    assert rows(tokens.source) == [tokenizer.encode(line) for line in SOURCES]
    assert rows(tokens.target) == [tokenizer.encode(line) for line in TARGETS]
    assert tokens.lengths.tolist() == [
        [len(s), len(t)] for s, t in zip(rows(tokens.source), rows(tokens.target), strict=True)
    ]
    assert tokens.source.values.dtype == np.uint16


@pytest.mark.parametrize(
    ("settings", "max_length", "expected_rows", "dropped"),
    [
        ({}, 1000, [0, 2, 4, 5], {"empty": 2, "too long": 0, "ratio": 0}),
        ({"max_length": 12}, 1000, [0, 2, 4], {"empty": 2, "too long": 1, "ratio": 0}),
        ({}, 11, [0, 2], {"empty": 2, "too long": 2, "ratio": 0}),
        ({"max_ratio": 3.0}, 1000, [0, 2], {"empty": 2, "too long": 0, "ratio": 2}),
        ({"max_ratio": 3.0, "max_length": 12}, 1000, [0, 2], {"empty": 2, "too long": 1, "ratio": 1}),
    ],
)
def test_training_leaves_out_and_counts(
    tmp_path: Path,
    split: ParallelSplit,
    tokenizer: Tokenizer,
    settings: dict,
    max_length: int,
    expected_rows: list,
    dropped: dict,
) -> None:
    tokens = build(split, tokenizer, config(tmp_path, **settings), max_length=max_length)
    assert tokens.sample_ids.tolist() == expected_rows and tokens.dropped == dropped
    assert rows(tokens.source) == [tokenizer.encode(SOURCES[row]) for row in expected_rows]
    assert rows(tokens.target) == [tokenizer.encode(TARGETS[row]) for row in expected_rows]


def test_nothing_left_is_an_error(tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="here: no pair is left to train on: 2 empty, 4 too long"):
        build(split, tokenizer, config(tmp_path, max_length=1))


def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    encode = Tokenizer.encode_batch

    def counted(self, texts, language=None):
        calls.append(len(texts))
        return encode(self, texts, language)

    monkeypatch.setattr(Tokenizer, "encode_batch", counted)
    return calls


def test_each_side_has_its_own_vocabulary(tmp_path: Path, split: ParallelSplit) -> None:
    settings = TokenizerConfig(kind=TokenizerKind.char, vocab_size=20, joint=False)
    separate = Tokenizer.train({"en": ["a b ab ba"], "de": ["b b b a"]}, settings, seed=1)
    assert separate.encode("a b", "en") != separate.encode("a b", "de")
    tokens = build(split, separate, config(tmp_path), training=False)
    assert rows(tokens.source) == [separate.encode(line, "en") for line in SOURCES]
    assert rows(tokens.target) == [separate.encode(line, "de") for line in TARGETS]


def test_cache_is_used_and_keyed(
    tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_encodings(monkeypatch)
    first = build(split, tokenizer, config(tmp_path))
    assert len(calls) == 2
    again = build(split, tokenizer, config(tmp_path, max_ratio=3.0))  # limits encode nothing anew
    assert len(calls) == 2 and again.dropped["ratio"] == 2
    assert isinstance(first.source.values.base, np.memmap) and not first.source.values.flags.writeable
    other = ParallelSplit([*SOURCES[:-1], "b a"], TARGETS, origin="here")
    assert rows(build(other, tokenizer, config(tmp_path)).source)[-1] == tokenizer.encode("b a")
    changed = Tokenizer.train({"en": ["a b ab ba c"]}, TokenizerConfig(kind=TokenizerKind.char, vocab_size=20), seed=1)
    build(split, changed, config(tmp_path))
    swapped = ParallelDataConfig(source_language="de", target_language="en", cache=str(tmp_path))
    build(split, tokenizer, swapped)
    assert len(calls) == 8
    assert not list((tmp_path / "tokens").glob(".*"))


def test_many_texts_are_encoded_in_parts(
    tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = build(split, tokenizer, config(tmp_path / "a"), training=False)
    monkeypatch.setattr(text, "LINES_AT_ONCE", 4)
    parts = build(split, tokenizer, config(tmp_path / "b"), training=False)
    assert rows(together.source) == rows(parts.source) and rows(together.target) == rows(parts.target)


FILES = [
    "source_tokens.npy",
    "source_offsets.npy",
    "target_tokens.npy",
    "target_offsets.npy",
    "manifest.json",
]


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-2]),
    "flipped": flip,
    "zeroed": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "emptied": lambda file: file.write_bytes(b""),
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damaged_cache_is_rebuilt(
    tmp_path: Path,
    split: ParallelSplit,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: str,
) -> None:
    before = build(split, tokenizer, config(tmp_path))
    expected = rows(before.source), rows(before.target)
    [folder] = (tmp_path / "tokens").iterdir()
    DAMAGES[damage](folder / name)
    calls = count_encodings(monkeypatch)
    after = build(split, tokenizer, config(tmp_path))
    assert (rows(after.source), rows(after.target)) == expected and after.note == ""
    assert len(calls) == 2
    build(split, tokenizer, config(tmp_path))
    assert len(calls) == 2  # mended on disk as well
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [folder.name]


def test_pickles_in_the_cache_are_not_read(tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer) -> None:
    build(split, tokenizer, config(tmp_path))
    [folder] = (tmp_path / "tokens").iterdir()
    np.save(folder / "source_tokens.npy", np.array([{}], dtype=object), allow_pickle=True)
    manifest = folder / "manifest.json"
    manifest.write_text(
        json.dumps(
            {
                **json.loads(manifest.read_text()),
                "source_tokens.npy": cache._sha256(folder / "source_tokens.npy"),
            }
        )
    )
    assert rows(build(split, tokenizer, config(tmp_path), training=False).source)[0] == tokenizer.encode(SOURCES[0])


def test_unwritable_cache_falls_back_to_memory(tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    tokens = build(split, tokenizer, config(file), training=False)
    assert rows(tokens.source) == [tokenizer.encode(line) for line in SOURCES]
    assert "kept in memory" in tokens.note and str(file) in tokens.note and "\n" not in tokens.note


def test_full_disk_leaves_no_half_cache(
    tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = ArrayWriter.append

    def full(self, values):
        if "target" in str(getattr(self.stream, "name", "")):
            raise OSError(28, "No space left on device")
        append(self, values)

    monkeypatch.setattr(ArrayWriter, "append", full)
    tokens = build(split, tokenizer, config(tmp_path))
    assert "No space left" in tokens.note and len(tokens) == 4
    assert list((tmp_path / "tokens").iterdir()) == []


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = f"""
import sys, time
from tests_text import *
settings = TokenizerConfig(kind=TokenizerKind.char, vocab_size=20)
tokenizer = Tokenizer.train({{"en": ["a b ab ba"], "de": ["b a"]}}, settings, seed=1)
while time.time() < float(sys.argv[1]): pass
for trial in range(20):
    split = ParallelSplit([str(trial), *SOURCES], ["a", *TARGETS], origin="")
    tokens = build(split, tokenizer, config(Path({str(tmp_path)!r})), training=False)
    assert not tokens.note, tokens.note
    assert rows(tokens.source)[1:] == [tokenizer.encode(line) for line in SOURCES]
"""
    loader = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("tests_text", {str(Path(__file__))!r})
sys.modules["tests_text"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    start = str(time.time() + 4)
    commands = [[sys.executable, "-c", loader + code, start]] * 2
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(list((tmp_path / "tokens").iterdir())) == 20


def test_loser_of_a_race_uses_the_winners_cache(
    tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        build(split, tokenizer, config(tmp_path))  # another process is done in the meantime
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    tokens = build(split, tokenizer, config(tmp_path))
    assert tokens.note == "" and len(tokens) == 4
    assert len(list((tmp_path / "tokens").iterdir())) == 1


def test_leftovers_of_dead_processes_go(tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer) -> None:
    for name, age in (("old", 2 * cache.STALE_SECONDS), ("new", 0)):
        folder = tmp_path / "tokens" / f"{cache.TEMPORARY}{name}"
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    build(split, tokenizer, config(tmp_path))
    assert {path.name for path in (tmp_path / "tokens").glob(".*")} == {f"{cache.TEMPORARY}new"}


def test_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "tformer"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_cache() == Path.home() / ".cache" / "tformer"


def test_wide_vocabularies_have_wide_ids(
    tmp_path: Path, split: ParallelSplit, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, width in ((1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)):
        monkeypatch.setattr(Tokenizer, "vocab_size", size)
        assert build(split, tokenizer, config(tmp_path / str(size))).source.values.dtype == width


def test_select_and_from_offsets() -> None:
    arrays = Ragged.from_offsets(np.arange(6, dtype=np.uint16), np.array([0, 2, 2, 6]))
    assert rows(arrays) == [[0, 1], [], [2, 3, 4, 5]]
    assert rows(arrays.select(np.array([2, 0]))) == [[2, 3, 4, 5], [0, 1]]


# --- collation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [None, 7])
@pytest.mark.parametrize("end", [None, 8])
def test_pad(begin: int | None, end: int | None) -> None:
    random = np.random.default_rng(1)
    sequences = [random.integers(10, 60000, length).astype(np.uint16) for length in [3, 0, 5, 1]]
    ids, lengths = pad(sequences, 1, begin=begin, end=end)
    expected = [[begin] * (begin is not None) + row.tolist() + [end] * (end is not None) for row in sequences]
    longest = max(map(len, expected))
    assert ids.dtype == lengths.dtype == torch.int64
    assert ids.tolist() == [row + [1] * (longest - len(row)) for row in expected]
    assert lengths.tolist() == [len(row) for row in expected]


def test_pad_of_nothing() -> None:
    assert pad([], 0)[0].shape == (0, 0)
    assert pad([np.zeros(0, np.uint16)], 0)[0].shape == (1, 0)


def test_pad_is_fast() -> None:
    sequences = [np.arange(40, dtype=np.uint16)] * 64
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        pad(sequences, 0, begin=2, end=3)
        best = min(best, time.process_time() - start)
    assert best < 1e-3
