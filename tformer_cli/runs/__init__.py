"""The run folder: its lock, checkpoints, their verification, and output that is complete or not there."""
