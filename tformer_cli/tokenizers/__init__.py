"""Tokenizers: encoding and decoding, training, files, and sampled segmentations."""
