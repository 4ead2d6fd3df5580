"""GPT (Radford et al. 2018): a causal language model."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import Activation, Positions, TextModelConfig, setting


@dataclass
class GPTConfig(TextModelConfig):
    """Causal language model (Radford et al. 2018): a Transformer decoder without an encoder."""

    family: str = setting("gpt", "name of the model family")
    depth: int = setting(6, "number of blocks", low=1, high=1000)
    activation: Activation = setting(Activation.gelu, "feed-forward activation; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "position scheme")
    tie_embeddings: bool = setting(True, "share the weights of the token embedding and the output layer")
    leak_future: bool = setting(
        False,
        "BREAKS TRAINING, to show what the look-ahead mask is for: in training each token attends to the tokens that "
        "it predicts; evaluation and generation keep the mask",
    )

    def limits(self) -> Limits:
        """Return the longest text."""
        return Limits(target=self.max_length)


FAMILY = Family(
    name="gpt",
    config=GPTConfig,
    provides=frozenset({"causal_decoder"}),
    build="tformer_cli.models.gpt.model:build",
    importers={"huggingface": "tformer_cli.interop.huggingface_gpt:IMPORTER"},
    exporters={"huggingface": "tformer_cli.interop.huggingface_gpt:export"},
)
