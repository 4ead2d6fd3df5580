"""BERT (Devlin et al. 2019): an encoder that reads both ways."""
