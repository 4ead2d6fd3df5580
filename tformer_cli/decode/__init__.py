"""Search over any autoregressive model."""
