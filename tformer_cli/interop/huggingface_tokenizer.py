"""Tokenizers to and from Hugging Face: ours as `tokenizer.json` or a MarianTokenizer's files, Marian's as ours.

A SentencePiece model is a normaliser, pieces with scores, and a rule that picks pieces; `tokenizer.json` can say
all three. The whole line stays one word there, as SentencePiece segments whole lines.
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tformer_cli.errors import ConfigError, DataError
from tformer_cli.tokenizer import JOINT, SPACE_MARK, Tokenizer
from tformer_cli.tokenizer_json import FILE as JSON_FILE
from tformer_cli.tokenizer_json import JsonTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # SentencePiece's types of pieces
UNIGRAM, BPE, _, CHAR = range(1, 5)  # SentencePiece's types of models
NEVER = -1000.0  # score of pieces that text must not be segmented into; worse than any run of unknown characters
LAST = -1e9  # score of a merge that must come after all others
CLUSTERED = r"(?<!\A)(?=[\p{M}\x{200C}\x{200D}])"  # before a character that joins the one before it
BREAK = "\x01"  # between any two characters; the normaliser drops it
UNKNOWN_CHARACTER = "\U0010ffff"  # no character, so that no vocabulary has it
SOURCE, TARGET, VOCABULARY, TARGET_VOCABULARY = "source.spm", "target.spm", "vocab.json", "target_vocab.json"


def to_huggingface(tokenizer: Tokenizer, languages: tuple[str, str], max_length: int) -> dict[str, bytes]:
    """The files that `AutoTokenizer` reads, by name.

    Args:
        tokenizer: ours; joint, or with a vocabulary for each of `languages`.
        languages: source and target.
        max_length: tokens that the model takes.

    Raises:
        ConfigError: if the vocabulary has a property that `tokenizer.json` cannot express.
    """
    files = {name: data for name, data in tokenizer.files().items() if name.endswith(".model")}
    settings = {
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
    }
    if tokenizer.joint:
        model = _parse(files[f"{JOINT}.model"])
        settings |= {"tokenizer_class": "PreTrainedTokenizerFast", **_special_names(tokenizer, model)}
        settings["model_input_names"] = ["input_ids", "attention_mask"]
        return {"tokenizer.json": _json(_fast(tokenizer, model)), "tokenizer_config.json": _json(settings)}
    source, target = (files[f"{language}.model"] for language in languages)
    parsed = [_parse(source), _parse(target)]
    settings |= {"tokenizer_class": "MarianTokenizer", **_special_names(tokenizer, parsed[0])}
    settings |= {"source_lang": languages[0], "target_lang": languages[1], "separate_vocabs": True}
    found = {SOURCE: source, TARGET: target, "tokenizer_config.json": _json(settings)}
    for name, model in zip((VOCABULARY, TARGET_VOCABULARY), parsed, strict=True):
        found[name] = _json({piece.piece: number for number, piece in enumerate(model.pieces)})
    return found


def plain_files(tokenizer: Tokenizer | JsonTokenizer, max_length: int) -> dict[str, bytes]:
    """The files that `AutoTokenizer` reads, for a model whose inputs get no beginning and no end.

    Raises:
        ConfigError: if the vocabulary has a property that `tokenizer.json` cannot express.
    """
    names = {"pad": tokenizer.pad_id, "unk": tokenizer.unk_id, "bos": tokenizer.eos_id, "eos": tokenizer.eos_id}
    return _files(tokenizer, max_length, names, None, ["input_ids", "attention_mask"])


def encoder_files(tokenizer: Tokenizer | JsonTokenizer, max_length: int) -> dict[str, bytes]:
    """The files that `AutoTokenizer` reads for an encoder: [CLS] A [SEP] and [CLS] A [SEP] B [SEP].

    Raises:
        ConfigError: if the vocabulary has a property that `tokenizer.json` cannot express.
    """
    ids = {"pad": tokenizer.pad_id, "unk": tokenizer.unk_id, "cls": tokenizer.bos_id, "sep": tokenizer.eos_id}
    if tokenizer.mask_id is not None:
        ids["mask"] = tokenizer.mask_id
    cls, sep = tokenizer.pieces([tokenizer.bos_id, tokenizer.eos_id])

    def special(piece: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": piece, "type_id": segment}}

    first = [special(cls, 0), {"Sequence": {"id": "A", "type_id": 0}}, special(sep, 0)]
    template = {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, {"Sequence": {"id": "B", "type_id": 1}}, special(sep, 1)],
        "special_tokens": {
            cls: {"id": cls, "ids": [tokenizer.bos_id], "tokens": [cls]},
            sep: {"id": sep, "ids": [tokenizer.eos_id], "tokens": [sep]},
        },
    }
    return _files(tokenizer, max_length, ids, template, ["input_ids", "token_type_ids", "attention_mask"])


def _files(
    tokenizer: Tokenizer | JsonTokenizer,
    max_length: int,
    special: dict[str, int],
    template: dict[str, Any] | None,
    inputs: list[str],
) -> dict[str, bytes]:
    named = dict(zip(special, tokenizer.pieces(special.values()), strict=True))
    if isinstance(tokenizer, JsonTokenizer):
        found = json.loads(tokenizer.files()[JSON_FILE])
    else:
        found = _fast(tokenizer, _parse(tokenizer.files()[f"{JOINT}.model"]))
    if template is not None or not isinstance(tokenizer, JsonTokenizer):
        found["post_processor"] = template
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": piece for role, piece in named.items()},
        "model_input_names": inputs,
    }
    return {JSON_FILE: _json(found), "tokenizer_config.json": _json(settings)}


def from_marian(folder: Path, config: Mapping[str, Any], languages: tuple[str, str]) -> Tokenizer:
    """Our tokenizer from a MarianTokenizer's files, with its ids.

    Marian numbers pieces in `vocab.json` and segments by one SentencePiece model a language: each becomes a model
    whose pieces stand in the order of `vocab.json`, those of the other language unused. Marian starts decoding with
    the padding piece, so that it is our beginning too. One difference remains: a run of unknown characters that is
    a piece of the other language is that piece to Marian, and unknown here.

    Args:
        folder: holds source.spm, target.spm and vocab.json; target_vocab.json too, if vocabularies are separate.
        config: the content of config.json.
        languages: the names by which the source's and the target's model will be asked for.

    Raises:
        DataError: if a file is missing or damaged, or the files do not belong together.
    """
    names = [SOURCE, TARGET, VOCABULARY]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder}: no {missing[0]}, and no tokenizer of tformer's own",
            "tformer reads MarianMTModel's tokenizers (source.spm, target.spm, vocab.json) and its own exports",
        )
    separate = (folder / TARGET_VOCABULARY).is_file() and not config.get("share_encoder_decoder_embeddings", True)
    vocabularies = [_read_vocabulary(folder / VOCABULARY)] * 2
    if separate:
        vocabularies[1] = _read_vocabulary(folder / TARGET_VOCABULARY)
    raw = [(folder / name).read_bytes() for name in (SOURCE, TARGET)]
    models = [
        _renumbered(_parse(data, str(folder / name)), vocabulary, config, str(folder / name))
        for data, vocabulary, name in zip(raw, vocabularies, (SOURCE, TARGET), strict=True)
    ]
    if models[0] == models[1]:
        return Tokenizer({JOINT: models[0]}, kind="sentencepiece", origin=str(folder))
    return Tokenizer(dict(zip(languages, models, strict=True)), kind="sentencepiece", origin=str(folder))


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _parse(data: bytes, origin: str = "tokenizer"):
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise DataError(f"{origin}: not a SentencePiece model, or a damaged one") from error
    if not model.pieces:
        raise DataError(f"{origin}: a SentencePiece model without pieces")
    return model


def _special_names(tokenizer: Tokenizer, model) -> dict[str, str]:
    ids = {"pad": tokenizer.pad_id, "unk": tokenizer.unk_id, "bos": tokenizer.bos_id, "eos": tokenizer.eos_id}
    return {f"{name}_token": model.pieces[number].piece for name, number in ids.items()}


# --- tokenizer.json -------------------------------------------------------------------------------------


def _fast(tokenizer: Tokenizer, model) -> dict[str, Any]:
    """The content of `tokenizer.json`."""
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
    """What SentencePiece does before it segments, in its order."""
    spec, steps = model.normalizer_spec, []
    if spec.precompiled_charsmap:
        if "nfkc" in spec.name:
            # `Precompiled` takes clusters of characters for one and drops marks it does not know: leave it none
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
    if (names := _confusable(model)) and not _has_bytes(model):
        steps.append(_replace(names, UNKNOWN_CHARACTER))
    return steps


def _half_width_kana() -> list[dict[str, Any]]:
    """Half-width kana and the voicing mark after it, which NFC leaves apart, become one full-width kana."""
    pairs = [chr(kana) + mark for kana in range(0xFF66, 0xFF9E) for mark in "\uff9e\uff9f"]
    joined = [(pair, unicodedata.normalize("NFKC", pair)) for pair in pairs]
    return [
        {"type": "Replace", "pattern": {"String": pair}, "content": kana} for pair, kana in joined if len(kana) == 1
    ]


def _confusable(model) -> str:
    """A pattern of characters that the vocabulary lacks, where text spells a special piece, such as </s>, with them.

    A unigram model would take the special piece, however low its score, as an unknown character's is lower.
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
    """User symbols are words of their own; the longest wins where two begin."""
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


def _decoders(tokenizer: Tokenizer, model) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if not tokenizer.lossless:
        steps.append({"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "})
    if _has_bytes(model):
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if model.normalizer_spec.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
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
    """Unigram log-probabilities; control pieces and bytes are never found in text, user symbols always."""
    best = max((piece.score for piece in model.pieces if piece.type == NORMAL), default=0.0)

    def score(piece) -> float:
        if piece.type == NORMAL:
            return piece.score
        return len(piece.piece) * best - 0.1 if piece.type == USER_DEFINED else NEVER

    return [score(piece) for piece in model.pieces]


def _merges(model, names: list[str]) -> list[tuple[str, str]]:
    """Every way to join two pieces to a third, best third first: SentencePiece merges by the result's score."""
    pieces = zip(names, model.pieces, strict=True)
    numbers = {name: i for i, (name, piece) in enumerate(pieces) if piece.type in (NORMAL, UNUSED)}
    merges = []
    for name, number in numbers.items():
        for cut in range(1, len(name)):
            left, right = numbers.get(name[:cut]), numbers.get(name[cut:])
            if left is not None and right is not None:
                merges.append((-model.pieces[number].score, number, left, right))
    return [(names[left], names[right]) for *_, left, right in sorted(merges)]


# --- Marian's tokenizers --------------------------------------------------------------------------------


def _read_vocabulary(path: Path) -> list[str]:
    """Pieces in the order of their ids."""
    try:
        ids = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable JSON") from error
    if not isinstance(ids, dict) or sorted(ids.values(), key=repr) != sorted(range(len(ids)), key=repr):
        raise DataError(f"{path}: not a vocabulary: pieces must be numbered 0, 1, 2, ...")
    return sorted(ids, key=ids.__getitem__)


def _renumbered(model, vocabulary: list[str], config: Mapping[str, Any], origin: str) -> bytes:
    """The SentencePiece model with the pieces of `vocabulary`, in its order; what it lacks is unused."""
    from sentencepiece import sentencepiece_model_pb2

    own = {piece.piece: piece for piece in model.pieces}
    missing = own.keys() - set(vocabulary) - {p.piece for p in model.pieces if p.type in (CONTROL, UNKNOWN)}
    if missing and model.trainer_spec.model_type == BPE:
        raise DataError(
            f"{origin}: {len(missing)} pieces are not in {VOCABULARY}",
            "such a BPE model cannot be renumbered",
        )
    pad, end = config.get("pad_token_id"), config.get("eos_token_id")
    unknown = vocabulary.index("<unk>") if "<unk>" in vocabulary else None
    start = config.get("decoder_start_token_id", pad)
    for name, number in (
        ("pad_token_id", pad),
        ("eos_token_id", end),
        ("decoder_start_token_id", start),
        ("<unk>", unknown),
    ):
        if not isinstance(number, int) or not 0 <= number < len(vocabulary):
            raise DataError(f"{origin}: {name} is {number!r}, which {VOCABULARY} does not have")
    control = {pad, end, start}
    made = sentencepiece_model_pb2.ModelProto()
    made.CopyFrom(model)
    del made.pieces[:]
    for number, name in enumerate(vocabulary):
        # BPE merges unused pieces too, and parts them again
        piece = made.pieces.add(piece=name, score=LAST, type=UNUSED)
        if number == unknown:
            piece.type = UNKNOWN
        elif number in control:
            piece.type = CONTROL
        elif name in own and own[name].type not in (CONTROL, UNKNOWN):
            piece.CopyFrom(own[name])
    spec = made.trainer_spec
    spec.vocab_size = len(vocabulary)
    for field, number in (("pad", pad), ("unk", unknown), ("bos", start), ("eos", end)):
        setattr(spec, f"{field}_id", number)
        setattr(spec, f"{field}_piece", vocabulary[number])
    return made.SerializeToString()
