"""Small translators of about a million parameters, for recipes of built-in sentences, without dropout."""

TRANSFORMER = (
    "model=transformer_tiny", "model.encoder_depth=2", "model.decoder_depth=2", "model.ffn_dim=512",
    "model.positions=rotary", "model.dropout=0",
)  # fmt: skip
FIXED = ("model=recurrent_fixed", "model.dim=168")
BAHDANAU = ("model=recurrent_bahdanau", "model.dim=160")
LUONG = ("model=recurrent_luong_general", "model.dim=164")
