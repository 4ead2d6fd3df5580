"""Vocabulary shortlists: for each sentence the few target tokens that its output may contain.

A sentence's shortlist consists of the most probable translations of each of its tokens and of the most frequent target
tokens (L'Hostis et al. 2016; Shi and Knight 2017). The output layer then computes a fraction of the vocabulary.
The probabilities t(f | e) of a target token f given a source token e are those of IBM model 1 (Brown et al. 1993,
section 4.1), on pairs of token ids.

Shapes: E source vocabulary, K translations of a token, S source length, T target length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tformer_cli.decode.short_head import Allowed
from tformer_cli.errors import ConfigError
from tformer_cli.runs.writing import replace_file

FORMAT = "1"
FILE = "shortlist.safetensors"
"""Name of the shortlist's file in the folder of a run."""
TRANSLATIONS, FREQUENT = 50, 100
"""Number of translations of each token, and of frequent tokens."""
MIN_PROBABILITY = 1e-3
"""Probability below which a token is not a translation of another."""
ITERATIONS = 5
"""Iterations of expectation maximisation."""
MOST_LINKS = 20_000_000
"""Approximate maximum of pairs of a source and a target token; evenly spaced sentences are chosen from larger data."""

Pair = tuple[np.ndarray, np.ndarray]
"""Ids of a source and of its target, (S,) and (T,)."""


@dataclass(frozen=True)
class Shortlist:
    """Translations of source tokens.

    Attributes:
        translations: (E, K), int32, most probable first; -1: there is none.
        frequent: target tokens that each output may contain, (F,), int32.
        vocabulary: identity of the vocabularies of source and target.
    """

    translations: np.ndarray
    frequent: np.ndarray
    vocabulary: str

    def allowed(self, sources: Sequence[np.ndarray], always: Sequence[int], *, joint: bool) -> Allowed:
        """Return the tokens that the outputs for sources may contain; they depend on each source alone.

        Args:
            sources: ids of each sentence, (S,).
            always: tokens that every output may contain, such as </s>.
            joint: whether source and target have the same ids, so that an output may also repeat tokens of the source.
        """
        size = int(max(self.translations.max(initial=0), self.frequent.max(initial=0), *always)) + 1
        size = max(size, len(self.translations)) if joint else size
        chosen = np.zeros((len(sources), size + 1), bool)  # index -1 sets the last column
        chosen[:, self.frequent] = chosen[:, list(always)] = True
        for row, source in zip(chosen, sources, strict=True):
            row[self.translations[source].ravel()] = True
            if joint:
                row[source] = True
        rows, columns = np.nonzero(chosen[:, :-1])
        lengths = np.bincount(rows, minlength=len(sources))
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        tokens = np.zeros(mask.shape, np.int64)
        tokens[mask] = columns
        return torch.from_numpy(tokens), torch.from_numpy(mask)

    def sha256(self) -> str:
        """Return the SHA-256 of the content."""
        digest = hashlib.sha256(self.vocabulary.encode())
        for array in (self.translations, self.frequent):
            digest.update(repr(array.shape).encode() + array.astype("<i4").tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the shortlist to a file atomically.

        Raises:
            OSError: if it cannot be written.
        """
        tensors = {"translations": self.translations, "frequent": self.frequent}
        replace_file(path, save(tensors, {"format": FORMAT, "vocabulary": self.vocabulary}))

    @classmethod
    def load(cls, path: Path, vocabulary: str, remedy: str = "") -> Shortlist:
        """Read a shortlist.

        Args:
            path: a file, or the folder of a run that has one.
            vocabulary: identity of the vocabularies of the run that uses it.
            remedy: what an error advises; empty: to use another file.

        Raises:
            ConfigError: if there is none, it is damaged, or it is for another vocabulary.
        """
        path, metadata, tensors = cls._read(path, remedy)
        if metadata.get("format") != FORMAT or metadata.get("vocabulary") != vocabulary:
            cause = f"decode.shortlist: {path} is for a different vocabulary than the run's"
            same = "use one of a run with the same tokenizer and languages, or decode.shortlist=auto"
            raise ConfigError(cause, remedy or same)
        return cls(tensors["translations"], tensors["frequent"], vocabulary)

    @classmethod
    def check(cls, path: Path) -> None:
        """Refuse a path that has no shortlist, whatever its vocabulary is; see `load`."""
        cls._read(path, "")

    @staticmethod
    def _read(path: Path, remedy: str) -> tuple[Path, dict[str, str], dict[str, np.ndarray]]:
        """Return the file of a shortlist, its metadata and its arrays by name; see `load`."""
        path = path / FILE if path.is_dir() else path
        learn = "decode.shortlist=auto makes one, in the folder of a run"
        if not path.is_file():
            raise ConfigError(f"decode.shortlist: {path}: no such file", remedy or learn)
        try:
            with safe_open(path, "numpy") as file:
                tensors = {name: file.get_tensor(name) for name in ("translations", "frequent")}
                return path, file.metadata() or {}, tensors
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"decode.shortlist: {path}: not a shortlist file", remedy or learn) from error


def learn_shortlist(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    num_sources: int,
    num_targets: int,
    vocabulary: str,
    *,
    translations: int = TRANSLATIONS,
    frequent: int = FREQUENT,
    say: Callable[[str], None] = lambda line: None,
) -> Shortlist:
    """Learn a shortlist from sentence pairs.

    Args:
        sources: ids of each source, (S,).
        targets: ids of each target, (T,).
        num_sources: size of the source vocabulary E.
        num_targets: size of the target vocabulary.
        vocabulary: identity of both.
        translations: maximum number of translations of a token.
        frequent: number of frequent tokens.
        say: function that receives a line before each step.
    """
    links = sum(len(source) * len(target) for source, target in zip(sources, targets, strict=True))
    step = max(1, -(-links // MOST_LINKS))
    chosen = [(sources[row], targets[row]) for row in range(0, len(sources), step)]
    say(f"shortlist: aligning {len(chosen):,} sentence pairs")
    words, translated, probabilities = model_1([pair for pair in chosen if len(pair[0]) and len(pair[1])], say=say)
    order = np.lexsort((translated, -probabilities, words))  # by source token, most probable first
    order = order[(words[order] < NULL) & (probabilities[order] >= MIN_PROBABILITY)]
    ranks = np.arange(len(order)) - np.searchsorted(words[order], words[order])
    order, ranks = order[ranks < translations], ranks[ranks < translations]
    table = np.full((num_sources, translations), -1, np.int32)
    table[words[order], ranks] = translated[order]
    counts = np.bincount(np.concatenate([target for _, target in chosen]), minlength=num_targets)
    most_frequent = np.argsort(-counts, kind="stable")[:frequent]
    return Shortlist(table, most_frequent.astype(np.int32), vocabulary)


NULL = 1 << 30
"""Id of the empty source word, to which target tokens without a counterpart are aligned."""


def model_1(
    pairs: Iterable[Pair], iterations: int = ITERATIONS, *, say: Callable[[str], None] = lambda line: None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate the translation probabilities of IBM model 1 by expectation maximisation (Brown et al. 1993).

    With t uniform at first, an iteration computes

        c(f | e) = sum over pairs and positions of f and e:  t(f | e) / sum over e' of the source or NULL: t(f | e')
        t(f | e) = c(f | e) / sum over f': c(f' | e)

    Args:
        pairs: sentence pairs; no side is empty.
        iterations: number of iterations.
        say: function that receives a line before each iteration.

    Returns:
        Source tokens e (`NULL` is the empty word), target tokens f and t(f | e) of all pairs (e, f) that occur together
        in a sentence pair, (P,) each, sorted by e and f.
    """
    keys, lengths = [], []
    for source, target in pairs:
        read = np.append(source, NULL).astype(np.int64)
        keys.append((target.astype(np.int64)[:, None] + (read << 32)).ravel())  # all e for each position of f
        lengths.append(np.full(len(target), len(read)))
    types, links = np.unique(np.concatenate(keys), return_inverse=True)
    sizes = np.concatenate(lengths)
    starts = np.cumsum(sizes) - sizes
    words, owners = np.unique(types >> 32, return_inverse=True)
    probabilities = np.ones(len(types))
    for iteration in range(iterations):
        say(f"shortlist: iteration {iteration + 1} of {iterations}")
        weights = probabilities[links]
        shares = weights / np.repeat(np.add.reduceat(weights, starts), sizes)
        counts = np.bincount(links, shares, len(types))
        probabilities = counts / np.bincount(owners, counts, len(words))[owners]
    return types >> 32, types & 0xFFFFFFFF, probabilities
