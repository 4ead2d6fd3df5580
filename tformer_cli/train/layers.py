"""The layers of a model: the factors of their learning rates, and the blocks that `torch.compile` compiles.

A stack is a module with an attribute `blocks`, the sequence of its blocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from torch import nn

from tformer_cli.errors import ConfigError

RECOMPILATIONS = 8
"""Compilations of blocks of the same shape: for training, evaluation and different shapes of inputs (torch's limit)."""


def stacks(model: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """Return the blocks of each stack, in order and by name, by the name of the stack."""
    result = {}
    for stack, module in model.named_modules(remove_duplicate=False):
        blocks: Sequence[nn.Module] | None = getattr(module, "blocks", None)
        if blocks is not None:
            names = {part: name for name, part in module.named_modules(prefix=stack)}
            result[stack] = {names[block]: block for block in blocks}
    return result


def compile_blocks(model: nn.Module) -> None:
    """Compile all blocks of a model with `torch.compile`, except recurrent layers, which it does not compile.

    Blocks of one class are compiled as one function, and torch limits how often it compiles a function again. This
    limit is raised for blocks of different shapes.

    Raises:
        ConfigError: if there is no such block.
    """
    from torch._dynamo import config as limits  # slow to import

    blocks = dict.fromkeys(block for blocks in stacks(model).values() for block in blocks.values())
    compiled = [block for block in blocks if not any(isinstance(part, nn.RNNBase) for part in block.modules())]
    if not compiled:
        cause = "trainer.compile: torch.compile does not compile recurrent layers, and this model has no other blocks"
        raise ConfigError(cause, "trainer.compile=false")
    shapes = {tuple(weight.shape for weight in block.parameters()) for block in compiled}
    limits.recompile_limit = max(limits.recompile_limit, RECOMPILATIONS * len(shapes))
    for block in compiled:
        block.compile()


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """Return the factor of each parameter's learning rate (Clark et al. 2020).

    The factor of the head is 1. The last block of a stack has the factor `decay`, and each block below it has `decay`
    times the factor of the block above it. An encoder and a decoder are two stacks: each counts its own depth, since
    every block of the decoder reads the last block of the encoder.

    A parameter outside of blocks belongs to the innermost module around it that is or contains a stack. The module's
    attribute `stack_inputs` maps the names of its children that are a layer below stacks to the names of the stacks
    ("": the module itself); the others belong to the head. A stack inside such a child is a part of that layer. In a
    module without this attribute, parameters registered before the first block are a layer below it. A parameter that
    several modules share has the lowest of their factors.

    Args:
        model: a model.
        decay: ratio of the factors of neighbouring layers.

    Returns:
        Factors by the names of `model.named_parameters()`.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    inputs: dict[str, dict[str, tuple[str, ...]]] = {
        name: getattr(module, "stack_inputs")  # noqa: B009  # unknown to nn.Module
        for name, module in model.named_modules(remove_duplicate=False)
        if hasattr(module, "stack_inputs")
    }
    below = {_joined(name, child) for name, children in inputs.items() for child in children}
    blocks = {stack: list(names) for stack, names in stacks(model).items() if below.isdisjoint(_prefixes(stack))}
    above_block = {block: len(names) - number for names in blocks.values() for number, block in enumerate(names)}
    stacks_in, first_index = defaultdict[str, list[str]](list), dict[str, int]()
    for stack, names in blocks.items():
        indices = [index for index, name in enumerate(parameters) if not set(names).isdisjoint(_prefixes(name))]
        first_index[stack] = min(indices, default=0)
        for module in _prefixes(stack):
            stacks_in[module].append(stack)

    def layers_above(index: int, name: str) -> int:
        modules = _prefixes(name)
        if block := next((module for module in modules if module in above_block), ""):
            return above_block[block]
        holder = next((module for module in modules if module in stacks_in), "")
        if holder in inputs:
            child = name.removeprefix(holder).lstrip(".").split(".")[0]
            return max((1 + len(blocks.get(_joined(holder, s), ())) for s in inputs[holder].get(child, ())), default=0)
        below_all = index < min((first_index[stack] for stack in stacks_in[holder]), default=0)
        return 1 + max(len(blocks[stack]) for stack in stacks_in[holder]) if below_all else 0

    layers = dict[int, int]()
    for index, (name, parameter) in enumerate(parameters.items()):
        layers[id(parameter)] = max(layers.get(id(parameter), 0), layers_above(index, name))
    return {name: decay ** layers[id(parameter)] for name, parameter in model.named_parameters()}


def _prefixes(name: str) -> list[str]:
    """Return a name of a module or parameter, and the names of the modules around it, the innermost first."""
    parts = name.split(".")
    return [".".join(parts[:size]) for size in range(len(parts), -1, -1)]


def _joined(*names: str) -> str:
    """Return names joined by dots, without empty ones."""
    return ".".join(filter(None, names))
