"""Lines are read in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma

import pytest

from tformer_cli import raw_lines
from tformer_cli.cli import text
from tformer_cli.data.core import files
from tformer_cli.errors import DataError


def test_lines_keep_their_ends_and_may_be_just_as_long_as_allowed():
    content = b"ab\r\n\nabc\nd"
    assert list(raw_lines.raw_lines(io.BytesIO(content), "x", longest=4)) == content.splitlines(keepends=True)


def test_a_line_that_is_too_long_is_named_and_not_read_whole():
    stream = io.BytesIO(b"a\n" + b"b" * 1000)
    with pytest.raises(DataError, match="x:2: a line of more than 9 bytes"):
        list(raw_lines.raw_lines(stream, "x", longest=9))
    assert stream.tell() < 20


def test_what_unpacks_to_far_more_than_it_holds_is_refused(monkeypatch):
    monkeypatch.setattr(raw_lines, "LARGE_BYTES", 100)
    lines = raw_lines.raw_lines(io.BytesIO(b"a\n" * 1000), "x.gz", size=1)
    with pytest.raises(DataError, match="x.gz: unpacks to more than 100 times its 1 bytes"):
        list(lines)


def test_input_of_a_verb_is_read_in_bounded_memory_too(monkeypatch):
    monkeypatch.setattr(raw_lines, "MOST_LINE_BYTES", 100)
    with pytest.raises(DataError, match="standard input:1: a line of more than"):
        list(text.decoded(io.BytesIO(b"a" * 1000), text.STDIN))


def test_lines_that_end_with_carriage_returns_alone_are_refused_and_not_read_as_one():
    assert list(raw_lines.raw_lines(io.BytesIO(b"a\rb\n"), "x")) == [b"a\rb\n"]
    assert list(raw_lines.raw_lines(io.BytesIO(b"a\r"), "x")) == [b"a\r"]
    for content in (b"a\rb", b"a\rb\r"):
        with pytest.raises(DataError, match="x: lines end with carriage returns alone"):
            list(raw_lines.raw_lines(io.BytesIO(content), "x"))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (gzip.compress(b"a", mtime=0), "packed with gzip, not text: unpack it, or end its name with .gz"),
        (bz2.compress(b"a"), "packed with bzip2"),
        (lzma.compress(b"a"), "packed with xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(9), "packed with zstd"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"PK\3\4\r" + bytes(9), "a ZIP archive"),
        (b"SQLite format 3\0", "an SQLite database"),
    ],
    ids=["gzip", "bzip2", "xz", "zstd", "7z", "zip", "sqlite"],
)
def test_packed_and_binary_files_are_refused_by_name(start, message, tmp_path):
    (tmp_path / "f.jsonl").write_bytes(start)
    with pytest.raises(DataError, match=message):
        list(files.lines(tmp_path / "f.jsonl"))
    with pytest.raises(DataError, match=message):
        list(text.decoded(io.BytesIO(start), text.STDIN))


@pytest.mark.parametrize("line", ["BZh is a mark", "PAR1 and PAR2", "PK"])
def test_text_that_begins_like_a_packed_file_is_text(line, tmp_path):
    (tmp_path / "f.txt").write_text(line + "\n")
    assert list(files.lines(tmp_path / "f.txt")) == [line]


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    "content", [b"a\n", b"a\r\n\n\xc3\xa9b\nc", b"\n\n", b"a\rb\n\r\n", b"\r", b"abcdefgh\ni", b"\xe2\x80\xa8x\n\x0c\n"]
)
def test_lines_read_in_blocks_are_those_read_one_by_one(monkeypatch, content, block_bytes):
    monkeypatch.setattr(raw_lines, "BLOCK_BYTES", block_bytes)
    lines, number = [], 1
    for block in raw_lines.line_blocks(io.BytesIO(content), "x"):
        lines += raw_lines.decoded_lines(block, "x", number)
        number += block.count(b"\n")
    one_by_one = enumerate(raw_lines.raw_lines(io.BytesIO(content), "x"), 1)
    assert lines == [raw_lines.decoded_line(line, "x", number) for number, line in one_by_one]


@pytest.mark.parametrize("block_bytes", [1, 4, 100])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a\nb" + b"c" * 100, "x:2: a line of more than 9 bytes"),
        (b"a\n\nb\xff\nc", "x:3: not UTF-8: byte 2 of the line is 0xff"),
        (b"a\n\xc3\n\0", "x:2: not UTF-8: byte 1 of the line is 0xc3"),
        (b"a\n\0\n\xff", "x:2: a NUL byte"),
        (b"a\rb", "x: lines end with carriage returns alone"),
    ],
)
def test_faults_of_lines_read_in_blocks_name_the_line(monkeypatch, content, fault, block_bytes):
    monkeypatch.setattr(raw_lines, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(raw_lines, "MOST_LINE_BYTES", 9)
    stream, number = io.BytesIO(content), 1
    with pytest.raises(DataError, match=fault):
        for block in raw_lines.line_blocks(stream, "x"):
            list(raw_lines.decoded_lines(block, "x", number))
            number += block.count(b"\n")
    assert stream.tell() <= 20


def test_a_line_that_expands_too_much_is_refused_before_it_is_read_whole(monkeypatch):
    monkeypatch.setattr(raw_lines, "LARGE_BYTES", 100)
    monkeypatch.setattr(raw_lines, "BLOCK_BYTES", 50)
    stream = io.BytesIO(b"a" * 100_000)
    with pytest.raises(DataError, match="unpacks to more than 100 times"):
        list(raw_lines.line_blocks(stream, "x.gz", size=1))
    assert stream.tell() < 1000
