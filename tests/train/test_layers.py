"""The blocks of every kind of model are compiled; recurrent layers are not."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._dynamo import config as limits

from tests.properties.families import family_named
from tformer_cli.errors import ConfigError
from tformer_cli.train.launch import launch

COMPILED = {
    "bert": (["Block"], 1),
    "resnet": (["ResidualBlock"] * 2, 2),
    "sagan": (["UpBlock"] * 2 + ["DownBlock"] * 3, 4),
}
"""The classes of the blocks of a small model, and the number of their different shapes."""


@pytest.mark.parametrize("name", COMPILED)
def test_training_compiles_all_blocks(name, tmp_path, monkeypatch):
    """Compilation is replaced, since it is slow."""
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda block: compiled.append(type(block).__name__))
    config = family_named(name).config(tmp_path, "trainer.compile=true", "trainer.steps=1")
    with limits.patch(recompile_limit=8):
        launch(config, tmp_path / "run", quiet=True)
        assert (compiled, limits.recompile_limit // 8) == COMPILED[name]


def test_steps_are_compiled_and_evaluations_are_not(tmp_path, monkeypatch):
    """Scores are then those of `tformer evaluate`. The first step is not compiled, since its work is counted."""
    gradients, compile_block = [], nn.Module.compile

    def backend(graph, inputs):
        gradients.append(torch.is_grad_enabled())
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(nn.Module, "compile", lambda block: compile_block(block, backend=backend))
    config = family_named("resnet").config(tmp_path, "trainer.compile=true", "trainer.steps=2")
    with limits.patch(recompile_limit=8):
        launch(config, tmp_path / "run", quiet=True)
    assert gradients == [True] * 2


def test_a_model_of_recurrent_layers_is_not_compiled(tmp_path):
    config = family_named("recurrent translation").config(tmp_path, "trainer.compile=true")
    message = "trainer.compile: torch.compile does not compile recurrent layers, and this model has no other blocks"
    with pytest.raises(ConfigError, match=f"^{message}: trainer.compile=false$"):
        launch(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "config.yaml").exists()
