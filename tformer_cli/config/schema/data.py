"""Settings of data, of the vocabulary, and of what is hidden from a masked language model."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.schema.settings import REQUIRED, Names, setting

Source = Names("Source", "files hub builtin")


@dataclass
class DataConfig:
    """Where examples come from, and how they are batched."""

    source: Source = setting(Source.files, "files on disk, a Hugging Face datasets id, or data that comes with tformer")
    path: str = setting("", "folder or file (files), dataset id or local snapshot (hub), name (builtin)")
    name: str = setting("", "hub: configuration name of the dataset")
    streaming: bool = setting(False, "hub: read without downloading everything first")
    train: str = setting("train", "split: file stem, file, or split name")
    validation: str = setting("", "as train; empty: val, validation, valid or dev, whichever is there")
    test: str = setting("", "as train; empty: test, or the only test* that is there")
    cache: str = setting("", "folder for tokenised data; empty: the user's cache folder")
    workers: int = setting(0, "processes that prepare batches; 0: the training process does", low=0, high=256)
    batch_tokens: int = setting(4096, "tokens in a batch (rows x longest, source or target, whichever is more)", low=1)
    max_batch: int = setting(0, "most examples in a batch; 0: no limit", low=0)
    size: int = setting(0, "builtin: number of training examples; 0: as it comes", low=0)


@dataclass
class DividedDataConfig(DataConfig):
    """Data that need not bring a validation split: a part of the training split serves, and training leaves it out."""

    validation_share: float = setting(
        0.1, "share of the training split that becomes validation, where there is no such split", low=0, high=0.5
    )


@dataclass
class ParallelDataConfig(DataConfig):
    """Sentence pairs."""

    source_language: str = setting(REQUIRED, "language, or column name, that is read")
    target_language: str = setting(REQUIRED, "language, or column name, that is written")
    max_length: int = setting(256, "longer sentences, in tokens, are left out of training (counted and said)", low=1)
    max_ratio: float = setting(
        0.0, "pairs whose token counts differ by more than this factor are left out; 0: none", low=0
    )


Documents = Names("Documents", "file line blank")


@dataclass
class CorpusDataConfig(DividedDataConfig):
    """Running text."""

    batch_tokens: int = setting(4096, "tokens in a batch: so many whole blocks, at least one", low=1)
    column: str = setting("text", "column of a table that holds the text")
    documents: Documents = setting(
        Documents.file, "a text file is one document, or has one a line, or blank lines between them"
    )
    across_documents: bool = setting(True, "a token may attend to other documents in the same block")


Target = Names("Target", "label number labels")
Cut = Names("Cut", "end beginning middle")


@dataclass
class LabelledTextDataConfig(DividedDataConfig):
    """Texts, or pairs of them, with what is to be said of each."""

    text: str = setting("text", "column of the text")
    second: str = setting("", "column of a second text, for pairs; empty: single texts")
    label: str = setting("label", "column of the label, the number, or the labels")
    target: Target = setting(Target.label, "one label a text, a number (regression), or any number of labels")
    separator: str = setting(",", "between several labels of a text")
    columns: list[str] = setting([], "names of the columns, for a TSV or CSV file without a first line of names")
    cut: Cut = setting(
        Cut.end, "what a text that is too long loses; middle leaves a quarter of head and the rest of tail"
    )


@dataclass
class TaggedDataConfig(DividedDataConfig):
    """Sentences of words, each with a tag."""

    words: str = setting("tokens", "tables: column of the words, a list a row")
    tags: str = setting("tags", "tables: column of the tags, as many")
    word_column: int = setting(0, "CoNLL files (a word a line): its column, from 0; -1 is the last")
    tag_column: int = setting(-1, "CoNLL files: the tag's column, from 0; -1 is the last")


@dataclass
class QuestionDataConfig(DividedDataConfig):
    """Questions that a text answers by one of its spans."""

    stride: int = setting(64, "tokens of text that one window shares with the next", low=0)
    max_answer: int = setting(30, "longest answer, in tokens", low=1)


TokenizerKind = Names("TokenizerKind", "unigram bpe char")


@dataclass
class TokenizerConfig:
    """A SentencePiece model, trained from the training split unless a path is given."""

    path: str = setting("", "a trained tokenizer: a .model file, or a run folder; empty: train one")
    kind: TokenizerKind = setting(TokenizerKind.unigram, "segmentation")
    vocab_size: int = setting(8000, "pieces, special tokens included", low=8)
    joint: bool = setting(True, "one vocabulary for both languages")
    character_coverage: float = setting(1.0, "share of characters that get a piece", low=0.9, high=1)
    byte_fallback: bool = setting(False, "unknown characters are spelled in bytes")
    user_symbols: list[str] = setting([], "pieces that are never split")
    lossless: bool = setting(False, "keep white space and Unicode forms exactly: decode(encode(x)) == x")
    lines: int = setting(1_000_000, "most lines of text that one is trained on; drawn where there are more", low=101)
    sampling: float = setting(
        0.0, "training: subword regularisation strength (unigram: alpha; bpe: dropout rate)", low=0, high=1
    )


@dataclass
class MaskingConfig:
    """What is hidden from a masked language model, and what else it learns."""

    share: float = setting(0.15, "share of the tokens that are to be predicted", low=0.01, high=0.9)
    mask: float = setting(0.8, "of these: share that becomes <mask>", low=0, high=1)
    random: float = setting(0.1, "of these: share that becomes a random token; the rest stays as it is", low=0, high=1)
    whole_words: bool = setting(False, "hide all pieces of a word together")
    nsp: bool = setting(False, "next-sentence prediction: does B follow A? Documents need a sentence a line")
