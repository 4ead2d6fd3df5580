"""tformer: from raw data to a trained, scored, usable Transformer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.api import Run, load

__all__ = ["Run", "__version__", "load"]
__version__ = "0.2.0.dev0"


def __getattr__(name: str) -> object:
    """Import `load` and `Run` on first use, since they need torch and the command line often does not."""
    if name in ("Run", "load"):
        return getattr(importlib.import_module("tformer_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
