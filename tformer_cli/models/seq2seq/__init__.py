"""The Transformer (Vaswani et al. 2017): an encoder-decoder for texts."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import Names, TextModelConfig, setting

TieEmbeddings = Names("TieEmbeddings", "none decoder all")


@dataclass
class Seq2SeqConfig(TextModelConfig):
    """Encoder-decoder Transformer (Vaswani et al. 2017)."""

    family: str = setting("seq2seq", "entry of the model registry")
    encoder_depth: int = setting(6, "encoder blocks", low=1, high=1000)
    decoder_depth: int = setting(6, "decoder blocks", low=1, high=1000)
    tie_embeddings: TieEmbeddings = setting(
        TieEmbeddings.all, "decoder: target embedding = output weights; all: source too"
    )
    scale_embeddings: bool = setting(True, "multiply embeddings by sqrt(dim) (section 3.4)")
    final_bias: bool = setting(False, "the output projection adds a bias per word of the vocabulary")

    def limits(self) -> Limits:
        """Return the longest source and target."""
        return Limits(source=self.max_length, target=self.max_length)


FAMILY = Family(
    name="seq2seq",
    config=Seq2SeqConfig,
    provides=frozenset({"encoder_decoder"}),
    build="tformer_cli.models.seq2seq.model:build",
    importers={"huggingface": "tformer_cli.interop.huggingface_seq2seq:IMPORTER"},
    exporters={"huggingface": "tformer_cli.interop.huggingface_seq2seq:export"},
)
