"""A vocabulary of a recipe that is too large for the text is reduced; one that the user gave is refused."""

from __future__ import annotations

import pytest

from tformer_cli import load
from tformer_cli.cli.main import main
from tformer_cli.config.compose import flatten, from_yaml

SIZE = "tokenizer.vocab_size"
SMALL = ["model.dim=16", "model.heads=2", "model.ffn_dim=16", "trainer.threads=1", "trainer.steps=1"]
GPT = ["pretrain", "gpt/files", *SMALL, "model.depth=1", "model.max_length=16", "data.batch_tokens=64"]
PAIRS = [
    "pretrain", "translation/multi30k_en_de", *SMALL, "model.encoder_depth=1", "model.decoder_depth=1",
    "tokenizer.joint=false", "model.tie_embeddings=decoder", "trainer.evaluate_decoded=false", "data.test=''",
]  # fmt: skip
WORDS = ["good", "bad", "film", "plot", "fine", "story", "dull", "end", "scene", "actor", "music"]


def lines(count: int, words: list[str]) -> str:
    """Return lines of five words."""
    rows = [" ".join(words[row * place % len(words)] for place in range(1, 6)) for row in range(count)]
    return "".join(f"{row}\n" for row in rows)


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A folder with running text and sentence pairs, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "validation"):
        (tmp_path / f"{name}.txt").write_text(lines(40, WORDS))
        (tmp_path / f"{name}.en").write_text(lines(60, WORDS))
        (tmp_path / f"{name}.de").write_text(lines(60, WORDS[:5]))
    return [f"data.path={tmp_path}", f"data.cache={tmp_path}/cache"]


def size_in(run: str) -> int:
    """Return the size of the vocabulary that a run records."""
    return flatten(from_yaml(load(run).opened.checkpoint / "config.yaml"))[SIZE]


def test_the_size_of_a_recipe_is_reduced_and_recorded(texts, tmp_path, capsys):
    assert main([*GPT, *texts, "--run", "run"]) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if SIZE in line]
    size = size_in("run")
    assert note == f"note: {SIZE}={size}: the text is too small for 8000 pieces"
    tokenizer = load("run").tokenizer
    assert tokenizer is not None and tokenizer.vocab_size == size
    assert flatten(from_yaml(tmp_path / "run" / "config.yaml"))[SIZE] == size
    assert main([*GPT, *texts, "--run", "run", "--resume"]) == 0
    assert "nothing is left to train" in capsys.readouterr().err
    assert main([*GPT, *texts, f"{SIZE}=8000", "--run", "run", "--resume"]) == 1
    assert f"made with other settings: {SIZE}: {size} -> 8000" in capsys.readouterr().err
    assert main(["pretrain", "run/config.yaml", "--run", "again"]) == 0
    assert SIZE not in capsys.readouterr().err
    assert load("again").tokenizer.hash == tokenizer.hash


def test_the_size_of_the_user_is_refused(texts, tmp_path, capsys):
    assert main([*GPT, *texts, f"{SIZE}=8000", "--run", "run"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {SIZE}: the text is too small for 8000 pieces: set it to ")
    assert not (tmp_path / "run").exists()


def test_separate_vocabularies_have_a_size_that_fits_both(texts, capsys):
    assert main([*PAIRS, *texts, "--run", "run"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"note: {SIZE}=")]
    assert len(notes) == 2 and "for en is too small" in notes[0] and "for de is too small" in notes[1]
    tokenizer = load("run").tokenizer
    assert tokenizer is not None
    assert {tokenizer.vocab_size_of(language) for language in ("en", "de")} == {size_in("run")}
