"""The experiments: each module defines `EXPERIMENT`."""
