"""The Transformer (Vaswani et al. 2017): an encoder-decoder for texts."""
