"""The version of the encoding by which fine-tuned encoders read texts.

Encoders are fine-tuned on the tokens of the vocabulary's own library, which pre-trained models were made with. Earlier
versions encoded some texts differently, and a run of such a version continues with its encoding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tformer_cli.errors import checkpoint_content
from tformer_cli.regular_files import read_regular
from tformer_cli.tokenizers.tokenizer import Vocabulary

ENCODING = "encoding.json"
"""Name of the file in a checkpoint that contains the version of its encoding."""
FIRST_ENCODING, ENCODING_NOW = 1, 3
"""1, of version 0.1: one [SEP] between two texts, words to tag without the space before them, and texts that answer
questions encoded word by word. 2: as transformers' tokenizers do, but lossless vocabularies encode words to tag without
the space before them. 3: with this space."""
CONFIG = "config.yaml"


@dataclass
class EncodingVersion:
    """The version of a run's encoding: that of transformers' fast tokenizers, or that of the loaded checkpoint.

    Attributes:
        number: from `FIRST_ENCODING` to `ENCODING_NOW`.
    """

    number: int = ENCODING_NOW

    @property
    def is_first(self) -> bool:
        """Return whether the encoding is that of version 0.1."""
        return self.number == FIRST_ENCODING

    def load(self, folder: Path, task: str) -> None:
        """Take the version from a checkpoint; one of the same task without the file has the first.

        Args:
            folder: the checkpoint.
            task: name of the run's task. The encoding is not taken over from older checkpoints of other tasks.

        Raises:
            RunError: if the file is damaged.
        """
        if (folder / ENCODING).is_file():
            with checkpoint_content(folder / ENCODING, "a number"):
                number = json.loads(read_regular(folder / ENCODING, links=False))["encoding"]
                if number not in range(FIRST_ENCODING, ENCODING_NOW + 1):
                    raise ValueError
                self.number = number
        elif _task_of(folder) == task:
            self.number = FIRST_ENCODING

    def files(self) -> dict[str, bytes]:
        """Return the file that `load` reads, by its name."""
        return {ENCODING: json.dumps({"encoding": self.number}).encode()}

    def separator(self, tokenizer: Vocabulary) -> list[int]:
        """Return the ids between two texts."""
        return [tokenizer.eos_id] if self.is_first else tokenizer.pair_separator

    def spaces_words(self, tokenizer: Vocabulary) -> bool:
        """Return whether words to tag are encoded as if they followed a space."""
        return self.number > 2 or (self.number == 2 and not tokenizer.lossless)

    def encode_words(self, tokenizer: Vocabulary, words: Sequence[str]) -> list[list[int]]:
        """Return the ids of each word to tag."""
        return tokenizer.encode_words(words) if self.spaces_words(tokenizer) else tokenizer.encode_batch(words)


def _task_of(folder: Path) -> str | None:
    """Return the name of a checkpoint's task; None: the checkpoint has no configuration."""
    from tformer_cli.config.compose import from_yaml

    return from_yaml(folder / CONFIG).task if (folder / CONFIG).is_file() else None
