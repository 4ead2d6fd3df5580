"""GPT (Radford et al. 2018): a causal language model."""
