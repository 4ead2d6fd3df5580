"""BERT (Devlin et al. 2019): a bidirectional encoder of texts."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import Activation, Norm, Positions, TextModelConfig, setting


@dataclass
class BERTConfig(TextModelConfig):
    """Bidirectional encoder (Devlin et al. 2019)."""

    family: str = setting("bert", "name of the model family")
    depth: int = setting(4, "number of blocks", low=1, high=1000)
    norm: Norm = setting(Norm.post, "layer normalisation before each sub-layer (pre) or after the residual sum (post)")
    activation: Activation = setting(Activation.gelu, "feed-forward activation; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "position scheme")
    norm_eps: float = setting(1e-12, "added to the variance in layer normalisations", low=0)
    segments: int = setting(2, "segment embeddings; 0: none (RoBERTa)", low=0)

    def limits(self) -> Limits:
        """Return the longest text, and the number of segments."""
        return Limits(source=self.max_length, segments=self.segments)


FAMILY = Family(
    name="bert",
    config=BERTConfig,
    provides=frozenset({"token_encoder", "masked_token_encoder"}),
    build="tformer_cli.models.bert.model:build",
    importers={"huggingface": "tformer_cli.interop.huggingface_bert:IMPORTER"},
    exporters={"huggingface": "tformer_cli.interop.huggingface_bert:export"},
)
