"""Which of the exact implementations the core uses; set once at the start by `train.machine`, said in the header."""

from __future__ import annotations

attention: str = "fused"
"""`fused`: `scaled_dot_product_attention`; `explicit`: two batched products and a softmax, faster on many CPUs."""
