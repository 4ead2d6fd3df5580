"""Training of SentencePiece models: in memory, and in one thread, so that the same text results in the same bytes."""

from __future__ import annotations

import io
import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import sentencepiece

from tformer_cli.errors import ConfigError, DataError
from tformer_cli.tokenizers.segmentation import SPACE_MARK

if TYPE_CHECKING:
    from tformer_cli.config.schema import TokenizerConfig

PAD_ID, UNK_ID, BOS_ID, EOS_ID = range(4)  # of all models that are trained here
RESERVED = "\u2585"  # the trainer skips lines that contain this character
LINE_CHARACTERS = 4096  # longer lines are divided for training; SentencePiece would skip lines over a limit
COUNTED_LINES = 100_000  # number of lines in which characters are counted


class VocabularySizeError(ConfigError):
    """The requested vocabulary is larger than the text allows.

    Attributes:
        suitable: a size that the text allows.
    """

    def __init__(self, cause: str, remedy: str = "", suitable: int = 0) -> None:
        super().__init__(cause, remedy)
        self.suitable = suitable


def check_symbols(symbols: Sequence[str]) -> None:
    """Refuse pieces that no vocabulary can have.

    Raises:
        ConfigError: if there is such a piece; the message names the first.
    """
    taken = {"<pad>", "<unk>", "<s>", "</s>"}
    for symbol in symbols:
        if not symbol or symbol in taken or SPACE_MARK in symbol:
            reason = "holds U+2581" if SPACE_MARK in symbol else "is a duplicate or a special piece"
            reason = reason if symbol else "is empty"
            raise ConfigError(f"tokenizer.user_symbols: {symbol!r} {reason}", "leave it out")
        taken.add(symbol)


def training_lines(texts: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield all characters of texts except U+2585, in lines that the trainer accepts."""
    for lines in texts:
        for line in lines:
            for part in line.split(RESERVED) if RESERVED in line else (line,):
                while len(part) > LINE_CHARACTERS:
                    end = part.rfind(" ", 1, LINE_CHARACTERS)
                    end = end if end > 0 else LINE_CHARACTERS
                    yield part[:end]
                    part = part[end:]
                if part:
                    yield part


def train(lines: Iterator[str], config: TokenizerConfig, seed: int, where: str = "") -> bytes:
    """Train a model on lines, and return it in serialised form.

    Args:
        lines: lines of `training_lines`.
        config: kind and size.
        seed: seed of the draw of lines, if there are more than `config.lines`.
        where: addition to messages that names the text, such as " for de".

    Raises:
        VocabularySizeError: if the vocabulary is too large for the text.
        ConfigError: if it is too small for the text.
        DataError: if there is no text.
    """
    characters: set[str] = set()
    exact = {
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
    }
    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_counting(drawn_lines(lines, config.lines, seed), characters),
            model_writer=writer,
            model_type=config.kind.name,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            byte_fallback=config.byte_fallback or config.lossless,
            user_defined_symbols=list(config.user_symbols),
            input_sentence_size=config.lines,  # all: its own draw differs between processes, whatever its seed
            shuffle_input_sentence=True,
            hard_vocab_limit=config.kind.name != "char",
            pad_id=PAD_ID,
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            max_sentence_length=4 * LINE_CHARACTERS,
            num_threads=1,
            minloglevel=3,
            **(exact if config.lossless else {}),
        )
    except RuntimeError as error:
        raise _training_error(str(error), config, where, len(characters)) from error
    return writer.getvalue()


def drawn_lines(lines: Iterator[str], count: int, seed: int) -> Iterator[str]:
    """Yield `count` randomly drawn lines in their order, or all if there are not more (Vitter 1985, algorithm R).

    All lines are equally likely, and only `count` are kept in memory.
    """
    drawn = list(enumerate(itertools.islice(lines, count)))
    generator = random.Random(seed)
    for number, line in enumerate(lines, count):
        place = generator.randrange(number + 1)
        if place < count:
            drawn[place] = number, line
    yield from (line for _, line in sorted(drawn))


def _counting(lines: Iterator[str], characters: set[str]) -> Iterator[str]:
    """Yield lines, and add the characters of the first ones to a set."""
    for number, line in enumerate(lines):
        if number < COUNTED_LINES:
            characters.update(line)
        yield line


def _too_large(largest: int, characters: int, config: TokenizerConfig, where: str) -> VocabularySizeError:
    """Return the error for a text with at most `largest` pieces; it suggests fewer, since the last are rare phrases."""
    cause = f"tokenizer.vocab_size: the text{where} is too small for {config.vocab_size} pieces"
    if largest < 500:
        return VocabularySizeError(cause, f"set it to at most {largest}", largest)
    needed = 4 + len(config.user_symbols) + 256 * (config.byte_fallback or config.lossless) + round(1.2 * characters)
    suitable = min(largest, max(largest // 200 * 100, needed))
    return VocabularySizeError(cause, f"set it to {suitable}; at most {largest} is possible", suitable)


def _training_error(message: str, config: TokenizerConfig, where: str, characters: int) -> ConfigError | DataError:
    if match := re.search(r"too high \(\d+\).*<= (\d+)", message):
        return _too_large(int(match[1]), characters, config, where)
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        size = config.vocab_size
        cause = f"tokenizer.vocab_size: characters and special pieces alone{where} need more than {size}"
        return ConfigError(cause, f"set it to at least {match[1]}, or lower tokenizer.character_coverage")
    if "(vocab_size) >= (0)" in message:  # kind=char: too small even for the special pieces
        bytes_too = config.byte_fallback or config.lossless
        minimum = 4 + len(config.user_symbols) + 256 * bytes_too
        parts = ["special pieces", *(["bytes"] * bytes_too), *(["user symbols"] * bool(config.user_symbols))]
        cause = (
            f"tokenizer.vocab_size: {' and '.join(parts)} alone{where} need {minimum}, more than {config.vocab_size}"
        )
        return ConfigError(cause, f"set it to {minimum} plus the number of characters, or more; the rest is not used")
    if "sentences_.empty()" in message:
        return DataError(f"there is no text to train a tokenizer from{where}")
    return ConfigError(f"tokenizer{where}: SentencePiece: {' '.join(message.split())}")
