"""The family of a model: where it comes from, what it changes, and former names of tasks and settings."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import tformer_cli
from tformer_cli.cli.completion import candidates
from tformer_cli.cli.main import main
from tformer_cli.config.compose import as_resumed, compose, flatten, from_yaml, override, to_yaml
from tformer_cli.config.experiments import experiment, families_for, tasks
from tformer_cli.config.family import families, family, load
from tformer_cli.config.overrides import expand
from tformer_cli.config.recipes import family_of, groups
from tformer_cli.config.schema import Pooling, Positions
from tformer_cli.config.values import leaves
from tformer_cli.errors import ConfigError
from tformer_cli.models.resnet import ResNetConfig
from tformer_cli.models.vit import ViTConfig

PACKAGE = Path(tformer_cli.__file__).parent
TRANSLATORS = [option for option in groups()["model"] if family_of("model", option) in families_for("translation")]
"""Options of the group `model` for translation."""
GIVEN = "data: {path: somewhere, image_size: 32}\n"
PATH = "data.path=somewhere"


def write(folder, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def failure(recipe: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        compose(recipe, [PATH, *overrides])
    assert "\n" not in str(error.value)
    return str(error.value)


# --- what there is --------------------------------------------------------------------------------------------------


def test_every_package_of_models_is_a_family_under_its_own_name():
    assert families() == tuple(sorted(path.parent.name for path in PACKAGE.glob("models/*/__init__.py")))
    for name in families():
        offered = family(name)
        assert (offered.name, offered.config().family) == (name, name)
        assert offered.provides and callable(load(offered.build))


def test_every_task_can_be_trained_with_its_default_family():
    for task, entry in tasks().items():
        assert families_for(task)[0] == entry.family
        assert isinstance(experiment(task)().model, family(entry.family).config)
        assert set(families_for(task)) == {name for name in families() if family(name).provides & set(entry.needs)}
    assert families_for("image_classification")[0] == "vit" and "resnet" in families_for("image_classification")


def test_every_option_of_the_group_model_says_its_family():
    assert {family_of("model", option) for option in groups()["model"]} == set(families())


def test_looking_up_tasks_and_families_imports_no_torch():
    code = (
        "import sys; from tformer_cli.config.experiments import experiment, families_for, tasks\n"
        "for task in tasks():\n for family in families_for(task): experiment(task, family)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- where it comes from --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("task: image_classification\n", [], "vit"),
        ("task: image_classification\nmodel: {family: resnet}\n", [], "resnet"),
        ("defaults:\n  - task: image_classification\n  - model: resnet18\n", [], "resnet"),
        ("defaults:\n  - task: image_classification\n  - model: resnet18\n", ["model.family=vit"], "vit"),
        ("defaults:\n  - task: image_classification\n  - model: resnet18\n", ["model=vit_tiny"], "vit"),
        ("task: image_classification\nmodel: {family: resnet}\n", ["model.family=vit"], "vit"),
        ("task: image_classification\nmodel: {family: vit}\n", ["model=resnet18"], "resnet"),
        ("task: image_classification\n", ["model=vit_tiny", "model=resnet18"], "resnet"),
        ("task: resnet_classification\n", [], "resnet"),
        ("task: resnet_classification\n", ["model=vit_tiny"], "vit"),
        ("task: image_classification\n", ["task=resnet_classification"], "resnet"),
    ],
)
def test_the_command_line_goes_before_the_recipe_and_the_recipe_before_the_task(tmp_path, text, overrides, expected):
    config = compose(write(tmp_path, text + GIVEN), overrides)
    assert (config.task, config.model.family) == ("image_classification", expected)
    assert isinstance(config.model, family(expected).config)


def test_values_of_another_family_are_left_out():
    config = compose("vit/cifar10", [PATH, "model=resnet18"])
    assert config.model == ResNetConfig(depths=[2, 2, 2, 2], bottleneck=False)
    assert (config.data.image_size, config.head.pooling) == (32, Pooling.mean)  # the rest of the recipe counts
    config = compose("resnet/cifar10", [PATH, "model.family=vit", "model.patch_size=4"])
    assert config.model == ViTConfig(patch_size=4)
    assert config.optim == compose("resnet/cifar10", [PATH]).optim
    again = override(config, ["model=resnet18", "model.dim=8"])
    assert again.model == ResNetConfig(depths=[2, 2, 2, 2], bottleneck=False, dim=8)


def test_values_of_the_same_family_count():
    expected = compose("vit/cifar10", [PATH])
    assert compose("vit/cifar10", [PATH, "model.family=vit"]) == expected
    config = compose("quickstart/gpt", ["model=gpt_small"])
    assert (config.model.depth, config.model.positions) == (6, Positions.rotary)  # of the option, and of the recipe


def test_a_family_changes_defaults_of_other_groups_and_what_is_given_counts():
    assert experiment("image_classification", "resnet")().head.pooling is Pooling.mean
    assert compose("resnet/cifar10", [PATH]).head.pooling is Pooling.mean
    assert compose("resnet/cifar10", [PATH, "model=vit_tiny"]).head.pooling is Pooling.cls
    assert failure("resnet/cifar10", "head.pooling=cls") == (
        "head.pooling: a resnet has no [class] token: head.pooling=mean"
    )


def test_configurations_of_one_family_share_nothing():
    first, second = (experiment("image_classification", "resnet")() for _ in range(2))
    first.model.depths.append(7)
    first.head.pooling = Pooling.cls
    assert (second.model.depths, second.head.pooling) == ([3, 4, 6, 3], Pooling.mean)


# --- what is done with it -------------------------------------------------------------------------------------------


def test_it_survives_saving_copying_and_another_process(tmp_path):
    config = compose("vit/cifar10", [PATH, "model=resnet18"])
    text = to_yaml(config)
    saved = write(tmp_path, text)
    assert compose(saved) == from_yaml(tmp_path / "mine.yaml") == config
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    with multiprocessing.get_context("spawn").Pool(1) as ranks:
        assert ranks.apply(to_yaml, (config,)) == text


def test_a_dry_run_composes_to_the_same_again(tmp_path, capsys):
    assert main(["pretrain", "vit/cifar10", f"data.path={tmp_path}", "model=resnet18", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    config = compose("vit/cifar10", [f"data.path={tmp_path}", "model=resnet18"])
    assert compose(write(tmp_path, printed)) == config and config.model.family == "resnet"


def test_a_sweep_may_go_over_families():
    chosen = [
        compose("vit/cifar10", [PATH, *override]).model.family for override in expand(["model=resnet18,vit_tiny"])
    ]
    assert chosen == ["resnet", "vit"]


def test_completion_knows_the_family_of_the_line():
    line = "tformer pretrain vit/cifar10"
    assert "model=resnet18" in candidates(f"{line} model=res") and candidates(f"{line} model=bert") == []
    assert candidates(f"{line} model.sq") == []
    assert candidates(f"{line} model=resnet18 model.sq") == ["model.squeeze="]


def test_settings_of_a_task_with_a_family(capsys):
    assert main(["settings", "model.squeeze", "--task", "image_classification", "--family", "resnet"]) == 0
    assert "model.squeeze" in capsys.readouterr().out
    assert main(["settings", "model.squeeze"]) == 0
    assert "image_classification with model.family=resnet" in capsys.readouterr().out.replace("\n", " ")
    assert main(["settings", "--family", "resnet"]) == 2
    assert capsys.readouterr().err == "error: --family: needs --task: add --task TASK\n"
    assert main(["settings", "--task", "translation", "--family", "resnet"]) == 2


def test_a_trained_run_keeps_its_family():
    config = compose("vit/cifar10", [PATH])
    with pytest.raises(ConfigError, match="this run was trained with"):
        override(config, ["model=resnet18"], trained=True)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "overrides", "answer"),
    [
        (
            "quickstart/translation",
            ["model=bert_mini"],
            f"model=bert_mini does not go with task translation: one of {', '.join(TRANSLATORS)}",
        ),
        (
            "quickstart/translation",
            ["model.family=bert"],
            "model.family: bert does not go with task translation, which needs encoder_decoder or token_editor, not "
            f"masked_token_encoder, token_encoder: one of {', '.join(families_for('translation'))}",
        ),
        (
            "vit/cifar10",
            ["model.family=resnt"],
            f"model.family: 'resnt' is not one of {', '.join(families())}: did you mean 'resnet'?",
        ),
        (
            "vit/cifar10",
            ["model=resnet18", "model.family=vit"],
            "model=resnet18 is of the family resnet, and model.family is vit: model.family=resnet, or leave it out",
        ),
        ("vit/cifar10", ["model=resnet18", "model.heads=2"], "unknown setting 'model.heads'"),
        ("vit/cifar10", ["model.resnet.family=vit"], "family: 'vit' is given for settings of resnet: family: resnet"),
        ("vit/cifar10", ["task=masked_patches"], "task cannot be changed: choose a recipe of that task"),
    ],
)
def test_mistakes_are_answered_in_a_line(recipe, overrides, answer):
    assert failure(recipe, *overrides).startswith(answer)


def test_mistakes_in_a_file_name_the_line(tmp_path):
    assert "mine.yaml:2: model.family: the option resnet18 is of resnet, not vit" in failure(
        write(tmp_path, "defaults: [{task: image_classification}, {model: resnet18}]\nmodel: {family: vit}\n")
    )
    path = write(tmp_path, "defaults: [{task: translation}, {model: vit_tiny}]\n")
    assert failure(path).startswith(f"{path}:1: model.family: vit does not go with task translation")


# --- former names ---------------------------------------------------------------------------------------------------


def test_a_former_task_is_read_everywhere(tmp_path):
    text = to_yaml(compose("resnet/cifar10", [PATH]))
    present = compose(write(tmp_path, text))
    former = write(tmp_path, text.replace("task: image_classification", "task: resnet_classification"))
    assert compose(former) == from_yaml(tmp_path / "mine.yaml") == present
    assert compose(former, ["task=resnet_classification"]) == present
    assert present.task == "image_classification"


def test_a_former_setting_is_read_everywhere(tmp_path):
    text = to_yaml(compose("vit/cifar10", [PATH, "data.std=[0.25]"]))
    present = compose(write(tmp_path, text))
    former = write(tmp_path, text.replace("  std:", "  deviation:"))
    assert compose(former) == from_yaml(tmp_path / "mine.yaml") == present
    assert compose("vit/cifar10", [PATH, "data.deviation=[0.25]"]) == present
    assert override(present, ["data.deviation=[0.75]"]).data.std == [0.75]
    assert as_resumed(present, tmp_path / "mine.yaml", ["data.deviation=[0.25]"]) == present
    assert "deviation" not in to_yaml(present) and "data.deviation" not in flatten(present)
    assert not any("deviation" in key for key in leaves(type(present)))


def test_a_setting_cannot_be_given_by_both_names(tmp_path):
    path = write(tmp_path, "task: image_classification\ndata:\n  std: [0.5]\n  deviation: [0.5]\n")
    assert failure(path) == f"{path}:4: data.std is given twice, once by a former name: remove one of them"


# --- what data and model know of each other -------------------------------------------------------------------------


def test_limits():
    assert (family("seq2seq").config(max_length=9).limits().source, family("bert").config().limits().frames) == (
        9,
        None,
    )
    conformer = family("conformer").config(subsampling=4)
    assert conformer.limits().target is None and conformer.limits().frames(__import__("numpy").array([3, 7, 100]))[2]
    assert ViTConfig(patch_size=4).limits().multiple == 4 and ResNetConfig().limits().multiple == 1


def test_the_shape_of_attention():
    assert ViTConfig(dim=12, heads=3, patch_size=4).attention_shape(8 * 16) == {"heads": 3, "head_dim": 4, "length": 9}
    assert ResNetConfig().attention_shape(64) == {"heads": 1, "head_dim": 1, "length": 1}
    text = family("bert").config(dim=8, heads=2, max_length=5)
    assert [text.attention_shape(length)["length"] for length in (0, 3, 9)] == [1, 3, 5]
