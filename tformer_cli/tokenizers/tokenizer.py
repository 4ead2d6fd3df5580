"""SentencePiece vocabularies: trained in memory, kept as a few small files, sampled by `segmentation.py`.

Sources: unigram language model (Kudo 2018), byte-pair encoding (Sennrich et al. 2016), SentencePiece (Kudo and
Richardson 2018).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import sentencepiece

from tformer_cli.errors import ConfigError, DataError, unreadable
from tformer_cli.regular import read_regular
from tformer_cli.tokenizers import training as tokenizer_training
from tformer_cli.tokenizers.files import FORMAT, META, hash_files
from tformer_cli.tokenizers.huggingface import FILE as JSON_FILE
from tformer_cli.tokenizers.huggingface import KIND as JSON_KIND
from tformer_cli.tokenizers.huggingface import MASK, JsonTokenizer
from tformer_cli.tokenizers.segmentation import SPACE_MARK, Segmenter, make_segmenter

if TYPE_CHECKING:
    import numpy as np

    from tformer_cli.config.schema import TokenizerConfig

JOINT = "joint"


class Tokenizer:
    """Text to ids and back, with one vocabulary for all languages (joint) or one a language (separate).

    Args:
        models: serialised SentencePiece models by language; {"joint": ...} for one vocabulary.
        kind: unigram, bpe or char; sentencepiece for a model that was made elsewhere.
        lossless: the models keep white space and Unicode forms.
        origin: what an error calls the models.

    Raises:
        DataError: if a model cannot be read, or lacks a padding, beginning, end or unknown piece.
    """

    decodes_in_steps = True
    """Whether further tokens do not change the text of previous ones, except for incomplete characters."""

    def __init__(self, models: Mapping[str, bytes], *, kind: str, lossless: bool = False, origin: str = "") -> None:
        """Load the models, and check that they can serve."""
        self.kind, self.lossless = kind, lossless
        self._models = dict(models)
        self._processors = {name: _load_model(data, f"{origin or name}") for name, data in self._models.items()}
        first, *others = self._processors.values()
        special = [first.pad_id(), first.unk_id(), first.bos_id(), first.eos_id()]
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = special
        for other in others:
            if [other.pad_id(), other.unk_id(), other.bos_id(), other.eos_id()] != special:
                raise DataError(f"{origin}: the languages' models give the special pieces different ids")
        self._mark = {name: _byte_ids(model, SPACE_MARK) for name, model in self._processors.items()}
        self._segmenters: dict[str, Segmenter | None] = {}  # made when the first segmentation is drawn
        self._gap = self._find_gap()
        self.hash = hash_files(self.files())

    @classmethod
    def train(cls, texts: Mapping[str, Iterable[str]], config: TokenizerConfig, seed: int = 1) -> Tokenizer:
        """Train on the lines of `texts`, or on `config.lines` of them, drawn from all, where there are more.

        Training runs in one thread, and which lines are drawn depends on their number alone: the same text and
        settings give the same bytes. Only the lines that are learnt from are held in memory; a long one is cut at a
        space. `kind: char` takes `vocab_size` as the most it may use. `lossless` spells unknown characters in bytes,
        whatever `byte_fallback` says, as nothing could be exact without it.

        Args:
            texts: lines by language.
            config: kind and size; `path` is not looked at.
            seed: of SentencePiece's own generator, in case a version of it draws from that.

        Raises:
            ConfigError: if the vocabulary is too large or too small for the text, or a user symbol is
                impossible.
            DataError: if there is no text.
        """
        tokenizer_training.check_symbols(config.user_symbols)
        groups = {JOINT: list(texts.values())} if config.joint else {name: [lines] for name, lines in texts.items()}
        for name in groups:
            _check_language(name)
        models = {}
        for name, lines in groups.items():
            where = "" if name == JOINT else f" for {name}"
            models[name] = tokenizer_training.train(tokenizer_training.training_lines(lines), config, seed, where)
        return cls(models, kind=config.kind.name, lossless=config.lossless)

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer | JsonTokenizer:
        """Read a tokenizer.

        Args:
            path: a folder that `files` was written to, a folder with such a folder named `tokenizer` in it (a
                checkpoint), a run, whose checkpoints all have the same one, or a SentencePiece `.model` file.

        Raises:
            DataError: if there is none, or it is damaged.
        """
        path = Path(path)
        if path.is_file():
            return cls({JOINT: _read(path)}, kind="sentencepiece", origin=str(path))
        for folder in (path, path / "tokenizer", *sorted(path.glob("checkpoints/step-*/tokenizer"))[-1:]):
            if (folder / META).is_file():
                return cls._load_folder(folder)
        raise DataError(
            f"{path}: no tokenizer is there",
            "name a run folder, a tokenizer's folder or a SentencePiece .model file",
        )

    @classmethod
    def _load_folder(cls, folder: Path) -> Tokenizer | JsonTokenizer:
        place = folder / META
        try:
            meta = json.loads(_read(place))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: not JSON") from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise DataError(f"{place}: not a tokenizer of format {FORMAT}", "it may be from another version of tformer")
        if meta.get("kind") == JSON_KIND and isinstance(meta.get("special"), dict):
            return JsonTokenizer(_read(folder / JSON_FILE), meta["special"], str(folder / JSON_FILE))
        names, kind, lossless = meta.get("models"), meta.get("kind"), meta.get("lossless")
        if not (isinstance(names, list) and names and isinstance(kind, str) and isinstance(lossless, bool)):
            raise DataError(f"{place}: models, kind or lossless is missing or of the wrong type")
        models = {}
        for name in names:
            if not isinstance(name, str) or not _is_language(name):
                raise DataError(f"{place}: {name!r} cannot be a model's name")
            file = folder / f"{name}.model"
            if file.is_symlink():
                raise DataError(f"{file}: is a link", "put the file itself there")
            models[name] = _read(file)
        return cls(models, kind=kind, lossless=lossless, origin=str(folder))

    @property
    def joint(self) -> bool:
        """One vocabulary serves all languages."""
        return list(self._models) == [JOINT]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that have a vocabulary of their own; empty if joint."""
        return () if self.joint else tuple(self._models)

    @property
    def vocab_size(self) -> int:
        """Pieces of the joint vocabulary, or of the largest of the separate ones."""
        return max(model.get_piece_size() for model in self._processors.values())

    def vocab_size_of(self, language: str | None = None) -> int:
        """Pieces of the vocabulary of `language`, special ones included."""
        return self._processor(language)[1].get_piece_size()

    def files(self) -> dict[str, bytes]:
        """What to write into a folder, by name; `load` of that folder gives the same tokenizer and hash."""
        meta = {"format": FORMAT, "kind": self.kind, "lossless": self.lossless, "models": list(self._models)}
        files = {META: (json.dumps(meta, ensure_ascii=False, indent=2) + "\n").encode()}
        return files | {f"{name}.model": data for name, data in self._models.items()}

    def encode(self, text: str, language: str | None = None) -> list[int]:
        """Ids of a line, without beginning and end; a `<mask>` may take the space before it (`mask_takes_space`)."""
        return self._each_part(text, language, self._processor(language)[1].encode)

    def encode_batch(self, texts: Sequence[str], language: str | None = None) -> list[list[int]]:
        """Ids of many lines; the same as `encode` of each, faster."""
        if self.lossless and any(SPACE_MARK in text for text in texts):
            return [self.encode(text, language) for text in texts]
        found = self._processor(language)[1].encode(list(texts), num_threads=1)
        return [self._with_whole_gaps(ids) for ids in found] if self._gap else found

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the ids of each word of a sentence, as if it followed a space."""
        return self.encode_batch(words)

    @property
    def pair_separator(self) -> list[int]:
        """Return the ids between the two texts of a pair."""
        return [self.eos_id]

    def encode_with_offsets(self, text: str, language: str | None = None) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of a text, and the characters that each of them stands for.

        Args:
            text: a text of any length; its line ends are white space.
            language: whose vocabulary, if separate.

        Returns:
            The same ids as `encode` gives; and for each, the place of its first character and the one after its last.
            A piece that shares its character with the next one (bytes of a character, the parts of a ligature) may
            have an empty place before that character.
        """
        name, model = self._processor(language)
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        place = 0
        for number, part in enumerate(text.split(SPACE_MARK) if self.lossless else [text]):
            if number:
                ids += self._mark[name]
                offsets += [(place, place + 1)] * len(self._mark[name])
                place += 1
            encoded = model.encode(part, return_type="offset_mapping")
            ids += encoded["ids"]
            offsets += [(place + begin, place + end) for begin, end in encoded["offsets"]]
            place += len(part)
        kept = self._outside_gaps(ids)
        return [ids[number] for number in kept], [offsets[number] for number in kept]

    def encode_sampled(
        self, text: str, language: str | None = None, *, strength: float, rng: np.random.Generator
    ) -> list[int]:
        """Ids of one of a line's many segmentations, drawn at random.

        Unigram: the segmentation is drawn from the whole lattice with probability proportional to
            P(segmentation)^strength
        (Kudo 2018, section 3.2, l = infinity): small values are the more varied, 0.1 to 0.5 are usual. BPE:
        at each step each possible merge is dropped with probability `strength` (Provilkov et al. 2020, algorithm 1):
        0.1 is usual. Characters: the same as `encode`.

        Args:
            text: a line.
            language: whose vocabulary, if separate.
            strength: 0 to 1; 0 is `encode`.
            rng: the only source of randomness; one raw word of its bits is taken, so that equal generators give
                equal ids in any process.
        """
        name, model = self._processor(language)
        segmenter = self._segmenter(name)
        if not strength or segmenter is None:
            return self.encode(text, language)
        random = Random(int(rng.bit_generator.random_raw())).random
        return self._each_part(text, language, lambda part: segmenter.draw(model.normalize(part), strength, random))

    def encode_batch_sampled(
        self, texts: Sequence[str], language: str | None = None, *, strength: float, rng: np.random.Generator
    ) -> list[list[int]]:
        """Segmentations of many lines; the same as `encode_sampled` of one after the other."""
        if not strength or self._segmenter(self._processor(language)[0]) is None:
            return self.encode_batch(texts, language)
        return [self.encode_sampled(text, language, strength=strength, rng=rng) for text in texts]

    def decode(self, ids: Iterable[int], language: str | None = None) -> str:
        """The text of ids; padding, beginning and end are control pieces and add nothing."""
        return self._processor(language)[1].decode([int(i) for i in ids])

    @property
    def mask_id(self) -> int | None:
        """The id of `<mask>`, if it is a user symbol."""
        model = self._processor(None)[1] if self.joint else None
        found = model.piece_to_id(MASK) if model is not None else 0
        return found if model is not None and model.id_to_piece(found) == MASK else None

    @property
    def mask_takes_space(self) -> bool:
        """Whether the space before a `<mask>` is part of it.

        It is where pieces begin with theirs: a hidden word then hides its space too, and a gap in a line to fill looks
        as in training. Where a space is a piece like any letter it stays one.
        """
        return self._gap is not None

    def word_starts(self) -> list[bool]:
        """Whether each piece of a joint vocabulary begins a word."""
        return [piece.startswith(SPACE_MARK) for piece in self.pieces(range(self.vocab_size))]

    def pieces(self, ids: Iterable[int], language: str | None = None) -> list[str]:
        """The piece of each id, special ones included, as SentencePiece writes them (a space is U+2581)."""
        model = self._processor(language)[1]
        return [model.id_to_piece(int(i)) for i in ids]

    def _processor(self, language: str | None) -> tuple[str, sentencepiece.SentencePieceProcessor]:
        name = JOINT if self.joint else language
        if name not in self._processors:
            raise ConfigError(
                f"the tokenizer has no vocabulary for {language or 'an unnamed language'}",
                f"it has {', '.join(self._processors)}",
            )
        return name, self._processors[name]

    def _segmenter(self, name: str) -> Segmenter | None:
        if name not in self._segmenters:
            self._segmenters[name] = make_segmenter(self._models[name])
        return self._segmenters[name]

    def _find_gap(self) -> tuple[int, int] | None:
        """The ids of a space and a `<mask>`, if the one is part of the other."""
        mask = self.mask_id
        if mask is None:
            return None
        pieces = self.pieces(range(self.vocab_size))
        begin_words = any(len(piece) > 1 and piece.startswith(SPACE_MARK) for piece in pieces)
        return (pieces.index(SPACE_MARK), mask) if begin_words and SPACE_MARK in pieces else None

    def _with_whole_gaps(self, ids: list[int]) -> list[int]:
        return [ids[number] for number in kept] if len(kept := self._outside_gaps(ids)) < len(ids) else ids

    def _outside_gaps(self, ids: list[int]) -> Sequence[int]:
        """Return the indices of the ids that stay where a `<mask>` takes the space before it."""
        if self._gap is None or self._gap[1] not in ids:
            return range(len(ids))
        return [number for number, pair in enumerate(zip_longest(ids, ids[1:])) if pair != self._gap]

    def _each_part(self, text: str, language: str | None, encode: Callable[[str], list[int]]) -> list[int]:
        """Encode; lossless: U+2581 is spelled in bytes, as SentencePiece decodes its piece to a space."""
        if not self.lossless or SPACE_MARK not in text:
            return self._with_whole_gaps(encode(text))
        mark = self._mark[self._processor(language)[0]]
        first, *others = text.split(SPACE_MARK)
        ids = encode(first)
        for part in others:
            ids += mark + encode(part)
        return self._with_whole_gaps(ids)


Vocabulary = Tokenizer | JsonTokenizer
"""What a task may have: both have the same methods."""


def _load_model(data: bytes, origin: str) -> sentencepiece.SentencePieceProcessor:
    problem = DataError(f"{origin}: not a SentencePiece model, or a damaged one")
    if not data:
        raise problem
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
        raise problem from error
    ids = {
        "padding": model.pad_id(),
        "beginning": model.bos_id(),
        "end": model.eos_id(),
        "unknown": model.unk_id(),
    }
    missing = [name for name, id in ids.items() if id < 0]
    if missing:
        raise DataError(
            f"{origin}: the model has no {' and no '.join(missing)} piece",
            "train it with pad_id, bos_id, eos_id and unk_id set, or leave tokenizer.path empty to train one",
        )
    return model


def _byte_ids(model: sentencepiece.SentencePieceProcessor, text: str) -> list[int]:
    return [model.piece_to_id(f"<0x{byte:02X}>") for byte in text.encode()]


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _is_language(name: str) -> bool:
    return re.fullmatch(r"\w[\w.\- ]{0,63}", name) is not None


def _check_language(name: str) -> None:
    if not _is_language(name):
        raise ConfigError(
            f"{name!r} cannot name a vocabulary's file",
            "use letters, digits, spaces and . _ - in a language's name",
        )
