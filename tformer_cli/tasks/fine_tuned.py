"""What the tasks share that fine-tune an encoder: how texts become the tokens that it reads.

They are those of the vocabulary's own library, which pre-trained models were made with. Version 0.1 had others in
three places, and a run of that version goes on with them.
"""

from __future__ import annotations

import json
from pathlib import Path

from tformer_cli.errors import checkpoint_content
from tformer_cli.regular import read_regular
from tformer_cli.tasks.base import B, M
from tformer_cli.tasks.separate_texts import SeparateTexts
from tformer_cli.tasks.splits import S

ENCODING = "encoding.json"
FIRST_ENCODING, ENCODING_NOW = 1, 2
"""1, of version 0.1: one [SEP] between two texts, words to tag without the space before them, and texts that answer
questions encoded word by word. 2: as transformers' tokenizers do."""
CONFIG = "config.yaml"


class FineTuned(SeparateTexts[S, M, B]):
    """Reads texts as transformers' fast tokenizers do, or as the checkpoint that was loaded does."""

    encoding = ENCODING_NOW

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint; and how it reads texts, if it is one of this task."""
        super().load(folder)
        if (folder / ENCODING).is_file():
            with checkpoint_content(folder / ENCODING, "a number"):
                number = json.loads(read_regular(folder / ENCODING, links=False))["encoding"]
                if number not in (FIRST_ENCODING, ENCODING_NOW):
                    raise ValueError
                self.encoding = number
        elif self._is_own(folder):
            self.encoding = FIRST_ENCODING

    def _is_own(self, folder: Path) -> bool:
        """Return whether a checkpoint is one of this task."""
        from tformer_cli.config.compose import from_yaml

        return (folder / CONFIG).is_file() and from_yaml(folder / CONFIG).task == self.config.task

    def files(self) -> dict[str, bytes]:
        """Return the tokenizer's files, and how texts are read."""
        return {**super().files(), ENCODING: encoding_file(self.encoding)}

    @property
    def separator(self) -> list[int]:
        """Return the ids between two texts."""
        return [self.tokenizer.eos_id] if self.encoding == FIRST_ENCODING else self.tokenizer.pair_separator


def encoding_file(number: int = ENCODING_NOW) -> bytes:
    """Return the file in which a checkpoint says how texts are read."""
    return json.dumps({"encoding": number}).encode()
