"""Contextual vectors of tokens compared with static ones, and the vectors of a word in many texts.

A contextual vector is the output of a block at a position; a static vector is the row of the embedding.

Shapes: L blocks, T positions, D model width, n occurrences.
"""

from __future__ import annotations

import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import regex

from tformer_cli.analysis.vectors import anisotropy, neighbours, principal_map, self_similarity
from tformer_cli.analysis.vectors import static_similarity as similarity_with_static
from tformer_cli.data.core.batching import in_groups
from tformer_cli.draw import Curve, Curves, HeatMap
from tformer_cli.errors import ConfigError, DataError
from tformer_cli.figures.base import Figure, Kind, Subject, token_names
from tformer_cli.figures.lens import layer_names
from tformer_cli.inspectors.base import Axis, Example, Inspector, TokenVectors
from tformer_cli.languages import UNSPACED
from tformer_cli.nn.taps import output_of
from tformer_cli.tokenizers.segmentation import SPACE_MARK

MAX_OCCURRENCES, MAX_DRAWN, MAX_OTHERS, MAX_POSITIONS = 500, 40, 2000, 60
BATCH_TEXTS, OTHERS_OF_TEXT, CONTEXT, NEAREST = 32, 8, 16, 3
"""Texts that are read together, further tokens of each, characters of context on each side, and neighbours."""

NO_TOKENS = "the model reads no tokens in layers"
MAX_FLATNESS = 4
"""The ratio of the spreads of a map below which both axes have equal units."""
FORM = "NFKC"
"""The Unicode form in which words and texts are compared, which is that of SentencePiece."""
CONTINUES = "##"
"""The mark of pieces that continue a word in WordPiece."""
BYTE = regex.compile(rb"<0x([0-9A-F]{2})>")
"""A byte token, which holds a part of a character."""
ENDS = regex.compile(r"</?s>|<pad>|\[(?:CLS|SEP|PAD)\]")
"""Tokens that are no part of the text."""


@dataclass
class Occurrences:
    """The occurrences of a word, and other tokens of the same texts.

    Attributes:
        contexts: the word with some characters on both sides, for each occurrence.
        vectors: means over the pieces of each occurrence after each layer, (L + 1, D) each.
        others: names of other tokens.
        other_vectors: their vectors, (L + 1, D) each.
    """

    contexts: list[str] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    other_vectors: list[np.ndarray] = field(default_factory=list)


def pattern_of(word: str) -> regex.Pattern[str]:
    """Return the pattern of a word: a whole word in any case, or any occurrence in a script without spaces."""
    word = unicodedata.normalize(FORM, word).strip()
    if regex.search(f"[{UNSPACED}]", word):
        return regex.compile(r"\s*".join(map(regex.escape, "".join(word.split()))), regex.IGNORECASE)
    inner = r"\s+".join(map(regex.escape, word.split()))
    return regex.compile(rf"(?<![\w\p{{M}}]){inner}(?![\w\p{{M}}])", regex.IGNORECASE)


def spelled(names: Sequence[str]) -> list[str]:
    """Return the characters that each token adds to the text, according to the tokenizer's marks for spaces.

    SentencePiece and byte-level tokenizers mark spaces; WordPiece marks pieces that continue a word. A character whose
    bytes are in several tokens is added by the last of them.
    """
    decoder = getincrementaldecoder("utf-8")("ignore")
    names = ["" if ENDS.fullmatch(name) else decoder.decode(_with_bytes(name)) for name in names]
    if any(SPACE_MARK in name for name in names):
        return [name.replace(SPACE_MARK, " ") for name in names]
    return [name.removeprefix(CONTINUES) if name.startswith(CONTINUES) else f" {name}" * bool(name) for name in names]


def _with_bytes(name: str) -> bytes:
    """Return the name of a token in UTF-8; bytes that are written as <0xE6> are decoded."""
    return BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), name.encode())


def places(pattern: regex.Pattern[str], names: Sequence[str]) -> Iterator[tuple[list[int], str]]:
    """Yield the positions of the pieces of each occurrence of a word in tokens, and its context."""
    parts = spelled(names)
    ends = list(accumulate(map(len, parts)))
    text = "".join(parts)
    composed, spans = _composed(text)
    for match in pattern.finditer(composed):
        begin, end = spans[match.start()][0], spans[match.end() - 1][1]
        positions = [
            position
            for position, (part, stop) in enumerate(zip(parts, ends, strict=True))
            if part.strip() and stop - len(part.lstrip()) < end and stop > begin
        ]
        if positions:
            yield positions, context_of(text, begin, end)


def _composed(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a text in the Unicode form of `pattern_of`, and where each of its characters is in the text as it is.

    Tokens of a tokenizer that preserves Unicode forms may spell one user-perceived character with several.
    """
    if unicodedata.is_normalized(FORM, text):
        return text, [(number, number + 1) for number in range(len(text))]
    clusters = [(unicodedata.normalize(FORM, match[0]), match.span()) for match in regex.finditer(r"\X", text)]
    return "".join(cluster for cluster, _ in clusters), [span for cluster, span in clusters for _ in cluster]


def context_of(text: str, begin: int, end: int) -> str:
    """Return a part of a text with some characters on both sides, whole words where words are separated by spaces."""
    before, after = text[max(0, begin - CONTEXT) : begin], text[end : end + CONTEXT]
    if begin > CONTEXT and not text[begin - CONTEXT - 1].isspace():
        before = before.partition(" ")[2] or before
    if len(text) > end + CONTEXT and not text[end + CONTEXT].isspace():
        after = after.rpartition(" ")[0] or after
    left, right = "…" * (begin > CONTEXT), "…" * (len(text) > end + CONTEXT)
    return f"{left}{before.lstrip()}{text[begin:end]}{after.rstrip()}{right}"


def positions_of(example: Example) -> Axis:
    """Return the positions of the text that a model reads: of its encoder, or of the decoder if there is no encoder."""
    axis = example.encoder or example.decoder
    assert axis is not None
    return axis


def occurrences(subject: Subject, vectors: TokenVectors, word: str) -> Occurrences:
    """Read the texts that have a word, in batches, and return the vectors of its occurrences.

    Raises:
        DataError: if fewer than two are read.
    """
    pattern, result = pattern_of(word), Occurrences()
    for batch in in_groups(_with_word(pattern, subject.texts), BATCH_TEXTS):
        for example in subject.inspector.readings(subject.model, batch):
            states = subject.states(example, vectors.stack).cpu().numpy()
            names = positions_of(example).names
            taken = set()
            for positions, context in places(pattern, names):
                result.contexts.append(context)
                result.vectors.append(states[:, positions].mean(1))
                taken.update(positions)
            for position in range(0, len(names), max(1, len(names) // OTHERS_OF_TEXT)):
                if position not in taken and len(result.others) < MAX_OTHERS:
                    result.others.append(names[position])
                    result.other_vectors.append(states[:, position])
        if len(result.contexts) >= MAX_OCCURRENCES:
            break
    count = len(result.contexts)
    if count < 2:
        raise too_rare(word, count, len(subject.texts))
    return result


def too_rare(word: str, count: int, texts: int) -> DataError:
    """Return the error that a word occurs less than twice in a number of texts."""
    cause = "the texts have the word only once" if count else "none of the texts has the word"
    return DataError(f"--senses {word}: {cause} ({texts:,} read)", "give texts in which it is twice or more")


def check_senses(inspector: Inspector[Any], model: Any, word: str, texts: Sequence[Any]) -> None:
    """Refuse a word that is in no text, before slow work starts.

    Raises:
        ConfigError: if the model reads no texts.
        DataError: if none of the texts has the word.
    """
    if inspector.token_vectors(model) is None:
        raise ConfigError(f"--senses: {NO_TOKENS}", "leave it out")
    if next(_with_word(pattern_of(word), texts), None) is None:
        raise too_rare(word, 0, len(texts))


def _with_word(pattern: regex.Pattern[str], texts: Iterable[Any]) -> Iterator[Any]:
    """Yield the texts that have a word."""
    for text in texts:
        joined = text if isinstance(text, str) else " ".join(map(str, text))
        if pattern.search(unicodedata.normalize(FORM, joined)):
            yield text


def draw(subject: Subject) -> Iterator[Figure]:
    """Yield the figures of a word, if the user names one, or those of the tokens of each example."""
    vectors = subject.inspector.token_vectors(subject.model)
    assert vectors is not None
    if subject.options.senses:
        yield from of_word(subject, vectors, subject.options.senses)
        return
    for number, example in enumerate(subject.examples, 1):
        yield of_tokens(subject, vectors, example, f"vectors-{number}")


def of_tokens(subject: Subject, vectors: TokenVectors, example: Example, name: str) -> Figure:
    """Return the figure of the cosine of each token's vectors with its static vector."""
    with output_of(vectors.embedding) as outputs:
        states = subject.states(example, vectors.stack).cpu().numpy()
    static = outputs[0][0].float().cpu().numpy()
    cosines = similarity_with_static(static, states)
    names, layers = token_names(positions_of(example)), layer_names(len(states))
    caption = f"The first {MAX_POSITIONS} of {len(names):,} tokens are drawn." if len(names) > MAX_POSITIONS else ""
    picture = HeatMap(
        cosines.T[:MAX_POSITIONS], names[:MAX_POSITIONS], layers, "Cosine with the static vector", "token", "layer",
        diverging=True, limits=(-1.0, 1.0),
    )  # fmt: skip
    numbers = {"layers": list(range(len(layers))), "tokens": names, "cosines": cosines}
    return Figure(name, "Contextual and static vectors", picture, numbers, caption, example.name)


def of_word(subject: Subject, vectors: TokenVectors, word: str) -> Iterator[Figure]:
    """Yield a map of a word's occurrences, their nearest ones, and their similarity by layer."""
    result = occurrences(subject, vectors, word)
    states = np.stack(result.vectors, 1)  # (L + 1, n, D)
    layer = min(subject.options.layers[-1] if subject.options.layers else len(states) - 1, len(states) - 1)
    where = f"after layer {layer}"
    count = len(result.contexts)
    drawn = np.linspace(0, count - 1, min(count, MAX_DRAWN), dtype=int).tolist()
    bound = f"{len(drawn)} of {count:,} occurrences are named." if len(drawn) < count else ""
    yield _map(word, where, result.contexts, states[layer], drawn, bound)
    yield _nearest(word, where, result.contexts, states[layer], drawn, bound)
    yield _by_layer(word, states, result)


def _map(word: str, where: str, contexts: list[str], vectors: np.ndarray, drawn: list[int], bound: str) -> Figure:
    """Return the map of occurrences by principal components."""
    points, explained = principal_map(vectors)
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 1)))
        explained = np.pad(explained, (0, 1))
    spreads = np.ptp(points, axis=0).tolist()
    labels = [context if number in set(drawn) else "" for number, context in enumerate(contexts)]
    titles = [f"{name} component: {100 * share:.0f} % of the variance"
              for name, share in zip(("first", "second"), explained, strict=True)]  # fmt: skip
    picture = Curves(
        [Curve("", points[:, 0], points[:, 1], connected=False, labels=labels)],
        f"{word}: a map of its vectors {where}", titles[0], titles[1],
        square=min(spreads) * MAX_FLATNESS > max(spreads),
    )  # fmt: skip
    numbers = {"word": word, "contexts": contexts, "points": points, "explained": explained}
    caption = (
        "Occurrences that are near each other have similar vectors; what the two components leave out is not seen."
    )
    return Figure("vectors-map", "Map of the occurrences", picture, numbers, f"{caption} {bound}".strip())


def _nearest(word: str, where: str, contexts: list[str], vectors: np.ndarray, drawn: list[int], bound: str) -> Figure:
    """Return the table of the occurrences that are nearest to each one."""
    nearest = [neighbours(vectors[row], vectors, NEAREST, exclude=[row]) for row in range(len(contexts))]
    similarities = np.array([nearest[row].similarities for row in drawn])
    texts = [[contexts[other] for other in nearest[row].indices] for row in drawn]
    picture = HeatMap(
        similarities, [contexts[row] for row in drawn], [f"{place}." for place in range(1, similarities.shape[1] + 1)],
        f"{word}: the nearest occurrences {where}", "occurrence", "nearest, by cosine",
        texts=texts, limits=(float(np.floor(similarities.min() * 20 - 1e-9)) / 20, 1.0),
    )  # fmt: skip
    numbers = {
        "word": word,
        "contexts": contexts,
        "nearest": [each.indices for each in nearest],
        "cosines": [each.similarities for each in nearest],
    }
    caption = "A row is an occurrence; its cells are those whose vectors are most similar."
    return Figure("vectors-nearest", "Nearest occurrences", picture, numbers, f"{caption} {bound}".strip())


def _by_layer(word: str, states: np.ndarray, result: Occurrences) -> Figure:
    """Return the curves of self-similarity and anisotropy by layer."""
    steps = np.arange(len(states))
    similar = np.array([self_similarity(layer) for layer in states])
    words = np.array(result.others)
    others = np.stack(result.other_vectors, 1) if result.others else np.zeros((len(states), 0, states.shape[-1]))
    different = np.array([anisotropy(layer, words) for layer in others]) if len(words) else np.full(len(states), np.nan)
    picture = Curves(
        [Curve("occurrences of the word", steps, similar), Curve("different tokens", steps, different)],
        f"{word}: mean cosine by layer", "layer (0: embedding)", y_limits=(0.0, 1.0),
    )  # fmt: skip
    numbers = {
        "word": word, "layers": steps, "self_similarity": similar, "anisotropy": different,
        "occurrences": len(result.contexts),
    }  # fmt: skip
    caption = (
        "1: the vectors of the word do not depend on its context. Only what is above different tokens tells of it."
    )
    return Figure("vectors-layers", "Self-similarity", picture, numbers, caption)


def missing(subject: Subject) -> str:
    """Return the reason why a subject has no vectors of tokens; empty: it has some."""
    return NO_TOKENS if subject.inspector.token_vectors(subject.model) is None else ""


KIND = Kind(
    "vectors",
    "Vectors of tokens",
    "How much the layers change the vector of a token: 1 is the direction of its static vector, the same in every text."
    " With --senses WORD: the occurrences of a word in all texts, and whether vectors separate its meanings.",
    draw,
    missing,
    "cos(x, y) = ⟨x, y⟩ / (|x| |y|)",
    "self-similarity: Ethayarajh 2019, definition 1; map: principal components",
)
