"""Every recipe composes, builds, and takes two steps when it is shrunk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.properties.families import ENTITIES, QUESTIONS, SENTIMENT
from tformer_cli.config.compose import compose, recipes
from tformer_cli.config.schema import (
    LanguageModelExperiment,
    MaskedLanguageModelExperiment,
    QuestionAnsweringExperiment,
    Source,
    TextClassificationExperiment,
    TokenTaggingExperiment,
    TranslationExperiment,
)
from tformer_cli.train.launch import launch

ROOT = Path(__file__).resolve().parents[2] / "recipes"
NAMES = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.yaml"))
SHRUNK = {
    TranslationExperiment: [
        "data.source=builtin", "data.path=en-ja", "data.source_language=en", "data.target_language=ja", "data.size=100",
        "data.batch_tokens=400", "tokenizer.vocab_size=400", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
        "model.encoder_depth=1", "model.decoder_depth=1",
    ],
    LanguageModelExperiment: [
        "data.source=builtin", "data.path=python-docs", "data.size=20", "data.batch_tokens=64",
        "tokenizer.vocab_size=600", "model.max_length=16", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
        "model.depth=1", "decode.max_length=8",
    ],
    MaskedLanguageModelExperiment: [
        "data.source=builtin", "data.path=python-docs", "data.size=20", "data.batch_tokens=64",
        "tokenizer.vocab_size=600", "model.max_length=16", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
        "model.depth=1",
    ],
    TextClassificationExperiment: [
        f"data.path={SENTIMENT}", "data.batch_tokens=64", "tokenizer.vocab_size=45", "model.max_length=16",
        "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
    ],
    TokenTaggingExperiment: [
        f"data.path={ENTITIES}", "data.batch_tokens=64", "tokenizer.vocab_size=40", "model.max_length=24",
        "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
    ],
    QuestionAnsweringExperiment: [
        f"data.path={QUESTIONS}", "data.batch_tokens=96", "tokenizer.vocab_size=38", "model.max_length=24",
        "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1", "data.stride=4",
    ],
}  # fmt: skip


def test_there_are_recipes():
    assert len(NAMES) > 4
    assert {info.name for info in recipes()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_takes_two_steps(name, tmp_path):
    text = (ROOT / f"{name}.yaml").read_text(encoding="utf-8")
    needed = ["data.path=x"] if "path: ???" in text else []
    needed += ["data.source_language=en", "data.target_language=de"] if name == "translation/files" else []
    schema = type(compose(name, needed))
    shared = [
        "trainer.steps=2",
        "trainer.minutes=0",
        "trainer.evaluate_limit=2",
        "trainer.threads=1",
        f"data.cache={tmp_path}",
    ]
    config = compose(name, [*SHRUNK[schema], *shared])
    assert config.data.source is Source.builtin or str(ROOT.parent / "tests") in config.data.path
    launch(config, tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "checkpoints" / "step-00000002" / "manifest.json").is_file()
