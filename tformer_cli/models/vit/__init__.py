"""Vision Transformer (Dosovitskiy et al. 2021): an encoder of pictures."""
