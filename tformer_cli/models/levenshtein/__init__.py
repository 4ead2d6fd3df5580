"""The Levenshtein Transformer (Gu et al. 2019), which edits a sequence by deletions and insertions."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.family import Family, Limits
from tformer_cli.config.schema import TextModelConfig, TieEmbeddings, setting
from tformer_cli.errors import ConfigError

MAX_PLACEHOLDERS = 255
"""Maximum number of placeholders that are inserted between two tokens at once (section 3.1)."""


@dataclass
class LevenshteinConfig(TextModelConfig):
    """Levenshtein Transformer (Gu et al. 2019)."""

    family: str = setting("levenshtein", "name of the model family")
    max_length: int = setting(256, "maximum length of a sequence, in tokens, with an end mark; at most 256", low=2)
    encoder_depth: int = setting(6, "number of encoder blocks", low=1, high=1000)
    decoder_depth: int = setting(6, "number of decoder blocks", low=1, high=1000)
    shared_decoder: bool = setting(True, "one decoder for deletions, placeholders and tokens; false: one for each")
    delete_depth: int = setting(0, "number of decoder blocks below the deletions (early exit); 0: all", low=0)
    placeholder_depth: int = setting(0, "number of decoder blocks below the placeholders (early exit); 0: all", low=0)
    tie_embeddings: TieEmbeddings = setting(
        TieEmbeddings.all, "shared weights; decoder: target embedding and output layer; all: also the source embedding"
    )
    scale_embeddings: bool = setting(True, "multiply embeddings by sqrt(dim)")

    def check(self) -> None:
        """Refuse targets that could need too many placeholders in one gap, and exits above the last block.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.max_length > MAX_PLACEHOLDERS + 1:
            cause = (
                f"model.max_length: {self.max_length} tokens could need a placeholder count beyond {MAX_PLACEHOLDERS}"
            )
            raise ConfigError(cause, f"model.max_length={MAX_PLACEHOLDERS + 1}")
        for name in ("delete_depth", "placeholder_depth"):
            if getattr(self, name) > self.decoder_depth:
                cause = f"model.{name}: {getattr(self, name)} is more than model.decoder_depth {self.decoder_depth}"
                raise ConfigError(cause, f"model.{name}=0")

    def limits(self) -> Limits:
        """Return the maximum lengths of source and target."""
        return Limits(source=self.max_length, target=self.max_length)


FAMILY = Family(
    name="levenshtein",
    config=LevenshteinConfig,
    provides=frozenset({"token_editor"}),
    build="tformer_cli.models.levenshtein.model:build",
    defaults={"data.max_length": MAX_PLACEHOLDERS},
)
