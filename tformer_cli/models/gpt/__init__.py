"""GPT (Radford et al. 2018): a causal language model."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import Activation, Positions, TextModelConfig, setting


@dataclass
class GPTConfig(TextModelConfig):
    """Causal language model (Radford et al. 2018): the decoder alone."""

    family: str = setting("gpt", "entry of the model registry")
    depth: int = setting(6, "blocks", low=1, high=1000)
    activation: Activation = setting(Activation.gelu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "how the model knows the order of its inputs")
    tie_embeddings: bool = setting(True, "the output weights are the token embedding")

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
