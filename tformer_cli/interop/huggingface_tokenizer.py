"""Export of tokenizers as `tokenizer.json` or as the files of a MarianTokenizer, and import of `tokenizer.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tformer_cli.config.schema import Cut
from tformer_cli.errors import ConfigError
from tformer_cli.interop.marian_tokenizer import SOURCE, TARGET, TARGET_VOCABULARY, VOCABULARY
from tformer_cli.interop.sentencepiece_json import fast_tokenizer, parse
from tformer_cli.tokenizers.files import META
from tformer_cli.tokenizers.huggingface import FILE as JSON_FILE
from tformer_cli.tokenizers.huggingface import JsonTokenizer, add_prefix_space
from tformer_cli.tokenizers.tokenizer import JOINT, Tokenizer, Vocabulary

WHOLE_LINES = {"split_special_tokens": True}
"""Setting by which a line is not split at special tokens before it is normalised. `</s>` in a text is then text, and
`<mask>`, a user symbol, is found within its line. Otherwise, the parts before and after `<mask>` would be normalised as
separate lines, each with a space in front."""


def to_huggingface(tokenizer: Vocabulary, languages: tuple[str, str], max_length: int) -> dict[str, bytes]:
    """Return the files that `AutoTokenizer` reads, by name.

    Args:
        tokenizer: a joint tokenizer, or one with a vocabulary for each of `languages`.
        languages: source and target.
        max_length: maximum number of tokens that the model reads.

    Raises:
        ConfigError: if the vocabulary has a property that `tokenizer.json` cannot express.
    """
    if isinstance(tokenizer, JsonTokenizer):
        raise ConfigError("this run's tokenizer is a tokenizer.json, which is not written for seq2seq models yet")
    files = {name: data for name, data in tokenizer.files().items() if name.endswith(".model")}
    settings = {
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        **WHOLE_LINES,
    }
    if tokenizer.joint:
        model = parse(files[f"{JOINT}.model"])
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", **_special_names(tokenizer, model)}
        settings["model_input_names"] = ["input_ids", "attention_mask"]
        return {"tokenizer.json": _json(fast_tokenizer(tokenizer, model)), "tokenizer_config.json": _json(settings)}
    source, target = (files[f"{language}.model"] for language in languages)
    parsed = [parse(source), parse(target)]
    settings |= {"tokenizer_class": "MarianTokenizer", **_special_names(tokenizer, parsed[0])}
    settings |= {"source_lang": languages[0], "target_lang": languages[1], "separate_vocabs": True}
    written_files = {SOURCE: source, TARGET: target, "tokenizer_config.json": _json(settings)}
    for name, model in zip((VOCABULARY, TARGET_VOCABULARY), parsed, strict=True):
        written_files[name] = _json({piece.piece: number for number, piece in enumerate(model.pieces)})
    return written_files


def read_tokenizer(folder: Path, *, causal: bool = False) -> Vocabulary:
    """Return the tokenizer of an encoder or a language model: tformer's own if the folder has it, or `tokenizer.json`.

    Args:
        folder: folder of the model.
        causal: whether the model is a causal language model, not an encoder.

    Raises:
        DataError: if a file is missing or damaged.
    """
    is_ours = (folder / "tokenizer" / META).is_file()
    return Tokenizer.load(folder) if is_ours else JsonTokenizer.from_folder(folder, causal=causal)


def prompt_files(tokenizer: Vocabulary, max_length: int) -> dict[str, bytes]:
    """Return the files that `AutoTokenizer` reads for a language model; a text begins after an end-of-document token.

    A prompt of `predict` begins with this token too, so that both give the model the same input.

    Raises:
        ConfigError: if the vocabulary has a property that `tokenizer.json` cannot express.
    """
    names = {"pad": tokenizer.pad_id, "unk": tokenizer.unk_id, "bos": tokenizer.eos_id, "eos": tokenizer.eos_id}
    end = tokenizer.eos_id
    template = _template(tokenizer, [end, "A"], [end, "A", "B"], segments=1)
    return _files(tokenizer, max_length, names, template, ["input_ids", "attention_mask"])


def encoder_files(
    tokenizer: Vocabulary,
    max_length: int,
    segments: int,
    separator: list[int] | None = None,
    *,
    words: bool = False,
    cut: Cut = Cut.end,
) -> dict[str, bytes]:
    """Return the files that `AutoTokenizer` reads for an encoder: [CLS] A [SEP] and [CLS] A [SEP] B [SEP].

    Args:
        tokenizer: tformer's tokenizer.
        max_length: limit of the model in tokens.
        segments: number of segments of the model; with fewer than two, B has the segment of A.
        separator: ids between two texts; None: `tokenizer.pair_separator`.
        words: whether the model reads lists of words, each as if it followed a space.
        cut: part that is cut from texts that are too long if the tokenizer is asked to (`truncation=True`); their
            tokenizers have no counterpart of `middle` and cut the end instead.

    Raises:
        ConfigError: if the vocabulary has a property that `tokenizer.json` cannot express.
    """
    ids = {"pad": tokenizer.pad_id, "unk": tokenizer.unk_id, "cls": tokenizer.bos_id, "sep": tokenizer.eos_id}
    if tokenizer.mask_id is not None:
        ids["mask"] = tokenizer.mask_id
    first = [tokenizer.bos_id, "A", tokenizer.eos_id]
    separator = tokenizer.pair_separator if separator is None else separator
    pair = [tokenizer.bos_id, "A", *separator, "B", tokenizer.eos_id]
    template = _template(tokenizer, first, pair, segments)
    inputs = ["input_ids", *(["token_type_ids"] if segments > 1 else []), "attention_mask"]
    return _files(tokenizer, max_length, ids, template, inputs, words=words, cut=cut)


def _template(tokenizer: Vocabulary, single: list[int | str], pair: list[int | str], segments: int) -> dict[str, Any]:
    """Return the template for one text and for two: ids of special tokens, and A and B for the texts."""

    def parts(order: list[int | str]) -> list[dict[str, Any]]:
        second, made = 0, []
        for part in order:
            second = int(segments > 1 and (part == "B" or second))
            name, kind = (part, "Sequence") if isinstance(part, str) else (piece[part], "SpecialToken")
            made.append({kind: {"id": name, "type_id": second}})
        return made

    special = [part for part in dict.fromkeys([*single, *pair]) if isinstance(part, int)]
    piece = dict(zip(special, tokenizer.pieces(special), strict=True))
    return {
        "type": "TemplateProcessing",
        "single": parts(single),
        "pair": parts(pair),
        "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for number, name in piece.items()},
    }


def _files(
    tokenizer: Vocabulary,
    max_length: int,
    special: dict[str, int],
    template: dict[str, Any],
    inputs: list[str],
    *,
    words: bool = False,
    cut: Cut = Cut.end,
) -> dict[str, bytes]:
    named = dict(zip(special, tokenizer.pieces(special.values()), strict=True))
    if isinstance(tokenizer, JsonTokenizer):
        content = json.loads(tokenizer.files()[JSON_FILE])
        if words:
            add_prefix_space(content)
    else:
        content = fast_tokenizer(tokenizer, parse(tokenizer.files()[f"{JOINT}.model"]))
        if words and tokenizer.lossless:  # other models add the space before each text themselves
            content["normalizer"]["normalizers"].insert(0, {"type": "Prepend", "prepend": " "})
    content["post_processor"] = _processor(content.get("post_processor"), template)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "truncation_side": "left" if cut is Cut.beginning else "right",
        **{f"{role}_token": piece for role, piece in named.items()},
        "model_input_names": inputs,
        **({} if isinstance(tokenizer, JsonTokenizer) else WHOLE_LINES),
    }
    return {JSON_FILE: _json(content), "tokenizer_config.json": _json(settings)}


def _processor(processor: Any, template: dict[str, Any]) -> dict[str, Any]:
    """Return the post-processor that adds special tokens, after a byte-level tokenizer's own post-processor."""
    parts = (
        processor.get("processors")
        if isinstance(processor, dict) and processor.get("type") == "Sequence"
        else [processor]
    )
    kept = [part for part in parts or [] if isinstance(part, dict) and part.get("type") == "ByteLevel"]
    return {"type": "Sequence", "processors": [*kept, template]} if kept else template


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _special_names(tokenizer: Tokenizer, model) -> dict[str, str]:
    ids = {"pad": tokenizer.pad_id, "unk": tokenizer.unk_id, "bos": tokenizer.bos_id, "eos": tokenizer.eos_id}
    return {f"{name}_token": model.pieces[number].piece for name, number in ids.items()}
