"""The settings of each task, in a module for each kind of data: `text`, `images` and `speech`."""
