"""The optimiser: its groups of parameters, and its state by names of parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from tformer_cli.config.schema import Method, OptimConfig
from tformer_cli.train.layers import layer_scales
from tformer_cli.train.muon import MuonAdamW


def decayed(model: nn.Module) -> tuple[list[str], list[str]]:
    """Return the names of the parameters with and without weight decay.

    Only the weights of linear, convolution and recurrent layers have weight decay.
    """
    matrices = {
        id(_weight(module))
        for module in model.modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) and _weight(module).dim() > 1
    }
    layers = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    matrices |= {id(weight) for layer in layers for weight in layer.parameters(recurse=False) if weight.dim() > 1}
    embeddings = {id(_weight(module)) for module in model.modules() if isinstance(module, nn.Embedding)}
    with_decay, without_decay = [], []
    for name, parameter in model.named_parameters():
        (with_decay if id(parameter) in matrices - embeddings else without_decay).append(name)
    return with_decay, without_decay


def _weight(module: Any) -> Tensor:
    """Return the parameter of a layer's weight; under a parametrisation such as spectral norm, the original one."""
    return module.parametrizations.weight.original if is_parametrized(module, "weight") else module.weight


def build_optimizer(model: nn.Module, config: OptimConfig) -> MuonAdamW:
    """Return a fused AdamW (Loshchilov and Hutter 2019) for the parameters that require gradients.

    Parameters with and without weight decay are separate groups. With `config.method=muon` matrices are a third group,
    which is updated by Muon. `PhaseLearner.update` sets `found_inf` before each step: if a gradient is not finite, the
    kernel changes neither weights nor moments, and the host does not wait for the device.
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    with_decay, without_decay = ([name for name in names if name in parameters] for names in decayed(model))
    muon = config.method is Method.muon
    # The channels of a depthwise convolution are independent, so that its weight is not a matrix.
    matrices = [name for name in with_decay if muon and parameters[name].shape[1] > 1]
    others = [name for name in with_decay if name not in matrices]
    kinds = ((matrices, config.weight_decay, True), (others, config.weight_decay, False), (without_decay, 0.0, False))
    scales = layer_scales(model, config.layer_decay)
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
    """Return the optimiser's state by names of parameters.

    The names are `exp_avg.NAME`, `exp_avg_sq.NAME` and `step.NAME`, or `momentum.NAME` with Muon.
    """
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value)
    return tensors


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the result of `optimizer_tensors`, with the memory layout of the parameters, as the kernel needs it."""
    for name, parameter in model.named_parameters():
        state = {}
        for key in ("step", "exp_avg", "exp_avg_sq", "momentum"):
            if f"{key}.{name}" in tensors:
                value = tensors[f"{key}.{name}"].to(parameter.device)
                state[key] = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        if state:
            optimizer.state[parameter] = state
