"""The optimiser: groups of parameters, and its state by parameter name."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tformer_cli.config.schema import Method, OptimConfig
from tformer_cli.train.muon import MuonAdamW


def decayed(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the parameters with and without weight decay: only matrices of linear and convolution layers decay."""
    matrices = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) and module.weight.dim() > 1
    }
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    yes, no = [], []
    for name, parameter in model.named_parameters():
        (yes if id(parameter) in matrices - embeddings else no).append(name)
    return yes, no


def layer_scales(names: Iterable[str], decay: float) -> dict[str, float]:
    """Factor of each parameter's learning rate: 1 for the head, `decay` less for each block below (Clark et al. 2020).

    A parameter of `blocks.N` is of layer N + 1, one outside all blocks of layer 0 if it comes before the first, else of
    the head.
    """
    names = list(names)
    layers, seen = {}, False
    for name in names:
        block = re.search(r"\bblocks\.(\d+)\.", name)
        seen = seen or block is not None
        layers[name] = int(block[1]) + 1 if block else None if seen else 0
    top = max((layer for layer in layers.values() if layer is not None), default=0) + 1
    return {name: decay ** (top - (top if layer is None else layer)) for name, layer in layers.items()}


def build_optimizer(model: nn.Module, config: OptimConfig) -> MuonAdamW:
    """Fused AdamW (Loshchilov and Hutter 2019) with two groups: decayed or not; the decayed ones by Muon if asked.

    `Learner.update` sets `found_inf` before each step: the fused kernel then leaves weights and moments as they are,
    without the host having to wait for the device to learn that a gradient was not finite.
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    yes, no = ([name for name in names if name in parameters] for names in decayed(model))
    muon = config.method is Method.muon
    # a depthwise convolution's channels are apart: nothing to make orthogonal
    matrices = [name for name in yes if muon and parameters[name].shape[1] > 1]
    others = [name for name in yes if name not in matrices]
    kinds = ((matrices, config.weight_decay, True), (others, config.weight_decay, False), (no, 0.0, False))
    scales = layer_scales(parameters, config.layer_decay)
    groups = [
        {
            "params": [parameters[name] for name in names if scales[name] == scale],
            "weight_decay": decay,
            "muon": by_muon,
            "momentum": config.momentum,
            "scale": scale,
        }
        for names, decay, by_muon in kinds
        for scale in sorted({scales[name] for name in names})
    ]
    betas = (config.beta1, config.beta2)
    return MuonAdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by parameter name: `exp_avg.NAME`, `exp_avg_sq.NAME`, `step.NAME`, or `momentum.NAME`."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value)
    return tensors


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put `optimizer_tensors` back, in memory as the parameters are: the fused kernel takes them number by number."""
    for name, parameter in model.named_parameters():
        state = {}
        for key in ("step", "exp_avg", "exp_avg_sq", "momentum"):
            if f"{key}.{name}" in tensors:
                value = tensors[f"{key}.{name}"].to(parameter.device)
                state[key] = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        if state:
            optimizer.state[parameter] = state
