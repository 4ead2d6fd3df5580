"""Tensors, settings and files in the form that other libraries read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from torch import Tensor

from tformer_cli.config.schema import TransformerConfig
from tformer_cli.interop.reading import THEIR_ACTIVATIONS
from tformer_cli.tokenizers.tokenizer import Vocabulary


def json_file(value: Any) -> bytes:
    """Return JSON in the layout of these libraries."""
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def weights_file(tensors: dict[str, Tensor]) -> bytes:
    """Return a safetensors file with the metadata `format: pt`, without which `transformers` refuses it."""
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors as float32 on the CPU, without shared memory."""
    return {name: value.detach().float().cpu().contiguous().clone() for name, value in tensors.items()}


def tokenizer_files(tokenizer: Vocabulary) -> dict[str, bytes]:
    """Return tformer's own files of a tokenizer, from which an import restores the same tokenizer."""
    return {f"tokenizer/{name}": content for name, content in tokenizer.files().items()}


def encoder_settings(config: TransformerConfig, depth: int) -> dict[str, Any]:
    """Return the settings of the blocks of an encoder by the names of Hugging Face's BERT and its successors."""
    return {
        "hidden_size": config.dim,
        "num_hidden_layers": depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.ffn_dim,
        "hidden_act": THEIR_ACTIVATIONS[config.activation],
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "layer_norm_eps": config.norm_eps,
    }
