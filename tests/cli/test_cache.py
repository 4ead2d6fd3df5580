"""The cache is shown and pruned; other files are kept, and entries in use have a recent time."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from tformer_cli.cli.main import main
from tformer_cli.data.core.cache import cached, entries


@pytest.fixture
def cache(tmp_path):
    def write(stream):
        np.save(stream("a"), np.arange(5))

    def use(key: int):
        return cached(str(tmp_path), [key], ["a"], write)[0]["a"]

    use.folder = tmp_path
    return use


def age(entry, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(entry.folder, (then, then))


def test_what_was_used_lately_stays(cache, capsys):
    first, *_ = cache(1), cache(2), cache(3)
    for entry in entries(cache.folder):
        age(entry, 40)
    cache(2)
    (cache.folder / "machine.json").write_text("{}")
    assert main(["cache", "--folder", str(cache.folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["tokens", "3", "0.0", "40"]
    assert main(["cache", "--folder", str(cache.folder), "--prune", "30"]) == 0
    assert "removed 2 entries" in capsys.readouterr().err
    assert len(entries(cache.folder)) == 1 and first.tolist() == list(range(5))  # a run in progress keeps its mapping
    assert cache(1).tolist() == list(range(5))
    assert main(["cache", "--folder", str(cache.folder), "--prune", "0"]) == 0
    assert entries(cache.folder) == [] and (cache.folder / "machine.json").exists()


def test_a_cache_that_is_not_there_is_empty(tmp_path, capsys):
    assert main(["cache", "--folder", str(tmp_path / "none"), "--prune", "3"]) == 0
    assert "is empty" in capsys.readouterr().err


def test_other_folders_are_left_alone(tmp_path):
    for name in ("photos/summer", "tokens/.writing-1", "tokens/" + "g" * 64):
        (tmp_path / name).mkdir(parents=True)
    assert main(["cache", "--folder", str(tmp_path), "--prune", "0"]) == 0
    assert len(list(tmp_path.glob("*/*"))) == 3
