"""Tables, splits, caches and batches, which all kinds of data share."""
