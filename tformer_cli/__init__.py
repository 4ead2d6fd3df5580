"""tformer: from raw data to a trained, scored, usable Transformer."""

__version__ = "0.1.0"
