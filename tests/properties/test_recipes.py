"""Every recipe composes, builds, and takes two steps when it is shrunk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tformer_cli.config.compose import compose, recipes
from tformer_cli.config.schema import Source, TranslationExperiment
from tformer_cli.train.launch import launch

ROOT = Path(__file__).resolve().parents[2] / "recipes"
NAMES = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.yaml"))
SHRUNK = {
    TranslationExperiment: [
        "data.source=builtin", "data.path=en-ja", "data.source_language=en", "data.target_language=ja", "data.size=100",
        "data.batch_tokens=400", "tokenizer.vocab_size=400", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
        "model.encoder_depth=1", "model.decoder_depth=1",
    ],
}  # fmt: skip


def test_there_are_recipes():
    assert len(NAMES) > 4
    assert {info.name for info in recipes()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_takes_two_steps(name, tmp_path):
    text = (ROOT / f"{name}.yaml").read_text(encoding="utf-8")
    needed = ["data.path=x"] if "path: ???" in text else []
    needed += ["data.source_language=en", "data.target_language=de"] if name.endswith("/files") else []
    schema = type(compose(name, needed))
    shared = [
        "trainer.steps=2",
        "trainer.minutes=0",
        "trainer.evaluate_limit=2",
        "trainer.threads=1",
        f"data.cache={tmp_path}",
    ]
    config = compose(name, [*SHRUNK[schema], *shared])
    assert config.data.source is Source.builtin
    launch(config, tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "checkpoints" / "step-00000002" / "manifest.json").is_file()
