"""Figures, kinds of figures, and the model and inputs that they are drawn from.

Shapes: H heads, Q queries, K keys.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from tformer_cli.config.schema import AttentionKind
from tformer_cli.draw import Picture
from tformer_cli.errors import ConfigError
from tformer_cli.inspectors.base import Axis, Example, Inspector
from tformer_cli.nn.feature_attention import FeatureMapAttention
from tformer_cli.nn.taps import attention_weights, hidden_states, tappable_layers

KIND_NAMES = {
    AttentionKind.encoder: "encoder", AttentionKind.decoder: "decoder", AttentionKind.cross: "cross-attention"
}  # fmt: skip


MEAN = "mean over heads"
"""Title of weights that are averaged over heads."""
CACHED_BYTES = 256_000_000
"""Bytes of attention weights that are kept, since several kinds of figures are drawn from the same weights."""
RECORDED_BYTES = 256_000_000
"""Bytes of attention weights that are recorded in one pass of the model."""


@dataclass(frozen=True)
class Figure:
    """A figure of a page.

    Attributes:
        name: name of its files, without an ending.
        title: heading.
        picture: what is drawn.
        numbers: the numbers that are drawn, by name; arrays, numbers, strings, and lists and mappings of them.
        caption: description of this figure, beyond the description of its kind.
        example: name of the input; empty: the figure is of the model alone.
    """

    name: str
    title: str
    picture: Picture
    numbers: Mapping[str, Any]
    caption: str = ""
    example: str = ""


@dataclass(frozen=True)
class Layer:
    """An attention layer.

    Attributes:
        name: name of the module.
        kind: self-attention of an encoder or a decoder, or cross-attention.
        number: its number among the layers of its kind, from 1.
        heads: number of heads.
        kind_name: name of its kind for readers.
    """

    name: str
    kind: AttentionKind
    number: int
    heads: int
    kind_name: str

    @property
    def title(self) -> str:
        """The name for readers."""
        return f"{self.kind_name}, layer {self.number}"

    @property
    def slug(self) -> str:
        """The name for files."""
        return f"{self.kind_name}-{self.number}"


def attention_layers(model: nn.Module, example: Example | None = None) -> list[Layer]:
    """Return the attention layers of a model, numbered by kind.

    Args:
        model: in evaluation mode.
        example: an input; layers that it does not use, such as those of a discriminator, are left out. None: all.
    """
    modules, layers = tappable_layers(model), list[Layer]()
    used = set(modules.values()) if example is None else used_modules(modules.values(), example)
    for name, module in modules.items():
        if module in used:
            number = 1 + sum(layer.kind is module.kind for layer in layers)
            kind_name = "self-attention" if isinstance(module, FeatureMapAttention) else KIND_NAMES[module.kind]
            layers.append(Layer(name, module.kind, number, module.heads, kind_name))
    return layers


def recorded_bytes(example: Example, layer: Layer) -> float:
    """Return the size of the weights of a layer for an input in bytes; infinity if it is unknown."""
    axes = example.axes(layer.kind)
    return math.inf if axes is None else 4 * layer.heads * len(axes[0]) * len(axes[1])


def recorded_together(example: Example, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Yield groups of consecutive layers to record in one pass of the model: as many as fit, or a single large one."""
    group: list[Layer] = []
    for layer in layers:
        if group and sum(recorded_bytes(example, each) for each in (*group, layer)) > RECORDED_BYTES:
            yield group
            group = []
        group.append(layer)
    if group:
        yield group


def used_modules(modules: Iterable[nn.Module], example: Example) -> set[nn.Module]:
    """Return the modules, of the given ones, that the model calls for an input."""
    used: set[nn.Module] = set()
    hooks = [module.register_forward_pre_hook(lambda module, _: used.add(module)) for module in modules]
    try:
        with torch.inference_mode():
            example.run()
    finally:
        for hook in hooks:
            hook.remove()
    return used


@dataclass(frozen=True)
class Options:
    """What a user wants to see.

    Attributes:
        layers: numbers of layers, from 1; empty: all.
        heads: numbers of heads, from 1; empty: all.
        query: token whose attention is shown; empty: chosen automatically.
        senses: word whose occurrences are compared; empty: none.
    """

    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()
    query: str = ""
    senses: str = ""


def check_numbers(layers: Sequence[Layer], options: Options) -> None:
    """Refuse numbers of layers and heads that no layer has.

    Raises:
        ConfigError: if one is out of range.
    """
    for name, numbers, largest in (
        ("layers", options.layers, max((layer.number for layer in layers), default=0)),
        ("heads", options.heads, max((layer.heads for layer in layers), default=0)),
    ):
        outside = [number for number in numbers if not 1 <= number <= largest]
        if outside:
            remedy = f"1 to {largest}" if largest else "leave it out"
            raise ConfigError(f"--{name} {outside[0]}: the model has {largest} attention {name}", remedy)


def with_distinct_names(examples: Sequence[Example]) -> list[Example]:
    """Return examples of which those with the name of an earlier one have a number: "cat.png (2)"."""
    names = numbered([example.name for example in examples])
    pairs = zip(examples, names, strict=True)
    return [example if example.name == name else dataclasses.replace(example, name=name) for example, name in pairs]


def numbered(names: Sequence[str]) -> list[str]:
    """Return names of which each that is among those before it has a number behind it, from 2."""
    result: dict[str, None] = {}
    for name in names:
        choices = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        result[next(choice for choice in choices if choice not in result)] = None
    return list(result)


@dataclass
class Subject:
    """A trained model and inputs for figures.

    Attributes:
        model: in evaluation mode, with float32 weights.
        inspector: the meaning of its positions.
        examples: the inputs.
        options: what the user wants to see.
        texts: all texts of the user; `examples` may be only the first ones.
        rows: function that returns the table of predictions of the split, see `Evaluation.predictions`.
        split: the split that examples are taken from and that is predicted.
        report: function that receives a line before slow work.
    """

    model: nn.Module
    inspector: Inspector[Any]
    examples: Sequence[Example]
    options: Options = field(default_factory=Options)
    texts: Sequence[Any] = ()
    rows: Callable[[], Sequence[Mapping[str, Any]]] = lambda: []
    report: Callable[[str], None] = lambda line: None
    split: str = "validation"

    def __post_init__(self) -> None:
        """Give equal names of examples numbers, and check the numbers of layers and heads.

        Raises:
            ConfigError: if one is out of range.
        """
        self.examples = with_distinct_names(self.examples)
        self._all_layers = attention_layers(self.model, self.examples[0] if self.examples else None)
        check_numbers(self._all_layers, self.options)
        self._weights: dict[int, dict[str, np.ndarray]] = {}  # of small examples, by number and name of the layer
        self._free: float = CACHED_BYTES

    def layers(self, kind: AttentionKind | None = None) -> list[Layer]:
        """Return the layers that the user wants to see and that have a chosen head, of one kind or of all kinds."""
        numbers = self.options.layers
        return [
            layer
            for layer in self._all_layers
            if (not numbers or layer.number in numbers) and (kind is None or layer.kind is kind) and self.heads(layer)
        ]

    def heads(self, layer: Layer) -> list[int]:
        """Return the indices of the heads of a layer that the user wants to see, from 0."""
        return [head for head in range(layer.heads) if not self.options.heads or head + 1 in self.options.heads]

    def heads_title(self, layer: Layer) -> str:
        """Return the title of the mean over the chosen heads of a layer, or of a single head."""
        heads = self.heads(layer)
        return f"head {heads[0] + 1}" if len(heads) == 1 else MEAN

    def weights(
        self, example: Example, kind: AttentionKind | None = None, *, every: bool = False
    ) -> Iterator[tuple[Layer, np.ndarray]]:
        """Yield attention layers that an input uses with their weights, (H, Q, K), float32, in order.

        The weights of small inputs are kept. The weights of large inputs are recorded again, in one pass for as many
        layers as fit into `RECORDED_BYTES`.

        Args:
            example: the input.
            kind: kind of the layers; None: all.
            every: whether layers are yielded that the user does not want to see.
        """
        layers = self._all_layers if every else self.layers()
        chosen = [layer for layer in layers if kind is None or layer.kind is kind]
        number = next(number for number, each in enumerate(self.examples) if each is example)
        size = sum(recorded_bytes(example, layer) for layer in self._all_layers)
        if number not in self._weights and size <= self._free and chosen:
            self._free -= size
            self._weights[number] = {}
            for group in recorded_together(example, self._all_layers):
                self._weights[number] |= self._recorded(example, group)
        groups = [chosen] if number in self._weights else recorded_together(example, chosen)
        for group in groups:
            weights = self._weights[number] if number in self._weights else self._recorded(example, group)
            yield from ((layer, weights[layer.name]) for layer in group if layer.name in weights)

    def _recorded(self, example: Example, layers: Sequence[Layer]) -> dict[str, np.ndarray]:
        """Return the weights, (H, Q, K), float32, by name, of the given layers that an input uses, from one pass."""
        given = attention_weights(self.model, example.run, [layer.name for layer in layers])
        return {name: weights[0].float().cpu().numpy() for name, weights in given.items()}

    def states(self, example: Example, stack: Any) -> torch.Tensor:
        """Return the embeddings and the outputs of each block of a stack for an input, (L + 1, T, D)."""
        with torch.inference_mode(), hidden_states(stack) as states:
            example.run()
        return torch.cat(states).float()


@dataclass(frozen=True)
class Widget:
    """HTML above the figures of a kind, which readers can operate.

    Attributes:
        html: the HTML; empty: there is none.
        images: images that it shows, uint8 (height, width, 3); the page stores each once, under `vector.image_id`.
    """

    html: str = ""
    images: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of figures.

    Attributes:
        name: name on the command line.
        title: heading.
        about: what is drawn, and how to read it.
        formula: what is computed.
        source: paper, with section, equation or figure.
        widget: function that returns the HTML above the figures.
        draw: function that yields the figures of a subject.
        missing: function that returns the reason why a subject has no such figure; empty: it has some.
        explicit: whether the figures are drawn only if they are named, since they take long.
        of_model: whether the figures are of the model alone, so that they need no examples.
        of_split: whether the figures are of all predictions of a split, whatever inputs the user gives.
    """

    name: str
    title: str
    about: str
    draw: Callable[[Subject], Iterator[Figure]]
    missing: Callable[[Subject], str]
    formula: str = ""
    source: str = ""
    widget: Callable[[Subject], Widget] = lambda subject: Widget()
    explicit: bool = False
    of_model: bool = False
    of_split: bool = False


def readable(names: Sequence[str]) -> list[str]:
    """Return the names of tokens as readers see them: a space mark is shown as a space."""
    from tformer_cli.tokenizers.segmentation import SPACE_MARK

    return [name.replace(SPACE_MARK, " ").strip() or name for name in names]


def token_names(axis: Axis) -> list[str]:
    """Return the names of positions as readers see them."""
    return readable(axis.names)


def module_title(name: str) -> str:
    """Return the name of a module for readers, such as "source positions"."""
    return re.sub(r"[._]+", " ", name)


def module_slug(name: str) -> str:
    """Return the name of a module for files, such as "source-positions"."""
    return re.sub(r"[._]+", "-", name)


def needs_attention(subject: Subject) -> str:
    """Return the reason why a subject has no attention weights; empty: it has some."""
    if subject.layers():
        return ""
    chosen = subject.options.layers or subject.options.heads
    return "the chosen layers do not have the chosen heads" if chosen else "the model has no attention layers"
