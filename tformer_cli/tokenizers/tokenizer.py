"""SentencePiece vocabularies, which are trained in memory and saved as a few small files.

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
from tformer_cli.regular_files import read_regular
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
    """A tokenizer with one vocabulary for all languages (joint) or one for each (separate).

    Args:
        models: serialised SentencePiece models by language; {"joint": ...} for a joint vocabulary.
        kind: unigram, bpe or char; sentencepiece for a model that was not trained by tformer.
        lossless: whether the models preserve white space and Unicode forms.
        origin: name of the models in error messages.

    Raises:
        DataError: if a model cannot be read, or lacks a padding, beginning, end or unknown piece.
    """

    decodes_in_steps = True
    """Whether further tokens leave the text of previous ones unchanged, except for incomplete characters."""

    def __init__(self, models: Mapping[str, bytes], *, kind: str, lossless: bool = False, origin: str = "") -> None:
        """Load the models, and check their special pieces."""
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
        self._segmenters: dict[str, Segmenter | None] = {}  # created when the first segmentation is drawn
        self._gap = self._find_gap()
        self.hash = hash_files(self.files())

    @classmethod
    def train(cls, texts: Mapping[str, Iterable[str]], config: TokenizerConfig, seed: int = 1) -> Tokenizer:
        """Train on the lines of `texts`, or on `config.lines` randomly drawn ones if there are more.

        Training runs in one thread, and the draw depends only on the seed and the number of lines, so that the same
        text and settings result in the same bytes. Only the drawn lines are held in memory, and long ones are divided
        at a space. For `kind: char`, `vocab_size` is a maximum. `lossless` implies `byte_fallback`.

        Args:
            texts: lines by language.
            config: kind and size; `path` is ignored.
            seed: seed of the draw.

        Raises:
            ConfigError: if the vocabulary is too large or too small for the text, or a user symbol is not allowed.
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
            path: a folder with the files of `files`; a folder that contains such a folder named `tokenizer` (a
                checkpoint); the folder of a run, which has one tokenizer for all checkpoints; or a SentencePiece
                `.model` file.

        Raises:
            DataError: if there is no tokenizer, or it is damaged.
        """
        path = Path(path)
        if path.is_file():
            return cls({JOINT: _read(path)}, kind="sentencepiece", origin=str(path))
        for folder in (path, path / "tokenizer", *sorted(path.glob("checkpoints/step-*/tokenizer"))[-1:]):
            if (folder / META).is_file():
                return cls._load_folder(folder)
        raise DataError(
            f"{path}: no tokenizer found",
            "name a run folder, a tokenizer's folder or a SentencePiece .model file",
        )

    @classmethod
    def _load_folder(cls, folder: Path) -> Tokenizer | JsonTokenizer:
        file = folder / META
        try:
            meta = json.loads(_read(file))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: not JSON") from error
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise DataError(f"{file}: not a tokenizer of format {FORMAT}", "it may be from another version of tformer")
        if meta.get("kind") == JSON_KIND and isinstance(meta.get("special"), dict):
            return JsonTokenizer(_read(folder / JSON_FILE), meta["special"], str(folder / JSON_FILE))
        names, kind, lossless = meta.get("models"), meta.get("kind"), meta.get("lossless")
        if not (isinstance(names, list) and names and isinstance(kind, str) and isinstance(lossless, bool)):
            raise DataError(f"{file}: models, kind or lossless is missing or of the wrong type")
        models = {}
        for name in names:
            if not isinstance(name, str) or not _is_language(name):
                raise DataError(f"{file}: {name!r} cannot be a model's name")
            model_file = folder / f"{name}.model"
            if model_file.is_symlink():
                raise DataError(f"{model_file}: is a link", "put the file itself there")
            models[name] = _read(model_file)
        return cls(models, kind=kind, lossless=lossless, origin=str(folder))

    @property
    def joint(self) -> bool:
        """Return whether all languages share a vocabulary."""
        return list(self._models) == [JOINT]

    @property
    def languages(self) -> tuple[str, ...]:
        """Return the languages with separate vocabularies; none if the vocabulary is joint."""
        return () if self.joint else tuple(self._models)

    @property
    def vocab_size(self) -> int:
        """Return the number of pieces of the joint vocabulary, or of the largest separate one."""
        return max(model.get_piece_size() for model in self._processors.values())

    def vocab_size_of(self, language: str | None = None) -> int:
        """Return the number of pieces of a language's vocabulary, with the special ones."""
        return self._processor(language)[1].get_piece_size()

    def files(self) -> dict[str, bytes]:
        """Return the files of a tokenizer's folder by name; `load` reads them into a tokenizer with the same hash."""
        meta = {"format": FORMAT, "kind": self.kind, "lossless": self.lossless, "models": list(self._models)}
        files = {META: (json.dumps(meta, ensure_ascii=False, indent=2) + "\n").encode()}
        return files | {f"{name}.model": data for name, data in self._models.items()}

    def encode(self, text: str, language: str | None = None) -> list[int]:
        """Return the ids of a line without beginning and end; for `<mask>` see `mask_takes_space`."""
        return self._each_part(text, language, self._processor(language)[1].encode)

    def encode_batch(self, texts: Sequence[str], language: str | None = None) -> list[list[int]]:
        """Return the ids of each line, as `encode` does, but faster."""
        if self.lossless and any(SPACE_MARK in text for text in texts):
            return [self.encode(text, language) for text in texts]
        rows = self._processor(language)[1].encode(list(texts), num_threads=1)
        return [self._join_gaps(ids) for ids in rows] if self._gap else rows

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the ids of each word of a sentence, as if it followed a space.

        SentencePiece adds this space to each text, except with a lossless model.
        """
        return self.encode_batch([f" {word}" for word in words] if self.lossless else words)

    @property
    def pair_separator(self) -> list[int]:
        """Return the ids between the two texts of a pair."""
        return [self.eos_id]

    def encode_with_offsets(self, text: str, language: str | None = None) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of a text, and the characters of each.

        Args:
            text: a text of any length; its line ends are white space.
            language: its language, if vocabularies are separate.

        Returns:
            The ids of `encode`; and for each, the index of its first character and the index after its last. A piece
            that shares its character with the next one (bytes of a character, the parts of a ligature) may have an
            empty range before that character.
        """
        name, model = self._processor(language)
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        position = 0
        for number, part in enumerate(text.split(SPACE_MARK) if self.lossless else [text]):
            if number:
                ids += self._mark[name]
                offsets += [(position, position + 1)] * len(self._mark[name])
                position += 1
            encoded = model.encode(part, return_type="offset_mapping")
            ids += encoded["ids"]
            offsets += [(position + begin, position + end) for begin, end in encoded["offsets"]]
            position += len(part)
        indices = self._outside_gaps(ids)
        return [ids[index] for index in indices], [offsets[index] for index in indices]

    def encode_sampled(
        self, text: str, language: str | None = None, *, strength: float, rng: np.random.Generator
    ) -> list[int]:
        """Return the ids of a random segmentation of a line.

        Unigram: the segmentation is drawn from all segmentations with probabilities proportional to
            P(segmentation)^strength
        (Kudo 2018, section 3.2, l = infinity): smaller values result in more variation, and 0.1 to 0.5 are usual. BPE:
        in each step every possible merge is dropped with probability `strength` (Provilkov et al. 2020, algorithm 1),
        and 0.1 is usual. Characters: there is a single segmentation, that of `encode`.

        Args:
            text: a line.
            language: its language, if vocabularies are separate.
            strength: 0 to 1; 0 is `encode`.
            rng: the only source of randomness. A single raw number is drawn from it, so that equal generators result in
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
        """Return the ids of a random segmentation of each line, equal to consecutive calls of `encode_sampled`."""
        if not strength or self._segmenter(self._processor(language)[0]) is None:
            return self.encode_batch(texts, language)
        return [self.encode_sampled(text, language, strength=strength, rng=rng) for text in texts]

    def decode(self, ids: Iterable[int], language: str | None = None) -> str:
        """Return the text of ids; padding, beginning and end have no text."""
        return self._processor(language)[1].decode([int(i) for i in ids])

    @property
    def mask_id(self) -> int | None:
        """Return the id of `<mask>` if it is a user symbol, otherwise None."""
        model = self._processor(None)[1] if self.joint else None
        mask_id = model.piece_to_id(MASK) if model is not None else 0
        return mask_id if model is not None and model.id_to_piece(mask_id) == MASK else None

    @property
    def mask_takes_space(self) -> bool:
        """Return whether the space before `<mask>` is part of it.

        It is true if pieces contain the space before them: a word that training masks then includes its space, and so
        must a `<mask>` in a text to complete. Otherwise the space is a separate piece and remains one.
        """
        return self._gap is not None

    def word_starts(self) -> list[bool]:
        """Return whether each piece of a joint vocabulary begins a word."""
        return [piece.startswith(SPACE_MARK) for piece in self.pieces(range(self.vocab_size))]

    def pieces(self, ids: Iterable[int], language: str | None = None) -> list[str]:
        """Return the piece of each id as SentencePiece writes it, in which U+2581 is a space."""
        model = self._processor(language)[1]
        return [model.id_to_piece(int(i)) for i in ids]

    def names(self, ids: Iterable[int], language: str | None = None) -> list[str]:
        """Return a readable name of each id: its piece, in which U+2581 is a space and <0xE6> a byte."""
        return self.pieces(ids, language)

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
        """Return the ids of a space and `<mask>` if the space before `<mask>` is part of it, otherwise None."""
        mask = self.mask_id
        if mask is None:
            return None
        pieces = self.pieces(range(self.vocab_size))
        begin_words = any(len(piece) > 1 and piece.startswith(SPACE_MARK) for piece in pieces)
        return (pieces.index(SPACE_MARK), mask) if begin_words and SPACE_MARK in pieces else None

    def _join_gaps(self, ids: list[int]) -> list[int]:
        indices = self._outside_gaps(ids)
        return [ids[index] for index in indices] if len(indices) < len(ids) else ids

    def _outside_gaps(self, ids: list[int]) -> Sequence[int]:
        """Return the indices of all ids except spaces that are part of a `<mask>`."""
        if self._gap is None or self._gap[1] not in ids:
            return range(len(ids))
        return [number for number, pair in enumerate(zip_longest(ids, ids[1:])) if pair != self._gap]

    def _each_part(self, text: str, language: str | None, encode: Callable[[str], list[int]]) -> list[int]:
        """Encode the parts of a text; with `lossless`, U+2581 is encoded as bytes, since its piece means a space."""
        if not self.lossless or SPACE_MARK not in text:
            return self._join_gaps(encode(text))
        mark = self._mark[self._processor(language)[0]]
        first, *others = text.split(SPACE_MARK)
        ids = encode(first)
        for part in others:
            ids += mark + encode(part)
        return self._join_gaps(ids)


Vocabulary = Tokenizer | JsonTokenizer
"""The vocabulary of a task; both classes have the same methods."""


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
