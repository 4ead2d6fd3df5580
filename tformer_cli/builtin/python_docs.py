"""English text in every installation of Python: the language reference and the docstrings of the standard library.

It differs between versions of Python.
"""

from __future__ import annotations

import ast
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import numpy as np

from tformer_cli.data.core.cache import Open, cached
from tformer_cli.errors import DataError

FORMAT = 1
"""Version of the documents in the cache's keys."""
TEST_EVERY = 20
"""Every document whose number is a multiple of this belongs to the test split."""
LEFT_OUT = frozenset({"test", "tests", "idlelib", "site-packages", "lib2to3", "config", "encodings", "ensurepip"})
LEAST_CHARACTERS = 200


@lru_cache(maxsize=4)
def documents(split: str, size: int = 0, cache: str = "") -> list[str]:
    """Return the documents of a split.

    Each topic of the reference is a document, and so are the docstrings of each module in the order of the source. They
    are stored in the cache, so that the library is parsed once for each installation of Python.

    Args:
        split: train or test.
        size: number of documents, from the first on; 0: all.
        cache: the cache folder; empty: the user's.

    Raises:
        DataError: if this installation contains no documents.
    """

    def write(stream: Open) -> None:
        texts = [text.encode(errors="surrogatepass") for text in islice(_of_split(split), size or None)]
        if not texts:
            cause = "this Python has neither pydoc_data nor the sources of its library"
            raise DataError(cause, "give data.path=FOLDER")
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        np.save(stream("text"), np.frombuffer(b"".join(texts), np.uint8), allow_pickle=False)
        np.save(stream("ends"), ends, allow_pickle=False)

    key = ["python documentation", FORMAT, sys.version, str(_library()), split, size]
    arrays, _ = cached(cache, key, ["text", "ends"], write)
    texts = np.split(arrays["text"], arrays["ends"])[:-1]
    return [text.tobytes().decode(errors="surrogatepass") for text in texts]


def _of_split(split: str) -> Iterator[str]:
    long = (text for text in chain(_topics(), _docstrings()) if len(text) >= LEAST_CHARACTERS)
    return (text for number, text in enumerate(long, 1) if (number % TEST_EVERY == 0) == (split == "test"))


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _topics() -> Iterator[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    for name in sorted(topics):
        yield topics[name].strip() + "\n"


def _docstrings() -> Iterator[str]:
    root = _library()
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if LEFT_OUT & set(inside.parts) or inside.parts[0].removesuffix(".py") not in sys.stdlib_module_names:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about invalid escapes in the library's sources
                tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        docstrings = [text for node in ast.walk(tree) if (text := _docstring(node))]
        yield "".join(f"{text}\n\n" for text in docstrings)


def _docstring(node: ast.AST) -> str:
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return ""
    text = ast.get_docstring(node, clean=False)
    return inspect.cleandoc(text) if text else ""
