"""Scores, from the libraries that the field compares with."""
