"""The Transformer of a job in Hugging Face's implementation, a `MarianMTModel`."""

from __future__ import annotations

from typing import Any

from measure import BOS, EOS, PAD
from transformers import MarianConfig, MarianMTModel


def build(shape: dict[str, Any], *, attention: str | None = None) -> MarianMTModel:
    """Return a model with random weights: post-norm, ReLU, sinusoidal positions, one tied embedding.

    Args:
        shape: `shape` of the job.
        attention: `attn_implementation` of the library, "sdpa" or "eager"; None: its default.
    """
    config = MarianConfig(
        vocab_size=shape["vocab_size"],
        d_model=shape["dim"],
        encoder_layers=shape["encoder_depth"],
        decoder_layers=shape["decoder_depth"],
        encoder_attention_heads=shape["heads"],
        decoder_attention_heads=shape["heads"],
        encoder_ffn_dim=shape["ffn_dim"],
        decoder_ffn_dim=shape["ffn_dim"],
        dropout=shape["dropout"],
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=512,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        forced_eos_token_id=None,
        decoder_start_token_id=BOS,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
    )
    extra = {} if attention is None else {"attn_implementation": attention}
    return MarianMTModel._from_config(config, **extra)
