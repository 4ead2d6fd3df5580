"""Experiments on the claims of the literature: trainings, their comparison, a figure and a table each."""
