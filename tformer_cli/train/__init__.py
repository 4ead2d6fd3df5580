"""Training: the launch of runs, the loop, optimisers, logs, and the use of trained runs."""
