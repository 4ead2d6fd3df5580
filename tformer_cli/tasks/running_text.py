"""What the tasks on running text share: corpora, one vocabulary, token arrays, whole blocks."""

from __future__ import annotations

from pathlib import Path

from tformer_cli.config.schema import Experiment
from tformer_cli.data.corpus import Corpus, read_corpus
from tformer_cli.data.packing import PackedBlocks
from tformer_cli.data.text import TokenArrays, tokenize_corpus
from tformer_cli.errors import DataError
from tformer_cli.tokenizer import Tokenizer


class RunningText:
    """The data side of a task; a subclass has the model, the loss and the use."""

    def __init__(self, config: Experiment) -> None:
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.corpora: dict[str, Corpus] = {}
        self.tokens: dict[str, TokenArrays] = {}
        self.note = ""
        self._blocks: dict[str, PackedBlocks] = {}

    def prepare(self, run: Path) -> None:
        """Read training and validation text, train or load the tokenizer, tokenise; what is wrong is found here."""
        train = self._corpus("train")
        self._corpus("validation")
        if self.tokenizer is None:
            settings = self.config.tokenizer
            if settings.path:
                self.tokenizer = Tokenizer.load(Path(settings.path))
            else:
                lines = (line for text in train.documents for line in text.split("\n"))
                self.tokenizer = Tokenizer.train({"text": lines}, settings, self.config.seed)
        self._tokenizer_known()
        for split in ("train", "validation"):
            self.num_batches(split)

    def load(self, folder: Path) -> None:
        """Take the tokenizer from a checkpoint."""
        self.tokenizer = Tokenizer.load(folder / "tokenizer")
        self._tokenizer_known()

    def _tokenizer_known(self) -> None:
        """For what a subclass derives from the vocabulary."""

    def files(self) -> dict[str, bytes]:
        """The tokenizer's files."""
        return {f"tokenizer/{name}": content for name, content in self.tokenizer.files().items()}

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of the training and validation text."""
        return {f"data.{split}": self._corpus(split).hash for split in ("train", "validation")}

    def num_batches(self, split: str) -> int:
        """Batches in an epoch."""
        return len(self._packed(split))

    def _corpus(self, split: str) -> Corpus:
        if split not in self.corpora:
            self.corpora[split] = read_corpus(self.config.data, split)
        return self.corpora[split]

    def _units(self, split: str) -> Corpus:
        """What is tokenised as one: documents."""
        return self._corpus(split)

    def _tokens(self, split: str) -> TokenArrays:
        """The ids of each unit, with its end mark."""
        if split not in self.tokens:
            self.tokens[split], note = tokenize_corpus(self._units(split), self.tokenizer, self.config.data.cache)
            self.note = self.note or note
        return self.tokens[split]

    @property
    def _block(self) -> int:
        """Tokens of running text in a sequence."""
        return self.config.model.max_length

    @property
    def _sequences_a_batch(self) -> int:
        data = self.config.data
        return min(max(1, data.batch_tokens // self.config.model.max_length), data.max_batch or data.batch_tokens)

    def _packed(self, split: str) -> PackedBlocks:
        if split not in self._blocks:
            try:
                self._blocks[split] = PackedBlocks(
                    self._tokens(split).lengths,
                    block=self._block,
                    rows=self._sequences_a_batch,
                    seed=self.config.seed,
                    shuffle=split == "train",
                )
            except ValueError as error:
                raise DataError(f"{self._corpus(split).origin}: {error}") from error
        return self._blocks[split]

    def describe(self) -> list[tuple[str, str]]:
        """The header's lines on data and vocabulary."""
        parts = []
        for split, verb in (("train", "train"), ("validation", "validate")):
            documents, tokens = len(self._corpus(split)), int(self._tokens(split).lengths.sum())
            parts.append(f"{documents:,} document{'s'[: documents != 1]} ({tokens:,} tokens) to {verb}")
        tokenizer, kind = self.tokenizer, self._kind_of_sequences()
        return [
            ("data", ", ".join(parts) + (f"; {self.note}" if self.note else "")),
            ("batches", f"{self.num_batches('train'):,} an epoch, of {self._sequences_a_batch} {kind}"),
            ("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} pieces, {tokenizer.hash[:12]}"),
        ]

    def _kind_of_sequences(self) -> str:
        return f"blocks of {self._packed('train').block} tokens, no padding"

    def shape(self) -> dict[str, int]:
        """Attention's shape in this task: whole blocks."""
        model = self.config.model
        return {"heads": model.heads, "head_dim": model.dim // model.heads, "length": model.max_length}
