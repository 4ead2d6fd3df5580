"""Vocabularies of the `tokenizers` library (WordPiece, byte-level BPE, ...), which pre-trained models use.

They have the same interface as SentencePiece vocabularies, and are saved in the same kind of folder.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tformer_cli.errors import ConfigError, DataError, install_command
from tformer_cli.regular_files import read_regular
from tformer_cli.tokenizers.files import FORMAT, META, hash_files
from tformer_cli.tokenizers.segmentation import SPACE_MARK

if TYPE_CHECKING:
    import numpy as np
    import tokenizers

KIND = "tokenizers"
FILE = "tokenizer.json"
MASK = "<mask>"
"""The mask token in a user's text; the vocabulary may call it differently."""
ROLES = {
    "pad": ("pad_token", "eos_token", "unk_token"),  # GPT-2 has a single special piece
    "unk": ("unk_token", "eos_token"),
    "bos": ("cls_token", "bos_token"),
    "eos": ("sep_token", "eos_token"),
    "mask": ("mask_token",),
}
"""Names of each special token in Hugging Face's files; the first existing one is used."""
CAUSAL_ROLES = ROLES | {"bos": ("bos_token", "cls_token"), "eos": ("eos_token", "sep_token")}
"""The same names for a causal language model, whose texts end in its `eos_token`."""
WORD_MARKS = ("\u2581", "\u0120")
"""First characters of pieces that begin a word: the spaces of SentencePiece and of byte-level BPE."""


MOST_PIECES = 10_000_000
"""Limit of the ids in a file, since a model has a row of weights for each id."""


@contextmanager
def _named(cause: str) -> Iterator[None]:
    """Convert the library's exceptions, and panics of its Rust code, to a `DataError` within the context.

    Args:
        cause: beginning of the message, with the name of the file.

    Raises:
        DataError: instead of an exception or a panic.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":  # a panic is not an Exception
            raise DataError(f"{cause} ({' '.join(str(error).split())[:200]})") from error
        raise


@contextmanager
def _without_standard_error() -> Iterator[None]:
    """Discard standard error within the context, since a panic prints a stack trace before it is raised."""
    try:
        standard_error = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


class JsonTokenizer:
    """A vocabulary in the format `tokenizer.json`.

    Args:
        content: content of the file.
        special: pieces by role: pad, unk, bos (or [CLS]), eos (or [SEP]), and mask if there is one.
        origin: name of the file in error messages.

    Raises:
        ConfigError: if the library is not installed.
        DataError: if the file cannot be read, or a special piece is not in it.
    """

    kind = KIND
    joint, lossless = True, False
    languages: tuple[str, ...] = ()

    def __init__(self, content: bytes, special: Mapping[str, str], origin: str = FILE) -> None:
        try:
            library = importlib.import_module("tokenizers")
        except ImportError as error:
            cause = f"{origin}: needs tokenizers, which is not installed"
            raise ConfigError(cause, install_command("text")) from error
        with _named(f"{origin}: not a tokenizer's file"), _without_standard_error():
            self._tokenizer = library.Tokenizer.from_str(content.decode("utf-8"))
        self._origin = origin
        largest = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if largest >= MOST_PIECES:
            raise DataError(f"{origin}: a piece has the number {largest:,}", f"there may be {MOST_PIECES:,} at most")
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._content, self._special = content, dict(special)
        ids = {}
        for role, piece in special.items():
            ids[role] = self._tokenizer.token_to_id(piece)
            if ids[role] is None:
                raise DataError(f"{origin}: the vocabulary has no piece {piece!r}")
        self._find_in_text(special.values())
        self._ids = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = (ids[role] for role in ("pad", "unk", "bos", "eos"))
        self.mask_id: int | None = ids.get("mask")
        self.hash = hash_files(self.files())

    def _find_in_text(self, pieces: Iterable[str]) -> None:
        """Make the tokenizer recognise special pieces in text; pieces that the file already adds are unchanged.

        RoBERTa's <mask> includes the space before it. Adding this piece again would undo that.
        """
        added = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        self._tokenizer.add_special_tokens([piece for piece in dict.fromkeys(pieces) if piece not in added])

    @classmethod
    def from_folder(cls, folder: Path, *, causal: bool = False) -> JsonTokenizer:
        """Read the vocabulary in the folder of a pre-trained model.

        Args:
            folder: the folder.
            causal: whether the model is a causal language model, not an encoder.

        Raises:
            DataError: if there is no `tokenizer.json`, or its special pieces are not named.
        """
        file = folder / FILE
        if not file.is_file():
            remedy = "save it with AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
            raise DataError(f"{folder}: no {FILE}", remedy)
        named: dict[str, str] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                try:
                    content = json.loads(read_regular(folder / name))
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{folder / name}: not JSON") from error
                if not isinstance(content, dict):
                    raise DataError(f"{folder / name}: not a JSON object")
                for key, value in content.items():
                    text = value.get("content") if isinstance(value, dict) else value
                    if key.endswith("_token") and isinstance(text, str):
                        named[key] = text
        special = {}
        for role, names in (CAUSAL_ROLES if causal else ROLES).items():
            piece = next((named[name] for name in names if name in named), None)
            if piece is not None:
                special[role] = piece
            elif role != "mask":
                raise DataError(f"{folder}: no {names[0]} in tokenizer_config.json", "the folder is not complete")
        return cls(read_regular(file), special, str(file))

    @property
    def vocab_size(self) -> int:
        """Return the number of ids, with those of special pieces and unused ones between them."""
        return self._ids

    @property
    def decodes_in_steps(self) -> bool:
        """Return whether further tokens leave the previous text unchanged.

        This is false for WordPiece, which removes spaces before punctuation.
        """
        return '"cleanup":true' not in json.dumps(json.loads(self._content).get("decoder"), separators=(",", ":"))

    def vocab_size_of(self, language: str | None = None) -> int:
        """Return `vocab_size`, which is the same for every language."""
        return self.vocab_size

    def files(self) -> dict[str, bytes]:
        """Return the files of a tokenizer's folder by name, which `Tokenizer.load` reads."""
        meta = {"format": FORMAT, "kind": KIND, "special": self._special}
        return {META: (json.dumps(meta, ensure_ascii=False, indent=2) + "\n").encode(), FILE: self._content}

    def _marked(self, text: str) -> str:
        return text.replace(MASK, self._special["mask"]) if "mask" in self._special else text

    def encode(self, text: str, language: str | None = None) -> list[int]:
        """Return the ids of a text without beginning and end; `<mask>` in it is the mask token."""
        with _named(f"{self._origin}: a text cannot be encoded"):
            return self._tokenizer.encode(self._marked(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str], language: str | None = None) -> list[list[int]]:
        """Return the ids of each text."""
        with _named(f"{self._origin}: a text cannot be encoded"):
            encodings = self._tokenizer.encode_batch([self._marked(text) for text in texts], add_special_tokens=False)
            return [encoding.ids for encoding in encodings]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Return the ids of each word of a sentence, as if it followed a space.

        The library transformers returns the same ids with `is_split_into_words=True, add_prefix_space=True`.
        """
        with _named(f"{self._origin}: a text cannot be encoded"):
            marked = [self._marked(word) for word in words]
            encodings = self._word_tokenizer.encode_batch(marked, add_special_tokens=False)
            return [encoding.ids for encoding in encodings]

    @functools.cached_property
    def _word_tokenizer(self) -> tokenizers.Tokenizer:
        """Return the same vocabulary for single words: a byte-level vocabulary puts a space before each."""
        content = json.loads(self._tokenizer.to_str())
        add_prefix_space(content)
        return type(self._tokenizer).from_str(json.dumps(content, ensure_ascii=False))

    @functools.cached_property
    def pair_separator(self) -> list[int]:
        """Return the ids between the two texts of a pair: RoBERTa has two end tokens there, others have one."""
        with _named(f"{self._origin}: a pair of texts cannot be encoded"):
            pair = self._tokenizer.encode("a", "a")
        try:
            second = pair.sequence_ids.index(1)
        except ValueError:  # the vocabulary has no id for the letter
            return [self.eos_id]
        between = [
            token for token, text in zip(pair.ids[:second], pair.sequence_ids[:second], strict=True) if text is None
        ][1:]
        return between if between and set(between) == {self.eos_id} else [self.eos_id]

    def encode_with_offsets(self, text: str, language: str | None = None) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of a text, in which `<mask>` is not special, and the characters of each.

        Returns:
            The ids; and for each, the index of its first character and the index after its last.
        """
        with _named(f"{self._origin}: a text cannot be encoded"):
            encoded = self._tokenizer.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    def encode_sampled(
        self, text: str, language: str | None = None, *, strength: float, rng: np.random.Generator
    ) -> list[int]:
        """Return the ids of `encode`, since these vocabularies have a single segmentation of each text."""
        return self.encode(text)

    def encode_batch_sampled(
        self, texts: Sequence[str], language: str | None = None, *, strength: float, rng: np.random.Generator
    ) -> list[list[int]]:
        """Return the ids of `encode_batch`."""
        return self.encode_batch(texts)

    def decode(self, ids: Iterable[int], language: str | None = None) -> str:
        """Return the text of ids without special pieces."""
        with _named(f"{self._origin}: tokens cannot be decoded"):
            return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)

    def pieces(self, ids: Iterable[int], language: str | None = None) -> list[str]:
        """Return the piece of each id as the vocabulary writes it."""
        return [self._tokenizer.id_to_token(int(i)) or "" for i in ids]

    def names(self, ids: Iterable[int], language: str | None = None) -> list[str]:
        """Return a readable name of each id: its text, in which U+2581 is a space and <0xE6> a byte.

        Byte-level vocabularies write each byte as a letter, which is converted to text. Control characters, and bytes
        of a character that is divided among several pieces, are shown as bytes. Pieces of other vocabularies are
        unchanged.
        """
        pieces = self.pieces(ids)
        return [_text_of_bytes(piece) for piece in pieces] if self._is_byte_level else pieces

    @functools.cached_property
    def _is_byte_level(self) -> bool:
        decoder = json.loads(self._content).get("decoder") or {}
        return any(part.get("type") == "ByteLevel" for part in (decoder, *decoder.get("decoders", ())))

    def word_starts(self) -> list[bool]:
        """Return whether each piece begins a word.

        WordPiece marks pieces that continue a word; other kinds mark pieces that begin one.
        """
        pieces = self.pieces(range(self.vocab_size))
        if any(piece.startswith(WORD_MARKS) for piece in pieces):
            return [piece.startswith(WORD_MARKS) for piece in pieces]
        return [not piece.startswith("##") for piece in pieces]


def _letters_of_bytes() -> dict[str, int]:
    """Return the byte of each letter of byte-level vocabularies (Radford et al. 2019).

    Bytes of printable characters of Latin-1 have this character as letter; the others have U+0100 and the following.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + rank): byte for rank, byte in enumerate(others)}


BYTES = _letters_of_bytes()
UNREADABLE = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]")
"""Control characters, and bytes that do not form a character."""


def _text_of_bytes(piece: str) -> str:
    """Return the readable name of a piece that writes bytes as letters; other pieces are returned unchanged."""
    if not BYTES.keys() >= set(piece):
        return piece
    text = bytes(BYTES[letter] for letter in piece).decode("utf-8", "surrogateescape")  # invalid byte b: U+DC00 + b
    escaped = UNREADABLE.sub(lambda match: f"<0x{ord(match[0]) % 0x100:02X}>", text)
    return escaped.replace(" ", SPACE_MARK)


def add_prefix_space(content: dict[str, Any]) -> None:
    """Change a byte-level `tokenizer.json` so that it adds a space before each text, or each word of a list."""
    splitter = content.get("pre_tokenizer") or {}
    for part in (splitter, *splitter.get("pretokenizers", ())):
        if part.get("type") == "ByteLevel":
            part["add_prefix_space"] = True
