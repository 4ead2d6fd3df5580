"""Recurrent encoder-decoders for texts: fixed vector, peeky, Bahdanau's and Luong's attention."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import Names, RecurrentConfig, TieEmbeddings, setting
from tformer_cli.errors import ConfigError

RecurrentAttentionKind = Names("RecurrentAttentionKind", "none bahdanau luong_dot luong_general luong_concat")
LUONG = tuple(kind for kind in RecurrentAttentionKind if kind.name.startswith("luong"))


@dataclass
class RecurrentSeq2SeqConfig(RecurrentConfig):
    """Recurrent encoder-decoder (Sutskever et al. 2014; Cho et al. 2014; Bahdanau et al. 2015; Luong et al. 2015)."""

    family: str = setting("recurrent_seq2seq", "name of the model family")
    encoder_depth: int = setting(1, "number of encoder layers", low=1, high=100)
    decoder_depth: int = setting(1, "number of decoder layers", low=1, high=100)
    bidirectional: bool = setting(False, "the encoder also reads from the end, with dim units in each direction")
    reverse_source: bool = setting(False, "the encoder reads the source from its end (Sutskever et al. 2014)")
    attention: RecurrentAttentionKind = setting(
        RecurrentAttentionKind.luong_general,
        "attention of the decoder to the source; none: only the encoder's final states reach the decoder",
    )
    peeky: bool = setting(False, "no attention: the encoder's vector enters every step and layer (Cho et al. 2014)")
    input_feeding: bool = setting(
        False, "Luong's attention: the attentional vector of a step is an input of the next (slower)"
    )
    bridge: bool = setting(False, "Luong's attention: project the encoder's states to the width of the decoder")
    tie_embeddings: TieEmbeddings = setting(
        TieEmbeddings.all, "shared weights; decoder: target embedding and output layer; all: also the source embedding"
    )

    @property
    def memory_width(self) -> int:
        """Width of the encoder's states."""
        return 2 * self.dim if self.bidirectional else self.dim

    @property
    def aligns(self) -> bool:
        """Return whether the decoder has attention to the source."""
        return self.attention is not RecurrentAttentionKind.none

    def limits(self) -> Limits:
        """Return the maximum lengths of source and target."""
        return Limits(source=self.max_length, target=self.max_length)

    def check(self) -> None:
        """Refuse combinations without a meaning, a dot product of unequal widths, and a bridge between equal ones.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        score, is_luong = self.attention, self.attention in LUONG
        if self.peeky and self.aligns:
            cause = f"model.peeky: needs model.attention=none, not {score.name}"
            raise ConfigError(cause, "model.attention=none")
        for name in ("input_feeding", "bridge"):
            if getattr(self, name) and not is_luong:
                cause = f"model.{name}: needs model.attention=luong_*, not {score.name}"
                raise ConfigError(cause, f"model.{name}=false")
        if self.bridge and self.memory_width == self.dim:
            cause = f"model.bridge: encoder and decoder have equal widths, {self.dim}"
            raise ConfigError(cause, "model.bridge=false, or model.bidirectional=true")
        if score is RecurrentAttentionKind.luong_dot and self.memory_width != self.dim and not self.bridge:
            cause = f"model.attention: luong_dot needs equal widths, not {self.memory_width} and {self.dim}"
            raise ConfigError(cause, "model.bridge=true, or model.bidirectional=false")
        if self.reverse_source and self.bidirectional:
            cause = "model.reverse_source: a bidirectional encoder reads both ways"
            raise ConfigError(cause, "model.reverse_source=false")


FAMILY = Family(
    name="recurrent_seq2seq",
    config=RecurrentSeq2SeqConfig,
    provides=frozenset({"encoder_decoder"}),
    build="tformer_cli.models.recurrent_seq2seq.model:build",
)
