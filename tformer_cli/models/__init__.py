"""Models: one package per family, and the encoders, decoders and heads that families share."""
