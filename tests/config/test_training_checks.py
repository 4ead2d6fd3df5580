"""Settings that training would not follow are refused; runs that were trained with them are opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.properties.families import family_named
from tformer_cli.cli.main import main
from tformer_cli.config.compose import compose, flatten, from_yaml, override, to_yaml
from tformer_cli.config.experiments import experiment, families_for, tasks
from tformer_cli.config.overrides import keys
from tformer_cli.config.values import leaves
from tformer_cli.errors import ConfigError

SMOOTHING = "optim.label_smoothing=0.1"
CONSISTENT = ["regularise.consistency=1", "model.dropout=0"]
SAMPLING = ["tokenizer.sampling=0.1"]
FROZEN = "head.frozen=true"
LOADED = "tokenizer.path=runs/first"
CTC = ["model.decoder_depth=0", "decode.beam=5"]
NO_MASKS = ["augment.time_masks=0", "augment.frequency_masks=0"]
MAGNITUDE = """\
defaults:
  - schema: image_classification
  - model: vit_tiny
  - _self_
data:
  path: pictures
augment:
  magnitude: 12
"""
CASES = [
    ("question answering", [SMOOTHING], "optim.label_smoothing: it has no effect.*: optim.label_smoothing=0"),
    ("text classification", [SMOOTHING, "data.target=number"], "optim.label_smoothing: .* data.target is number"),
    ("sagan", [SMOOTHING], "optim.label_smoothing: it has no effect"),
    ("sagan", ["generator_optim.label_smoothing=0.1"], "generator_optim.label_smoothing: .*generator_.*smoothing=0"),
    ("conformer", [SMOOTHING, "model.decoder_depth=0"], "optim.label_smoothing: .* model.decoder_depth is 0"),
    ("conformer", [SMOOTHING, "objective.ctc_weight=1"], "optim.label_smoothing: .* objective.ctc_weight is 1"),
    ("text classification", ["head.class_weights=true", "data.target=number"], "head.class_weights: .*=false"),
    ("text classification", ["head.class_weights=true", "data.target=labels"], "head.class_weights: .*=false"),
    ("bert", ["bert.mask=0.8", "bert.random=0.3"], "bert.random: 0.3 and bert.mask 0.8 .*: bert.random=0.2"),
    ("bert", ["bert.mask=1"], "bert.random: 0.1 and bert.mask 1 .*: bert.random=0"),
    ("masked patches", ["patches.mask=0.95"], "patches.random: 0.1 and patches.mask 0.95 .*: patches.random=0.05"),
    (
        "vit",
        [*CONSISTENT, "model.dropout=0.3", "head.frozen=true"],
        "a frozen encoder has no dropout.*: head.dropout=0.1",
    ),
    (
        "token tagging",
        [*CONSISTENT, "model.dropout=0.3", "head.dropout=0", "head.frozen=true"],
        "a frozen encoder has no dropout.*: head.dropout=0.1",
    ),
    ("vit", [*CONSISTENT, "model.stochastic_depth=0.5"], "two passes over a batch are equal.*: model.dropout=0.1"),
    ("translation", [*CONSISTENT, "model.stochastic_depth=0.5"], "two passes over a batch are equal"),
    (
        "conformer",
        [*CONSISTENT, *NO_MASKS, "model.stochastic_depth=0.5", "model.decoder_depth=2"],
        "two passes over a batch are equal",
    ),
    (
        "conformer",
        [*CONSISTENT, *NO_MASKS, "model.attention_dropout=0.5", "model.self_attention=false"],
        "two passes over a batch are equal",
    ),
    ("conformer", ["objective.ctc_weight=1", "decode.method=joint"], "decode.method: joint .*: decode.method=prefix"),
    ("conformer", ["objective.ctc_weight=1", "decode.method=attention"], "attention needs the decoder"),
    ("conformer", ["objective.ctc_weight=0", "decode.method=joint"], "joint needs CTC.*: decode.method=attention"),
    ("conformer", ["objective.ctc_weight=0", "decode.method=prefix"], "prefix needs CTC"),
    ("conformer", ["objective.ctc_weight=0", "decode.method=greedy"], "greedy needs CTC"),
    ("conformer", ["model.decoder_depth=0", "decode.method=joint"], "joint needs a decoder"),
    ("gpt", SAMPLING, "tokenizer.sampling: it has no effect, as language_model .*: tokenizer.sampling=0"),
    ("bert", SAMPLING, "tokenizer.sampling: it has no effect"),
    ("text classification", SAMPLING, "tokenizer.sampling: it has no effect"),
    ("captions", [*SAMPLING, "tokenizer.kind=bpe"], "tokenizer.sampling: it has no effect"),
    ("conformer", [*SAMPLING, "tokenizer.kind=bpe"], "tokenizer.sampling: it has no effect"),
    ("masked patches", ["augment.mixup=0.5"], "augment.mixup: the patches .*: augment.mixup=0"),
    ("translation", ["optim.method=adamw", "optim.momentum=0.9"], "momentum: .* with optim.method=adamw: .*=muon"),
    ("gpt", ["optim.schedule=constant", "optim.final_lr_ratio=0.1"], "ratio: .* optim.schedule=constant: .*=cosine"),
    ("sagan", ["generator_optim.final_lr_ratio=0.1"], "ratio: .* with generator_optim.schedule=constant"),
    ("vit", ["augment.magnitude=12"], "augment.magnitude: .* with augment.operations=0: .* change augment.operations"),
    ("vit", ["augment.hue=0.1"], "augment.hue: .* with data.channels=1: .* data.channels=3"),
    ("vit", ["augment.area_low=0.5"], "augment.area_low: .* with augment.crop=padded: .* augment.crop=resized"),
    ("vit", ["model.stem_dim=32"], "model.stem_dim: .* with model.stem=patches: .* model.stem=convolutions"),
    ("captions", ["model.resnet.dim=32"], "model.resnet.dim: .* with model.stem=patches: .* model.stem=resnet"),
    ("vit", ["model.relative_distance=8"], "model.relative_distance: .* with model.positions=.*: .*=shaw"),
    ("captions", ["decoder.relative_distance=8"], "decoder.relative_distance: .* with decoder.positions=.*: .*=shaw"),
    ("vit", [FROZEN, "model.dropout=0.3"], "model.dropout: .* with head.frozen=true: .*head.frozen=false"),
    ("recurrent classification", [FROZEN, "model.dropout=0.3"], "model.dropout: .* head.frozen=true"),
    ("vit", [FROZEN, "optim.layer_decay=0.8"], "optim.layer_decay: .* with head.frozen=true"),
    ("token tagging", [FROZEN, "regularise.disagreement_output=1"], "disagreement_output: .* with head.frozen=true"),
    ("speech translation", ["augment.noise_low_db=1"], "noise_low_db: .* augment.noise=0.0: .*change augment.noise"),
    ("text classification", ["data.size=5"], "data.size: .* with data.source=files"),
    ("gpt", ["decode.temperature=0.5"], "decode.temperature: .* with decode.sample=false: .* decode.sample=true"),
    ("translation", ["decode.top_k=3"], "decode.top_k: .* with decode.sample=false"),
    ("captions", ["decode.top_p=0.9"], "decode.top_p: .* with decode.sample=false"),
    ("conformer", ["decode.seed=2"], "decode.seed: .* with decode.sample=false"),
    ("gpt", ["decode.sample=true", "decode.beam=3"], "decode.beam: .* with decode.sample=true: .* decode.sample=false"),
    ("translation", ["decode.sample=true", "decode.stopping=longest"], "decode.stopping: .* with decode.sample=true"),
    ("captions", ["decode.sample=true", "decode.beam=3"], "decode.beam: .* with decode.sample=true"),
    ("conformer", ["decode.method=greedy", "decode.beam=3"], "decode.beam: .* as greedy .*: add decode.method=prefix"),
    ("conformer", [*CTC, "decode.n_best=2"], "decode.n_best: .*greedy decoding does not search"),
    ("conformer", ["decode.method=prefix", "decode.length_penalty=2"], "length_penalty: .*: add decode.method=joint"),
    ("conformer", ["decode.method=joint", "decode.ctc_weight=1", "decode.max_length=9"], "max_length: .*=attention"),
    ("conformer", ["decode.method=attention", "decode.ctc_weight=0.5"], "ctc_weight: .*: add decode.method=joint"),
    ("conformer", [*CTC, "decode.ctc_weight=0.5"], "decode.ctc_weight: .*=greedy .*: leave it out"),
    ("conformer", ["decode.word_bonus=2"], "decode.word_bonus: .*=joint does not use .*: add decode.method=prefix"),
    ("conformer", ["decode.language_model_weight=0.3"], "language_model_weight: .* there is no language model: add"),
    ("conformer", ["decode.unknown_word_penalty=9"], "unknown_word_penalty: .* there is no language model: add"),
    ("translation", [LOADED], 'tokenizer.vocab_size: .* with tokenizer.path=runs/first: .* tokenizer.path=""'),
    ("speech translation", [LOADED, "tokenizer.lossless=true"], "tokenizer.lossless: .* tokenizer.path=runs/first"),
]
"""Families, settings that have no effect or cannot have the one that they name, and what the error says."""


@pytest.mark.parametrize(("name", "settings", "message"), CASES)
def test_a_new_run_is_refused(name, settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        family_named(name).config(tmp_path, *settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "settings", "message"), CASES)
def test_a_run_that_was_trained_with_them_is_opened(name, settings, message, tmp_path):
    family = family_named(name)
    config = compose(family.recipe, [*family.settings, *settings], complete=False)
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    saved = override(from_yaml(tmp_path / "config.yaml"), ["trainer.threads=1"], trained=True)
    of_run, of_recipe = flatten(saved), flatten(config)
    assert all(of_run[key] == of_recipe[key] for key in keys(settings, type(config)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bert", [SMOOTHING]),
        ("text classification", [SMOOTHING, "data.target=labels"]),
        ("text classification", [SMOOTHING, "head.class_weights=true"]),
        ("conformer", [SMOOTHING, "objective.ctc_weight=0"]),
        ("bert", ["bert.mask=0.7", "bert.random=0.3"]),
        ("masked patches", ["patches.mask=1", "patches.random=0"]),
        ("vit", [*CONSISTENT, "head.frozen=true", "head.dropout=0.1"]),
        ("vit", [*CONSISTENT, "model.stochastic_depth=0.5", "model.depth=2"]),
        ("translation", [*CONSISTENT, "model.stochastic_depth=0.5", "model.decoder_depth=2"]),
        ("conformer", [*CONSISTENT, *NO_MASKS, "model.stochastic_depth=0.5", "model.depth=2"]),
        ("text classification", [*CONSISTENT, "head.frozen=true", "head.dropout=0.1"]),
        ("conformer", ["objective.ctc_weight=0", "decode.method=attention"]),
        ("conformer", ["objective.ctc_weight=1", "decode.method=joint", "decode.ctc_weight=1"]),
        ("conformer", ["objective.ctc_weight=0", "decode.method=joint", "decode.ctc_weight=0"]),
        ("translation", ["tokenizer.sampling=0.1", "optim.method=muon", "optim.momentum=0.9"]),
        ("translation", ["optim.method=adamw", "optim.momentum=0.95"]),
        ("translation", ["optim.method=adamw", "optim.momentum=0"]),
        ("vit", ["optim.schedule=constant"]),
        ("vit", ["optim.schedule=constant", "optim.final_lr_ratio=0.02"]),
        ("vit", ["augment.operations=0", "augment.magnitude=12"]),
        ("vit", [FROZEN, "model.dropout=0"]),
        ("vit", ["data.source=files", "data.path=x", "data.size=5"]),
        ("captions", ["model.stem=resnet", "model.resnet.dim=32", "model.patch_size=1", "data.image_size=32"]),
        ("gpt", ["decode.beam=5", "decode.sample=true", "decode.temperature=0.5", "decode.top_k=3", "decode.seed=2"]),
        ("conformer", [LOADED]),
        ("conformer", ["decode.ctc_weight=0.5"]),
        ("conformer", ["decode.method=prefix", "decode.language_model=x", "decode.unknown_word_penalty=9"]),
        ("conformer", ["decode.method=prefix", "decode.word_bonus=2"]),
        ("conformer", [*CTC, "decode.language_model=x", "decode.language_model_weight=0.3", "decode.n_best=2"]),
        ("speech translation", ["augment.time_masks=0", "augment.adaptive_masks=0.1", "augment.time_mask_share=0.2"]),
    ],
)
def test_settings_that_training_follows_are_accepted(name, settings, tmp_path):
    family_named(name).config(tmp_path, *settings)


def test_an_option_of_augmentation_with_blends_is_refused_for_masked_patches(tmp_path):
    with pytest.raises(ConfigError, match="augment.mixup: the patches .*: augment.mixup=0"):
        family_named("masked patches").config(tmp_path, "augment=strong")


def test_a_recipes_value_may_be_left_without_effect(tmp_path):
    config = compose("quickstart/vit", ["optim.schedule=constant"])
    assert config.optim.final_lr_ratio
    (tmp_path / "printed.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert compose(str(tmp_path / "printed.yaml")) == config


def test_a_value_without_effect_in_a_file_is_named_with_its_line(tmp_path):
    (tmp_path / "mine.yaml").write_text(MAGNITUDE, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine.yaml:8: augment.magnitude: .* augment.operations=0"):
        compose(str(tmp_path / "mine.yaml"))
    assert compose(str(tmp_path / "mine.yaml"), ["augment.operations=2"]).augment.magnitude == 12
    assert compose(str(tmp_path / "mine.yaml"), ["augment.magnitude=9"]).augment.operations == 0


def test_a_recipes_vocabulary_may_give_way_to_a_loaded_one():
    """The recipe sets the size of its vocabulary; its user loads another one."""
    languages = ["data.path=distilled", "data.source_language=en", "data.target_language=de"]
    assert compose("translation/student", [*languages, LOADED]).tokenizer.path == "runs/first"


def test_a_run_that_was_started_with_them_is_resumed(tmp_path):
    settings = [*family_named("vit").settings, "augment.magnitude=12", "optim.label_smoothing=0.1"]
    with pytest.raises(ConfigError, match=r"augment.magnitude"):
        compose("quickstart/vit", settings)
    assert compose("quickstart/vit", settings, resumed=True).augment.magnitude == 12


def test_the_share_of_ctc_in_a_loss_needs_a_decoder():
    with pytest.raises(ConfigError, match=r"objective.ctc_weight: .* with model.decoder_depth=0: .* change model.dec"):
        compose("quickstart/conformer", ["objective.ctc_weight=0.5"])
    assert (
        compose("quickstart/conformer", ["objective.ctc_weight=0.5", "model.decoder_depth=1"]).decoding.name == "joint"
    )


def test_fine_tuning_refuses_them_too(tmp_path, capsys):
    run = str(Path(__file__).parents[1] / "fixtures" / "format-1" / "vit")
    command = ["finetune", "quickstart/vit", "--from", run, "--dry-run"]
    assert main([*command, "augment.magnitude=12"]) == 2
    assert "augment.magnitude: it has no effect with augment.operations=0" in capsys.readouterr().err
    assert main([*command, "augment.magnitude=12", "augment.operations=1"]) == 0


@pytest.mark.parametrize("task", tasks())
def test_each_condition_of_a_setting_can_be_met(task):
    for family in families_for(task):
        settings = leaves(experiment(task, family))
        for key, leaf in settings.items():
            for condition in leaf.only:
                name, _, allowed = condition.partition("=")
                other = settings.get(name if "." in name else f"{key.rpartition('.')[0]}.{name}")
                assert other is not None or "." in name, key
                if other is not None and other.options and allowed:
                    assert set(allowed.split("|")) < set(other.options), key
