"""Conformer (Gulati et al. 2020): a recogniser of speech."""
