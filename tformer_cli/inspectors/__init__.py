"""Inputs of trained models with what their positions mean, for figures that look inside."""
