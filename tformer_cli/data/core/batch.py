"""A batch: tensors that travel together from the loader to the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor


@dataclass
class Batch:
    """The tensors of some examples; subclasses document their fields with shapes.

    Attributes:
        sample_ids: rows of the split, (B,), int64, so that a failure can name the examples.
        idle: whether a rank without a row of its own computes this batch only to stay in step with the other ranks. Its
            loss counts as zero.
    """

    sample_ids: Tensor
    idle: bool = field(default=False, kw_only=True)

    unit: ClassVar[str] = "tokens"
    """The unit of `sizes`."""
    is_padded: ClassVar[bool] = True
    """Whether there may be padding."""

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """Return the batch on another device."""
        return self._each_tensor(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory, from which copies to a GPU overlap with computation."""
        return self._each_tensor(Tensor.pin_memory)

    def _each_tensor(self, function: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{item.name: _mapped(getattr(self, item.name), function) for item in fields(self)})

    def sizes(self) -> tuple[float, float]:
        """Return the real and the padded units (tokens, images, seconds) that the model computes."""
        raise NotImplementedError


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return a tensor, or the tensors of a batch within a batch, mapped; other values as they are."""
    if isinstance(value, Tensor):
        return function(value)
    return value._each_tensor(function) if isinstance(value, Batch) else value


B = TypeVar("B", bound=Batch)
"""The type of a batch."""
