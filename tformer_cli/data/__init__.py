"""Reading of data sets, their storage as tokenised arrays, and batching."""
