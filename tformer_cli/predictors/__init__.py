"""Predictions of a trained model; one module for each kind of input and output."""
