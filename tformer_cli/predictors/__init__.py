"""Predictions of a trained model, a module for each kind of input and output."""
