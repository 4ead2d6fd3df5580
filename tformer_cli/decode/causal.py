"""A GPT as a language model in a search: each prefix is computed once, with those of its length, in one cache.

Shapes: B sentences, N hypotheses, C tokens looked at, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from tformer_cli.nn.attention import Mask
from tformer_cli.nn.stepping import Stepper

MIN_KEYS = 1024
"""Least room for keys, a sentence."""


class Writer(Stepper[Any], Protocol):
    """What is asked of `models.gpt.GPT`."""

    config: Any

    def start(self, prompt: Tensor, beams: int, max_steps: int) -> Any:
        """An empty state, with room for `beams * (max_steps + 1)` keys a sentence, and one."""
        ...


@dataclass(eq=False)
class Node:
    """A text's last token in the tree of all texts that were asked about.

    Attributes:
        token: its id.
        parent: the token before.
        sentence: whose tree it is in.
        depth: its position: tokens before it.
        place: of its keys in the sentence's cache; -1: not there.
        log_probs: of the tokens that may follow, (V,) float32; None: not asked for yet.
        children: what follows.
    """

    token: int
    parent: Node | None
    sentence: int
    depth: int
    place: int = -1
    log_probs: np.ndarray | None = None
    children: dict[int, Node] = field(default_factory=dict)

    def path(self) -> list[Node]:
        """From the root to this."""
        found, here = [], self
        while here is not None:
            found.append(here)
            here = here.parent
        return found[::-1]


class Tokens:
    """A causal language model whose tokens are the recogniser's own. A hypothesis is a node of a tree.

    A node is computed when it is first asked about, together with all others of its depth: it appends its keys to one
    cache a sentence, and sees those of its ancestors. So nothing is computed twice, and no cache is copied.

    Args:
        model: a `models.gpt.GPT` in evaluation mode.
        eos_id: what its documents end with, and begin after.
    """

    highest = 0.0

    def __init__(self, model: Writer, eos_id: int) -> None:
        self.model, self.eos_id = model, eos_id
        weight, bias = self._output()
        self.weight, self.bias, self.device = weight, bias, weight.device
        self.context = int(model.config.max_length)

    def _output(self) -> tuple[Tensor, Tensor | None]:
        output = self.model.output_layer()
        if not isinstance(output, tuple):
            raise ValueError("a language model's output layer is not quantised here")
        return output

    def start(self, sentences: int) -> list[Node]:
        """</s>, for each: a document begins after the one before."""
        self._placed: list[Node] = []
        self._size, self._filled = 0, 0
        self._state: Any = None  # made when the first node is asked about
        self._roots = [Node(self.eos_id, None, number, 0) for number in range(sentences)]
        return list(self._roots)

    def scores(self, hypotheses: Sequence[Node], tokens: np.ndarray) -> np.ndarray:
        """The model's log-probability of each token."""
        return np.stack([found[tokens] for found in self.log_probs(hypotheses)]).astype(np.float64)

    def ends(self, hypotheses: Sequence[Node]) -> np.ndarray:
        """Of </s>."""
        return np.array([float(found[self.eos_id]) for found in self.log_probs(hypotheses)])

    def follow(self, hypothesis: Node, token: int) -> Node:
        """See `fusion.LanguageModel`. A text longer than the model's context begins anew after </s>."""
        parent = hypothesis if hypothesis.depth + 1 < self.context else self._roots[hypothesis.sentence]
        if token not in parent.children:
            parent.children[token] = Node(token, parent, parent.sentence, parent.depth + 1)
        return parent.children[token]

    def root(self, node: Node) -> Node:
        """The beginning of a node's sentence."""
        return self._roots[node.sentence]

    def log_probs(self, nodes: Sequence[Node]) -> list[np.ndarray]:
        """Of the tokens that may follow each node, (V,) float32 each."""
        wanted = [node for node in nodes if node.log_probs is None]
        missing = self._missing(wanted)
        if self._filled + self._needed(missing) > self._size:
            # What search has left behind goes; what it still asks about is computed again. Seldom, as rooms grow.
            for node in self._placed:
                node.place = -1
            self._placed, self._filled = [], 0
            missing = self._missing(wanted)
            self._size = max(MIN_KEYS, 4 * self._needed(missing))
            prompt = torch.zeros(len(self._roots), 1, dtype=torch.int64, device=self.device)
            self._state = self.model.start(prompt, 2, self._size // 2)
        for depth in sorted(missing):
            self._compute(depth, missing[depth])
        return [cast(np.ndarray, node.log_probs) for node in nodes]

    def _missing(self, nodes: Sequence[Node]) -> dict[int, list[list[Node]]]:
        """The nodes, and those they come from, that have no keys; by depth and sentence."""
        found: dict[int, list[list[Node]]] = {}
        for node in dict.fromkeys(each for one in nodes for each in one.path() if each.place < 0):
            found.setdefault(node.depth, [[] for _ in self._roots])[node.sentence].append(node)
        return found

    @staticmethod
    def _needed(missing: dict[int, list[list[Node]]]) -> int:
        """Keys a sentence: as many of each depth as the sentence with the most has."""
        return sum(max(map(len, groups)) for groups in missing.values())

    @torch.inference_mode()
    def _compute(self, depth: int, groups: list[list[Node]]) -> None:
        """All at once; where a sentence has fewer nodes, rows see only themselves."""
        rows = max(map(len, groups))
        tokens = torch.zeros(len(groups), rows, dtype=torch.int64)
        allowed = torch.zeros(len(groups), rows, self._filled + rows, dtype=torch.bool)
        allowed[:, :, self._filled :] = torch.eye(rows, dtype=torch.bool)
        for sentence, nodes in enumerate(groups):
            for row, node in enumerate(nodes):
                tokens[sentence, row], node.place = node.token, self._filled + row
                allowed[sentence, row, [each.place for each in node.path()]] = True
                self._placed.append(node)
        self._filled += rows
        self._state.step = depth
        hidden = self.model.step(
            tokens.to(self.device), self._state, Mask(allowed[:, None].to(self.device), may_be_empty=False)
        )
        logits = torch.nn.functional.linear(hidden, self.weight, self.bias)
        found = logits.float().log_softmax(-1).cpu().numpy()
        for sentence, nodes in enumerate(groups):
            for row, node in enumerate(nodes):
                node.log_probs = found[sentence, row]


@dataclass
class Text:
    """What is known of a text: its words, its last node, and the log-probability of its tokens."""

    text: str
    node: Node
    total: float


class GPTWords:
    """A causal language model with tokens of its own, as a model of words.

    A text's log-probability is that of its tokens; a word adds the difference that it makes, so that the sum is right
    however the words are cut into tokens.

    Args:
        tokens: the model.
        encode: a text's tokens in its vocabulary.
    """

    def __init__(self, tokens: Tokens, encode: Callable[[str], list[int]]) -> None:
        self.tokens, self.encode = tokens, encode

    def start(self, sentences: int) -> list[Text]:
        """No text."""
        return [Text("", node, 0.0) for node in self.tokens.start(sentences)]

    def words(self, contexts: Sequence[Text], words: Sequence[str]) -> list[tuple[float, Text]]:
        """See `fusion.WordModel`."""
        texts = [f"{context.text} {word}".lstrip() for context, word in zip(contexts, words, strict=True)]
        paths = []
        for context, text in zip(contexts, texts, strict=True):
            nodes = [self.tokens.root(context.node)]
            for token in self.encode(text):
                nodes.append(self.tokens.follow(nodes[-1], token))
            paths.append(nodes)
        self.tokens.log_probs([node for nodes in paths for node in nodes[:-1]])
        found = []
        for context, text, nodes in zip(contexts, texts, paths, strict=True):
            before = self.tokens.log_probs(nodes[:-1])
            total = sum(float(one[node.token]) for one, node in zip(before, nodes[1:], strict=True))
            found.append((total - context.total, Text(text, nodes[-1], total)))
        return found

    def ends(self, contexts: Sequence[Text]) -> np.ndarray:
        """Of </s>."""
        return self.tokens.ends([context.node for context in contexts])
