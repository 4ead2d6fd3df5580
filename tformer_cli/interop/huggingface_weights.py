"""Import and export of Hugging Face's encoder-decoders: names, layouts and settings of the weights.

Post-norm models are `MarianMTModel`, and pre-norm models are `PegasusForConditionalGeneration`. Both have the same
weights, but Pegasus normalises before each sub-layer and once more after the last block.

Two things differ. First, tformer projects queries, keys and values in one product, and Hugging Face in three. Second,
sinusoids are interleaved here, as in the paper (sin, cos, sin, cos, ...), and halves there (all sin, then all cos). The
network does not depend on the order of the residual stream's components. Every weight that reads or writes the stream
is therefore permuted.

Shapes: D model width, F feed-forward width, V vocabulary, N longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tformer_cli.config.schema import Norm, Positions, TieEmbeddings
from tformer_cli.errors import ConfigError
from tformer_cli.interop.gate import (
    CORE,
    FOREIGN,
    Rules,
    Say,
    carried,
    check_export,
    check_import,
    irrelevant,
    only,
    warn,
)
from tformer_cli.interop.reading import ACTIVATIONS, THEIR_ACTIVATIONS, Settings, Weights
from tformer_cli.interop.writing import plain
from tformer_cli.models.seq2seq import Seq2SeqConfig

ARCHITECTURES = {
    Norm.post: ("marian", "MarianMTModel"),
    Norm.pre: ("pegasus", "PegasusForConditionalGeneration"),
}
SHARED = "model.shared.weight"
FINAL_BIAS = "final_logits_bias"
TABLE = "model.{side}.embed_positions.weight"
REMEDY = "this model cannot be used here"
NORM_EPS = 1e-5
"""Epsilon of the normalisations of Marian and Pegasus, which has no setting there."""
_SHARED: Rules = {
    **CORE,
    "encoder_depth": carried("encoder_layers"),
    "decoder_depth": carried("decoder_layers"),
    "positions": only({Positions.sinusoidal}, "has sinusoids only"),
    "activation": carried("has relu, gelu, gelu_tanh and swish only", set(ACTIVATIONS.values())),
    "dropout": carried("dropout"),
    "attention_dropout": carried("attention_dropout"),
    "ffn_dropout": carried("activation_dropout"),
    "norm_eps": only({NORM_EPS}, f"has {NORM_EPS:g} in every normalisation"),
    "max_length": carried("max_position_embeddings"),
    "scale_embeddings": carried("scale_embedding"),
    "final_bias": carried("final_logits_bias, among the weights"),
}
EXPORTED: Mapping[Norm, Rules] = {
    Norm.post: {
        **_SHARED,
        "norm": only({Norm.post}, "is post-norm"),
        "tie_embeddings": carried("tie_word_embeddings and share_encoder_decoder_embeddings"),
    },
    Norm.pre: {
        **_SHARED,
        "norm": only({Norm.pre}, "is pre-norm"),
        "tie_embeddings": only(
            {TieEmbeddings.all}, "ties all embeddings of a pre-norm model (norm: post could be exported)"
        ),
    },
}
"""Rules for the export of settings to Marian or Pegasus of Hugging Face."""
READ: Rules = {
    **FOREIGN,
    "d_model": carried("dim"),
    "encoder_layers": carried("encoder_depth"),
    "decoder_layers": carried("decoder_depth"),
    "encoder_attention_heads": carried("heads"),
    "decoder_attention_heads": carried("heads"),
    "encoder_ffn_dim": carried("ffn_dim"),
    "decoder_ffn_dim": carried("ffn_dim"),
    "activation_function": carried("activation"),
    "dropout": carried("dropout"),
    "attention_dropout": carried("attention_dropout"),
    "activation_dropout": carried("ffn_dropout"),
    "max_position_embeddings": carried("max_length"),
    "scale_embedding": carried("scale_embeddings"),
    "share_encoder_decoder_embeddings": carried("tie_embeddings"),
    "tie_word_embeddings": carried("tie_embeddings"),
    "pad_token_id": carried("compared with the tokenizer"),
    "eos_token_id": carried("compared with the tokenizer"),
    "decoder_start_token_id": carried("compared with the tokenizer"),
    "decoder_vocab_size": irrelevant("is the number of rows of the decoder's embedding"),
    "num_hidden_layers": irrelevant("is encoder_layers again"),
    "static_position_embeddings": only({True, None}, "reads sinusoids in this architecture"),
    "is_encoder_decoder": only({True, None}, "reads this architecture as encoder and decoder"),
    "normalize_before": irrelevant("follows from the architecture, which is read"),
    "add_final_layer_norm": irrelevant("follows from the architecture, which is read"),
    "normalize_embedding": only({False, None}, "does not normalise embeddings in this architecture"),
    "add_bias_logits": irrelevant("the bias of the output is among the weights"),
    "extra_pos_embeddings": irrelevant("nothing in transformers reads it"),
    "force_bos_token_to_be_generated": irrelevant("is of their search; a recipe has its own"),
}
"""Rules for the import of settings of Marian and Pegasus."""


def to_halves(dim: int) -> Tensor:
    """Return the index in tformer of each component in Hugging Face, (D,): even ones (sin), then odd ones (cos)."""
    return torch.cat((torch.arange(0, dim, 2), torch.arange(1, dim, 2)))


def check_exportable(config: Seq2SeqConfig) -> None:
    """Refuse settings without a counterpart in the architecture for `config.norm`.

    Raises:
        ConfigError: naming the first such setting.
    """
    check_export(config, EXPORTED[config.norm], f"Hugging Face's {ARCHITECTURES[config.norm][1]}")


def _layers(config: Seq2SeqConfig) -> Iterator[tuple[str, tuple[str, ...], bool, bool]]:
    """Yield the projections and normalisations.

    Yields:
        tformer's name, the names of the layers that it concatenates, and whether it uses the residual stream.
    """
    for stack, depth in (("encoder", config.encoder_depth), ("decoder", config.decoder_depth)):
        for number in range(depth):
            name, external_name = f"{stack}.blocks.{number}", f"model.{stack}.layers.{number}"
            inner = f"{external_name}.self_attn"
            parts = tuple(f"{inner}.{part}_proj" for part in "qkv")
            yield f"{name}.attention.sublayer.project_qkv", parts, True, False
            yield f"{name}.attention.sublayer.project_out", (f"{inner}.out_proj",), False, True
            yield f"{name}.attention.norm", (f"{external_name}.self_attn_layer_norm",), False, True
            if stack == "decoder":
                inner = f"{external_name}.encoder_attn"
                yield f"{name}.cross.sublayer.project_q", (f"{inner}.q_proj",), True, False
                yield f"{name}.cross.sublayer.project_kv", (f"{inner}.k_proj", f"{inner}.v_proj"), True, False
                yield f"{name}.cross.sublayer.project_out", (f"{inner}.out_proj",), False, True
                yield f"{name}.cross.norm", (f"{external_name}.encoder_attn_layer_norm",), False, True
            yield f"{name}.feed_forward.sublayer.project_in", (f"{external_name}.fc1",), True, False
            yield f"{name}.feed_forward.sublayer.project_out", (f"{external_name}.fc2",), False, True
            yield f"{name}.feed_forward.norm", (f"{external_name}.final_layer_norm",), False, True
        if config.norm is Norm.pre:
            yield f"{stack}.norm", (f"model.{stack}.layer_norm",), False, True


ENCODER, DECODER, HEAD = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"


def _embeddings(config: Seq2SeqConfig) -> dict[str, tuple[str, ...]]:
    """Return the names of embeddings and their names in the file: the exported one, and its tied copies."""
    if config.tie_embeddings is TieEmbeddings.all:
        return {"target_embedding.weight": (SHARED, DECODER, HEAD, ENCODER)}
    if config.tie_embeddings is TieEmbeddings.decoder:
        return {"source_embedding.weight": (ENCODER,), "target_embedding.weight": (DECODER, HEAD)}
    return {"source_embedding.weight": (ENCODER,), "target_embedding.weight": (DECODER,), "output.weight": (HEAD,)}


def _final_bias_name(config: Seq2SeqConfig) -> str:
    return "output.bias" if config.tie_embeddings is TieEmbeddings.none else "final_bias"


def export_weights(config: Seq2SeqConfig, state: Mapping[str, Tensor], table: Tensor) -> dict[str, Tensor]:
    """Return weights by the names and in the layout of Hugging Face.

    Args:
        config: settings of the model, which `check_exportable` has accepted.
        state: state dictionary of the model.
        table: sinusoids of the model, (N, D).

    Returns:
        The content of `model.safetensors`, float32.
    """
    order = to_halves(config.dim)
    state = {name: value.detach().float().cpu() for name, value in state.items()}
    tensors: dict[str, Tensor] = {}
    for own_name, external_name, reads, writes in _layers(config):
        weight, bias = state[f"{own_name}.weight"], state[f"{own_name}.bias"]
        weight = weight[:, order] if reads else weight[order] if writes else weight
        bias = bias[order] if writes else bias
        size = bias.shape[0] // len(external_name)
        for name, w, b in zip(external_name, weight.split(size), bias.split(size), strict=True):
            tensors |= {f"{name}.weight": w, f"{name}.bias": b}
    for own_name, names in _embeddings(config).items():
        tensors[names[0]] = state[own_name][:, order]
    vocabulary = state["target_embedding.weight"].shape[0]
    tensors[FINAL_BIAS] = state.get(_final_bias_name(config), torch.zeros(vocabulary))[None]
    for side in ("encoder", "decoder"):
        tensors[TABLE.format(side=side)] = table.detach().float().cpu()[:, order]
    return plain(tensors)


def import_weights(config: Seq2SeqConfig, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return weights by the names and in the layout of tformer, as the reverse of `export_weights`.

    Args:
        config: settings as returned by `import_config`.
        tensors: content of the safetensors file.
        where: name of the file in error messages.

    Returns:
        Weights, float32, by the names of `runs.checkpoint.model_tensors`, with tied embeddings only once.

    Raises:
        ConfigError: if a tensor is missing, unknown, or of another shape than `config` determines.
    """
    order = torch.argsort(to_halves(config.dim))
    weights = Weights(tensors, where)
    state: dict[str, Tensor] = {}
    for own_name, external_name, reads, writes in _layers(config):
        norm = own_name.endswith("norm")
        inner = "feed_forward" in own_name and not norm
        rows = config.ffn_dim if inner and reads else config.dim
        columns = config.ffn_dim if inner and writes else config.dim
        shape = (rows,) if norm else (rows, columns)
        weight = torch.cat([weights.take(f"{name}.weight", *shape) for name in external_name])
        bias = torch.cat([weights.take(f"{name}.bias", rows) for name in external_name])
        state[f"{own_name}.weight"] = (weight[:, order] if reads else weight[order] if writes else weight).contiguous()
        state[f"{own_name}.bias"] = bias[order] if writes else bias
    for own_name, names in _embeddings(config).items():
        external_name = next((name for name in names if name in weights.left), names[0])
        value = weights.take(external_name, -1, config.dim)
        for copy in names:
            weights.match(copy, value, external_name)
        state[own_name] = value[:, order].contiguous()
    if config.final_bias:
        vocabulary = state["target_embedding.weight"].shape[0]
        state[_final_bias_name(config)] = weights.take(FINAL_BIAS, 1, vocabulary)[0].clone()
    _check_rest(config, weights)
    return state


def _check_rest(config: Seq2SeqConfig, weights: Weights) -> None:
    """Check that the remaining weights are a bias of zeros and sinusoids."""
    known = {FINAL_BIAS, *(TABLE.format(side=side) for side in ("encoder", "decoder"))}
    weights.refuse_rest(known.__contains__, REMEDY)
    for name, value in weights.left.items():
        if "embed_positions" in name:
            _check_table(config, value, f"{weights.where}: {name}")


def _check_table(config: Seq2SeqConfig, table: Tensor, where: str) -> None:
    from tformer_cli.nn.positions import frequencies, sinusoids

    expected = sinusoids(torch.arange(table.shape[0]), frequencies(config.dim, dtype=torch.float64)).float()
    expected = expected[:, to_halves(config.dim)]
    if table.shape != expected.shape or not torch.allclose(
        table, expected, atol=2e-3
    ):  # half-precision files are that coarse
        raise ConfigError(f"{where} are not the sinusoids that tformer's model has", "such a model cannot be used here")


def export_config(config: Seq2SeqConfig, vocabularies: tuple[int, int], ids: Mapping[str, int]) -> dict[str, Any]:
    """Return the content of `config.json`.

    Args:
        config: settings of the model.
        vocabularies: numbers of rows of the source and of the target embedding.
        ids: pad, bos and eos.
    """
    model_type, architecture = ARCHITECTURES[config.norm]
    settings = {
        "architectures": [architecture],
        "model_type": model_type,
        "is_encoder_decoder": True,
        "d_model": config.dim,
        "encoder_layers": config.encoder_depth,
        "decoder_layers": config.decoder_depth,
        "encoder_attention_heads": config.heads,
        "decoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.ffn_dim,
        "decoder_ffn_dim": config.ffn_dim,
        "activation_function": THEIR_ACTIVATIONS[config.activation],
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.ffn_dropout,
        "max_position_embeddings": config.max_length,
        "scale_embedding": config.scale_embeddings,
        "static_position_embeddings": True,
        "vocab_size": vocabularies[0],
        "tie_word_embeddings": config.tie_embeddings is not TieEmbeddings.none,
        "pad_token_id": ids["pad"],
        "bos_token_id": ids["bos"],
        "eos_token_id": ids["eos"],
        "decoder_start_token_id": ids["bos"],
        "forced_eos_token_id": None,
        "torch_dtype": "float32",
    }
    if config.norm is Norm.post:
        settings["share_encoder_decoder_embeddings"] = config.tie_embeddings is TieEmbeddings.all
        settings["decoder_vocab_size"] = vocabularies[1]
    return settings


def import_config(content: Mapping[str, Any], where: str, *, final_bias: bool, say: Say = warn) -> Seq2SeqConfig:
    """Return tformer's settings for a `config.json`.

    Args:
        content: the file's content; its `model_type` is one of `ARCHITECTURES`.
        where: name of the file in error messages.
        final_bias: whether the bias of the output projection is not all zero.
        say: receives the warning about settings without a rule.

    Raises:
        ConfigError: if it has an unsupported setting.
    """
    by_type = {model_type: norm for norm, (model_type, _) in ARCHITECTURES.items()}
    kind = str(content["model_type"])
    check_import(content, READ, where, say)
    settings = Settings(content, where)
    dim, heads = settings.number("d_model"), settings.same("attention_heads")
    if dim % 2 or dim % heads:
        raise ConfigError(f"{where}: d_model {dim} is odd, or no multiple of {heads} heads")
    activation = settings.activation("activation_function", "gelu", ACTIVATIONS)
    shared = kind == "pegasus" or settings.flag("share_encoder_decoder_embeddings", True)
    tied = settings.flag("tie_word_embeddings", True)
    if shared and not tied:
        raise ConfigError(
            f"{where}: tie_word_embeddings is off while both embeddings are shared",
            "tformer ties all, the decoder's, or none",
        )
    return Seq2SeqConfig(
        dim=dim,
        heads=heads,
        ffn_dim=settings.same("ffn_dim"),
        norm=by_type[kind],
        activation=activation,
        positions=Positions.sinusoidal,
        dropout=settings.rate("dropout"),
        attention_dropout=settings.rate("attention_dropout"),
        ffn_dropout=settings.rate("activation_dropout"),
        max_length=settings.number("max_position_embeddings", 2),
        encoder_depth=settings.number("encoder_layers"),
        decoder_depth=settings.number("decoder_layers"),
        tie_embeddings=TieEmbeddings.all if shared else TieEmbeddings.decoder if tied else TieEmbeddings.none,
        scale_embeddings=settings.flag("scale_embedding", False),
        norm_eps=NORM_EPS,
        final_bias=final_bias,
    )
