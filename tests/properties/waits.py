"""Calls that would wait for a GPU, found without one."""

from __future__ import annotations

from torch import Tensor, device, tensor
from torch.overrides import TorchFunctionMode


class Waits(TorchFunctionMode):
    """Records the calls within the context after which a GPU has done all its earlier work.

    They are `torch.tensor` with a device, and copies from the CPU to the device `meta` that are not `non_blocking`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        copies = func is Tensor.to and device("meta") in args[1:] and args[0].device.type == "cpu"
        if (func is tensor and kwargs.get("device") is not None) or (copies and not kwargs.get("non_blocking")):
            self.calls.append(func.__name__)
        return func(*args, **kwargs)
