"""A GPT as a language model in a search; prefixes of equal length are computed together, and all share one cache.

Shapes: B sentences, N hypotheses, C candidate tokens, V vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from tformer_cli.nn.attention import Mask
from tformer_cli.nn.stepping import Stepper

MIN_KEYS = 1024
"""Minimum capacity of the cache, in keys per sentence."""


class CausalDecoder(Stepper[Any], Protocol):
    """The interface of `models.gpt.GPT` that this module uses."""

    config: Any

    def start(self, prompt: Tensor, beams: int, max_steps: int) -> Any:
        """Return a state after the prompt, with capacity for `beams * (max_steps + 1) + 1` keys per sentence."""
        ...


@dataclass(eq=False)
class Node:
    """A node of the tree of all scored prefixes: the last token of a prefix.

    Attributes:
        token: id of the token.
        parent: node of the previous token.
        sentence: index of its sentence; each sentence has a tree.
        depth: number of tokens before it.
        slot: index of its keys in the sentence's cache; -1: none.
        log_probs: log-probabilities of the next token, (V,) float32; None: not computed yet.
        children: nodes of the next tokens.
    """

    token: int
    parent: Node | None
    sentence: int
    depth: int
    slot: int = -1
    log_probs: np.ndarray | None = None
    children: dict[int, Node] = field(default_factory=dict)

    def path(self) -> list[Node]:
        """Return the nodes from the root to this one."""
        nodes, node = [], self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


class Tokens:
    """A causal language model with the same tokens as the recogniser. A hypothesis is a node of a tree.

    A node is computed when its log-probabilities are first requested, together with other nodes of its depth. It
    appends its keys to the cache of its sentence, and attends to the keys of its ancestors. No cache is copied, and no
    node is computed twice, unless the cache was full and had to be emptied.

    Args:
        model: a `models.gpt.GPT` in evaluation mode.
        eos_id: id of </s>, which separates the documents of its training data.
    """

    highest = 0.0

    def __init__(self, model: CausalDecoder, eos_id: int) -> None:
        self.model, self.eos_id = model, eos_id
        weight, bias = self._output()
        self.weight, self.bias, self.device = weight, bias, weight.device
        self.context = int(model.config.max_length)

    def _output(self) -> tuple[Tensor, Tensor | None]:
        output = self.model.output_layer()
        if not isinstance(output, tuple):
            raise ValueError("the output layer of a language model must not be quantised")
        return output

    def start(self, sentences: int) -> list[Node]:
        """Return the root of each sentence, which is </s>, since a document follows the end of the previous one."""
        self._cached: list[Node] = []
        self._size, self._filled = 0, 0
        self._state: Any = None  # created for the first node
        self._roots = [Node(self.eos_id, None, number, 0) for number in range(sentences)]
        return list(self._roots)

    def scores(self, hypotheses: Sequence[Node], tokens: np.ndarray) -> np.ndarray:
        """Return the log-probabilities of tokens (C,) after each hypothesis, (N, C) float64."""
        return np.stack([log_probs[tokens] for log_probs in self.log_probs(hypotheses)]).astype(np.float64)

    def ends(self, hypotheses: Sequence[Node]) -> np.ndarray:
        """Return the log-probability of </s> after each hypothesis, (N,) float64."""
        return np.array([float(log_probs[self.eos_id]) for log_probs in self.log_probs(hypotheses)])

    def follow(self, hypothesis: Node, token: int) -> Node:
        """Return the node of a hypothesis and one more token.

        A text that exceeds the model's context continues after </s>, without its previous tokens.
        """
        parent = hypothesis if hypothesis.depth + 1 < self.context else self._roots[hypothesis.sentence]
        if token not in parent.children:
            parent.children[token] = Node(token, parent, parent.sentence, parent.depth + 1)
        return parent.children[token]

    def root(self, node: Node) -> Node:
        """Return the root of a node's sentence."""
        return self._roots[node.sentence]

    def log_probs(self, nodes: Sequence[Node]) -> list[np.ndarray]:
        """Return the log-probabilities of the next token after each node, (V,) float32 each."""
        requested = [node for node in nodes if node.log_probs is None]
        missing = self._missing(requested)
        if self._filled + self._needed(missing) > self._size:
            # The cache is full: it is emptied, and the requested prefixes are computed again. This is rare, since the
            # capacity grows.
            for node in self._cached:
                node.slot = -1
            self._cached, self._filled = [], 0
            missing = self._missing(requested)
            self._size = max(MIN_KEYS, 4 * self._needed(missing))
            prompt = torch.zeros(len(self._roots), 1, dtype=torch.int64, device=self.device)
            self._state = self.model.start(prompt, 2, self._size // 2)
        for depth in sorted(missing):
            self._compute(depth, missing[depth])
        return [cast(np.ndarray, node.log_probs) for node in nodes]

    def _missing(self, nodes: Sequence[Node]) -> dict[int, list[list[Node]]]:
        """Return the nodes and their ancestors that have no keys in the cache, by depth and sentence."""
        missing: dict[int, list[list[Node]]] = {}
        for node in dict.fromkeys(itertools.chain.from_iterable(map(Node.path, nodes))):
            if node.slot < 0:
                missing.setdefault(node.depth, [[] for _ in self._roots])[node.sentence].append(node)
        return missing

    @staticmethod
    def _needed(missing: dict[int, list[list[Node]]]) -> int:
        """Return the number of keys to add per sentence: the sum over depths of the maximum number of nodes."""
        return sum(max(map(len, groups)) for groups in missing.values())

    @torch.inference_mode()
    def _compute(self, depth: int, groups: list[list[Node]]) -> None:
        """Compute the nodes of one depth of all sentences; the rows that pad a sentence attend only to themselves."""
        rows = max(map(len, groups))
        tokens = torch.zeros(len(groups), rows, dtype=torch.int64)
        allowed = torch.zeros(len(groups), rows, self._filled + rows, dtype=torch.bool)
        allowed[:, :, self._filled :] = torch.eye(rows, dtype=torch.bool)
        for sentence, nodes in enumerate(groups):
            for row, node in enumerate(nodes):
                tokens[sentence, row], node.slot = node.token, self._filled + row
                allowed[sentence, row, [ancestor.slot for ancestor in node.path()]] = True
                self._cached.append(node)
        self._filled += rows
        self._state.step = depth
        hidden = self.model.step(
            tokens.to(self.device), self._state, Mask(allowed[:, None].to(self.device), may_be_empty=False)
        )
        logits = torch.nn.functional.linear(hidden, self.weight, self.bias)
        log_probs = logits.float().log_softmax(-1).cpu().numpy()
        for sentence, nodes in enumerate(groups):
            for row, node in enumerate(nodes):
                node.log_probs = log_probs[sentence, row]


@dataclass
class Text:
    """A scored text: its words, the node of its last token, and the log-probability of its tokens."""

    text: str
    node: Node
    total: float


class GPTWords:
    """A causal language model with a different vocabulary from the recogniser's, as a model of words.

    The log-probability of a text is the sum over its tokens. The score of a word is the difference between the
    log-probabilities of the text with and without it, so that scores add up for any segmentation of words into tokens.

    Args:
        tokens: the model.
        encode: function from a text to its tokens in the model's vocabulary.
    """

    def __init__(self, tokens: Tokens, encode: Callable[[str], list[int]]) -> None:
        self.tokens, self.encode = tokens, encode

    def start(self, sentences: int) -> list[Text]:
        """Return the empty text of each sentence."""
        return [Text("", node, 0.0) for node in self.tokens.start(sentences)]

    def words(self, contexts: Sequence[Text], words: Sequence[str]) -> list[tuple[float, Text]]:
        """Return the log-probability of a word after each context, and the new context."""
        texts = [f"{context.text} {word}".lstrip() for context, word in zip(contexts, words, strict=True)]
        paths = []
        for context, text in zip(contexts, texts, strict=True):
            nodes = [self.tokens.root(context.node)]
            for token in self.encode(text):
                nodes.append(self.tokens.follow(nodes[-1], token))
            paths.append(nodes)
        self.tokens.log_probs([node for nodes in paths for node in nodes[:-1]])
        scored = []
        for context, text, nodes in zip(contexts, texts, paths, strict=True):
            rows = self.tokens.log_probs(nodes[:-1])
            total = sum(float(log_probs[node.token]) for log_probs, node in zip(rows, nodes[1:], strict=True))
            scored.append((total - context.total, Text(text, nodes[-1], total)))
        return scored

    def ends(self, contexts: Sequence[Text]) -> np.ndarray:
        """Return the log-probability of </s> after each context, (N,) float64."""
        return self.tokens.ends([context.node for context in contexts])
