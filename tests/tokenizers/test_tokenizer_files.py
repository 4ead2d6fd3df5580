"""Tests of tokenizer files: models of other programs, and damaged ones."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import sentencepiece

from tests.tokenizers.test_tokenizer import TEXTS, train, write
from tformer_cli.config.schema import TokenizerConfig, TokenizerKind
from tformer_cli.errors import DataError, TformerError
from tformer_cli.tokenizers.huggingface import JsonTokenizer
from tformer_cli.tokenizers.tokenizer import Tokenizer


def foreign(**settings) -> bytes:
    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS["en"]),
        model_writer=writer,
        vocab_size=50,
        num_threads=1,
        minloglevel=3,
        **settings,
    )
    return writer.getvalue()


def test_foreign_model_with_other_ids(tmp_path: Path) -> None:
    file = tmp_path / "other.model"
    file.write_bytes(foreign(pad_id=3, bos_id=1, eos_id=2, unk_id=0))
    tokenizer = Tokenizer.load(file)
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (3, 0, 1, 2)
    assert tokenizer.decode([1, *tokenizer.encode("the cat"), 2, 3]) == "the cat"
    assert Tokenizer.load(write(tokenizer, tmp_path / "folder")).hash == tokenizer.hash


def test_foreign_model_without_special_pieces(tmp_path: Path) -> None:
    file = tmp_path / "other.model"
    file.write_bytes(foreign(bos_id=-1))  # SentencePiece's own default has no padding
    with pytest.raises(DataError, match="no padding and no beginning piece") as caught:
        Tokenizer.load(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"\0" * 99])
def test_damaged_model(tmp_path: Path, damage) -> None:
    folder = write(train(), tmp_path / "tokenizer")
    file = folder / "joint.model"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match="not a SentencePiece model"):
        Tokenizer.load(folder)


def test_no_tokenizer(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match="no tokenizer found"):
            Tokenizer.load(path)
    folder = write(train(), tmp_path / "tokenizer")
    (folder / "joint.model").unlink()
    with pytest.raises(DataError, match=r"joint\.model: no such file"):
        Tokenizer.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"models": ["../joint"]},
        {"models": ["/etc/passwd"]},
        {"models": ["a/../../joint"]},
        {"models": [".."]},
        {"models": ["joint\n"]},
        {"models": []},
        {"models": {"joint": "../x"}},
        {"models": [7]},
        {"format": 2},
        {"kind": None},
        {"lossless": "yes"},
    ],
    ids=str,
)
def test_metadata_is_checked_and_leads_nowhere_else(tmp_path: Path, change: dict) -> None:
    folder = write(train(), tmp_path / "tokenizer")
    (tmp_path / "joint.model").write_bytes((folder / "joint.model").read_bytes())
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | change))
    with pytest.raises(TformerError, match=r"meta\.json"):
        Tokenizer.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"[]", b"3"])
def test_metadata_that_is_not_metadata(tmp_path: Path, content: bytes) -> None:
    folder = write(train(), tmp_path / "tokenizer")
    (folder / "meta.json").write_bytes(content)
    with pytest.raises(DataError, match=r"meta\.json"):
        Tokenizer.load(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write(train(), tmp_path / "tokenizer")
    (folder / "joint.model").rename(tmp_path / "elsewhere.model")
    (folder / "joint.model").symlink_to(tmp_path / "elsewhere.model")
    with pytest.raises(DataError, match="is a link"):
        Tokenizer.load(folder)


def test_a_run_has_the_tokenizer_of_its_checkpoints(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(
        {"text": ["a cat sat", "cats sat"] * 9}, TokenizerConfig(kind=TokenizerKind.char, vocab_size=16)
    )
    folder = tmp_path / "run" / "checkpoints" / "step-00000002" / "tokenizer"
    folder.mkdir(parents=True)
    for name, content in tokenizer.files().items():
        (folder / name).write_bytes(content)
    for path in (tmp_path / "run", folder.parent, folder):
        assert Tokenizer.load(path).hash == tokenizer.hash


def _tokenizer_json(**parts) -> bytes:
    return json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, **parts}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        _tokenizer_json(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        _tokenizer_json(model={"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]}),
        _tokenizer_json(model={"type": "BPE", "vocab": {"##a": 0, "b": 1}, "merges": [["b", "b"]]}),
        _tokenizer_json(
            model={
                "type": "BPE",
                "vocab": {"ab": 0, "b": 1},
                "continuing_subword_prefix": "####",
                "merges": [["b", "b"]],
            }
        ),
        _tokenizer_json(normalizer={"type": "Replace", "pattern": {"Regex": "("}, "content": ""}),
        _tokenizer_json(model={"type": "BPE", "vocab": {"a": 0, "b": 4_294_967_295}, "merges": []}),
    ],
)
def test_a_damaged_tokenizer_json_is_named_and_nothing_else_is_printed(content, capfd):
    """The library panics on some files; a panic is not an Exception in Python, and prints a stack."""
    with pytest.raises(DataError, match="^FILE: "):
        JsonTokenizer(content, dict.fromkeys(("pad", "unk", "bos", "eos"), "a"), "FILE")
    assert capfd.readouterr() == ("", "")


def test_a_text_that_a_tokenizer_json_cannot_encode_is_an_error():
    word_piece = {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    content = _tokenizer_json(model={**word_piece, "max_input_chars_per_word": 100})
    tokenizer = JsonTokenizer(content, dict.fromkeys(("pad", "unk", "bos", "eos"), "a"), "FILE")
    for encode in (lambda: tokenizer.encode("xyz"), lambda: tokenizer.encode_batch(["xyz"])):
        with pytest.raises(DataError, match="FILE: a text cannot be encoded"):
            encode()


def test_the_size_of_a_vocabulary_counts_unused_ids() -> None:
    """A model has a row of weights for each id up to the largest."""
    pytest.importorskip("tokenizers")
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "hello": 7, "world": 9}
    content = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    special = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"}
    tokenizer = JsonTokenizer(json.dumps(content).encode(), special)
    assert tokenizer.encode("hello world") == [7, 9] and tokenizer.vocab_size == tokenizer.vocab_size_of() == 10
    assert tokenizer.pieces(range(10))[7:] == ["hello", "", "world"] and len(tokenizer.word_starts()) == 10
