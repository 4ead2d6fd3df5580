"""Scores of a model on a split; one module for each kind of output."""
