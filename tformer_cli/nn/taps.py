"""Taps: records of what attention layers compute inside `forward`, for differentiable regularisers and for figures.

    with tapped(model, {"weights"}) as records:
        outputs = model(inputs)
    penalty = sum(entropy(weights) for tensors in records.values() for weights in tensors["weights"])

Shapes: B batch, H heads, Q queries, K keys, W head width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import AttentionKind

KINDS = ("weights", "values", "outputs")
"""The kinds of tensors that a layer can record."""

Records = dict[str, dict[str, list[Tensor]]]
"""Tensors by the layer's name and by kind, one for each call of the layer."""


class Tappable(nn.Module):
    """A layer that can be tapped to record tensors; every attention layer derives from it.

    The contexts are stored in an attribute of the layer: models are independent of each other, the check is cheap, and
    `torch.compile` can guard on it. `torch.compile` compiles a layer again for its first, second, ... call within a
    context, and reuses this code in later contexts. As with hooks, a layer that is tapped in one thread records the
    calls of all threads.

    Attributes:
        kind: whether it is self-attention of an encoder, self-attention of a decoder, or cross-attention.
        heads: number of heads.
        taps: the records of each context that the layer is tapped in, by kind; empty outside of `tapped`.
    """

    kind: AttentionKind
    heads: int = 1

    def __init__(self) -> None:
        super().__init__()
        self.taps: tuple[dict[str, list[Tensor]], ...] = ()

    def is_tapped(self, kind: str) -> bool:
        """Return whether any context records this kind."""
        return any(kind in records for records in self.taps)

    def record(self, kind: str, tensor: Tensor) -> None:
        """Append a tensor to the records of all contexts that record this kind."""
        for records in self.taps:
            if kind in records:
                records[kind].append(tensor)


def tappable_layers(model: nn.Module) -> dict[str, Tappable]:
    """Return the attention layers by name (`decoder.blocks.3.cross`: without the `.sublayer` of its residual)."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, Tappable)}
    return {name.removesuffix(".sublayer"): layer for name, layer in layers.items()}


@contextmanager
def tapped(model: nn.Module, kinds: Collection[str], names: Collection[str] | None = None) -> Iterator[Records]:
    """Record what the attention layers of a model compute while the context is open.

    The records are the tensors of the forward pass itself, so gradients flow through them. They have the type that the
    layer computes in, which under autocast can be bfloat16.

    - `weights`, (B, H, Q, K): the softmax of the scores, before dropout: in training too, each row is a distribution.
      Weights of masked keys are exactly 0, and so are rows that may attend to no key. A layer that would run a fused
      kernel computes the same function explicitly while its weights are recorded: its outputs differ by rounding, and
      its dropout draws other random numbers.
    - `values`, (B, H, K, W): the values that the weights are multiplied with; with a cache a copy of all cached values.
    - `outputs`, (B, H, Q, W): the weights, after dropout, times the values; before heads are concatenated and
      projected. Relative positions after Shaw et al. (2018) add their own values to them.

    Contexts may be nested; each has its own records. A layer that is called several times, as in step-by-step decoding,
    has one tensor for each call. Records stay valid after the context ends.

    Args:
        model: any model; models without attention layers have no records.
        kinds: any of `weights`, `values` and `outputs`.
        names: names of the layers to record; None: all.

    Yields:
        Tensors by name of the layer, see `tappable_layers`, and kind; they are filled while the model runs.

    Raises:
        ValueError: if a kind is unknown.
    """
    if unknown_kinds := set(kinds) - set(KINDS):
        raise ValueError(f"attention records {', '.join(KINDS)}, not {', '.join(sorted(unknown_kinds))}")
    layers = tappable_layers(model)
    layers = layers if names is None else {name: layers[name] for name in names}
    taps: Records = {name: {kind: [] for kind in kinds} for name in layers}
    for name, layer in layers.items():
        layer.taps = (*layer.taps, taps[name])
    try:
        yield taps
    finally:
        for name, layer in layers.items():
            layer.taps = tuple(records for records in layer.taps if records is not taps[name])


@contextmanager
def hidden_states(stack: nn.Module) -> Iterator[list[Tensor]]:
    """Record the inputs of a stack and the outputs of each of its blocks while the context is open.

    Args:
        stack: a module with `blocks`, see `nn.block.Stack`; its last normalisation is not applied.

    Yields:
        (B, T, D) tensors of one pass: the embeddings and the output of each block; filled while the model runs.
    """
    states: list[Tensor] = []

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        states.append(inputs[0])

    def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        states.append(output)

    blocks = list(stack.blocks)  # pyright: ignore[reportArgumentType, reportCallIssue]  # a list of modules
    hooks = [blocks[0].register_forward_pre_hook(before), *(block.register_forward_hook(after) for block in blocks)]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def output_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Record the outputs of a module, one for each call, while the context is open."""
    outputs: list[Tensor] = []

    def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output)

    hook = module.register_forward_hook(after)
    try:
        yield outputs
    finally:
        hook.remove()


def weights_of_calls(records: Records) -> dict[str, Tensor]:
    """Return the weights (B, H, Q, K) of each layer that was called, for the queries of all its calls.

    Recurrent decoders call a layer once for each query. The keys of all calls must be the same.
    """
    return {name: torch.cat(tensors["weights"], 2) for name, tensors in records.items() if tensors["weights"]}


@torch.no_grad()
def attention_weights(
    model: nn.Module, run: Callable[[], object], names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Return the weights of every attention layer that `run` calls, without gradients.

    Args:
        model: any model; put it into evaluation mode first.
        run: calls the model once. It may call a layer once for each query, as recurrent decoders do, with equal keys.
        names: names of the layers; None: all.

    Returns:
        Layer name (`decoder.blocks.3.cross`) to weights (B, H, Q, K) of the queries of all its calls.
    """
    with tapped(model, {"weights"}, names) as records:
        run()
    return weights_of_calls(records)
