"""GPT-2 of Hugging Face beside our GPT: names, layouts and settings of the weights.

Its linear layers are stored the other way round (input by output), as one-wide convolutions.

Shapes: D model width, V vocabulary, N longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import GPTConfig, Norm, Positions
from tformer_cli.errors import ConfigError
from tformer_cli.interop.reading import ACTIVATIONS, LEARNED, THEIR_ACTIVATIONS, Settings, Weights, refuse_others
from tformer_cli.interop.writing import plain

KIND, PREFIX = "gpt2", "transformer."
EMBEDDINGS = {"embedding.weight": "wte.weight", "positions.table": "wpe.weight"}
IGNORED = ("attn.bias", "attn.masked_bias")
"""Ends of the names of buffers: the causal triangle."""


def layers(depth: int) -> Iterator[tuple[str, str, bool]]:
    """Each linear layer and normalisation: our name, theirs, whether it is turned round."""
    for number in range(depth):
        ours, theirs = f"stack.blocks.{number}", f"h.{number}"
        yield f"{ours}.attention.norm", f"{theirs}.ln_1", False
        yield f"{ours}.attention.sublayer.project_qkv", f"{theirs}.attn.c_attn", True
        yield f"{ours}.attention.sublayer.project_out", f"{theirs}.attn.c_proj", True
        yield f"{ours}.feed_forward.norm", f"{theirs}.ln_2", False
        yield f"{ours}.feed_forward.sublayer.project_in", f"{theirs}.mlp.c_fc", True
        yield f"{ours}.feed_forward.sublayer.project_out", f"{theirs}.mlp.c_proj", True
    yield "stack.norm", "ln_f", False


def import_config(found: Mapping[str, Any], where: str) -> GPTConfig:
    """Our settings from their `config.json`.

    Raises:
        ConfigError: if it has a setting that we do not.
    """
    settings = Settings(found, where)
    activation = settings.activation("activation_function", "gelu_new", ACTIVATIONS)
    for name, wanted in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False)):
        if found.get(name, wanted) is not wanted:
            raise ConfigError(f"{where}: {name} {found[name]} is not supported")
    dim, heads = settings.width("n_embd", "n_head")
    return GPTConfig(
        dim=dim,
        heads=heads,
        ffn_dim=found.get("n_inner") or 4 * dim,
        depth=settings.number("n_layer"),
        norm=Norm.pre,
        activation=activation,
        positions=Positions.learned,
        dropout=settings.rate("resid_pdrop", 0.1),
        attention_dropout=settings.rate("attn_pdrop", 0.1),
        norm_eps=float(found.get("layer_norm_epsilon", 1e-5)),
        max_length=settings.number("n_positions"),
        tie_embeddings=bool(found.get("tie_word_embeddings", True)),
    )


def import_weights(config: GPTConfig, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Their weights under our names, float32.

    Raises:
        ConfigError: if one is missing, of another shape, or has no place here.
    """
    weights = Weights({name.removeprefix(PREFIX): value for name, value in tensors.items()}, where)
    state = {ours: weights.take(theirs, -1, config.dim) for ours, theirs in EMBEDDINGS.items()}
    rows = {"project_qkv": 3 * config.dim, "project_in": config.ffn_dim}
    for ours, theirs, turned in layers(config.depth):
        last = ours.rpartition(".")[2]
        outputs = rows.get(last, config.dim)
        inputs = config.ffn_dim if "feed_forward" in ours and last == "project_out" else config.dim
        weight = weights.take(f"{theirs}.weight", *((inputs, outputs) if turned else (outputs,)))
        state[f"{ours}.weight"] = weight.T.contiguous() if turned else weight
        state[f"{ours}.bias"] = weights.take(f"{theirs}.bias", outputs)
    if not config.tie_embeddings:
        state["output.weight"] = weights.take("lm_head.weight", -1, config.dim)
    weights.refuse_rest(lambda name: name.endswith(IGNORED) or name == "lm_head.weight")
    return state


def check_exportable(config: GPTConfig) -> None:
    """Refuse what GPT-2 does not have.

    Raises:
        ConfigError: naming the first such setting.
    """
    refuse_others(config, "GPT-2", {"norm": ({Norm.pre}, "is pre-norm"), **LEARNED})


def export_weights(config: GPTConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under their names and in their layout; the reverse of `import_weights`."""
    found = {f"{PREFIX}{theirs}": state[ours] for ours, theirs in EMBEDDINGS.items()}
    for ours, theirs, turned in layers(config.depth):
        weight = state[f"{ours}.weight"]
        found[f"{PREFIX}{theirs}.weight"] = weight.T if turned else weight
        found[f"{PREFIX}{theirs}.bias"] = state[f"{ours}.bias"]
    if not config.tie_embeddings:
        found["lm_head.weight"] = state["output.weight"]
    return plain(found)


def export_config(config: GPTConfig, vocab_size: int, eos_id: int) -> dict[str, Any]:
    """Their `config.json`."""
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
        "tie_word_embeddings": config.tie_embeddings,
    }
