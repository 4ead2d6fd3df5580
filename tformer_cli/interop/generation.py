"""Export of the search settings to `generation_config.json`, which transformers' `generate` reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tformer_cli.config.schema import DecodeConfig, Stopping, TextModelConfig
from tformer_cli.interop.gate import HERE, Rules, carried, irrelevant

GENERATION = "generation_config.json"
EARLY_STOPPING = {Stopping.longest: "never", Stopping.next: False}
EXPORTED: Rules = {
    "beam": carried("num_beams"),
    "sample": carried("do_sample"),
    "length_penalty": carried("length_penalty"),
    "max_length": carried("max_length, or max_new_tokens"),
    "max_length_a": carried("max_length, which does not grow with the input there"),
    "max_length_b": carried("max_length, which does not grow with the input there"),
    "stopping": carried("early_stopping"),
    "temperature": carried("temperature"),
    "top_k": carried("top_k"),
    "top_p": carried("top_p"),
    "n_best": irrelevant("says how many hypotheses are shown"),
    "shortlist": irrelevant("restricts the search for speed"),
    "iterations": irrelevant("belongs to editing, which is not exported"),
    "insertion_penalty": irrelevant("belongs to editing, which is not exported"),
    "deletion_threshold": irrelevant("belongs to editing, which is not exported"),
    "alignments": irrelevant("says what is shown beside the output"),
    "seed": irrelevant("what is drawn depends on the program that draws"),
    "batch": HERE,
    "workers": HERE,
    "precision": irrelevant("affects speed and rounding only"),
}
"""Rules for the settings of search."""


def translation_config(
    decode: DecodeConfig, config: TextModelConfig, *, pad: int, bos: int, eos: int
) -> dict[str, Any]:
    """Return the content of `generation_config.json` for search with an encoder-decoder.

    The score is the same, but `generate` differs in three ways. Its limit on the output length does not depend on the
    input length, </s> has no cost at that limit, and it continues until it has `num_beams` hypotheses. It therefore
    sometimes returns another hypothesis.
    """
    limit = min(decode.max_length or config.max_length - 1, config.max_length - 1)
    return {
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "decoder_start_token_id": bos,
        "forced_eos_token_id": eos,
        "max_length": limit + 2,  # generate counts <s> and </s>
        "suppress_tokens": sorted({pad, bos}),
        **_search(decode),
    }


def continuation_config(
    decode: DecodeConfig, config: TextModelConfig, *, pad: int, eos: int, never: Iterable[int]
) -> dict[str, Any]:
    """Return the content of `generation_config.json` for search with a language model.

    Args:
        decode: settings of the search.
        config: settings of the model.
        pad: id of padding.
        eos: id of the end-of-document token; a prompt begins with it too.
        never: ids that are never generated.

    `predict` also stops at the end of the model's context. `generate` has a single limit, so with `decode.max_length` a
    prompt that leaves less room is an error.
    """
    settings: dict[str, Any] = {
        "bos_token_id": eos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "max_length": config.max_length,  # of prompt and continuation
        **_search(decode),
    }
    if 0 < decode.max_length < config.max_length:  # otherwise the context ends first
        settings["max_new_tokens"] = decode.max_length
    never = sorted(set(never) - {eos})
    return settings | ({"suppress_tokens": never} if never else {})


def _search(decode: DecodeConfig) -> dict[str, Any]:
    """Return the settings that select the next token."""
    if decode.sample:
        drawn = {"temperature": decode.temperature, "top_k": decode.top_k, "top_p": decode.top_p}
        return {"do_sample": True, "num_beams": 1, **drawn}
    settings: dict[str, Any] = {"do_sample": False, "num_beams": decode.beam}
    if decode.beam > 1:
        settings |= {"length_penalty": decode.length_penalty, "early_stopping": EARLY_STOPPING[decode.stopping]}
    return settings
