"""Data that consists of text: a vocabulary is learned from the training split, or read from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from torch import Tensor

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import BadSample
from tformer_cli.data.core.batch import B, Batch
from tformer_cli.data.core.dataset import Data, S
from tformer_cli.data.core.view import LengthBucketed
from tformer_cli.errors import DataError
from tformer_cli.tokenizers.tokenizer import Tokenizer, Vocabulary


@dataclass
class TokenBatch(Batch):
    """Sequences that an encoder reads.

    Attributes:
        tokens: (B, T), int64, padded at the end.
        lengths: real tokens in each row, (B,), int64.
    """

    tokens: Tensor
    lengths: Tensor

    def sizes(self) -> tuple[int, int]:
        """Return real and padded tokens."""
        return int(self.lengths.sum()), self.tokens.numel()


class TextData(Data[S, B]):
    """Data with a vocabulary.

    A subclass implements `training_text` and `describe_splits`, in addition to the methods of `Data`; and also
    `usual_length` and `describe_batches`, unless its batches are grouped by length.

    Attributes:
        typical_length: tokens of an example if no data was read.
    """

    typical_length = 64

    tokenizer: Vocabulary
    """Set by `prepare` or `load`."""

    @property
    def usual_length(self) -> int:
        """Return the mean length of the training examples, or a typical one if none was read."""
        view = self._views.get(("train", True))
        return view.mean_length if isinstance(view, LengthBucketed) else self.typical_length

    def sizes(self) -> Sizes:
        """Return the size of the vocabulary."""
        return Sizes(vocabularies=(self.tokenizer.vocab_size,))

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint."""
        self.tokenizer = Tokenizer.load(folder / "tokenizer")

    def files(self) -> dict[str, bytes]:
        """Return the tokenizer's files."""
        return {f"tokenizer/{name}": content for name, content in self.tokenizer.files().items()}

    def require(self) -> None:
        """Check that `tokenizer.path` names a tokenizer, unless one was loaded before.

        Raises:
            DataError: if it does not; names the setting.
        """
        super().require()
        if not hasattr(self, "tokenizer") and self.config.tokenizer.path:
            self._named_tokenizer()

    def learn(self, train: S) -> None:
        """Load the vocabulary of `tokenizer.path`, or train one on the training split, unless it was loaded before."""
        if not hasattr(self, "tokenizer"):
            settings = self.config.tokenizer
            if settings.path:
                self.tokenizer = self._named_tokenizer()
            else:
                self.tokenizer = Tokenizer.train(self.training_text(train), settings, self.config.seed)

    def _named_tokenizer(self) -> Vocabulary:
        """Return the tokenizer of `tokenizer.path`.

        Raises:
            DataError: if there is none; names the setting.
        """
        try:
            return Tokenizer.load(Path(self.config.tokenizer.path))
        except DataError as error:
            remedy = "name a run folder, a tokenizer's folder or a SentencePiece .model file"
            raise DataError(f"tokenizer.path: {error.cause}", error.remedy or remedy) from error

    def describe(self) -> list[tuple[str, str]]:
        """Return the header's lines on data, batches and vocabulary."""
        tokenizer, train = self.tokenizer, self.view("train", training=True)
        notes = chain.from_iterable(getattr(self.split(split), "notes", ()) for split in ("train", "validation"))
        return [
            *self.describe_splits(),
            *(("note", note) for note in dict.fromkeys(notes)),
            ("batches", f"{train.num_batches:,} an epoch, {self.describe_batches()}"),
            ("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} pieces, {tokenizer.hash[:12]}"),
        ]

    @property
    def skips(self) -> bool:
        """Return whether rows without text or label are skipped and counted."""
        return self.config.trainer.on_bad_sample is BadSample.skip

    def training_text(self, train: S) -> dict[str, Iterable[str]]:
        """Return lines to train a tokenizer on, by language."""
        raise NotImplementedError

    def describe_splits(self) -> list[tuple[str, str]]:
        """Return the header's lines on the splits."""
        raise NotImplementedError

    def describe_batches(self) -> str:
        """Return a description of the training batches: the share of padding."""
        view = self.view("train", training=True)
        assert isinstance(view, LengthBucketed)
        return f"{view.batches.padding_percent():.1f} % padding"


def lines_of(texts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of texts, which is what a tokenizer is trained on."""
    return (line for text in texts for line in text.split("\n"))
