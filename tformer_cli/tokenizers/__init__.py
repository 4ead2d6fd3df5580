"""Tokenizers: their use, their training, their files, and sampled segmentations."""
