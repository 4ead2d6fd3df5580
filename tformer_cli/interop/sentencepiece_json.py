"""Conversion of a SentencePiece model to `tokenizer.json`.

A SentencePiece model consists of a normaliser, pieces with scores, and a segmentation algorithm; `tokenizer.json` can
express all three. It treats a complete line as one word, since SentencePiece segments complete lines.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from typing import Any

from tformer_cli.errors import ConfigError, DataError
from tformer_cli.tokenizers.huggingface import MASK
from tformer_cli.tokenizers.tokenizer import SPACE_MARK, Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # SentencePiece's types of pieces
UNIGRAM, BPE, _, CHAR = range(1, 5)  # SentencePiece's types of models
NEVER = -1000.0  # score of pieces that text must not be segmented into; worse than any run of unknown characters
CLUSTERED = r"(?<!\A)(?=[\p{M}\x{200C}\x{200D}])"  # before a character that joins the one before it
BREAK = "\x01"  # inserted at `CLUSTERED`; the normaliser drops it
UNKNOWN_CHARACTER = "\U0010ffff"  # a noncharacter, which no vocabulary contains


def parse(data: bytes, origin: str = "tokenizer"):
    """Return the SentencePiece model in the bytes of its file.

    Raises:
        DataError: if they are damaged; the message names `origin`.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise DataError(f"{origin}: not a SentencePiece model, or a damaged one") from error
    if not model.pieces:
        raise DataError(f"{origin}: a SentencePiece model without pieces")
    return model


def fast_tokenizer(tokenizer: Tokenizer, model) -> dict[str, Any]:
    """Return the content of `tokenizer.json`.

    Args:
        tokenizer: tokenizer with one vocabulary.
        model: its SentencePiece model, as returned by `parse`.

    Raises:
        ConfigError: if the vocabulary has a property that `tokenizer.json` cannot express.
    """
    if model.trainer_spec.treat_whitespace_as_suffix:
        raise ConfigError(
            "tokenizer: SentencePiece's treat_whitespace_as_suffix cannot be exported",
            "train another tokenizer",
        )
    special = sorted({tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id})
    end = model.pieces[tokenizer.eos_id].piece
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number, "content": model.pieces[number].piece, "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True,
            }
            for number in special
        ],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(tokenizer, model)},
        "pre_tokenizer": _splits(model),
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}}],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
                {"SpecialToken": {"id": end, "type_id": 0}},
            ],
            "special_tokens": {end: {"id": end, "ids": [tokenizer.eos_id], "tokens": [end]}},
        },
        "decoder": {"type": "Sequence", "decoders": _decoders(tokenizer, model)},
        "model": _model(tokenizer, model),
    }  # fmt: skip


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _normalizers(tokenizer: Tokenizer, model) -> list[dict[str, Any]]:
    """Return normalizers for the steps of SentencePiece before segmentation, in its order."""
    spec, steps = model.normalizer_spec, []
    if spec.precompiled_charsmap:
        if "nfkc" in spec.name:
            # `Precompiled` treats a cluster as one character and drops marks that it does not know: leave no clusters
            steps += [{"type": "NFC"}, *_half_width_kana(), _replace(CLUSTERED, BREAK)]
        charsmap = base64.b64encode(spec.precompiled_charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if spec.remove_extra_whitespaces:
        steps += [_replace(r"\A +", ""), _replace(" {2,}", " ")]
    if not tokenizer.lossless:
        steps.append(_replace(" ", SPACE_MARK))
    if spec.remove_extra_whitespaces:
        steps.append(_replace(rf"{SPACE_MARK}+\z", ""))
    if spec.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE_MARK})
    if tokenizer.mask_takes_space:
        steps.append(_replace((" " if tokenizer.lossless else SPACE_MARK) + _escape(MASK), MASK))
    if (names := _confusable(model)) and not _has_bytes(model):
        steps.append(_replace(names, UNKNOWN_CHARACTER))
    return steps


def _half_width_kana() -> list[dict[str, Any]]:
    """Return normalizers that join half-width kana and its voicing mark to one full-width kana, which NFC does not."""
    pairs = [chr(kana) + mark for kana in range(0xFF66, 0xFF9E) for mark in "\uff9e\uff9f"]
    joined = [(pair, unicodedata.normalize("NFKC", pair)) for pair in pairs]
    return [
        {"type": "Replace", "pattern": {"String": pair}, "content": kana} for pair, kana in joined if len(kana) == 1
    ]


def _confusable(model) -> str:
    """Return a pattern of unknown characters inside of text that spells a special piece, such as </s>.

    A unigram model would choose the special piece, however low its score is, since unknown characters have a lower one.
    """
    if model.trainer_spec.model_type != UNIGRAM:
        return ""
    known = {piece.piece for piece in model.pieces if piece.type in (NORMAL, USER_DEFINED)}
    patterns = []
    for piece in model.pieces:
        name = piece.piece
        place = next((i for i, character in enumerate(name) if character not in known), None)
        if piece.type in (CONTROL, UNKNOWN, BYTE) and place is not None:
            before, after = _escape(name[:place]), _escape(name[place + 1 :])
            patterns.append(
                (f"(?<={before})" if before else "") + _escape(name[place]) + (f"(?={after})" if after else "")
            )
    return "|".join(dict.fromkeys(patterns))


def _splits(model) -> dict[str, Any] | None:
    """Return a pre-tokenizer that makes a word of each user symbol; the longest match counts."""
    symbols = sorted((p.piece for p in model.pieces if p.type == USER_DEFINED), key=lambda piece: (-len(piece), piece))
    patterns = [_escape(symbol) for symbol in symbols]
    if _has_bytes(model) and (names := _confusable(model)):
        patterns.append(names)
    if not patterns:
        return None
    return {
        "type": "Split",
        "pattern": {"Regex": "|".join(patterns)},
        "behavior": "Isolated",
        "invert": False,
    }


def _has_bytes(model) -> bool:
    return any(piece.type == BYTE for piece in model.pieces)


def _escape(text: str) -> str:
    return re.sub(r"([\\.^$|?*+()\[\]{}\-#&~])", r"\\\1", text)


LEADING_SPACES = 1_000_000
"""Number of leading spaces to strip from a decoded text: large enough for all of them, as in SentencePiece."""


def _decoders(tokenizer: Tokenizer, model) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if not tokenizer.lossless:
        steps.append({"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "})
    if _has_bytes(model):
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    spec = model.normalizer_spec
    if spec.add_dummy_prefix or spec.remove_extra_whitespaces:
        spaces = LEADING_SPACES if spec.remove_extra_whitespaces else 1
        steps.append({"type": "Strip", "content": " ", "start": spaces, "stop": 0})
    return steps


def _model(tokenizer: Tokenizer, model) -> dict[str, Any]:
    if model.trainer_spec.model_type not in (UNIGRAM, BPE, CHAR):
        raise ConfigError(
            "tokenizer: a SentencePiece model of words cannot be exported", "train a unigram, bpe or char one"
        )
    names = [piece.piece for piece in model.pieces]
    if tokenizer.lossless:  # U+2581 is a character like any other there, so that a space must be a space
        names = [name.replace(SPACE_MARK, " ") for name in names]
    if model.trainer_spec.model_type == UNIGRAM:
        return {
            "type": "Unigram",
            "unk_id": tokenizer.unk_id,
            "vocab": list(zip(names, _scores(model), strict=True)),
            "byte_fallback": _has_bytes(model),
        }
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": names[tokenizer.unk_id],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": _has_bytes(model),
        "ignore_merges": any(piece.type == USER_DEFINED for piece in model.pieces),
        "vocab": {name: number for number, name in enumerate(names)},
        "merges": _merges(model, names) if model.trainer_spec.model_type == BPE else [],
    }


def _scores(model) -> list[float]:
    """Return the log-probabilities of a unigram model.

    Text is never segmented into control pieces or bytes, and user symbols are always pieces.
    """
    best = max((piece.score for piece in model.pieces if piece.type == NORMAL), default=0.0)

    def score(piece) -> float:
        if piece.type == NORMAL:
            return piece.score
        return len(piece.piece) * best - 0.1 if piece.type == USER_DEFINED else NEVER

    return [score(piece) for piece in model.pieces]


def _merges(model, names: list[str]) -> list[tuple[str, str]]:
    """Return pairs of pieces whose concatenation is a piece, by decreasing score of that piece, as in SentencePiece."""
    pieces = zip(names, model.pieces, strict=True)
    numbers = {name: i for i, (name, piece) in enumerate(pieces) if piece.type in (NORMAL, UNUSED)}
    merges = []
    for name, number in numbers.items():
        for cut in range(1, len(name)):
            left, right = numbers.get(name[:cut]), numbers.get(name[cut:])
            if left is not None and right is not None:
                merges.append((-model.pieces[number].score, number, left, right))
    return [(names[left], names[right]) for *_, left, right in sorted(merges)]
