"""Losses and regularisers, each with its equation."""
