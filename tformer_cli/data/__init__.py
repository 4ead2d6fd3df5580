"""Reading, tokenised arrays, batching."""
