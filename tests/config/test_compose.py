"""Tests of recipes, overrides and sweeps: the configurations that they give."""

import os
import re
import shutil

import pytest

from tformer_cli.config import hydra_groups
from tformer_cli.config import recipes as recipe_files
from tformer_cli.config.compose import (
    as_resumed,
    compose,
    differences,
    flatten,
    from_yaml,
    override,
    recipes,
    to_yaml,
)
from tformer_cli.config.experiments import experiment, families_for, tasks
from tformer_cli.config.overrides import expand
from tformer_cli.config.schema import Positions, Schedule
from tformer_cli.config.values import leaves, plain
from tformer_cli.errors import ConfigError

RECIPE = "translation/multi30k_en_de"
DATA = "data.path=somewhere"
SCHEMAS = [experiment(task, family) for task in tasks() for family in families_for(task)]
GIVEN = [DATA, "data.source_language=en", "data.target_language=de"]


def failure(recipe: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        compose(recipe, overrides)
    assert "\n" not in str(error.value)
    assert not re.search(r"(?i)omegaconf|struct mode|config_store|antlr|lexer|mismatched|traceback", str(error.value))
    return str(error.value)


def write(folder, text: str, name: str = "mine.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


# --- what comes out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", recipe_files.names())
def test_every_recipe_composes_and_survives_saving(recipe, tmp_path):
    overrides = GIVEN if "translation" in recipe else [DATA]
    if "speech_translation" in recipe:
        overrides = [DATA, "data.target_language=de"]
    config = compose(recipe, overrides)
    assert config.recipe == recipe
    text = to_yaml(config)
    saved = write(tmp_path, text)
    again = compose(saved, [])
    assert again == config
    assert to_yaml(again) == text
    assert from_yaml(tmp_path / "mine.yaml") == config


def test_there_are_recipes_with_complete_headers():
    infos = recipes()
    assert len(infos) >= 5
    for info in infos:
        assert info.path.is_file()
        assert info.description
        assert {"command", "hardware", "time", "expected", "measured"} <= set(info.header)
        assert info.header["command"].startswith((f"tformer pretrain {info.name} ", f"tformer finetune {info.name} "))


def test_every_option_of_every_group_fits_a_recipe():
    available = recipe_files.groups()
    assert {"model", "optim", "trainer", "decode", "data", "tokenizer"} <= set(available)
    unused = {(group, option) for group, options in available.items() for option in options}
    others = ("gpt/files", "bert/imdb", "text/classification", "vit/finetune", "resnet/cifar10", "conformer/folder",
              "sagan/cifar10")  # fmt: skip
    for recipe in (RECIPE, *others):
        overrides = GIVEN if recipe == RECIPE else [DATA]
        schema = type(compose(recipe, overrides))
        overrides = [*overrides, *(["tokenizer.sampling=0"] if "tokenizer.sampling" in leaves(schema) else [])]
        for group in available:
            for option in recipe_files.fitting(group, schema):
                if (group, option) in unused:
                    compose(recipe, [*overrides, f"{group}={option}"])
                    unused.discard((group, option))
    assert not unused


def test_groups_then_own_values_then_the_command_line(tmp_path):
    path = write(tmp_path, "defaults:\n  - schema: translation\n  - optim: cosine\n  - _self_\noptim:\n  lr: 0.25\n")
    config = compose(path, [*GIVEN, "optim.beta1=0.5"])
    assert (config.optim.schedule, config.optim.lr, config.optim.beta1) == (Schedule.cosine, 0.25, 0.5)
    config = compose(path, [*GIVEN, "optim=linear"])
    assert (config.optim.schedule, config.optim.lr, config.optim.final_lr_ratio) == (
        Schedule.linear,
        0.25,
        0.0,
    )
    config = compose(path, [*GIVEN, "model.dim=8", "model=transformer_base"])
    assert (config.model.dim, config.model.ffn_dim) == (8, 2048)  # a value wins over an option, in any order


def test_an_option_replaces_what_a_saved_file_says(tmp_path):
    saved = write(tmp_path, to_yaml(compose(RECIPE, [DATA])))
    config = compose(saved, ["model=transformer_base", "model.dropout=0.2"])
    assert (config.model.dim, config.model.encoder_depth, config.model.dropout) == (512, 6, 0.2)
    assert config.recipe == RECIPE


def test_overrides_have_the_type_of_their_setting():
    config = compose(
        RECIPE,
        [
            "data.path=/my corpus, v2 (x)=1.txt", "data.name=1e3", "optim.lr=3e-4", "trainer.steps=1e3", "seed=1_000",
            "model.bias=False", "model.positions=none", "tokenizer.user_symbols=[<a>,'b c',1]", "optim.lr=2",
            "data.cache='a b'", "data.test=",
        ],
    )  # fmt: skip
    assert config.data.path == "/my corpus, v2 (x)=1.txt"
    assert config.data.name == "1e3"
    assert config.optim.lr == 2.0
    assert isinstance(config.optim.lr, float)
    assert (config.trainer.steps, config.seed, config.model.bias) == (1000, 1000, False)
    assert config.model.positions is Positions.none
    assert config.tokenizer.user_symbols == ["<a>", "b c", "1"]
    assert (config.data.cache, config.data.test) == ("a b", "")


def test_a_recipe_is_found_by_name_and_by_path(tmp_path, monkeypatch):
    by_name = compose(RECIPE, [DATA])
    assert compose(str(recipe_files.folder("recipes") / f"{RECIPE}.yaml"), [DATA]) == by_name
    assert compose(f"{RECIPE}.yaml", [DATA]) == by_name
    monkeypatch.chdir(tmp_path)
    write(tmp_path, to_yaml(by_name).replace(f"recipe: {RECIPE}", "recipe: ''"), "my own.yaml")
    assert compose("./my own.yaml", []).recipe == "my own"


def test_conf_and_recipes_are_found_inside_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "tformer_cli"
    (package / "conf").mkdir(parents=True)
    (package / "config").mkdir()
    monkeypatch.setattr(recipe_files, "__file__", str(package / "config" / "recipes.py"))
    recipe_files.folder.cache_clear()
    try:
        assert recipe_files.folder("conf") == package / "conf"
        with pytest.raises(ConfigError, match="install tformer again"):
            recipe_files.folder("recipes")
    finally:
        recipe_files.folder.cache_clear()


def test_composing_leaves_a_callers_hydra_alone():
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(recipe_files.folder("conf")), version_base="1.3"):
        compose(RECIPE, [DATA])
        assert hydra_compose("optim/cosine").optim.schedule == "cosine"


def test_flatten_and_differences():
    before, after = compose(RECIPE, [DATA]), compose(RECIPE, [DATA, "optim.lr=1", "model.bias=false"])
    assert flatten(before)["model.positions"] == "sinusoidal"
    assert list(flatten(before)) == list(leaves(type(before)))
    assert differences(before, before) == []
    assert differences(before, after) == ["optim.lr: 0.004 -> 1.0", "model.bias: true -> false"]


def test_the_target_language_of_an_autoencoder_is_its_source_language():
    source = ["data.source_language=fr"]
    for recipe, settings in (("lineage/autoencoder", []), (RECIPE, [DATA, "data.autoencoder=true"])):
        config = compose(recipe, [*settings, *source])
        assert config.data.target_language == "fr"
        assert "target_language: fr" in to_yaml(config)
    assert compose("lineage/autoencoder", []).data.target_language == "en"
    assert compose(RECIPE, [DATA, *source]).data.target_language != "fr"


def test_override_changes_a_copy():
    config = compose(RECIPE, [DATA])
    changed = override(config, ["decode=greedy", "data.test=other"])
    assert (changed.decode.beam, changed.data.test, config.decode.beam) == (1, "other", 5)
    assert differences(config, override(config, [])) == []
    with pytest.raises(ConfigError, match="unknown setting 'beam'"):
        override(config, ["beam=3"])


def test_every_setting_says_what_it_is():
    for schema in SCHEMAS:
        for key, leaf in leaves(schema).items():
            assert leaf.about, key


def test_defaults_lie_within_their_own_ranges():
    from tformer_cli.config.values import convert

    for schema in SCHEMAS:
        tree = plain(schema())
        for key, leaf in leaves(schema).items():
            value = tree
            for part in key.split("."):
                value = value[part]
            convert(value, leaf)


def test_what_an_earlier_version_did_stays_when_its_run_is_resumed(tmp_path):
    config = compose("text/classification", ["data.path=x"])
    lines = [line for line in to_yaml(config).splitlines(keepends=True) if "stratified:" not in line]
    saved = tmp_path / "config.yaml"
    begin = next(number for number, line in enumerate(lines) if line.startswith("  missing:"))
    end = next(number for number, line in enumerate(lines) if number > begin and not line.startswith("  - "))
    saved.write_text("".join(lines[:begin] + lines[end:]))
    again = as_resumed(config, saved, [])
    assert (again.data.stratified, again.data.missing) == (False, [])
    assert as_resumed(config, saved, ["data.stratified=true", "data.missing=[NA]"]) == config
    assert as_resumed(config, tmp_path / "none", []) == config


# --- sweeps ---------------------------------------------------------------------------------------------------------


def test_a_vocabulary_that_was_reduced_to_its_text_stays_when_its_run_is_resumed(tmp_path):
    size, saved = "tokenizer.vocab_size", tmp_path / "config.yaml"
    config = compose("gpt/files", ["data.path=x"])
    saved.write_text(to_yaml(override(config, [f"{size}=315"])))
    assert flatten(as_resumed(config, saved, []))[size] == 315
    assert differences(config, as_resumed(config, saved, [])) == [f"{size}: 8000 -> 315"]
    assert as_resumed(config, saved, [f"+{size}=8000"]) == config
    smaller = override(config, [f"{size}=200"])
    assert as_resumed(smaller, saved, []) == smaller


def test_a_sweep_is_every_combination_the_last_fastest():
    assert expand(["optim.lr=1e-3,3e-4", "data.path=/a, b (c).txt", "model=transformer_tiny,transformer_base"]) == [
        [f"optim.lr={lr}", "data.path=/a, b (c).txt", f"model={model}"]
        for lr in ("0.001", "0.0003")
        for model in ("transformer_tiny", "transformer_base")
    ]


def test_a_sweep_understands_hydras_grammar():
    assert expand(["seed=range(1,4)"]) == [["seed=1"], ["seed=2"], ["seed=3"]]
    assert expand(["seed=choice(5,6)"]) == [["seed=5"], ["seed=6"]]
    assert expand(["model=glob(transformer_*,exclude=*base)"]) == [
        ["model=transformer_small"],
        ["model=transformer_tiny"],
    ]
    assert expand(["data.path='a,b',c"]) == [["data.path='a,b'"], ["data.path=c"]]
    assert expand(["data.path='a,b'"]) == [["data.path='a,b'"]]
    assert expand([]) == [[]]
    assert compose(RECIPE, expand(["data.path='a,b',c"])[0]).data.path == "a,b"


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("optim.lr=interval(0,1)", "optim.lr: 'interval(0,1)' is an infinite set of values"),
        ("model=glob(zzz*)", "model: no option matches zzz*"),
        ("seed=range(0,20000)", "the sweep has 20,000 runs"),
        ("--seed=1,2", "settings are written without dashes"),
    ],
)
def test_impossible_sweeps_are_answered(given, answer):
    with pytest.raises(ConfigError, match=re.escape(answer)):
        expand([given])


@pytest.mark.parametrize(
    ("recipe", "setting"),
    [
        ("quickstart/translation", "model.positions=sinusoidal"),
        ("quickstart/translation", "tokenizer.kind=bpe"),
        ("quickstart/conformer", "features.window_ms=50"),
        ("quickstart/conformer", "data.sample_rate=16000"),
        ("quickstart/vit", "model.norm=post"),
        ("quickstart/vit", "head.pooling=mean"),
        ("quickstart/vit", "head.hidden=true"),
        ("quickstart/vit", "data.mean=[0.9]"),
        ("quickstart/vit", "data.std=[0.9]"),
        ("quickstart/captions", "decoder.heads=2"),
        ("quickstart/speech_translation", "decoder.heads=2"),
    ],
)
def test_a_trained_run_keeps_what_its_weights_belong_to(recipe, setting):
    config, key = compose(recipe), setting.partition("=")[0]
    assert flatten(override(config, [setting])) != flatten(config)
    with pytest.raises(ConfigError, match=f"{key}: this run was trained with .*: leave this setting out"):
        override(config, [setting], trained=True)
    override(config, ["trainer.threads=1", "model.norm=pre"], trained=True)


@pytest.mark.parametrize("setting", ["quickstart/gpt model.max_length", "quickstart/captions decoder.max_length"])
def test_a_trained_run_may_write_longer_texts(setting):
    recipe, key = setting.split()
    config = compose(recipe)
    longer = f"{key}={flatten(config)[key] + 1}"
    assert flatten(override(config, [longer], trained=True)) == flatten(override(config, [longer]))


def test_a_changed_option_file_counts_and_results_are_not_shared(tmp_path, monkeypatch):
    """Hydra composes the same options once in a process, as long as no file of the folder changes."""
    conf = tmp_path / "conf"
    shutil.copytree(recipe_files.folder("conf"), conf)
    monkeypatch.setattr(hydra_groups, "folder", lambda kind: conf if kind == "conf" else recipe_files.folder(kind))
    before = compose(RECIPE, [*GIVEN, "optim=cosine"])
    file = conf / "optim" / "cosine.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "beta1: 0.125\n", encoding="utf-8")
    os.utime(file, ns=(1, 1))
    assert before.optim.beta1 != 0.125 == compose(RECIPE, [*GIVEN, "optim=cosine"]).optim.beta1
    hydra_groups.compose_groups({"optim": "cosine"}, type(before))["optim"].clear()
    assert hydra_groups.compose_groups({"optim": "cosine"}, type(before))["optim"]
