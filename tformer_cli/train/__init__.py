"""Training: the launch of runs, the loop, optimisers and logs."""
