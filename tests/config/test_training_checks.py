"""Settings that training would not follow are refused; runs that were trained with them are opened."""

from __future__ import annotations

import pytest

from tests.properties.families import family_named
from tformer_cli.config.compose import compose, flatten, from_yaml, override, to_yaml
from tformer_cli.config.overrides import keys
from tformer_cli.errors import ConfigError

SMOOTHING = "optim.label_smoothing=0.1"
CONSISTENT = ["regularise.consistency=1", "model.dropout=0"]
NO_MASKS = ["augment.time_masks=0", "augment.frequency_masks=0"]
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
    ],
)
def test_settings_that_training_follows_are_accepted(name, settings, tmp_path):
    family_named(name).config(tmp_path, *settings)
