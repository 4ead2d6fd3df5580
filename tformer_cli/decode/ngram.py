"""N-gram language models in ARPA files, plain or gzipped, as SRILM, KenLM and others write them.

The log-probability of a word is that of the longest n-gram of the file that matches the end of the context and the
word. For each word of the context that is dropped, the back-off weight of the longer context is added (Katz 1987).
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tformer_cli.errors import DataError, unreadable
from tformer_cli.raw_lines import raw_lines
from tformer_cli.regular_files import open_regular

MAX_ORDER = 5
MAX_DIGITS, MAX_LINE_BYTES = 18, 1 << 20
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
MISSING_LOG10 = -100.0
"""Log10 probability of unknown words if the file has no <unk>: very low, but not minus infinity."""
SPACES = ("<space>", "<SPACE>", "\u2581", "|", "_")
"""Symbols of a space in files with characters as words."""

Context = tuple[int, ...]
"""Numbers of the previous words, the last at the end; at most order - 1."""


class Ngrams:
    """An n-gram model.

    Args:
        numbers: number of each word.
        entries: log10 probability and back-off weight of each n-gram, by the numbers of its words.
        order: maximum length of an n-gram.
    """

    def __init__(self, numbers: dict[str, int], entries: dict[Context, tuple[float, float]], order: int) -> None:
        self.numbers, self.entries, self.order = numbers, entries, order
        self.unknown = numbers.get(UNKNOWN, numbers.get(UNKNOWN.upper(), -1))
        words = [word for word in numbers if word not in (BEGIN, END) and word.lower() != UNKNOWN]
        self.space = next((sign for sign in SPACES if sign in numbers), None)
        self.of_characters = bool(words) and all(len(word) == 1 or word == self.space for word in words)
        """Whether all words are single characters."""

    def start(self) -> Context:
        """Return the context at the beginning of a sentence."""
        return (self.numbers[BEGIN],)[: self.order - 1] if BEGIN in self.numbers else ()

    def score(self, context: Context, word: str) -> tuple[float, Context]:
        """Return the natural log-probability of the next word, and the context after it."""
        number = self.numbers.get(word, self.unknown)
        after = ((*context, number)[1 - self.order :]) if self.order > 1 else ()
        backoff = 0.0
        while (entry := self.entries.get((*context, number))) is None:
            if not context:
                entry = (MISSING_LOG10, 0.0)
                break
            backoff += self.entries.get(context, (0.0, 0.0))[1]
            context = context[1:]
        return (backoff + entry[0]) * math.log(10), after


def read_ngrams(path: Path | str) -> Ngrams:
    """Read an ARPA file.

    Raises:
        DataError: if it is not an ARPA file, or is damaged; the error names file and line.
    """
    return _Reader(Path(path)).read()


def check_ngrams(path: Path | str) -> None:
    """Refuse a file that has no beginning of an ARPA file; what follows is not read.

    Raises:
        DataError: if the file cannot be read, or has no such beginning.
    """
    _Reader(Path(path)).begin()


class _Reader:
    """A reader of a file, with the number of the current line for errors."""

    def __init__(self, path: Path) -> None:
        self.path, self.line = path, 0

    def error(self, cause: str, remedy: str = "") -> DataError:
        return DataError(f"{self.path}: line {self.line}: {cause}", remedy)

    def lines(self) -> Iterator[str]:
        """Yield the lines that are not empty, without surrounding white space."""
        try:
            with open_regular(self.path) as file:
                packed = file.read(2) == b"\x1f\x8b"
                file.seek(0)
                stream = gzip.GzipFile(fileobj=file) if packed else file
                size = max(1, self.path.stat().st_size)
                for raw in raw_lines(stream, self.path, size=size, longest=MAX_LINE_BYTES):
                    self.line += 1
                    text = raw.decode("utf-8").strip(" \t\r\n")
                    if text:
                        yield text
        except UnicodeDecodeError as error:
            raise self.error("not UTF-8") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise self.error("the gzip file is cut off or damaged", "write or fetch it again") from error
        except OSError as error:
            raise unreadable(self.path, error) from error

    def begin(self) -> Iterator[str]:
        """Return the lines after the line that begins an ARPA file."""
        lines = self.lines()
        for line in lines:
            if line == "\\data\\":
                return lines
        raise DataError(f"{self.path}: no line \\data\\", "give an ARPA file of n-grams, plain or gzipped")

    def read(self) -> Ngrams:
        lines = self.begin()
        counts, line = self._counts(lines)
        numbers: dict[str, int] = {}
        entries: dict[Context, tuple[float, float]] = {}
        for order, count in enumerate(counts, 1):
            if line != f"\\{order}-grams:":
                raise self.error(f"expected \\{order}-grams:, found '{line[:40]}'")
            before = len(entries)
            for line in lines:
                if line.startswith("\\") and (line == "\\end\\" or line.endswith("-grams:")):
                    break
                self._entry(line, order, len(counts), numbers, entries)
            else:
                raise self.error("the file ends without \\end\\", "it was cut off")
            if len(entries) - before != count:
                raise self.error(f"{len(entries) - before} {order}-grams, \\data\\ says {count}")
        if line != "\\end\\":
            raise self.error(f"expected \\end\\, found '{line[:40]}'")
        return Ngrams(numbers, entries, len(counts))

    def _counts(self, lines: Iterator[str]) -> tuple[list[int], str]:
        """Return the number of n-grams of each order, and the line after these."""
        counts: list[int] = []
        line = ""
        for line in lines:
            match = re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", line)
            if match is None:
                break
            if max(map(len, match.groups())) > MAX_DIGITS:
                raise self.error("a number of more than 18 digits", "the file is damaged")
            if int(match[1]) != len(counts) + 1:
                raise self.error(f"expected n-grams of order {len(counts) + 1}, found order {match[1]}")
            counts.append(int(match[2]))
        if not counts:
            raise self.error("no line such as 'ngram 1=1000' after \\data\\")
        if len(counts) > MAX_ORDER:
            raise self.error(f"n-grams of order {len(counts)}", f"orders up to {MAX_ORDER} are read")
        return counts, line

    def _entry(
        self,
        line: str,
        order: int,
        highest: int,
        numbers: dict[str, int],
        entries: dict[Context, tuple[float, float]],
    ) -> None:
        """Read an n-gram: log10 probability, words, and a back-off weight except in the highest order."""
        fields = re.split(r"[ \t]+", line)
        if not order + 1 <= len(fields) <= order + 2 - (order == highest and order > 1):
            raise self.error(f"{len(fields)} fields, but a {order}-gram has a probability, {order} words and a weight")
        probability = self._number(fields[0])
        weight = self._number(fields[order + 1]) if len(fields) == order + 2 else 0.0
        if probability > 0:
            raise self.error(f"log-probability {fields[0]} is above 0")
        words: Sequence[str] = fields[1 : order + 1]
        if order == 1:
            numbers.setdefault(words[0], len(numbers))
        try:
            key = tuple(numbers[word] for word in words)
        except KeyError as error:
            raise self.error(f"{error.args[0]!r} is not among the 1-grams") from error
        if key in entries:
            raise self.error(f"{' '.join(words)!r} is listed twice")
        entries[key] = (probability, weight)

    def _number(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError as error:
            raise self.error(f"{text[:40]!r} is not a number") from error
        if math.isnan(value) or value == math.inf:
            raise self.error(f"{text} is not a number")
        return max(value, MISSING_LOG10)  # with minus infinity a search could be left without hypotheses
