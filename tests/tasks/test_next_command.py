"""The commands that a finished run suggests are valid."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

from tests.properties.families import FAMILIES, SENTIMENT, family_named
from tformer_cli.cli.main import main
from tformer_cli.errors import DataError


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_split_is_there_if_it_can_be_read(family, tmp_path_factory):
    task = family.task(tmp_path_factory.getbasetemp())  # Python's documentation is parsed once for two families
    for split in ("train", "test"):
        try:
            task.data.split(split)
            readable = True
        except DataError:
            readable = False
        assert task.data.has_split(split) == readable


@pytest.mark.parametrize("with_test", [False, True])
def test_the_next_command_scores_a_split_that_is_there(with_test, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(SENTIMENT, "data/train.tsv")
    if with_test:
        shutil.copy(SENTIMENT, "data/test.tsv")
    family = family_named("text classification")
    settings = [item for item in family.settings if not item.startswith("data.path")]
    small = ["trainer.threads=1", "trainer.precision=fp32", "trainer.attention=explicit", "trainer.steps=1"]
    command = ["pretrain", family.recipe, *settings, *small, "data.path=data", f"data.cache={tmp_path}", "--run", "run"]
    assert main(command) == 0
    (advice,) = re.findall(r"^next: tformer (.*)$", capsys.readouterr().err, re.MULTILINE)
    score, use = advice.split("   or   tformer ")
    assert score == "evaluate run" + ("" if with_test else " --split validation")
    assert use == 'predict run "TEXT"'
    assert main(shlex.split(score)) == main(shlex.split(use)) == 0
