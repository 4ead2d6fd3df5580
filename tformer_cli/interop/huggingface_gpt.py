"""Import and export of GPT-2 of Hugging Face: names, layouts and settings of the weights, and folders with them.

GPT-2 stores the weights of its linear layers transposed (input by output), as convolutions of width 1.

Shapes: D model width, V vocabulary, N longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import DecodeConfig, Norm, Positions
from tformer_cli.interop import generation
from tformer_cli.interop.formats import Foreign, Importer, not_exported
from tformer_cli.interop.gate import (
    FOREIGN,
    TRAINING,
    Rules,
    Say,
    all_of,
    carried,
    check_export,
    check_import,
    irrelevant,
    only,
    warn,
)
from tformer_cli.interop.huggingface_tokenizer import prompt_files, read_tokenizer
from tformer_cli.interop.reading import (
    ACTIVATIONS,
    CONFIG,
    LEARNED,
    THEIR_ACTIVATIONS,
    WEIGHTS,
    Settings,
    Weights,
    cut_vocabulary,
    read_weights,
)
from tformer_cli.interop.writing import json_file, plain, tokenizer_files, weights_file
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT
from tformer_cli.tokenizers.tokenizer import Vocabulary
from tformer_cli.trained.opening import Opened

KIND, PREFIX = "gpt2", "transformer."
EMBEDDINGS = {"embedding.weight": "wte.weight", "positions.table": "wpe.weight"}
IGNORED = ("attn.bias", "attn.masked_bias")
"""Endings of the names of buffers, which hold the causal mask."""
EXPORTED: Rules = {
    **LEARNED,
    "norm": only({Norm.pre}, "is pre-norm"),
    "tie_embeddings": carried("tie_word_embeddings"),
    "ffn_dropout": irrelevant("acts in training alone; their GPT-2 has none there"),
    "leak_future": TRAINING,
}
"""Rules for the export of settings to GPT-2 of Hugging Face."""
READ: Rules = {
    **FOREIGN,
    "n_embd": carried("dim"),
    "n_layer": carried("depth"),
    "n_head": carried("heads"),
    "n_inner": carried("ffn_dim"),
    "n_positions": carried("max_length"),
    "activation_function": carried("activation"),
    "resid_pdrop": carried("dropout"),
    "attn_pdrop": carried("attention_dropout"),
    "layer_norm_epsilon": carried("norm_eps"),
    "tie_word_embeddings": carried("tie_embeddings"),
    "n_ctx": irrelevant("is n_positions again, in old files"),
    "scale_attn_weights": only({True}, "divides attention scores by the root of a head's width"),
    "scale_attn_by_inverse_layer_idx": only({False, None}, "scales attention scores alike in every block"),
    "reorder_and_upcast_attn": irrelevant("computes the same in float32"),
    **all_of(
        ("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
        irrelevant("is of heads whose weights do not pass"),
    ),
}
"""Rules for the import of settings of GPT-2."""


def layers(depth: int) -> Iterator[tuple[str, str, bool]]:
    """Yield tformer's name of each linear layer and normalisation, its name in GPT-2, and whether it is transposed."""
    for number in range(depth):
        name, external_name = f"stack.blocks.{number}", f"h.{number}"
        yield f"{name}.attention.norm", f"{external_name}.ln_1", False
        yield f"{name}.attention.sublayer.project_qkv", f"{external_name}.attn.c_attn", True
        yield f"{name}.attention.sublayer.project_out", f"{external_name}.attn.c_proj", True
        yield f"{name}.feed_forward.norm", f"{external_name}.ln_2", False
        yield f"{name}.feed_forward.sublayer.project_in", f"{external_name}.mlp.c_fc", True
        yield f"{name}.feed_forward.sublayer.project_out", f"{external_name}.mlp.c_proj", True
    yield "stack.norm", "ln_f", False


def import_config(content: Mapping[str, Any], where: str, say: Say = warn) -> GPTConfig:
    """Return tformer's settings for the content of a `config.json`.

    Raises:
        ConfigError: if a setting has a value without a counterpart.
    """
    check_import(content, READ, where, say)
    settings = Settings(content, where)
    activation = settings.activation("activation_function", "gelu_new", ACTIVATIONS)
    dim, heads = settings.width("n_embd", "n_head")
    return GPTConfig(
        dim=dim,
        heads=heads,
        ffn_dim=4 * dim if content.get("n_inner") is None else settings.number("n_inner"),
        depth=settings.number("n_layer"),
        norm=Norm.pre,
        activation=activation,
        positions=Positions.learned,
        dropout=settings.rate("resid_pdrop", 0.1),
        attention_dropout=settings.rate("attn_pdrop", 0.1),
        norm_eps=settings.positive("layer_norm_epsilon", 1e-5),
        max_length=settings.number("n_positions", 2),
        tie_embeddings=settings.flag("tie_word_embeddings", True),
    )


def import_weights(config: GPTConfig, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Return the weights by tformer's names, in float32.

    Raises:
        ConfigError: if a tensor is missing, unknown, or of another shape.
    """
    weights = Weights({name.removeprefix(PREFIX): value for name, value in tensors.items()}, where)
    rows = {"wte.weight": -1, "wpe.weight": config.max_length}
    state = {
        own_name: weights.take(external_name, rows[external_name], config.dim)
        for own_name, external_name in EMBEDDINGS.items()
    }
    rows = {"project_qkv": 3 * config.dim, "project_in": config.ffn_dim}
    for own_name, external_name, turned in layers(config.depth):
        last = own_name.rpartition(".")[2]
        outputs = rows.get(last, config.dim)
        inputs = config.ffn_dim if "feed_forward" in own_name and last == "project_out" else config.dim
        weight = weights.take(f"{external_name}.weight", *((inputs, outputs) if turned else (outputs,)))
        state[f"{own_name}.weight"] = weight.T.contiguous() if turned else weight
        state[f"{own_name}.bias"] = weights.take(f"{external_name}.bias", outputs)
    if config.tie_embeddings:
        weights.match("lm_head.weight", state["embedding.weight"], "the embedding")
    else:
        state["output.weight"] = weights.take("lm_head.weight", len(state["embedding.weight"]), config.dim)
    weights.refuse_rest(lambda name: name.endswith(IGNORED))
    return state


def check_exportable(config: GPTConfig) -> None:
    """Refuse settings without a counterpart in GPT-2.

    Raises:
        ConfigError: naming the first such setting.
    """
    check_export(config, EXPORTED, "Hugging Face's GPT-2")


def export_weights(config: GPTConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the names and in the layout of GPT-2, as the reverse of `import_weights`."""
    tensors = {f"{PREFIX}{external_name}": state[name] for name, external_name in EMBEDDINGS.items()}
    for name, external_name, turned in layers(config.depth):
        weight = state[f"{name}.weight"]
        tensors[f"{PREFIX}{external_name}.weight"] = weight.T if turned else weight
        tensors[f"{PREFIX}{external_name}.bias"] = state[f"{name}.bias"]
    if not config.tie_embeddings:
        tensors["lm_head.weight"] = state["output.weight"]
    return plain(tensors)


def export_config(config: GPTConfig, vocab_size: int, eos_id: int, pad_id: int) -> dict[str, Any]:
    """Return the content of `config.json`."""
    return {
        "model_type": KIND,
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": vocab_size,
        "n_embd": config.dim,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.ffn_dim,
        "n_positions": config.max_length,
        "activation_function": THEIR_ACTIVATIONS[config.activation],
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
        "layer_norm_epsilon": config.norm_eps,
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
        "tie_word_embeddings": config.tie_embeddings,
    }


def export(opened: Opened, say: Say = warn) -> dict[str, bytes]:
    """Return the files of a run, see `export_files`.

    Raises:
        ConfigError: if the model or its tokenizer has no counterpart in transformers.
    """
    if not isinstance(opened.model, GPT):
        raise not_exported(opened, ("language_model",))
    data: Any = opened.task.data
    return export_files(opened.model, data.tokenizer, opened.task.config.decode)


def export_files(model: GPT, tokenizer: Vocabulary, decode: DecodeConfig | None = None) -> dict[str, bytes]:
    """Return the files that `AutoModelForCausalLM` and `AutoTokenizer` load, as a GPT2LMHeadModel, by name.

    Args:
        model: a trained language model.
        tokenizer: the tokenizer it was trained with; a text begins after its </s>.
        decode: default search settings of `generate`; None: tformer's defaults.

    Raises:
        ConfigError: if the model or its tokenizer has no counterpart in transformers.
    """
    decode = DecodeConfig() if decode is None else decode
    check_exportable(model.config)
    check_export(decode, generation.EXPORTED, "generate", "decode.")
    pad, eos = tokenizer.pad_id, tokenizer.eos_id
    never = {pad, tokenizer.bos_id, tokenizer.unk_id}
    search = generation.continuation_config(decode, model.config, pad=pad, eos=eos, never=never)
    return {
        CONFIG: json_file(export_config(model.config, tokenizer.vocab_size, eos, pad)),
        generation.GENERATION: json_file(search),
        WEIGHTS: weights_file(export_weights(model.config, model.state_dict())),
        **prompt_files(tokenizer, model.config.max_length),
        **tokenizer_files(tokenizer),
    }


def _accepts(settings: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is of a GPT-2."""
    return settings.get("model_type") == KIND


def _read(path: Path, settings: Mapping[str, Any], languages: tuple[str, str], say: Say = warn) -> Foreign:
    """Read a GPT-2; see `Importer.read`."""
    config = import_config(settings, str(path / CONFIG), say)
    weights = import_weights(config, read_weights(path), str(path))
    tokenizer = read_tokenizer(path, causal=True)
    return Foreign(config, cut_vocabulary(weights, tokenizer.vocab_size, str(path)), tokenizer)


IMPORTER = Importer(("GPT-2",), _accepts, _read)
