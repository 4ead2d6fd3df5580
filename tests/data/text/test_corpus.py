"""Corpora: where documents begin and end, which split they belong to, and what is wrong with them."""

from __future__ import annotations

import gzip
import json

import pytest

from tformer_cli.builtin import python_docs
from tformer_cli.config.schema import CorpusDataConfig, Documents, Source
from tformer_cli.data.text.corpus import cut, divide, read_corpus
from tformer_cli.data.text.encoded import tokenize_corpus
from tformer_cli.errors import DataError
from tformer_cli.tokenizers.tokenizer import Tokenizer


def config(path, **settings) -> CorpusDataConfig:
    return CorpusDataConfig(path=str(path), **settings)


def test_lines_are_divided_into_documents():
    lines = ["one", "two", "", "  ", "three", ""]
    assert list(divide(lines, Documents.line)) == ["one", "two", "three"]
    assert list(divide(lines, Documents.blank)) == ["one\ntwo", "three"]
    assert list(divide(lines, Documents.file)) == ["one\ntwo\n\n  \nthree\n\n"]


def test_the_end_becomes_validation():
    assert cut(["0123456789"], 0.2) == (["01234567"], ["89"])
    assert cut(["aaaa", "bb", "cc", "dd"], 0.3) == (["aaaa", "bb"], ["cc", "dd"])
    assert cut(["a", "b" * 90], 0.1) == (["a"], ["b" * 90])
    assert cut(["a", "b"], 0.0) == (["a", "b"], [])


def test_one_file_and_its_end(tmp_path):
    (tmp_path / "input.txt").write_text("0123456789" * 10, encoding="utf-8")
    for path in (tmp_path, tmp_path / "input.txt"):
        train, validation = (read_corpus(config(path), split)[split] for split in ("train", "validation"))
        assert train.documents[0] + validation.documents[0] == "0123456789" * 10 + "\n"
        assert len(validation.documents[0]) == 10 and "last 10%" in validation.origin


def test_a_folder_of_texts_and_named_splits(tmp_path):
    for name in ("b", "a", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(f"text {name}\n", encoding="utf-8")
    roles = ("train", "validation", "test")
    documents = {split: list(read_corpus(config(tmp_path), split)[split].documents) for split in roles}
    assert documents == {"train": ["text a\n", "text b\n"], "validation": ["text valid\n"], "test": ["text test\n"]}


def test_tables_have_a_document_a_row(tmp_path):
    rows = [json.dumps({"text": f"row {number}\nline", "label": 1}) for number in range(4)]
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    assert read_corpus(config(tmp_path, validation_share=0.0), "train")["train"].documents[1] == "row 1\nline"
    with pytest.raises(DataError, match=r"no column 'body'.*'text', 'label'; name the right one with data\.column"):
        read_corpus(config(tmp_path, column="body"), "train")


@pytest.mark.parametrize(
    ("name", "content", "split", "message"),
    [
        ("train.txt", b"", "train", "the file is empty"),
        ("train.txt", b" \n\n", "train", "there is no text"),
        ("train.txt", b"a\xff", "train", "not UTF-8"),
        ("train.txt", b"a\0b", "train", "a NUL byte"),
        ("other.md", b"a", "train", "no split 'train'.*other.md"),
        ("train.txt", b"some text", "test", "no test split"),
    ],
)
def test_bad_input_is_named(tmp_path, name, content, split, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_corpus(config(tmp_path), split)
    with pytest.raises(DataError, match="no such folder or file"):
        read_corpus(config(tmp_path / "nowhere"), "train")


def test_no_share_and_no_split_is_an_error(tmp_path):
    (tmp_path / "train.txt").write_text("some text\n", encoding="utf-8")
    with pytest.raises(DataError, match="no validation split"):
        read_corpus(config(tmp_path, validation_share=0.0), "validation")


def test_no_test_split_is_an_error_that_names_the_files_there(tmp_path):
    (tmp_path / "train.txt").write_text("some text\n", encoding="utf-8")
    (tmp_path / "held-out.txt").write_text("some text\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"no test split was found: name it: data\.test=.*; there: held-out.*, train\.txt"
    ):
        read_corpus(config(tmp_path), "test")


def test_no_training_split_is_an_error(tmp_path):
    (tmp_path / "val.txt").write_text("one\n")
    with pytest.raises(DataError, match="no training split was found: name it"):
        read_corpus(config(tmp_path, train=""), "train")


def test_python_brings_its_documentation():
    train, again = python_docs.documents("train", 30), python_docs.documents("train", 30)
    assert train == again and len(train) == 30 and all(len(text) >= 200 for text in train)
    settings = config("python-docs", source=Source.builtin, size=30)
    parts = (read_corpus(settings, split)[split].documents for split in ("train", "validation"))
    assert [text for part in parts for text in part] == train


def test_the_library_is_parsed_once(tmp_path, monkeypatch):
    odd = "\u00e9\ud800 " * 200
    monkeypatch.setattr(python_docs, "_topics", lambda: iter(["a topic " * 30]))
    monkeypatch.setattr(python_docs, "_docstrings", lambda: iter([odd, "short"]))
    python_docs.documents.cache_clear()
    first = python_docs.documents("train", cache=str(tmp_path))
    python_docs.documents.cache_clear()  # as in the next process
    monkeypatch.setattr(python_docs, "_docstrings", lambda: pytest.fail("parsed again"))
    assert python_docs.documents("train", cache=str(tmp_path)) == first == ["a topic " * 30, odd]
    python_docs.documents.cache_clear()


def test_documents_end_with_their_mark_and_are_encoded_once(tmp_path):
    from tformer_cli.config.schema import TokenizerConfig, TokenizerKind

    (tmp_path / "train.txt").write_text("ab ba\nabba\n", encoding="utf-8")
    corpus = read_corpus(config(tmp_path, validation_share=0.0, documents=Documents.line), "train")["train"]
    settings = TokenizerConfig(kind=TokenizerKind.char, vocab_size=300, lossless=True)
    tokenizer = Tokenizer.train({"text": corpus.documents}, settings)
    tokens, note = tokenize_corpus(corpus, tokenizer, str(tmp_path / "cache"))
    assert note == "" and len(tokens) == 2
    assert [tokenizer.decode(tokens[i]) for i in range(2)] == ["ab ba", "abba"]
    assert all(int(tokens[i][-1]) == tokenizer.eos_id for i in range(2))
    again, _ = tokenize_corpus(corpus, tokenizer, str(tmp_path / "cache"))
    assert again.values.tolist() == tokens.values.tolist()
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 1


def test_a_folder_of_texts_counts_what_it_leaves_out(tmp_path):
    for name in ("a.txt", "B.TXT", ".c.txt", "._a.txt", "d.md", "below/e.txt", "test/f.txt", "test/g.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}\n")
    train = read_corpus(config(tmp_path, validation_share=0.0), "train")["train"]
    assert sorted(train.documents) == ["text of B.TXT\n", "text of a.txt\n"]
    assert train.notes == (f"left out of {tmp_path}: 1 .md, 1 in folders below (below/e.txt, d.md)",)
    assert read_corpus(config(tmp_path), "test")["test"].notes == (f"left out of {tmp_path}/test: 1 .md (g.md)",)
    (tmp_path / "train.txt").write_text("text\n" * 20)
    assert read_corpus(config(tmp_path), "train")["train"].notes == ()
