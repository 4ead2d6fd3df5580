"""Scores of a model on a split, a module for each kind of output."""
