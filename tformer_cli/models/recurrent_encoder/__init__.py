"""A bidirectional recurrent encoder of texts (Schuster and Paliwal 1997), to which heads are added."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import RecurrentConfig, setting
from tformer_cli.errors import ConfigError


@dataclass
class RecurrentEncoderConfig(RecurrentConfig):
    """Recurrent encoder of texts, in both directions unless `bidirectional` is false."""

    family: str = setting("recurrent_encoder", "name of the model family")
    depth: int = setting(2, "number of layers", low=1, high=100)
    bidirectional: bool = setting(True, "two directions with dim / 2 units each; false: forward only, with dim units")
    max_length: int = setting(256, "maximum length of a sequence, in tokens, special tokens included", low=2)

    def limits(self) -> Limits:
        """Return the longest text."""
        return Limits(source=self.max_length)

    def check(self) -> None:
        """Refuse an odd width, which two directions cannot share.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.bidirectional and self.dim % 2:
            cause = f"model.dim: two directions need an even width, not {self.dim}"
            raise ConfigError(cause, f"model.dim={self.dim + 1}")


FAMILY = Family(
    name="recurrent_encoder",
    config=RecurrentEncoderConfig,
    provides=frozenset({"token_encoder"}),
    build="tformer_cli.models.recurrent_encoder.model:build",
    defaults={"head.pooling": "mean"},
)
