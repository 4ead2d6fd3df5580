"""The use of trained runs: opening, evaluation, comparison and distillation."""
