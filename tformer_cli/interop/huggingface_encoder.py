"""Import and export of BERT, RoBERTa and DistilBERT of Hugging Face: names, layouts and settings of the weights.

tformer projects queries, keys and values in one product, and Hugging Face in three. RoBERTa's table of positions has
additional rows before that of the first token (`first_position`). DistilBERT is a BERT without segments and pooler, and
with other names, which are first replaced by BERT's.

Shapes: D model width, F feed-forward width, V vocabulary, N longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import Activation, HeadConfig, Norm, Pooling, Positions
from tformer_cli.errors import ConfigError
from tformer_cli.interop.gate import (
    FOREIGN,
    TRAINING,
    Rules,
    Say,
    carried,
    check_export,
    check_import,
    irrelevant,
    only,
    warn,
)
from tformer_cli.interop.reading import LEARNED, Settings, Weights
from tformer_cli.interop.writing import encoder_settings, plain
from tformer_cli.models.bert import BERTConfig

EXPORTED: Rules = {
    **LEARNED,
    "norm": only({Norm.post}, "is post-norm"),
    "segments": carried("type_vocab_size; a model without segments gets one of zeros"),
    "ffn_dropout": irrelevant("acts in training alone; their BERT has none there"),
}
"""Rules for the export of settings to BERT of Hugging Face."""
EXPORTED_HEAD: Rules = {
    "dropout": carried("classifier_dropout"),
    "frozen": TRAINING,
    "class_weights": TRAINING,
    "pooling": only({Pooling.cls}, "takes the first token's vector"),
}
"""Rules for the export of settings of the heads."""
READ: Rules = {
    **FOREIGN,
    "hidden_size": carried("dim"),
    "num_hidden_layers": carried("depth"),
    "num_attention_heads": carried("heads"),
    "intermediate_size": carried("ffn_dim"),
    "hidden_act": carried("activation"),
    "hidden_dropout_prob": carried("dropout"),
    "attention_probs_dropout_prob": carried("attention_dropout"),
    "layer_norm_eps": carried("norm_eps"),
    "max_position_embeddings": carried("max_length"),
    "type_vocab_size": carried("segments"),
    "pad_token_id": carried("RoBERTa: the row of the position table before the first"),
    "position_embedding_type": only({"absolute", None}, "has absolute positions in this architecture"),
    "tie_word_embeddings": irrelevant("the output weights are compared with the embedding"),
    "directionality": only({"bidi", None}, "reads this architecture both ways"),
    "pooler_fc_size": irrelevant("nothing in transformers reads it"),
    "pooler_num_attention_heads": irrelevant("nothing in transformers reads it"),
    "pooler_num_fc_layers": irrelevant("nothing in transformers reads it"),
    "pooler_size_per_head": irrelevant("nothing in transformers reads it"),
    "pooler_type": irrelevant("nothing in transformers reads it"),
    "sinusoidal_pos_embds": irrelevant("says how a table began that is stored with the weights"),
    "tie_weights_": irrelevant("the output weights are compared with the embedding"),
    "gradient_checkpointing": TRAINING,
}
"""Rules for the import of settings of BERT and RoBERTa."""


def first_position(settings: Mapping[str, Any], where: str = "") -> int:
    """Return the row of the position table for the first token; in RoBERTa it follows the row for padding."""
    if settings.get("model_type") != "roberta":
        return 0
    return Settings({"pad_token_id": 1, **settings}, where).number("pad_token_id", 0) + 1


PREFIXES = {"bert": "bert.", "roberta": "roberta.", "distilbert": "distilbert."}
DISTILBERT_SETTINGS = {
    "dim": "hidden_size",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
READ_DISTILBERT: Rules = {
    **READ,
    **{theirs: READ[bert] for theirs, bert in DISTILBERT_SETTINGS.items()},
    "layer_norm_eps": irrelevant("nothing in transformers reads it in this architecture"),
}
"""Rules for the import of settings of DistilBERT."""
DISTILBERT_NORM_EPS = 1e-12
"""Epsilon of every normalisation of a DistilBERT, which its files cannot change."""
DISTILBERT_WEIGHTS = {
    "transformer.layer": "encoder.layer",
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
    "vocab_transform": "cls.predictions.transform.dense",
    "vocab_layer_norm": "cls.predictions.transform.LayerNorm",
    "vocab_projector.bias": "cls.predictions.bias",
    "vocab_projector.weight": "cls.predictions.decoder.weight",
    "pre_classifier": "classifier.before",
}
"""Parts of names of weights, and the corresponding parts in BERT."""


def settings_of_bert(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the `config.json` of a DistilBERT with the names of BERT's settings."""
    named = {DISTILBERT_SETTINGS.get(name, name): value for name, value in settings.items()}
    return named | {"type_vocab_size": 0, "layer_norm_eps": DISTILBERT_NORM_EPS}


def names_of_bert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a DistilBERT by the names of BERT's weights."""
    named = {}
    for name, value in tensors.items():
        for external_name, bert in DISTILBERT_WEIGHTS.items():
            name = name.replace(external_name, bert)
        named[name] = value
    return named


def layers(depth: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield tformer's name of each linear layer and normalisation, and the names of the layers that it concatenates."""
    yield "encoder.norm", ("embeddings.LayerNorm",)
    for number in range(depth):
        name, external_name = f"encoder.stack.blocks.{number}", f"encoder.layer.{number}"
        attention = tuple(f"{external_name}.attention.self.{part}" for part in ("query", "key", "value"))
        yield f"{name}.attention.sublayer.project_qkv", attention
        yield f"{name}.attention.sublayer.project_out", (f"{external_name}.attention.output.dense",)
        yield f"{name}.attention.norm", (f"{external_name}.attention.output.LayerNorm",)
        yield f"{name}.feed_forward.sublayer.project_in", (f"{external_name}.intermediate.dense",)
        yield f"{name}.feed_forward.sublayer.project_out", (f"{external_name}.output.dense",)
        yield f"{name}.feed_forward.norm", (f"{external_name}.output.LayerNorm",)


EMBEDDINGS = {
    "encoder.embedding.weight": "embeddings.word_embeddings.weight",
    "encoder.positions.table": "embeddings.position_embeddings.weight",
    "encoder.segments.weight": "embeddings.token_type_embeddings.weight",
}
MASKED = {
    "bert": {
        "head.project": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
        "next_sentence": "cls.seq_relationship",
    },
    "roberta": {"head.project": "lm_head.dense", "head.norm": "lm_head.layer_norm"},
}
"""Layers of the pre-training head."""
BIAS, OUTPUT = {"bert": "cls.predictions", "roberta": "lm_head"}, "decoder"
"""Prefix of the output bias, and the layer below it that contains copies of the bias and of the embedding."""
HEADS = {
    "sequence": {"pooler.project": "classifier.dense", "output": "classifier.out_proj"},  # RoBERTa's
    "tokens": {"output": "classifier"},
    "spans": {"output": "qa_outputs"},
}
"""Layers of the heads of fine-tuned models; a BERT for sequences has `classifier` after its pooler."""
POOLER = {"pooler.project": "pooler.dense"}
KINDS = {
    "ForSequenceClassification": "sequence",
    "ForTokenClassification": "tokens",
    "ForQuestionAnswering": "spans",
}
"""Kinds of heads by the endings of architecture names."""
TASKS = {"text_classification": "sequence", "token_tagging": "tokens", "question_answering": "spans"}
"""Kinds of heads by task."""
IGNORED = ("embeddings.position_ids",)
"""Buffers that are not weights."""


def head_kind(settings: Mapping[str, Any]) -> str:
    """Return the kind of head in a `config.json`; "" if the model is not fine-tuned."""
    names = settings.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    return next((kind for end, kind in KINDS.items() if name.endswith(end)), "")


def import_config(content: Mapping[str, Any], where: str, say: Say = warn) -> BERTConfig:
    """Return tformer's settings for the content of a `config.json`.

    Raises:
        ConfigError: if a setting has a value without a counterpart.
    """
    names: dict[str, str] = {}
    check_import(content, READ_DISTILBERT if content.get("model_type") == "distilbert" else READ, where, say)
    if content.get("model_type") == "distilbert":
        content = settings_of_bert(content)
        names = {bert: external_name for external_name, bert in DISTILBERT_SETTINGS.items()}
    settings = Settings(content, where, names)
    blocks = settings.encoder(dropout=0.1)
    roberta = content.get("model_type") == "roberta"
    if roberta and blocks["activation"] is not Activation.gelu:  # its head has gelu whatever the blocks have
        raise ConfigError(f"{where}: a RoBERTa with hidden_act {content['hidden_act']!r} is not supported")
    first = first_position(content, where)
    return BERTConfig(
        **blocks,
        norm=Norm.post,
        positions=Positions.learned,
        max_length=settings.number("max_position_embeddings", first + 2) - first,
        segments=settings.number("type_vocab_size", 0),
    )


def import_weights(
    config: BERTConfig, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str, say: Say = warn
) -> dict[str, Tensor]:
    """Return the weights under tformer's names, in float32.

    Args:
        config: settings from `import_config`.
        settings: content of `config.json`.
        tensors: tensors of the safetensors file.
        where: name of the file in error messages.
        say: receives the warning about a head without a counterpart.

    Raises:
        ConfigError: if a weight of the encoder is missing or has another shape, or a weight has no counterpart.
    """
    kind = settings["model_type"]
    named = {name.removeprefix(PREFIXES[kind]): value for name, value in tensors.items()}
    if kind == "distilbert":
        kind, named = "bert", names_of_bert(named)
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):  # what the first BERTs were saved with
        named = {name.removesuffix(old) + new if name.endswith(old) else name: value for name, value in named.items()}
    weights = Weights(named, where)
    state = _read_encoder(config, first_position(settings), weights)
    state |= _read_layers(weights, {**MASKED[kind], **POOLER}, config.dim)
    state |= _read_output(weights, BIAS[kind], state["encoder.embedding.weight"])
    state |= _read_head(weights, head_kind(settings), config.dim)
    weights.drop(lambda name: name.startswith(IGNORED))
    dropped = weights.drop(lambda name: name.startswith(("classifier", "qa_outputs")))
    if dropped:
        parts = ", ".join(sorted(name.replace("classifier.before", "pre_classifier") for name in dropped))
        say(f"warning: {where}: tformer's heads have no counterpart of {parts}: the head is initialised randomly")
    weights.refuse_rest(lambda name: False)
    return state


def _read_encoder(config: BERTConfig, first: int, weights: Weights) -> dict[str, Tensor]:
    """Return the weights of the encoder; `first` is the row of the first token in the position table."""
    dim = config.dim
    state: dict[str, Tensor] = {}
    for own_name, external_name in EMBEDDINGS.items():
        if "segments" not in own_name or config.segments:
            rows = {"positions": config.max_length + first, "segments": config.segments}.get(own_name.split(".")[1], -1)
            state[own_name] = weights.take(external_name, rows, dim)
    state["encoder.positions.table"] = state["encoder.positions.table"][first:].contiguous()
    for own_name, external_name in layers(config.depth):
        rows = config.ffn_dim if own_name.endswith("project_in") else dim
        columns = config.ffn_dim if "feed_forward" in own_name and own_name.endswith("project_out") else dim
        shape = (rows,) if own_name.endswith("norm") else (rows, columns)
        state[f"{own_name}.weight"] = torch.cat([weights.take(f"{name}.weight", *shape) for name in external_name])
        state[f"{own_name}.bias"] = torch.cat([weights.take(f"{name}.bias", rows) for name in external_name])
    return state


def _read_layers(weights: Weights, names: Mapping[str, str], dim: int) -> dict[str, Tensor]:
    """Return the weights of the layers that the file contains, given tformer's names and the names in the file."""
    state = {}
    for name, external_name in names.items():
        if f"{external_name}.weight" in weights.left:
            shape = (-1,) if name.endswith("norm") else (-1, dim)
            state[f"{name}.weight"] = weights.take(f"{external_name}.weight", *shape)
            state[f"{name}.bias"] = weights.take(f"{external_name}.bias", len(state[f"{name}.weight"]))
    return state


def _read_output(weights: Weights, place: str, embedding: Tensor) -> dict[str, Tensor]:
    """Return the output bias; its copy must equal it, and the output weights must equal the embedding."""
    weights.match(f"{place}.{OUTPUT}.weight", embedding, "the embedding")
    for name in (f"{place}.bias", f"{place}.{OUTPUT}.bias"):
        if name in weights.left:
            bias = weights.take(name, len(embedding))
            weights.match(f"{place}.{OUTPUT}.bias", bias, f"{place}.bias")
            return {"head.bias": bias}
    return {}


def _read_head(weights: Weights, kind: str, dim: int) -> dict[str, Tensor]:
    """Return the head of a fine-tuned model, if tformer's head computes the same function."""
    if not kind or "classifier.before.weight" in weights.left:  # DistilBERT's head has another activation
        return {}
    names = HEADS[kind]
    if kind == "sequence" and "classifier.weight" in weights.left:
        names = HEADS["tokens"]
    return _read_layers(weights, names, dim)


def check_exportable(config: BERTConfig, head: HeadConfig | None = None) -> None:
    """Refuse settings without a counterpart in the BERT of Hugging Face.

    Raises:
        ConfigError: naming the first such setting.
    """
    check_export(config, EXPORTED, "Hugging Face's BERT")
    if head is not None:
        check_export(head, EXPORTED_HEAD, "Hugging Face's BERT", "head.")


def export_weights(config: BERTConfig, state: Mapping[str, Tensor], *, spans: bool = False) -> dict[str, Tensor]:
    """Return the weights under the names of Hugging Face's BERT, with a zero embedding if there are no segments.

    Args:
        config: settings of the model, accepted by `check_exportable`.
        state: the model's state dictionary.
        spans: whether its head predicts the start and end of answers.
    """
    tensors: dict[str, Tensor] = {}
    for own_name, external_name in EMBEDDINGS.items():
        value = state.get(own_name)
        tensors[f"bert.{external_name}"] = torch.zeros(1, config.dim) if value is None else value
    for own_name, external_name in layers(config.depth):
        weights, biases = (state[f"{own_name}.{part}"].chunk(len(external_name)) for part in ("weight", "bias"))
        for name, weight, bias in zip(external_name, weights, biases, strict=True):
            tensors |= {f"bert.{name}.weight": weight, f"bert.{name}.bias": bias}
    output = HEADS["spans" if spans else "tokens"]
    for own_name, external_name in {**MASKED["bert"], "pooler.project": "bert.pooler.dense", **output}.items():
        for part in ("weight", "bias"):
            if f"{own_name}.{part}" in state:
                tensors[f"{external_name}.{part}"] = state[f"{own_name}.{part}"]
    if "head.bias" in state:
        tensors["cls.predictions.bias"] = state["head.bias"]
    return plain(tensors)


def export_config(config: BERTConfig, vocab_size: int, pad_id: int, head: HeadConfig | None = None) -> dict[str, Any]:
    """Return the content of `config.json` without the name of the architecture."""
    return {
        "model_type": "bert",
        "vocab_size": vocab_size,
        **encoder_settings(config, config.depth),
        "max_position_embeddings": config.max_length,
        "type_vocab_size": max(1, config.segments),
        "pad_token_id": pad_id,
        "tie_word_embeddings": True,
        "classifier_dropout": None if head is None else head.dropout,
    }
