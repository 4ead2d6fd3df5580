"""Decoding: search with autoregressive models, CTC, language models, and refinement by edits."""
