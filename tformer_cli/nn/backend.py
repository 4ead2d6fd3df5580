"""The selected implementation of attention; `machine.py` sets it at the start of a run."""

from __future__ import annotations

attention: str = "fused"
"""`fused`: `scaled_dot_product_attention`; `explicit`: two batched products and a softmax, faster on many CPUs."""
