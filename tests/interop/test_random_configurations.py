"""Thirty random configurations per architecture have the same logits in both libraries, or are refused by name.

Other test files cover cases that do not depend on a random configuration (one weight, one file, one message).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.interop.drawing import Choices, drawn, generator, other_values, randomise
from tests.interop.folders import export_bert, export_gpt, export_seq2seq
from tformer_cli.config.schema import (
    Activation,
    ClassifierHeadConfig,
    DecodeConfig,
    HeadConfig,
    ImageHeadConfig,
    Norm,
    Target,
    TieEmbeddings,
    TokenizerConfig,
    TokenizerKind,
)
from tformer_cli.data.core.labels import LabelSet
from tformer_cli.errors import ConfigError
from tformer_cli.interop import huggingface_encoder, huggingface_gpt, huggingface_vit, huggingface_weights
from tformer_cli.interop.reading import read_json, read_weights
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.bert.model import BERT
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.models.token_heads import MaskedLanguageModel, SequenceClassifier, SpanClassifier, TokenClassifier
from tformer_cli.models.vit import ViTConfig
from tformer_cli.models.vit.model import ViT
from tformer_cli.runs.checkpoint import load_model_tensors
from tformer_cli.tokenizers.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is not installed")

FEW, ALL = 5, 30
DRAWS = [*range(FEW), *(pytest.param(number, marks=pytest.mark.slow) for number in range(FEW, ALL))]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
VOCABULARY, LENGTH = 41, 9
ACTIVATIONS = ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "gelu_python", "gelu_fast",
               "gelu_accurate"]  # fmt: skip
OTHER_ACTIVATIONS = ["quick_gelu", "mish", "relu2", "tanh", "leaky_relu", "gelu_10", "sigmoid"]
ANYWHERE: Choices = {
    "initializer_range": [0.02, 0.5],
    "use_cache": [True, False],
    "chunk_size_feed_forward": [0, 1],
    "id2label": [{0: "a", 1: "b"}, {0: "x", 1: "y", 2: "z"}],
    "problem_type": [None, "regression"],
    "classifier_dropout": [None, 0.3],
    "output_hidden_states": [False, True],
}
ENCODER: Choices = {
    "hidden_size": [8, 16, 24], "num_attention_heads": [1, 2, 4], "num_hidden_layers": [1, 2, 3],
    "intermediate_size": [5, 12], "hidden_act": ACTIVATIONS, "layer_norm_eps": [1e-12, 1e-5, 0.1],
    "max_position_embeddings": [12, 20], "type_vocab_size": [1, 2, 3], "hidden_dropout_prob": [0.0, 0.3],
    "attention_probs_dropout_prob": [0.0, 0.2], "vocab_size": [VOCABULARY], "pad_token_id": [0, 1],
    "tie_word_embeddings": [True],
    **ANYWHERE,
}  # fmt: skip
NEVER: Choices = {
    "hidden_act": OTHER_ACTIVATIONS,
    "is_decoder": [True],
    "position_embedding_type": ["relative_key", "relative_key_query"],
    "quantization_config": [{"bits": 8}],
    "pruned_heads": [{"0": [0]}],
}
ROBERTA = {**ENCODER, "hidden_act": ["gelu", "gelu_python"]}
DISTILBERT: Choices = {
    "dim": [8, 16, 24], "n_heads": [1, 2, 4], "n_layers": [1, 2, 3], "hidden_dim": [5, 12], "activation": ACTIVATIONS,
    "max_position_embeddings": [12, 20], "dropout": [0.0, 0.3], "attention_dropout": [0.0, 0.2],
    "sinusoidal_pos_embds": [False, True], "vocab_size": [VOCABULARY], "qa_dropout": [0.1, 0.4],
    "seq_classif_dropout": [0.1, 0.4], "pad_token_id": [0, 1], **ANYWHERE,
}  # fmt: skip
GPT2: Choices = {
    "n_embd": [8, 16, 24], "n_head": [1, 2, 4], "n_layer": [1, 2, 3], "n_inner": [None, 5, 12],
    "activation_function": ACTIVATIONS, "layer_norm_epsilon": [1e-5, 0.1], "n_positions": [12, 20],
    "resid_pdrop": [0.0, 0.3], "embd_pdrop": [0.0, 0.3], "attn_pdrop": [0.0, 0.2], "vocab_size": [VOCABULARY],
    "reorder_and_upcast_attn": [False, True], "tie_word_embeddings": [True, False],
    "summary_type": ["cls_index", "mean"], "summary_use_proj": [True, False], "summary_activation": [None, "tanh"],
    "summary_first_dropout": [0.1, 0.3], "summary_proj_to_labels": [True, False], **ANYWHERE,
}  # fmt: skip
SEQ2SEQ: Choices = {
    "d_model": [8, 16, 24], "encoder_layers": [1, 2, 3], "decoder_layers": [1, 2, 3], "vocab_size": [VOCABULARY],
    "activation_function": ACTIVATIONS, "dropout": [0.0, 0.3], "attention_dropout": [0.0, 0.2],
    "activation_dropout": [0.0, 0.2], "max_position_embeddings": [12, 20], "scale_embedding": [True, False],
    "init_std": [0.02, 0.5], "encoder_layerdrop": [0.0, 0.2], "decoder_layerdrop": [0.0, 0.2],
    "pad_token_id": [40], "eos_token_id": [0], "decoder_start_token_id": [40], "forced_eos_token_id": [None, 0],
    **ANYWHERE,
}  # fmt: skip
MARIAN: Choices = {**SEQ2SEQ, "share_encoder_decoder_embeddings": [True, False]}
VIT: Choices = {
    **{name: ENCODER[name] for name in ENCODER if name not in ("max_position_embeddings", "type_vocab_size",
                                                               "vocab_size", "pad_token_id", "tie_word_embeddings")},
    "image_size": [8, 12, [8, 8]], "patch_size": [2, 4, [4, 4]], "num_channels": [1, 3], "qkv_bias": [True, False],
    "encoder_stride": [16, 4], "pooler_output_size": [None, 7], "pooler_act": ["tanh", "relu"],
}  # fmt: skip


def tokens(rng: Any) -> tuple[Tensor, Tensor]:
    """Return random texts, padded at the end, and their lengths."""
    lengths = torch.tensor([LENGTH, rng.randint(1, LENGTH), 1])
    ids = torch.tensor([[rng.randrange(2, VOCABULARY - 1) for _ in range(LENGTH)] for _ in lengths])
    return ids, lengths


def real(lengths: Tensor) -> Tensor:
    return torch.arange(LENGTH) < lengths[:, None]


def encoder_pair(folder: Path, reference: Any, rng: Any) -> tuple[Tensor, Tensor]:
    """Return the logits of tformer and transformers for a masked language model."""
    settings, where = read_json(folder / "config.json"), "theirs"
    config = huggingface_encoder.import_config(settings, where)
    weights = huggingface_encoder.import_weights(config, settings, read_weights(folder), where)
    ours = MaskedLanguageModel(BERT(config, VOCABULARY), nsp=False).eval()
    load_model_tensors(ours, weights, where)
    ids, lengths = tokens(rng)
    ids[~real(lengths)] = settings.get("pad_token_id") or 0
    segments = torch.randint(max(1, config.segments), ids.shape) if config.segments else None
    kinds = {} if segments is None else {"token_type_ids": segments}
    chosen, _ = ours(ids, lengths, segments, real(lengths).flatten().nonzero()[:, 0])
    return ours.logits(chosen), reference(ids, attention_mask=real(lengths).long(), **kinds).logits[real(lengths)]


def gpt_pair(folder: Path, reference: Any, rng: Any) -> tuple[Tensor, Tensor]:
    config = huggingface_gpt.import_config(read_json(folder / "config.json"), "theirs")
    ours = GPT(config, VOCABULARY).eval()
    load_model_tensors(ours, huggingface_gpt.import_weights(config, read_weights(folder), "theirs"), "theirs")
    ids, _ = tokens(rng)
    return ours.logits(ours(ids)), reference(ids).logits


def seq2seq_pair(folder: Path, reference: Any, rng: Any) -> tuple[Tensor, Tensor]:
    settings = read_json(folder / "config.json")
    config = huggingface_weights.import_config(settings, "theirs", final_bias=True)
    weights = huggingface_weights.import_weights(config, read_weights(folder), "theirs")
    ours = Seq2Seq(config, VOCABULARY, VOCABULARY).eval()
    load_model_tensors(ours, weights, "theirs")
    source, lengths = tokens(rng)
    target, _ = tokens(rng)
    expected = reference(input_ids=source, attention_mask=real(lengths).long(), decoder_input_ids=target).logits
    return ours.logits(ours(source, lengths, target)), expected


def vit_pair(folder: Path, reference: Any, rng: Any) -> tuple[Tensor, Tensor]:
    settings = read_json(folder / "config.json")
    (height, width), channels = huggingface_vit.import_size(settings, "theirs")
    config = huggingface_vit.import_config(settings, "theirs")
    weights = huggingface_vit.import_weights(config, settings, read_weights(folder), "theirs")
    ours = ImageClassifier(
        ViT(config, (height, width), channels), ImageHeadConfig(), reference.config.num_labels
    ).eval()
    load_model_tensors(ours, weights, "theirs")
    images = torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(rng.randrange(1000)))
    return ours(images), reference(pixel_values=images).logits


def heads_alike(values: dict[str, Any], rng: Any) -> None:
    heads, inner = rng.choice([1, 2, 4]), rng.choice([5, 12])
    values |= {"encoder_attention_heads": heads, "decoder_attention_heads": heads}
    values |= {"encoder_ffn_dim": inner, "decoder_ffn_dim": inner}
    if not values.get("share_encoder_decoder_embeddings", True):
        values |= {"tie_word_embeddings": rng.choice([True, False]), "decoder_vocab_size": VOCABULARY}


@dataclasses.dataclass
class Theirs:
    """An architecture of transformers.

    Attributes:
        config: class of its configuration.
        model: class of the random model.
        passing: values that must give the same logits.
        refused: values that must be refused by name.
        pair: returns the logits of tformer and transformers.
        adapt: makes random values compatible.
    """

    config: str
    model: str
    passing: Choices
    refused: Choices
    pair: Callable[[Path, Any, Any], tuple[Tensor, Tensor]]
    adapt: Callable[[dict[str, Any], Any], None] = lambda values, rng: None


ARCHITECTURES = {
    "bert": Theirs("BertConfig", "BertForMaskedLM", ENCODER, NEVER, encoder_pair),
    "roberta": Theirs(
        "RobertaConfig", "RobertaForMaskedLM", ROBERTA, {**NEVER, "hidden_act": [*OTHER_ACTIVATIONS, "relu"]},
        encoder_pair,
    ),
    "distilbert": Theirs(
        "DistilBertConfig", "DistilBertForMaskedLM", DISTILBERT,
        {"activation": OTHER_ACTIVATIONS, "quantization_config": [{"bits": 8}]}, encoder_pair,
    ),
    "gpt2": Theirs(
        "GPT2Config", "GPT2LMHeadModel", GPT2,
        {"activation_function": OTHER_ACTIVATIONS, "scale_attn_weights": [False], "add_cross_attention": [True],
         "scale_attn_by_inverse_layer_idx": [True], "is_decoder": [True]}, gpt_pair,
    ),
    "marian": Theirs(
        "MarianConfig", "MarianMTModel", MARIAN,
        {"activation_function": OTHER_ACTIVATIONS, "static_position_embeddings": [False], "is_decoder": [True],
         "normalize_embedding": [True], "encoder_attention_heads": [8], "decoder_ffn_dim": [6],
         "tie_encoder_decoder": [True], "is_encoder_decoder": [False]},
        seq2seq_pair, heads_alike,
    ),
    "pegasus": Theirs(
        "PegasusConfig", "PegasusForConditionalGeneration", SEQ2SEQ,
        {"activation_function": OTHER_ACTIVATIONS, "encoder_attention_heads": [8], "decoder_ffn_dim": [6],
         "tie_word_embeddings": [False]}, seq2seq_pair, heads_alike,
    ),
    "vit": Theirs(
        "ViTConfig", "ViTForImageClassification", VIT, {"hidden_act": OTHER_ACTIVATIONS, "patch_size": [[2, 4]]},
        vit_pair,
    ),
}  # fmt: skip


@pytest.mark.parametrize("number", DRAWS)
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_model_of_theirs_computes_the_same_here(name, number, tmp_path, recwarn):
    kind, rng = ARCHITECTURES[name], generator("in", name, number)
    values, _ = drawn(rng, kind.passing, {}, 0)
    kind.adapt(values, rng)
    torch.manual_seed(number)
    config = getattr(transformers, kind.config)(**values)
    reference = randomise(getattr(transformers, kind.model)(config), rng)
    reference.save_pretrained(tmp_path)
    ours, expected = kind.pair(tmp_path, reference, rng)
    assert expected.std() > 0.05
    torch.testing.assert_close(ours, expected, **CLOSE)
    assert not [line for line in recwarn if "does not know" in str(line.message)]


REFUSALS = [(name, setting, value) for name, kind in ARCHITECTURES.items()
            for setting, values in kind.refused.items() for value in values]  # fmt: skip


@pytest.mark.parametrize(("name", "setting", "value"), REFUSALS)
def test_a_setting_of_theirs_without_a_counterpart_is_refused_by_name(name, setting, value, tmp_path):
    kind, rng = ARCHITECTURES[name], generator("refused", name)
    values, _ = drawn(rng, kind.passing, {}, 0)
    kind.adapt(values, rng)
    config = getattr(transformers, kind.config)(**values)
    (tmp_path / "config.json").write_text(json.dumps(json.loads(config.to_json_string()) | {setting: value}))
    with pytest.raises(ConfigError, match=setting):
        kind.pair(tmp_path, None, rng)


# --- out ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    settings = TokenizerConfig(kind=TokenizerKind.bpe, vocab_size=VOCABULARY, user_symbols=["<mask>"])
    return Tokenizer.train({"text": ["the cat sat on the mat", "cats sat on unknown mats"] * 20}, settings)


SIZES: Choices = {
    "dim": [8, 16], "heads": [1, 2, 4], "ffn_dim": [5, 12], "depth": [1, 2], "encoder_depth": [1, 2],
    "decoder_depth": [1, 2], "max_length": [12, 20], "segments": [0, 1, 2, 3], "norm_eps": [1e-5, 1e-12, 0.1],
    "activation": [Activation.relu, Activation.gelu, Activation.gelu_tanh, Activation.swish],
    "dropout": [0.0, 0.3], "attention_dropout": [0.0, 0.2], "ffn_dropout": [0.0, 0.2], "stochastic_depth": [0.0, 0.2],
    "relative_distance": [32, 4], "scale_embeddings": [True, False], "final_bias": [True, False],
    "tie_embeddings": [True, False],
}  # fmt: skip
"""Values of tformer's settings that every architecture of transformers supports."""


def ours_drawn(kind: type, rng: Any, **more: list[Any]) -> dict[str, Any]:
    choices = {field.name: SIZES[field.name] for field in dataclasses.fields(kind) if field.name in SIZES}
    return drawn(rng, choices | more, {}, 0)[0]


def bert_out(values: dict[str, Any], tokenizer: Tokenizer, folder: Path, rng: Any) -> tuple[Tensor, Tensor]:
    """Return the logits of a model with a random head before and after export."""
    config = BERTConfig(**values)
    made = rng.choice(["masked", "sequence", "tokens", "spans"])
    pieces, head = tokenizer.vocab_size, ClassifierHeadConfig(dropout=0.2)
    labels, names = None, ("O", "B-X", "I-X")
    if made == "masked":
        ours, auto = MaskedLanguageModel(BERT(config, pieces), nsp=rng.random() < 0.5), "AutoModelForMaskedLM"
    elif made == "sequence":
        ours, auto = SequenceClassifier(BERT(config, pieces), head, 3), "AutoModelForSequenceClassification"
        labels = LabelSet(Target.label, names)
    elif made == "tokens":
        ours, auto = TokenClassifier(BERT(config, pieces), HeadConfig(), 3), "AutoModelForTokenClassification"
        labels = names
    else:
        ours, auto = SpanClassifier(BERT(config, pieces), HeadConfig()), "AutoModelForQuestionAnswering"
    randomise(ours, rng)
    export_bert(ours, tokenizer, folder, labels, None if made == "masked" else head)
    exported = getattr(transformers, auto).from_pretrained(folder).eval()
    ids, lengths = tokens(rng)
    real_tokens = real(lengths)
    segments = torch.randint(max(1, config.segments), ids.shape)
    outputs = exported(ids, attention_mask=real_tokens.long(), token_type_ids=segments)
    segments = segments if config.segments else None
    if isinstance(ours, MaskedLanguageModel):
        return ours.logits(ours(ids, lengths, segments, real_tokens.flatten().nonzero()[:, 0])[0]), outputs.logits[
            real_tokens
        ]
    if isinstance(ours, SequenceClassifier):
        assert exported.config.id2label == dict(enumerate(names))
        return ours(ids, lengths, segments), outputs.logits
    if isinstance(ours, TokenClassifier):
        outputs = exported(ids, attention_mask=real_tokens.long())
        return ours(ids, lengths, real_tokens.flatten().nonzero()[:, 0]), outputs.logits[real_tokens]
    segments = torch.zeros_like(ids) if segments is None or config.segments < 2 else segments
    outputs = exported(ids, attention_mask=real_tokens.long(), token_type_ids=segments)
    scores = ours(ids, lengths, segments, torch.ones_like(real_tokens))
    return scores.transpose(1, 2)[real_tokens], torch.stack((outputs.start_logits, outputs.end_logits), -1)[real_tokens]


def gpt_out(values: dict[str, Any], tokenizer: Tokenizer, folder: Path, rng: Any) -> tuple[Tensor, Tensor]:
    ours = randomise(GPT(GPTConfig(**values), tokenizer.vocab_size), rng)
    export_gpt(ours, tokenizer, folder)
    ids, _ = tokens(rng)
    exported = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return ours.logits(ours(ids)), exported(ids).logits


def seq2seq_out(values: dict[str, Any], tokenizer: Tokenizer, folder: Path, rng: Any) -> tuple[Tensor, Tensor]:
    ours = randomise(Seq2Seq(Seq2SeqConfig(**values), tokenizer.vocab_size, tokenizer.vocab_size), rng)
    export_seq2seq(ours, tokenizer, folder, DecodeConfig())
    source, lengths = tokens(rng)
    target, _ = tokens(rng)
    exported = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    expected = exported(input_ids=source, attention_mask=real(lengths).long(), decoder_input_ids=target).logits
    return ours.logits(ours(source, lengths, target)), expected


def vit_out(values: dict[str, Any], tokenizer: Tokenizer, folder: Path, rng: Any) -> tuple[Tensor, Tensor]:
    from tformer_cli.interop.writing import json_file, weights_file

    config, size = ViTConfig(**values), rng.choice([[8, 8], [8, 16], [24, 8]])
    head = ImageHeadConfig(dropout=0.2)
    ours = randomise(ImageClassifier(ViT(config, size, 3), head, 3), rng)
    huggingface_vit.check_exportable(config, head)
    folder.mkdir()
    settings = huggingface_vit.export_config(config, size, 3, ["a", "b", "c"])
    (folder / "config.json").write_bytes(json_file(settings))
    weights = huggingface_vit.export_weights(config, ours.state_dict())
    (folder / "model.safetensors").write_bytes(weights_file(weights))
    exported = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(rng.randrange(1000)))
    return ours(images), exported(pixel_values=images).logits


@dataclasses.dataclass
class Ours:
    """A family of tformer and its counterpart in another library.

    Attributes:
        config: its settings.
        out: returns the logits before and after export.
        more: further accepted values, in addition to `SIZES`.
        passing: settings of which every value is accepted.
    """

    config: type
    out: Callable[..., tuple[Tensor, Tensor]]
    more: Choices = dataclasses.field(default_factory=dict)
    passing: frozenset[str] = frozenset()


FAMILIES = {
    "bert": Ours(BERTConfig, bert_out, {"norm": [Norm.post]}),
    "gpt": Ours(GPTConfig, gpt_out, {"norm": [Norm.pre]}),
    "marian": Ours(
        Seq2SeqConfig, seq2seq_out,
        {"norm": [Norm.post], "norm_eps": [1e-5], "tie_embeddings": list(TieEmbeddings)},
    ),
    "pegasus": Ours(
        Seq2SeqConfig, seq2seq_out,
        {"norm": [Norm.pre], "norm_eps": [1e-5], "tie_embeddings": [TieEmbeddings.all]},
    ),
    "vit": Ours(ViTConfig, vit_out, {"patch_size": [4]}),
}  # fmt: skip


@pytest.mark.parametrize("number", DRAWS)
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_model_of_ours_computes_the_same_there(name, number, tokenizer, tmp_path):
    kind, rng = FAMILIES[name], generator("out", name, number)
    torch.manual_seed(number)
    ours, expected = kind.out(ours_drawn(kind.config, rng, **kind.more), tokenizer, tmp_path / "out", rng)
    assert expected.std() > 0.05
    torch.testing.assert_close(ours, expected, **CLOSE)


EVERY = [(name, field.name) for name, kind in FAMILIES.items() for field in dataclasses.fields(kind.config)
         if field.name not in ("family", "resnet")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "setting"), EVERY)
@torch.no_grad()
def test_every_setting_of_ours_is_exported_or_refused_by_name(name, setting, tokenizer, tmp_path):
    """Each field of a model is tried alone at each other value; new fields are included automatically."""
    kind = FAMILIES[name]
    field = next(one for one in dataclasses.fields(kind.config) if one.name == setting)
    sizes = [] if isinstance(field.default, Enum) else SIZES.get(setting, [])
    for number, value in enumerate(sizes + other_values(field)):
        rng = generator("every", name, setting, number)
        values = ours_drawn(kind.config, rng, **kind.more) | {setting: value}
        if setting in ("dim", "heads", "max_length", "patch_size"):
            values |= {"dim": 4 * values["heads"], "max_length": 24} if "max_length" in values else {}
        try:
            ours, expected = kind.out(values, tokenizer, tmp_path / str(number), rng)
        except ConfigError as error:
            assert str(error).startswith(f"model.{setting}: "), error
        except (ValueError, AssertionError, RuntimeError):
            if setting not in ("dim", "heads", "patch_size"):  # whose values are not all compatible
                raise
        else:
            torch.testing.assert_close(ours, expected, **CLOSE)
