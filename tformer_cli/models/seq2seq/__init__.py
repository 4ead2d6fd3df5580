"""The Transformer (Vaswani et al. 2017): an encoder-decoder for texts."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import TextModelConfig, TieEmbeddings, setting


@dataclass
class Seq2SeqConfig(TextModelConfig):
    """Encoder-decoder Transformer (Vaswani et al. 2017)."""

    family: str = setting("seq2seq", "name of the model family")
    encoder_depth: int = setting(6, "number of encoder blocks", low=1, high=1000)
    decoder_depth: int = setting(6, "number of decoder blocks", low=1, high=1000)
    tie_embeddings: TieEmbeddings = setting(
        TieEmbeddings.all, "shared weights; decoder: target embedding and output layer; all: also the source embedding"
    )
    scale_embeddings: bool = setting(True, "multiply embeddings by sqrt(dim) (section 3.4)")
    final_bias: bool = setting(False, "add a bias to the logits of the output layer")

    def limits(self) -> Limits:
        """Return the maximum lengths of source and target."""
        return Limits(source=self.max_length, target=self.max_length)


FAMILY = Family(
    name="seq2seq",
    config=Seq2SeqConfig,
    provides=frozenset({"encoder_decoder"}),
    build="tformer_cli.models.seq2seq.model:build",
    importers={"huggingface": "tformer_cli.interop.huggingface_seq2seq:IMPORTER"},
    exporters={"huggingface": "tformer_cli.interop.huggingface_seq2seq:export"},
)
