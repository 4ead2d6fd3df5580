"""Files of other libraries' formats, as bytes."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch
from torch import Tensor


def json_file(value: Any) -> bytes:
    """JSON as these libraries write it."""
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def weights_file(tensors: dict[str, Tensor]) -> bytes:
    """A safetensors file, marked as torch's, without which `transformers` refuses it."""
    return safetensors.torch.save(tensors, metadata={"format": "pt"})
