"""A recurrent language model (Mikolov et al. 2010; Sundermeyer et al. 2012)."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import RecurrentConfig, setting


@dataclass
class RecurrentLMConfig(RecurrentConfig):
    """Recurrent language model: LSTM (Sundermeyer et al. 2012) or GRU."""

    family: str = setting("recurrent_lm", "name of the model family")
    depth: int = setting(2, "number of layers", low=1, high=100)
    max_length: int = setting(128, "length of a block of text, in tokens; the state is zero at its start", low=2)
    tie_embeddings: bool = setting(True, "share the weights of the token embedding and the output layer")

    def limits(self) -> Limits:
        """Return the longest text."""
        return Limits(target=self.max_length)


FAMILY = Family(
    name="recurrent_lm",
    config=RecurrentLMConfig,
    provides=frozenset({"causal_decoder"}),
    build="tformer_cli.models.recurrent_lm.model:build",
)
