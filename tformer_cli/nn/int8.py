"""Linear layers with 8-bit products, for decoding on CPUs that multiply bytes (AVX512-VNNI, AMX).

Weights are rounded once, each output's row by its own scale; inputs as they come, each row by its own scale, so that a
result does not depend on what else is in the batch. Sums are exact (32 bits). Nothing is calibrated or trained.

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tformer_cli.errors import ConfigError

ZERO = 128
"""What stands for zero in an unsigned byte: the CPU's instruction multiplies unsigned inputs with signed weights."""
LEAST_WEIGHTS = 1 << 16
"""Smaller layers stay in float32: rounding their inputs costs more than the product saves."""


def available() -> bool:
    """Whether this machine and this build of torch multiply bytes exactly."""
    return hasattr(torch.ops.onednn, "qlinear_pointwise") and torch.cpu._is_vnni_supported()


class Int8Linear(nn.Module):
    """y = x W^T + b with W and x rounded to 8 bits.

    Args:
        weight: (O, I), float.
        bias: (O,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        weight = weight.detach().float()
        self.scale = weight.abs().amax(1).clamp_(min=1e-30) / 127  # (O,)
        rounded = (weight / self.scale[:, None]).round_().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = None if bias is None else bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O), float32."""
        y, scale = self.product(x.reshape(-1, x.shape[-1]))
        y = y.mul_(scale) if self.bias is None else torch.addcmul(self.bias, y, scale, out=y)
        return y.view(*x.shape[:-1], -1)

    def into(self, x: Tensor, out: Tensor) -> None:
        """Write the result for x (N, I) into `out` (N, O), float32."""
        y, scale = self.product(x)
        if self.bias is None:
            torch.mul(y, scale, out=out)
        else:
            torch.addcmul(self.bias, y, scale, out=out)

    def product(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """X W^T for x (N, I) up to the rows' scales, (N, O), and those, (N, 1); float32, without the bias."""
        scale = x.abs().amax(-1, keepdim=True).clamp_(min=1e-30).div_(127)
        rounded = (x / scale).round_().to(torch.int8).view(torch.uint8).bitwise_xor_(ZERO)  # adds 128, modulo 256
        y = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, ZERO, self.packed, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return y, scale


class Int8Decoder:
    """A model for inference with its larger linear layers and output projection in 8 bits. The model is not changed.

    Args:
        model: has `output_layer`; on a CPU.

    Raises:
        ConfigError: if this machine cannot.
    """

    step: Callable[..., Tensor]
    """The model's, as everything that is not defined here."""

    def __init__(self, model: nn.Module) -> None:
        if not available():
            raise ConfigError("decode.precision: int8 needs a CPU with AVX512-VNNI", "use decode.precision=fp32")
        if next(model.parameters()).device.type != "cpu":
            raise ConfigError("decode.precision: int8 is for CPUs", "use decode.precision=fp32, or trainer.device=cpu")
        with torch.inference_mode():
            self._output = Int8Linear(*model.output_layer())  # pyright: ignore[reportCallIssue]  # a Tensor or Module in torch's stubs
            self._model = copy.deepcopy(model).eval()
            for module in list(self._model.modules()):
                for name, child in module.named_children():
                    if isinstance(child, nn.Linear) and child.weight.numel() >= LEAST_WEIGHTS:
                        setattr(module, name, Int8Linear(child.weight, child.bias))

    def output_layer(self) -> Int8Linear:
        """The output projection."""
        return self._output

    def __getattr__(self, name: str) -> Any:
        """Everything else (`encode`, `start`, `step`, ...) is the model's."""
        return getattr(self._model, name)
