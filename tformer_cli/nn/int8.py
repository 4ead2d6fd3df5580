"""Linear layers with 8-bit products, for decoding on CPUs with AVX512-VNNI or AMX.

Weights are rounded once, with a scale for each output. Inputs are rounded at each call, with a scale for each row, so
that results do not depend on the other rows of a batch. Sums are exact (32 bits). There is no calibration or training.

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
"""Zero point of the inputs: the CPU's instruction multiplies unsigned inputs with signed weights."""
MIN_WEIGHTS = 1 << 16
"""Number of weights below which layers stay in float32, since rounding their inputs takes longer than it saves."""


def available() -> bool:
    """Return whether this machine and this build of torch support exact 8-bit products."""
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
        """Apply the layer to x, (..., I), and return (..., O) in float32."""
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
        """Return the unscaled product of x (N, I) and the weights, (N, O), and the scales of its rows, (N, 1).

        Both are float32. The bias is not added.
        """
        scale = x.abs().amax(-1, keepdim=True).clamp_(min=1e-30).div_(127)
        rounded = (x / scale).round_().to(torch.int8).view(torch.uint8).bitwise_xor_(ZERO)  # adds 128, modulo 256
        y = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, ZERO, self.packed, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return y, scale


class Int8Decoder:
    """A copy of a model for inference with its larger linear layers and output projection in 8 bits.

    Args:
        model: model on a CPU, with a method `output_layer`.
        output: whether the output projection is in 8 bits too.

    Raises:
        ConfigError: if the machine does not support 8-bit products.
    """

    step: Callable[..., Tensor]
    """The model's method; all other attributes that are not defined here are the model's too."""

    def __init__(self, model: nn.Module, *, output: bool = True) -> None:
        if not available():
            raise ConfigError("decode.precision: int8 needs a CPU with AVX512-VNNI", "use decode.precision=fp32")
        if next(model.parameters()).device.type != "cpu":
            raise ConfigError("decode.precision: int8 is for CPUs", "use decode.precision=fp32, or trainer.device=cpu")
        with torch.inference_mode():
            layer = model.output_layer()  # pyright: ignore[reportCallIssue]  # a Tensor or Module in torch's stubs
            self._output = Int8Linear(*layer) if output else layer
            self._model = copy.deepcopy(model).eval()
            for module in list(self._model.modules()):
                for name, child in module.named_children():
                    if isinstance(child, nn.Linear) and child.weight.numel() >= MIN_WEIGHTS:
                        setattr(module, name, Int8Linear(child.weight, child.bias))

    def output_layer(self) -> Int8Linear | tuple[Tensor, Tensor | None]:
        """Return the output projection: a layer, or its weights and bias if it is not in 8 bits."""
        return self._output

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the model (`encode`, `start`, `step`, ...)."""
        return getattr(self._model, name)
