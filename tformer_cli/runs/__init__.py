"""The run folder: its lock, checkpoints, their verification, and atomic writing of files."""
