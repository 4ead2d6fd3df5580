"""The settings that `size: auto` chooses for parallel text."""

from __future__ import annotations

import pytest

from tformer_cli.cli.main import main
from tformer_cli.config.compose import compose, from_yaml
from tformer_cli.errors import DataError
from tformer_cli.tasks import build
from tformer_cli.tasks.settings.text import TranslationExperiment
from tformer_cli.tasks.sizing import suggested

LANGUAGES = ["data.source_language=en", "data.target_language=ja"]


def data_of(folder, pairs: int) -> list[str]:
    """Write a folder with pairs of built-in text, and return the settings that name it."""
    from tformer_cli.builtin import parallel

    lines = parallel("en-ja", "train", size=pairs)
    for side, language in enumerate(("en", "ja")):
        text = "".join(f"{line[side]}\n" for line in lines)
        (folder / f"train.{language}").write_text(text, encoding="utf-8")
        (folder / f"val.{language}").write_text(text, encoding="utf-8")
    return [f"data.path={folder}", f"data.cache={folder}/cache", *LANGUAGES]


@pytest.mark.parametrize("pairs", [5, 40, 900])
def test_small_collections_have_a_vocabulary_that_fits(tmp_path, pairs):
    overrides = data_of(tmp_path, pairs)
    size, settings = suggested(compose("translation/files", overrides))
    assert size == f"{pairs:,} pairs" and "model=transformer_tiny" in settings
    task = build(compose("translation/files", [*settings, *overrides]))
    task.prepare(tmp_path)  # the tokenizer can be trained
    assert task.view("train").num_batches >= 1


def test_the_sizes_grow_with_the_data(tmp_path, monkeypatch):
    from tformer_cli.tasks import sizing

    class Pairs(list):
        def __init__(self, number: int) -> None:
            super().__init__([("a", "b")])
            self.number = number

        def __len__(self) -> int:
            return self.number

    sizes = {}
    for number in (100, 29_000, 300_000, 5_000_000):
        monkeypatch.setattr(sizing, "read_parallel", lambda *_, number=number, **__: Pairs(number))
        _, settings = suggested(compose("translation/files", ["data.path=x", *LANGUAGES]))
        sizes[number] = dict(setting.split("=") for setting in settings)
    assert [values["model"] for values in sizes.values()] == [
        "transformer_tiny", "transformer_tiny", "transformer_small", "transformer_base"
    ]  # fmt: skip
    assert [int(values["trainer.steps"]) for values in sizes.values()] == [1000, 9030, 29030, 100_000]
    assert [int(values["tokenizer.vocab_size"]) for values in sizes.values()] == [350, 5960, 19170, 32_000]
    assert sizes[29_000]["optim.warmup_steps"] == "451" and sizes[29_000]["trainer.evaluate_every"] == "903"


def test_what_is_given_wins_and_the_rest_follows_it(tmp_path):
    overrides = [*data_of(tmp_path, 20), "trainer.steps=200", "optim.lr=0.01", "model=transformer_small"]
    _, settings = suggested(compose("translation/files", overrides), overrides)
    keys = {setting.partition("=")[0] for setting in settings}
    assert not keys & {"trainer.steps", "optim.lr", "model"}
    assert {"optim.warmup_steps=10", "trainer.evaluate_every=20"} <= set(settings)
    assert suggested(compose("translation/files", [*overrides, "size=given"]), overrides) == ("", [])
    assert suggested(compose("quickstart/gpt", [])) == ("", [])


def test_the_command_sizes_says_so_and_resumes(tmp_path, capsys):
    small = ["model.dim=16", "model.heads=2", "model.ffn_dim=16", "model.encoder_depth=1", "model.decoder_depth=1"]
    overrides = [*data_of(tmp_path, 30), *small, "trainer.evaluate_decoded=false", "trainer.threads=1"]
    run = tmp_path / "run"
    assert main(["pretrain", "translation/files", *overrides, "trainer.steps=3", "--run", str(run)]) == 0
    err = capsys.readouterr().err
    assert "chosen for 30 pairs: model=transformer_tiny tokenizer.vocab_size=" in err
    config = from_yaml(run / "config.yaml")
    assert isinstance(config, TranslationExperiment)
    assert (config.size.name, config.model.dim, config.trainer.steps) == ("given", 16, 3)
    again = ["pretrain", "translation/files", *overrides, "trainer.steps=3", "--run", str(run), "--resume"]
    assert main(again) == 0
    assert "nothing is left to train" in capsys.readouterr().err
    assert main(["pretrain", f"{run}/config.yaml", "--run", str(run), "--resume"]) == 0
    err = capsys.readouterr().err
    assert "chosen for" not in err and "nothing is left to train" in err
    assert main(["pretrain", "translation/files", f"data.path={tmp_path}/none", *LANGUAGES]) == 1
    assert "none" in capsys.readouterr().err


def test_rows_that_are_left_out_do_not_count(tmp_path):
    rows = [f"text {number}\ttekst {number}" for number in range(9)]
    (tmp_path / "train.tsv").write_text("\n".join(["en\tja", *rows, "no partner\t"]) + "\n")
    overrides = [f"data.path={tmp_path}", f"data.cache={tmp_path}/cache", *LANGUAGES]
    with pytest.raises(DataError, match="trainer.on_bad_sample=skip"):
        suggested(compose("translation/files", overrides))
    assert suggested(compose("translation/files", [*overrides, "trainer.on_bad_sample=skip"]))[0] == "9 pairs"
