"""Families and the formats of other libraries: each family reads and writes its own, and what it cannot do is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from tests.properties.families import FAMILIES, VARIANTS
from tformer_cli.config.family import export_formats, exported_families, families, family, load
from tformer_cli.errors import ConfigError
from tformer_cli.interop.export import export_run
from tformer_cli.interop.foreign import read_foreign
from tformer_cli.interop.formats import Importer, importers

BY_NAME = {one.name: one for one in (*FAMILIES, *VARIANTS)}
SETTINGS = [
    *({"model_type": kind} for kind in ("bert", "roberta", "distilbert", "gpt2", "marian", "pegasus", "vit")),
    {"architecture": "vit_tiny_patch16_224"},
]
"""Contents of `config.json` that are read."""


@pytest.mark.parametrize("name", families())
def test_what_a_family_offers_can_be_loaded(name):
    offered = family(name)
    assert offered.exporters.keys() <= set(export_formats())
    for place in (*offered.importers.values(), *offered.exporters.values()):
        assert place.startswith("tformer_cli.interop.")
    assert all(callable(load(place)) for place in offered.exporters.values())
    assert all(isinstance(load(place), Importer) for place in offered.importers.values())
    assert all(name in exported_families(form) for form in offered.exporters)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_one_importer_at_most_accepts_a_model(settings):
    assert [importer.accepts(settings) for importer in importers()].count(True) == 1


def test_every_importer_accepts_a_model():
    assert all(any(importer.accepts(settings) for settings in SETTINGS) for importer in importers())


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"model_type": "t5", "architectures": ["T5Model"]}, "T5Model"),
        ({"model_type": "albert"}, "albert"),
        ({"model_type": ["vit"]}, r"\['vit'\]"),
        ({}, "an unnamed architecture"),
    ],
)
def test_an_architecture_that_no_family_reads_is_refused_with_those_that_are_read(settings, name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=rf"config\.json: {name} is not supported: tformer reads BERT, .*timm$"):
        read_foreign(tmp_path)


def refusal(name: str, to: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, opens: bool = True) -> str:
    """Return the message for a run that cannot be exported; if `opens` is false, the test fails if weights are read."""
    config = BY_NAME[name].config(folder)
    opened = SimpleNamespace(config=config, run=folder / "run", model=nn.Identity(), task=SimpleNamespace(data=None))

    def open_run(path: Path, *, device: str, check: Callable[[Any], None]) -> SimpleNamespace:
        check(SimpleNamespace(config=config))
        assert opens
        return opened

    monkeypatch.setattr("tformer_cli.interop.export.open_run", open_run)
    with pytest.raises(ConfigError) as error:
        export_run(folder / "run", folder / "out", to)
    assert not (folder / "out").exists() and "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{folder / 'run'}: ")


def test_a_family_without_an_exporter_is_refused_with_those_that_have_one(tmp_path, monkeypatch):
    for to in export_formats():
        message = f"a resnet model cannot be exported to {to} yet: models of {', '.join(exported_families(to))} can"
        assert refusal("resnet", to, tmp_path, monkeypatch, opens=False) == message
    message = "a bert model cannot be exported to timm yet: --to huggingface"
    assert refusal("bert", "timm", tmp_path, monkeypatch, opens=False) == message


@pytest.mark.parametrize("one", [*FAMILIES, *VARIANTS], ids=lambda one: one.name)
def test_a_model_of_another_form_is_refused_with_the_tasks_whose_models_are_exported(one, tmp_path, monkeypatch):
    config = one.config(tmp_path)
    for to in family(config.model.family).exporters:
        message = f"a {config.model.family} model of {config.task} cannot be exported yet: models of "
        assert refusal(one.name, to, tmp_path, monkeypatch).startswith(message)
