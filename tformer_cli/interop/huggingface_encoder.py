"""BERT, RoBERTa and DistilBERT of Hugging Face beside ours: names, layouts and settings of the weights.

We project queries, keys and values in one product, they in three. RoBERTa's table of positions begins two rows late.
DistilBERT is BERT without segments and pooler under other names; it is renamed first.

Shapes: D model width, F feed-forward width, V vocabulary, N longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import Activation, BERTConfig, Norm, Positions
from tformer_cli.errors import ConfigError
from tformer_cli.interop.reading import LEARNED, Settings, Weights, refuse_others
from tformer_cli.interop.writing import encoder_settings, plain


def first_position(found: Mapping[str, Any]) -> int:
    """The row of the position table that the first token has: RoBERTa's begins after that of its padding."""
    return int(found.get("pad_token_id", 1)) + 1 if found.get("model_type") == "roberta" else 0


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
"""Parts of names, and what BERT calls them."""


def settings_of_bert(found: Mapping[str, Any]) -> dict[str, Any]:
    """A DistilBERT's `config.json` in BERT's terms."""
    return {DISTILBERT_SETTINGS.get(name, name): value for name, value in found.items()} | {"type_vocab_size": 0}


def names_of_bert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A DistilBERT's weights under BERT's names."""
    named = {}
    for name, value in tensors.items():
        for theirs, bert in DISTILBERT_WEIGHTS.items():
            name = name.replace(theirs, bert)
        named[name] = value
    return named


def layers(depth: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each linear layer and normalisation of the encoder: our name; theirs, of which ours is the concatenation."""
    yield "encoder.norm", ("embeddings.LayerNorm",)
    for number in range(depth):
        ours, theirs = f"encoder.stack.blocks.{number}", f"encoder.layer.{number}"
        attention = tuple(f"{theirs}.attention.self.{part}" for part in ("query", "key", "value"))
        yield f"{ours}.attention.sublayer.project_qkv", attention
        yield f"{ours}.attention.sublayer.project_out", (f"{theirs}.attention.output.dense",)
        yield f"{ours}.attention.norm", (f"{theirs}.attention.output.LayerNorm",)
        yield f"{ours}.feed_forward.sublayer.project_in", (f"{theirs}.intermediate.dense",)
        yield f"{ours}.feed_forward.sublayer.project_out", (f"{theirs}.output.dense",)
        yield f"{ours}.feed_forward.norm", (f"{theirs}.output.LayerNorm",)


EMBEDDINGS = {
    "encoder.embedding.weight": "embeddings.word_embeddings.weight",
    "encoder.positions.table": "embeddings.position_embeddings.weight",
    "encoder.segments.weight": "embeddings.token_type_embeddings.weight",
}
HEADS = {
    "bert": {
        "head.project": "cls.predictions.transform.dense",
        "head.norm": "cls.predictions.transform.LayerNorm",
        "next_sentence": "cls.seq_relationship",
        "output": "classifier",
    },
    "roberta": {"head.project": "lm_head.dense", "head.norm": "lm_head.layer_norm"},
}
HEAD_BIAS = {"bert": "cls.predictions.bias", "roberta": "lm_head.bias"}
IGNORED = ("embeddings.position_ids", "cls.predictions.decoder", "lm_head.decoder", "classifier", "qa_outputs")
"""Names, or beginnings of names, of buffers, of copies of tied weights, and of other tasks' heads."""


def import_config(found: Mapping[str, Any], where: str) -> BERTConfig:
    """Our settings from their `config.json`.

    Raises:
        ConfigError: if it has a setting that we do not.
    """
    if found.get("model_type") == "distilbert":
        found = settings_of_bert(found)
    settings = Settings(found, where)
    blocks = settings.encoder(dropout=0.1)
    roberta = found.get("model_type") == "roberta"
    if roberta and blocks["activation"] is not Activation.gelu:  # its head has gelu whatever the blocks have
        raise ConfigError(f"{where}: a RoBERTa with hidden_act {found['hidden_act']!r} is not supported")
    if found.get("position_embedding_type", "absolute") != "absolute":
        raise ConfigError(f"{where}: position_embedding_type {found['position_embedding_type']!r} is not supported")
    return BERTConfig(
        **blocks,
        norm=Norm.post,
        positions=Positions.learned,
        max_length=settings.number("max_position_embeddings") - first_position(found),
        segments=settings.number("type_vocab_size", 0),
    )


def import_weights(
    config: BERTConfig, found: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Their weights under our names, float32.

    Args:
        config: what `import_config` made of theirs.
        found: their `config.json`.
        tensors: of their safetensors file.
        where: what an error calls them.

    Raises:
        ConfigError: if one of the encoder's is missing or of another shape, or one has no place here.
    """
    kind = found["model_type"]
    named = {name.removeprefix(PREFIXES[kind]): value for name, value in tensors.items()}
    if kind == "distilbert":
        kind, named = "bert", names_of_bert(named)
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):  # what the first BERTs were saved with
        named = {name.removesuffix(old) + new if name.endswith(old) else name: value for name, value in named.items()}
    weights = Weights(named, where)
    dim = config.dim
    state: dict[str, Tensor] = {}
    for ours, theirs in EMBEDDINGS.items():
        if "segments" not in ours or config.segments:
            state[ours] = weights.take(theirs, -1, dim)
    state["encoder.positions.table"] = state["encoder.positions.table"][first_position(found) :].contiguous()
    for ours, theirs in layers(config.depth):
        rows = config.ffn_dim if ours.endswith("project_in") else dim
        columns = config.ffn_dim if "feed_forward" in ours and ours.endswith("project_out") else dim
        shape = (rows,) if ours.endswith("norm") else (rows, columns)
        state[f"{ours}.weight"] = torch.cat([weights.take(f"{name}.weight", *shape) for name in theirs])
        state[f"{ours}.bias"] = torch.cat([weights.take(f"{name}.bias", rows) for name in theirs])
    for ours, theirs in {**HEADS[kind], "pooler.project": "pooler.dense"}.items():
        for part in ("weight", "bias"):
            if f"{theirs}.{part}" in weights.left:
                state[f"{ours}.{part}"] = weights.left.pop(f"{theirs}.{part}")
    if HEAD_BIAS[kind] in weights.left:
        state["head.bias"] = weights.left.pop(HEAD_BIAS[kind])
    weights.refuse_rest(lambda name: name.startswith(IGNORED))
    return state


def check_exportable(config: BERTConfig) -> None:
    """Refuse what their BERT does not have.

    Raises:
        ConfigError: naming the first such setting.
    """
    refuse_others(config, "BERT", {"norm": ({Norm.post}, "is post-norm"), **LEARNED})


def export_weights(config: BERTConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the names of their BERT; a model without segments gets one of zeros.

    Args:
        config: of the model; `check_exportable` has passed.
        state: the model's state dictionary.
    """
    found: dict[str, Tensor] = {}
    for ours, theirs in EMBEDDINGS.items():
        value = state.get(ours)
        found[f"bert.{theirs}"] = torch.zeros(1, config.dim) if value is None else value
    for ours, theirs in layers(config.depth):
        weights, biases = (state[f"{ours}.{part}"].chunk(len(theirs)) for part in ("weight", "bias"))
        for name, weight, bias in zip(theirs, weights, biases, strict=True):
            found |= {f"bert.{name}.weight": weight, f"bert.{name}.bias": bias}
    for ours, theirs in {**HEADS["bert"], "pooler.project": "bert.pooler.dense"}.items():
        for part in ("weight", "bias"):
            if f"{ours}.{part}" in state:
                found[f"{theirs}.{part}"] = state[f"{ours}.{part}"]
    if "head.bias" in state:
        found["cls.predictions.bias"] = state["head.bias"]
    return plain(found)


def export_config(config: BERTConfig, vocab_size: int, pad_id: int) -> dict[str, Any]:
    """Their `config.json`, but for the architecture's name."""
    return {
        "model_type": "bert",
        "vocab_size": vocab_size,
        **encoder_settings(config),
        "max_position_embeddings": config.max_length,
        "type_vocab_size": max(1, config.segments),
        "pad_token_id": pad_id,
        "tie_word_embeddings": True,
    }
