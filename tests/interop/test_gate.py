"""Every setting of a model has a rule for export and import."""

from __future__ import annotations

import dataclasses

import pytest

from tests.interop.drawing import other_values
from tformer_cli.config.family import families, family
from tformer_cli.config.schema import ClassifierHeadConfig, DecodeConfig, HeadConfig, ImageHeadConfig, Norm
from tformer_cli.errors import ConfigError
from tformer_cli.interop import (
    generation,
    huggingface_encoder,
    huggingface_gpt,
    huggingface_vit,
    huggingface_weights,
    timm_vit,
)
from tformer_cli.interop.gate import carried, check_export, check_import, irrelevant, only
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.vit import ViTConfig

OUT = {
    "BERT": (BERTConfig, huggingface_encoder.EXPORTED),
    "BERT's classifier": (ClassifierHeadConfig, huggingface_encoder.EXPORTED_HEAD),
    "BERT's head": (HeadConfig, huggingface_encoder.EXPORTED_HEAD),
    "GPT-2": (GPTConfig, huggingface_gpt.EXPORTED),
    "Marian": (Seq2SeqConfig, huggingface_weights.EXPORTED[Norm.post]),
    "Pegasus": (Seq2SeqConfig, huggingface_weights.EXPORTED[Norm.pre]),
    "ViT": (ViTConfig, huggingface_vit.EXPORTED),
    "ViT's head": (ImageHeadConfig, huggingface_vit.EXPORTED_HEAD),
    "timm": (ViTConfig, timm_vit.EXPORTED),
    "timm's head": (ImageHeadConfig, timm_vit.EXPORTED_HEAD),
    "search": (DecodeConfig, generation.EXPORTED),
}
IN = {
    "BertConfig": huggingface_encoder.READ,
    "RobertaConfig": huggingface_encoder.READ,
    "DistilBertConfig": huggingface_encoder.READ_DISTILBERT,
    "GPT2Config": huggingface_gpt.READ,
    "MarianConfig": huggingface_weights.READ,
    "PegasusConfig": huggingface_weights.READ,
    "ViTConfig": huggingface_vit.READ,
}


@pytest.mark.parametrize("name", OUT)
def test_every_setting_of_ours_has_a_rule(name):
    kind, rules = OUT[name]
    undeclared = {field.name for field in dataclasses.fields(kind)} - rules.keys()
    assert not undeclared, f"declare them in the exporter of {name}: carried, irrelevant or only"


def test_every_family_with_an_exporter_has_rules():
    with_rules = {kind().family for kind, _ in OUT.values() if hasattr(kind(), "family")}
    assert with_rules == {name for name in families() if family(name).exporters}


@pytest.mark.parametrize("name", IN)
def test_every_setting_of_theirs_has_a_rule(name):
    transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is not installed")
    undeclared = getattr(transformers, name)().to_dict().keys() - IN[name].keys()
    assert not undeclared, f"declare them in the reader of {name}: carried, irrelevant or only"


REFUSED = [
    (name, field, value)
    for name, (kind, rules) in OUT.items()
    for field in dataclasses.fields(kind)
    for value in other_values(field)
    if not rules[field.name].allows(value)
]


@pytest.mark.parametrize(("name", "field", "value"), REFUSED, ids=lambda part: getattr(part, "name", part))
def test_a_value_without_a_counterpart_is_refused_by_name(name, field, value):
    kind, rules = OUT[name]
    passing = {one: rule.values[0] for one, rule in rules.items() if rule.kind == "only" and hasattr(kind(), one)}
    check_export(kind(**passing), rules, name)
    with pytest.raises(ConfigError, match=rf"^model\.{field.name}: .* cannot be exported: "):
        check_export(kind(**passing | {field.name: value}), rules, name)


def test_what_was_once_lost_in_silence_is_refused():
    refused = {(name, field.name) for name, field, _ in REFUSED}
    everywhere = {"BERT", "GPT-2", "Marian", "Pegasus"}
    assert {(name, "layer_scale") for name in (*everywhere, "ViT")} <= refused
    assert {(name, "norm_eps") for name in ("Marian", "Pegasus", "timm")} <= refused
    assert {(name, "activation") for name in (*everywhere, "ViT", "timm")} <= refused


@dataclasses.dataclass
class Sample:
    width: int = 3
    mode: str = "plain"
    speed: float = 1.0


def test_a_model_passes_only_with_a_rule_for_each_setting():
    rules = {"width": carried("w"), "mode": only({"plain"}, "has plain models only"), "speed": irrelevant("fast")}
    check_export(Sample(), rules, "there")
    check_export(Sample(width=9, speed=3.0), rules, "there")
    assert carried("w").kind == "carried" and carried("w").values is None
    some = rules | {"width": carried("has widths of 3 and 9", {3, 9})}
    check_export(Sample(width=9), some, "there")
    with pytest.raises(ConfigError, match=r"^model\.width: 4 cannot be exported: there has widths of 3 and 9$"):
        check_export(Sample(width=4), some, "there")
    with pytest.raises(ConfigError, match=r"^model\.mode: odd cannot be exported: there has plain models only$"):
        check_export(Sample(mode="odd"), rules, "there")
    del rules["speed"]
    with pytest.raises(ConfigError, match=r"^model\.speed: 1\.0 cannot be exported: there is not known to have it$"):
        check_export(Sample(), rules, "there")


def test_a_setting_that_nobody_reads_is_said():
    rules, messages = {"width": carried(), "mode": only({"plain", None}, "reads plain models only")}, []
    check_import({"width": 3, "mode": None, "rare": False, "_own": 5, "list": []}, rules, "f", messages.append)
    assert messages == []
    check_import({"width": 3, "tilt": 0.5, "name": "x"}, rules, "f", messages.append)
    assert messages == ["warning: f: tformer does not know and does not read tilt = 0.5; name = x"]
    with pytest.raises(ConfigError, match=r"^f: mode 'odd' is not supported: tformer reads plain models only$"):
        check_import({"mode": "odd"}, rules, "f", messages.append)
    with pytest.warns(UserWarning, match="tilt"):
        check_import({"tilt": 0.5}, rules, "f")
