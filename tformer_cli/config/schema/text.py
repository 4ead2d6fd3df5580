"""Settings of text: its data, tokenizers and the masking of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.schema.data import (
    BALANCE,
    ONE_LABEL,
    BleuTokenizer,
    DataConfig,
    DividedDataConfig,
    StratifiedDataConfig,
    TokenBudget,
)
from tformer_cli.config.schema.settings import REQUIRED, Names, setting
from tformer_cli.errors import ConfigError


@dataclass
class ParallelDataConfig(TokenBudget, DataConfig):
    """Sentence pairs."""

    builtin = "en-ja"
    languages = ("source_language", "target_language")

    source_language: str = setting(REQUIRED, "source language: its code, or the name of its column")
    target_language: str = setting(
        REQUIRED, "target language: its code, or the name of its column; of an autoencoder: the source language"
    )
    max_length: int = setting(256, "pairs with a sentence of more tokens are left out of training and counted", low=1)
    max_ratio: float = setting(
        0.0, "pairs whose token counts differ by more than this factor are left out; 0: no limit", low=0
    )
    bleu_tokenizer: BleuTokenizer = setting(
        BleuTokenizer.auto, "tokenizer of sacreBLEU; auto: chosen by the target language and its script"
    )
    autoencoder: bool = setting(
        False, "the target of each sentence is the sentence itself; data.target_language becomes data.source_language"
    )

    def __post_init__(self) -> None:
        """Make the target language of an autoencoder its source language, whatever the recipe's data names."""
        if self.autoencoder:
            self.target_language = self.source_language

    def check(self) -> None:
        """Refuse a translation into the same language, except for an autoencoder.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.source_language == self.target_language and not self.autoencoder:
            cause = f"data.target_language: {self.target_language!r} is the same as data.source_language"
            raise ConfigError(cause, "give the other language, or data.autoencoder=true")


Documents = Names("Documents", "file line blank")


@dataclass
class CorpusDataConfig(TokenBudget, DividedDataConfig):
    """Running text."""

    builtin = "python-docs"

    batch_tokens: int = setting(4096, "tokens in a batch, which consists of complete blocks, at least one", low=1)
    column: str = setting("text", "column of a table that holds the text")
    documents: Documents = setting(
        Documents.file, "documents of a text file: the file is one; one per line; or separated by blank lines"
    )
    across_documents: bool = setting(True, "allow tokens to attend to other documents in the same block")


Target = Names("Target", "label number labels")
Cut = Names("Cut", "end beginning middle")


@dataclass
class LabelledTextDataConfig(TokenBudget, StratifiedDataConfig):
    """Texts, or pairs of texts, with labels or numbers to predict."""

    text: str = setting("text", "column of the text")
    second: str = setting("", "column of a second text, for pairs; empty: single texts")
    label: str = setting("label", "column of the label, the number, or the labels")
    target: Target = setting(Target.label, "each text has one label, a number (regression), or any number of labels")
    symmetric: bool = setting(False, "pairs mean the same in either order: training swaps half of them")
    separator: str = setting(",", "separator of several labels in one cell")
    columns: list[str] = setting([], "names of the columns, for a TSV or CSV file without a header line")
    cut: Cut = setting(
        Cut.end, "part removed from texts that are too long; middle keeps a quarter at the start, the rest at the end"
    )
    balance: float = setting(0.0, BALANCE, low=0, high=1)

    def check(self) -> None:
        """Refuse symmetry without pairs, and balance without labels.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.symmetric and not self.second:
            cause = "data.symmetric: needs pairs of texts, and data.second names no column"
            raise ConfigError(cause, "data.symmetric=false")
        if self.balance and self.target is not Target.label:
            raise ConfigError(ONE_LABEL, "data.balance=0")


Scheme = Names("Scheme", "auto io iob1 iob2 ioe1 ioe2 iobes bilou plain")


@dataclass
class TaggedDataConfig(TokenBudget, StratifiedDataConfig):
    """Sentences of words, each with a tag."""

    words: str = setting("tokens", "tables: column of the words, a list in each row")
    tags: str = setting("tags", "tables: column of the tags, a list with one tag for each word")
    word_column: int = setting(
        0, "CoNLL files: column of the word, from 0; -1: the last; 0 skips a column of word numbers"
    )
    tag_column: int = setting(
        -1, "CoNLL files: column of the tag, from 0; -1: the last, in CoNLL-U the part of speech (3)"
    )
    delimiter: str = setting("", "CoNLL files: separator of columns; empty: tabs if there are any, else spaces")
    scheme: Scheme = setting(
        Scheme.auto, "tagging scheme; plain: no entities, as for parts of speech; auto: detected in the training split"
    )


@dataclass
class QuestionDataConfig(TokenBudget, DividedDataConfig):
    """Questions whose answers are spans of a text."""

    stride: int = setting(64, "tokens of text that consecutive windows share", low=0)
    max_answer: int = setting(30, "maximum length of an answer, in tokens", low=1)
    answer_threshold: float = setting(
        0.0,
        "a span is returned if its log-probability exceeds that of no answer by this much; if every training question"
        " has an answer, each question gets one",
    )


TokenizerKind = Names("TokenizerKind", "unigram bpe char")
TO_TRAIN = 'path=""'
"""Condition of settings of a tokenizer that is trained: one that is loaded does not follow them."""


@dataclass
class TokenizerConfig:
    """A SentencePiece model, trained from the training split unless a path is given."""

    path: str = setting("", "a trained tokenizer: a .model file, or a run folder; empty: train one")
    kind: TokenizerKind = setting(TokenizerKind.unigram, "segmentation algorithm", only=TO_TRAIN)
    vocab_size: int = setting(
        8000, "size of the vocabulary, special tokens included", low=8, high=10_000_000, only=TO_TRAIN
    )
    joint: bool = setting(True, "use one vocabulary for both languages", only=TO_TRAIN)
    character_coverage: float = setting(
        1.0, "share of characters in the text that have a piece", low=0.9, high=1, only=TO_TRAIN
    )
    byte_fallback: bool = setting(False, "encode unknown characters as bytes", only=TO_TRAIN)
    user_symbols: list[str] = setting([], "pieces that are never split", only=TO_TRAIN)
    lossless: bool = setting(
        False, "keep white space and Unicode forms: decode(encode(x)) == x, except for a space before <mask>",
        only=TO_TRAIN,
    )  # fmt: skip
    lines: int = setting(
        1_000_000, "maximum number of lines to train on; drawn at random if there are more", low=101, only=TO_TRAIN
    )
    sampling: float = setting(
        0.0, "training: subword regularisation strength (unigram: alpha; bpe: dropout rate)", low=0, high=1
    )

    def check(self) -> None:
        """Refuse to sample segmentations of a tokenizer that has only one.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if self.sampling > 0 and self.kind is TokenizerKind.char and not self.path:
            cause = "tokenizer.sampling: char has one segmentation, so nothing to sample"
            raise ConfigError(cause, "tokenizer.kind=unigram")


@dataclass
class MaskingConfig:
    """The masking of tokens, and next-sentence prediction."""

    share: float = setting(0.15, "share of the tokens that are predicted", low=0.01, high=0.9)
    mask: float = setting(0.8, "of these: share replaced by <mask>", low=0, high=1)
    random: float = setting(0.1, "of these: share replaced by a random token; the rest is unchanged", low=0, high=1)
    whole_words: bool = setting(False, "mask all pieces of a word together")
    nsp: bool = setting(False, "next-sentence prediction: does B follow A? Documents need one sentence per line")
