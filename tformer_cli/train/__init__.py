"""The loop and all around it: launch, checkpoints, logs, and trained runs in use."""
