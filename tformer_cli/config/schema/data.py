"""Settings of data, of the vocabulary, and of what is hidden from a masked language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tformer_cli.config.schema.settings import REQUIRED, Names, setting
from tformer_cli.errors import ConfigError

Source = Names("Source", "files hub builtin")


MISSING = ["NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"]
"""Texts that mean a missing value in tables of pandas or R."""
BALANCE = "training: how far labels are evened out: 0 as they come, 1 each equally often, 0.5 half the way"
ONE_LABEL = "data.balance: evens out labels, one of which each example must have"


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
    cache: str = setting("", "folder for tokenised text, decoded pictures and sound; empty: the user's cache folder")
    workers: int = setting(0, "processes that prepare batches; 0: the training process does", low=0, high=256)
    size: int = setting(0, "builtin: number of training examples; 0: as it comes", low=0, high=100_000_000)
    missing: list[str] = setting(
        MISSING, "texts of a table that stand for a missing label or text, beside nothing, null and NaN", before=[]
    )

    def check(self) -> None:
        """Refuse settings that are fine alone but impossible together.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        if self.streaming and self.source is not Source.hub:
            cause = f"data.streaming: goes with data.source=hub, and that is {self.source.name}"
            raise ConfigError(cause, "data.streaming=false")


@dataclass
class TokenBudget:
    """How many examples of different lengths make a batch."""

    batch_tokens: int = setting(4096, "tokens in a batch (rows x longest, source or target, whichever is more)", low=1)
    max_batch: int = setting(0, "most examples in a batch; 0: no limit", low=0)


@dataclass
class DividedDataConfig(DataConfig):
    """Data that need not bring a validation split: a part of the training split serves, and training leaves it out."""

    validation_share: float = setting(
        0.1, "share of the training split that becomes validation, where there is no such split", low=0, high=0.5
    )


BleuTokenizer = Names("BleuTokenizer", "auto 13a intl zh ja-mecab ko-mecab char")


@dataclass
class StratifiedDataConfig(DividedDataConfig):
    """Settings of labelled data with stratified splits."""

    stratified: bool = setting(
        True, "that share is drawn by label: each has its part in it, and none is missing from training", before=False
    )


@dataclass
class ParallelDataConfig(TokenBudget, DataConfig):
    """Sentence pairs."""

    source_language: str = setting(REQUIRED, "language, or column name, that is read")
    target_language: str = setting(REQUIRED, "language, or column name, that is written")
    max_length: int = setting(256, "longer sentences, in tokens, are left out of training (counted and said)", low=1)
    max_ratio: float = setting(
        0.0, "pairs whose token counts differ by more than this factor are left out; 0: none", low=0
    )
    bleu_tokenizer: BleuTokenizer = setting(
        BleuTokenizer.auto, "how sacreBLEU divides text into words; auto: by the target language and its script"
    )

    def check(self) -> None:
        """Refuse a translation into the same language.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        super().check()
        if self.source_language == self.target_language:
            cause = f"data.target_language: {self.target_language!r} is data.source_language too"
            raise ConfigError(cause, "give the other language")


Documents = Names("Documents", "file line blank")


@dataclass
class CorpusDataConfig(TokenBudget, DividedDataConfig):
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
class LabelledTextDataConfig(TokenBudget, StratifiedDataConfig):
    """Texts, or pairs of them, with what is to be said of each."""

    text: str = setting("text", "column of the text")
    second: str = setting("", "column of a second text, for pairs; empty: single texts")
    label: str = setting("label", "column of the label, the number, or the labels")
    target: Target = setting(Target.label, "one label a text, a number (regression), or any number of labels")
    symmetric: bool = setting(False, "pairs mean the same in either order: training sees half of them turned round")
    separator: str = setting(",", "between several labels of a text")
    columns: list[str] = setting([], "names of the columns, for a TSV or CSV file without a first line of names")
    cut: Cut = setting(
        Cut.end, "what a text that is too long loses; middle leaves a quarter of head and the rest of tail"
    )
    balance: float = setting(0.0, BALANCE, low=0, high=1)

    def check(self) -> None:
        """Refuse symmetry without pairs, and balance without labels.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        super().check()
        if self.symmetric and not self.second:
            cause = "data.symmetric: goes with pairs, and data.second names no column"
            raise ConfigError(cause, "data.symmetric=false")
        if self.balance and self.target is not Target.label:
            raise ConfigError(ONE_LABEL, "data.balance=0")


Scheme = Names("Scheme", "auto io iob1 iob2 ioe1 ioe2 iobes bilou plain")


@dataclass
class TaggedDataConfig(TokenBudget, StratifiedDataConfig):
    """Sentences of words, each with a tag."""

    words: str = setting("tokens", "tables: column of the words, a list a row")
    tags: str = setting("tags", "tables: column of the tags, as many")
    word_column: int = setting(
        0, "CoNLL files (a word a line): its column, from 0; -1 is the last; 0 passes over a column of word numbers"
    )
    tag_column: int = setting(
        -1, "CoNLL files: the tag's column, from 0; -1 is the last, of CoNLL-U the part of speech (3)"
    )
    delimiter: str = setting("", "CoNLL files: mark between columns; empty: tabs if there are any, else blanks")
    scheme: Scheme = setting(
        Scheme.auto, "how tags mark entities; plain: they do not, as parts of speech; auto: found in the training split"
    )


@dataclass
class QuestionDataConfig(TokenBudget, DividedDataConfig):
    """Questions that a text answers by one of its spans."""

    stride: int = setting(64, "tokens of text that one window shares with the next", low=0)
    max_answer: int = setting(30, "longest answer, in tokens", low=1)
    answer_threshold: float = setting(
        0.0,
        "an answer is given if its log-probability is so much above that of having none; where every training question"
        " has an answer, each question gets one",
    )


Resample = Names("Resample", "nearest bilinear bicubic lanczos")
Fit = Names("Fit", "crop stretch pad")
ClassNames = Names("ClassNames", "auto path first")


def height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Return the height and width given by `data.image_size`, of which one number is the side of a square."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


@dataclass
class ImageDataConfig(DividedDataConfig):
    """Settings of all data with images: where they are, their size, and their coding."""

    image: str = setting("image", "tables: column of the picture, its bytes or a path beside the table")
    image_size: int | list[int] = setting(
        224, "pixels of what the model sees: the side of a square, or [height, width]", low=1, high=4096
    )
    channels: int = setting(3, "3: colour; 1: grey", low=1, high=3)
    crop_share: float = setting(
        0.875, "evaluation: image_size over the shorter side that a picture is scaled to, before its centre is cut out",
        low=0.1, high=1,
    )  # fmt: skip
    fit: Fit = setting(
        Fit.crop,
        "a picture of another shape is scaled until it covers image_size, and its centre is cut out (crop); or it is "
        "distorted to that shape (stretch); or it is scaled to fit inside, on the mean colour (pad)",
    )
    resample: Resample = setting(Resample.bicubic, "how pictures are scaled when they are read")
    mean: list[float] = setting([0.5], "subtracted from pixels between 0 and 1; one for all channels or one for each")
    std: list[float] = setting(
        [0.5], "by which they are divided then; one for all channels or one for each", formerly=("deviation",)
    )
    batch_images: int = setting(128, "pictures in a batch", low=1)
    decoded_gib: float = setting(
        32.0,
        "scaled pictures are kept in data.cache up to this size; more are decoded at each use",
        low=0,
    )

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width, in pixels, of the model's input."""
        return height_width(self.image_size)

    def check(self) -> None:
        """Refuse sizes and colours that no picture has.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        super().check()
        if self.channels == 2:
            raise ConfigError("data.channels: 2 is neither grey (1) nor colour (3)", "data.channels=3")
        if isinstance(self.image_size, list) and len(self.image_size) != 2:
            cause = f"data.image_size: {self.image_size} is neither one number nor two"
            raise ConfigError(cause, "write the height, then the width: data.image_size=[32,128]")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, self.channels):
                cause = f"data.{name}: {len(numbers)} numbers for data.channels {self.channels}"
                raise ConfigError(cause, "give one for all channels, or one for each")
        if not all(number > 0 for number in self.std):
            raise ConfigError(f"data.std: {self.std} must be more than 0", "data.std=[0.5]")

    def check_multiple(self, multiple: int) -> None:
        """Refuse sides that are no multiple of the pixels of a patch.

        Raises:
            ConfigError: naming a size that is.
        """
        if any(side % multiple for side in self.height_width):
            cause = f"data.image_size: {self.image_size} is not divisible by the {multiple} pixels of a patch"
            nearest = [max(1, round(side / multiple)) * multiple for side in self.height_width]
            pair = f"[{nearest[0]},{nearest[1]}]"
            raise ConfigError(cause, f"data.image_size={nearest[0] if isinstance(self.image_size, int) else pair}")


@dataclass
class LabelledImageDataConfig(ImageDataConfig, StratifiedDataConfig):
    """Images, with a label each where one is to be learned."""

    label: str = setting("label", "tables: column of the label")
    balance: float = setting(0.0, BALANCE, low=0, high=1)
    classes: ClassNames = setting(
        ClassNames.auto,
        "folders within a class's folder: classes of their own, named by their path (path), or parts of it (first); "
        "auto: path, and an error where pictures lie beside such folders",
    )


@dataclass
class CaptionDataConfig(ImageDataConfig):
    """Images with a sentence each."""

    image: str = setting("", "column of the image, its path or bytes; empty: file_name, image or path")
    text: str = setting("", "column of the caption; empty: text or caption")
    split_column: str = setting("split", "column that names the split of a row, where there is one")
    only: str = setting("", "read only rows with COLUMN=VALUE, or (COLUMN!=VALUE) only the others")
    language: str = setting("en", "language of the captions; built-in shapes: en or ja")
    batch_images: int = setting(32, "images in a batch", low=1)
    bleu_tokenizer: BleuTokenizer = setting(
        BleuTokenizer.auto, "how sacreBLEU divides text into words; auto: by the language and its script"
    )


Crop = Names("Crop", "none padded resized")


@dataclass
class AugmentConfig:
    """What is done to a picture before training sees it, anew in each epoch."""

    crop: Crop = setting(
        Crop.none, "none: the centre, as in evaluation; padded: shifted by up to `padding`; resized: any part of it"
    )
    padding: int = setting(4, "crop=padded: farthest shift in pixels, at data.image_size", low=0)
    area_low: float = setting(0.08, "crop=resized: smallest share of the area", low=0.001, high=1)
    aspect: float = setting(4 / 3, "crop=resized: largest ratio of the part's longer side to its shorter", low=1)
    flip: float = setting(0.0, "share of pictures mirrored left to right", low=0, high=1)
    rotation: float = setting(0.0, "largest turn, in degrees, to either side", low=0, high=180)
    scale: float = setting(0.0, "largest change of size: 0.1 is between 1 / 1.1 and 1.1 times", low=0, high=4)
    brightness: float = setting(0.0, "largest change: 0.4 is between 0.6 and 1.4 times", low=0)
    contrast: float = setting(0.0, "as brightness", low=0)
    saturation: float = setting(0.0, "as brightness", low=0)
    hue: float = setting(0.0, "largest turn of the colour circle, of which 1 is the whole", low=0, high=0.5)
    operations: int = setting(0, "RandAugment: operations a picture (N); 0: none", low=0, high=14)
    magnitude: float = setting(9.0, "RandAugment: their strength (M), of 30", low=0, high=30)
    erase: float = setting(0.0, "random erasing: share of pictures that lose a rectangle", low=0, high=1)
    mixup: float = setting(0.0, "alpha of Beta(alpha, alpha) by which two pictures are blended; 0: never", low=0)
    cutmix: float = setting(
        0.0, "alpha for the share of a picture that a piece of another one covers; 0: never; with mixup: either", low=0
    )


@dataclass
class PatchMaskingConfig:
    """What is hidden from a model that learns from pictures alone."""

    share: float = setting(0.5, "share of the patches that are to be predicted", low=0.01, high=0.95)
    mask: float = setting(0.8, "of these: share that becomes the mask", low=0, high=1)
    random: float = setting(0.1, "of these: share that becomes another patch; the rest stays as it is", low=0, high=1)
    bits: int = setting(3, "bits a channel of the mean colour that is to be guessed", low=1, high=5)


TokenizerKind = Names("TokenizerKind", "unigram bpe char")


@dataclass
class TokenizerConfig:
    """A SentencePiece model, trained from the training split unless a path is given."""

    path: str = setting("", "a trained tokenizer: a .model file, or a run folder; empty: train one")
    kind: TokenizerKind = setting(TokenizerKind.unigram, "segmentation")
    vocab_size: int = setting(8000, "pieces, special tokens included", low=8, high=10_000_000)
    joint: bool = setting(True, "one vocabulary for both languages")
    character_coverage: float = setting(1.0, "share of characters that get a piece", low=0.9, high=1)
    byte_fallback: bool = setting(False, "unknown characters are spelled in bytes")
    user_symbols: list[str] = setting([], "pieces that are never split")
    lossless: bool = setting(
        False, "keep white space and Unicode forms exactly: decode(encode(x)) == x (but a space before <mask>)"
    )
    lines: int = setting(1_000_000, "most lines of text that one is trained on; drawn where there are more", low=101)
    sampling: float = setting(
        0.0, "training: subword regularisation strength (unigram: alpha; bpe: dropout rate)", low=0, high=1
    )

    def check(self) -> None:
        """Refuse to sample segmentations where there is only one.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        if self.sampling > 0 and self.kind is TokenizerKind.char and not self.path:
            cause = "tokenizer.sampling: char has one segmentation, so nothing to sample"
            raise ConfigError(cause, "tokenizer.kind=unigram")


@dataclass
class MaskingConfig:
    """What is hidden from a masked language model, and what else it learns."""

    share: float = setting(0.15, "share of the tokens that are to be predicted", low=0.01, high=0.9)
    mask: float = setting(0.8, "of these: share that becomes <mask>", low=0, high=1)
    random: float = setting(0.1, "of these: share that becomes a random token; the rest stays as it is", low=0, high=1)
    whole_words: bool = setting(False, "hide all pieces of a word together")
    nsp: bool = setting(False, "next-sentence prediction: does B follow A? Documents need a sentence a line")
