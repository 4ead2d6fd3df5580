"""Import of a MarianTokenizer: a vocabulary in JSON, and a SentencePiece model for each language."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tformer_cli.errors import DataError
from tformer_cli.interop.sentencepiece_json import BPE, CONTROL, UNKNOWN, UNUSED, parse
from tformer_cli.regular_files import read_regular
from tformer_cli.tokenizers.tokenizer import JOINT, Tokenizer

LAST = -1e9  # score of a merge that must come after all others
SOURCE, TARGET, VOCABULARY, TARGET_VOCABULARY = "source.spm", "target.spm", "vocab.json", "target_vocab.json"


def from_marian(folder: Path, config: Mapping[str, Any], languages: tuple[str, str]) -> Tokenizer:
    """Return a tokenizer from the files of a MarianTokenizer, with the same ids.

    Marian numbers pieces in `vocab.json` and segments by one SentencePiece model for each language. Each is converted
    to a model whose pieces are in the order of `vocab.json`; pieces of the other language are unused. Marian starts
    decoding with the padding piece, which is therefore <s> here. One difference remains: if a run of unknown
    characters is a piece of the other language, Marian encodes it as that piece, and tformer as unknown.

    Args:
        folder: folder with source.spm, target.spm and vocab.json, and with target_vocab.json for separate vocabularies.
        config: content of config.json.
        languages: names of the source and the target language in the tokenizer.

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
    raw = [read_regular(folder / name) for name in (SOURCE, TARGET)]
    models = [
        _renumbered(parse(data, str(folder / name)), vocabulary, config, str(folder / name))
        for data, vocabulary, name in zip(raw, vocabularies, (SOURCE, TARGET), strict=True)
    ]
    if models[0] == models[1]:
        return Tokenizer({JOINT: models[0]}, kind="sentencepiece", origin=str(folder))
    return Tokenizer(dict(zip(languages, models, strict=True)), kind="sentencepiece", origin=str(folder))


def _read_vocabulary(path: Path) -> list[str]:
    """Return the pieces in the order of their ids."""
    try:
        ids = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable JSON") from error
    if not isinstance(ids, dict) or sorted(ids.values(), key=repr) != sorted(range(len(ids)), key=repr):
        raise DataError(f"{path}: not a vocabulary: pieces must be numbered 0, 1, 2, ...")
    return sorted(ids, key=ids.__getitem__)


def _renumbered(model, vocabulary: list[str], config: Mapping[str, Any], origin: str) -> bytes:
    """Return the SentencePiece model with the pieces in the order of `vocabulary`; missing pieces are unused."""
    pieces = {piece.piece: piece for piece in model.pieces}
    missing = pieces.keys() - set(vocabulary) - {p.piece for p in model.pieces if p.type in (CONTROL, UNKNOWN)}
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
    made = type(model)()
    made.CopyFrom(model)
    del made.pieces[:]
    for number, name in enumerate(vocabulary):
        # BPE merges into unused pieces too, and then splits them again
        piece = made.pieces.add(piece=name, score=LAST, type=UNUSED)
        if number == unknown:
            piece.type = UNKNOWN
        elif number in control:
            piece.type = CONTROL
        elif name in pieces and pieces[name].type not in (CONTROL, UNKNOWN):
            piece.CopyFrom(pieces[name])
    spec = made.trainer_spec
    spec.vocab_size = len(vocabulary)
    special: dict[str, Any] = {"pad": pad, "unk": unknown, "bos": start, "eos": end}
    for field, number in special.items():
        setattr(spec, f"{field}_id", number)
        setattr(spec, f"{field}_piece", vocabulary[number])
    return made.SerializeToString()
