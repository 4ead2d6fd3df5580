"""A file a family: embedding + stack + head."""
