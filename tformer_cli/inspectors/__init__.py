"""Inspectors: examples of a model's inputs with a meaning for each position, for figures that look inside the model."""
