"""Settings of data, tokenizers and the masking of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tformer_cli.config.schema.settings import REQUIRED, Names, setting
from tformer_cli.errors import ConfigError

Source = Names("Source", "files hub builtin")


MISSING = ["NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"]
"""Texts that stand for a missing value in tables written by pandas or R."""
BALANCE = "training: sampling of labels: 0: as often as in the data; 1: each equally often; 0.5: half way between"
ONE_LABEL = "data.balance: balances labels, one of which each example must have"


@dataclass
class DataConfig:
    """The source of the examples and how they are batched."""

    source: Source = setting(Source.files, "files on disk, a Hugging Face datasets id, or data that comes with tformer")
    path: str = setting("", "folder or file (files), dataset id or local snapshot (hub), name (builtin)")
    name: str = setting("", "hub: configuration name of the dataset")
    streaming: bool = setting(False, "hub: read without downloading everything first")
    train: str = setting("train", "training split: file stem, file, or split name")
    validation: str = setting("", "validation split, as train; empty: val, validation, valid or dev, if one exists")
    test: str = setting("", "test split, as train; empty: test, or the only split whose name begins with test")
    cache: str = setting("", "folder for tokenised text, decoded images and audio; empty: the user's cache folder")
    workers: int = setting(0, "processes that prepare batches; 0: the training process itself", low=0, high=256)
    size: int = setting(
        0,
        "number of training examples: of built-in data (0: the default size), or drawn from images for classification, "
        "generation and masked patches (0: all)",
        low=0,
        high=100_000_000,
    )
    missing: list[str] = setting(
        MISSING, "tables: texts that mean a missing value, in addition to empty cells, null and NaN", before=[]
    )

    def check(self) -> None:
        """Refuse invalid combinations of settings.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if self.streaming and self.source is not Source.hub:
            cause = f"data.streaming: needs data.source=hub, not {self.source.name}"
            raise ConfigError(cause, "data.streaming=false")


@dataclass
class TokenBudget:
    """The size of a batch of examples of different lengths."""

    batch_tokens: int = setting(4096, "tokens in a batch, padding included: examples x the longest sequence", low=1)
    max_batch: int = setting(0, "maximum number of examples in a batch; 0: no limit", low=0)


@dataclass
class DividedDataConfig(DataConfig):
    """Data whose validation split may be missing: then a part of the training split is held out for validation."""

    validation_share: float = setting(
        0.1, "share of the training split that is held out if there is no validation split", low=0, high=0.5
    )


BleuTokenizer = Names("BleuTokenizer", "auto 13a intl zh ja-mecab ko-mecab char")


@dataclass
class StratifiedDataConfig(DividedDataConfig):
    """Labelled data, from which a validation split can be drawn by label."""

    stratified: bool = setting(
        True, "draw the held-out share from each label in proportion; each label stays in training", before=False
    )


@dataclass
class ParallelDataConfig(TokenBudget, DataConfig):
    """Sentence pairs."""

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
            cause = f"data.target_language: {self.target_language!r} is data.source_language too"
            raise ConfigError(cause, "give the other language, or data.autoencoder=true")


Documents = Names("Documents", "file line blank")


@dataclass
class CorpusDataConfig(TokenBudget, DividedDataConfig):
    """Running text."""

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


Resample = Names("Resample", "nearest bilinear bicubic lanczos")
Fit = Names("Fit", "crop stretch pad")
ClassNames = Names("ClassNames", "auto path first")


def height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Return the height and width given by `data.image_size`; a single number is the side of a square."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


@dataclass
class ImageDataConfig(DividedDataConfig):
    """Settings of all data with images: their columns, size and normalisation."""

    image: str = setting("image", "tables: column of the image: its bytes, or a path relative to the table")
    image_size: int | list[int] = setting(
        224, "size of the model's input in pixels: the side of a square, or [height, width]", low=1, high=4096
    )
    channels: int = setting(3, "3: colour; 1: greyscale", low=1, high=3)
    crop_share: float = setting(
        0.875, "evaluation: image_size divided by the shorter side of the scaled image, whose centre is cropped",
        low=0.1, high=1,
    )  # fmt: skip
    fit: Fit = setting(
        Fit.crop,
        "images of another aspect ratio are scaled to cover image_size and cropped to the centre (crop), distorted "
        "(stretch), or scaled to fit inside and padded with the mean colour (pad)",
    )
    resample: Resample = setting(Resample.bicubic, "interpolation when images are scaled on reading")
    mean: list[float] = setting([0.5], "subtracted from pixels in [0, 1]; one for all channels or one for each")
    std: list[float] = setting(
        [0.5], "divisor of the pixels after that; one for all channels or one for each", formerly=("deviation",)
    )
    batch_images: int = setting(128, "images in a batch", low=1)
    decoded_gib: float = setting(
        32.0,
        "scaled images are stored in data.cache up to this size, in GiB; larger data are decoded at each use",
        low=0,
    )

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width, in pixels, of the model's input."""
        return height_width(self.image_size)

    def check(self) -> None:
        """Refuse sizes, channels and normalisation that no image has.

        Raises:
            ConfigError: naming the setting and a valid value.
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
        """Refuse an image size that is not a multiple of a number of pixels, such as the size of a patch.

        Raises:
            ConfigError: naming a valid size.
        """
        if any(side % multiple for side in self.height_width):
            cause = f"data.image_size: {self.image_size} is not divisible by {multiple}, as the model needs"
            nearest = [max(1, round(side / multiple)) * multiple for side in self.height_width]
            pair = f"[{nearest[0]},{nearest[1]}]"
            raise ConfigError(cause, f"data.image_size={nearest[0] if isinstance(self.image_size, int) else pair}")


@dataclass
class LabelledImageDataConfig(ImageDataConfig, StratifiedDataConfig):
    """Images, with labels for classification."""

    label: str = setting("label", "tables: column of the label")
    balance: float = setting(0.0, BALANCE, low=0, high=1)
    classes: ClassNames = setting(
        ClassNames.auto,
        "nested class folders: each is a class, named by its path (path), or belongs to the class of the outermost "
        "folder (first); auto: path, with an error if a folder contains both images and folders",
    )


@dataclass
class GeneratedImageDataConfig(LabelledImageDataConfig):
    """Images that a generator learns to make."""

    labelled: bool = setting(True, "read labels, and generate images of each; false: images without labels")

    def check(self) -> None:
        """Refuse a range of pixels that a generator does not have, and balanced labels where none are read.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        for name in ("mean", "std"):
            if set(getattr(self, name)) != {0.5}:
                cause = f"data.{name}: {getattr(self, name)}: generated pixels are in [-1, 1]"
                raise ConfigError(cause, f"data.{name}=[0.5]")
        if self.balance and not self.labelled:
            raise ConfigError(ONE_LABEL, "data.balance=0")


@dataclass
class CaptionDataConfig(ImageDataConfig):
    """Images with captions."""

    image: str = setting("", "column of the image, a path or bytes; empty: file_name, image or path")
    text: str = setting("", "column of the caption; empty: text or caption")
    split_column: str = setting("split", "column with the split of each row, if there is one")
    only: str = setting("", "use only rows with COLUMN=VALUE, or only rows with COLUMN!=VALUE")
    language: str = setting("en", "language of the captions; built-in shapes: en or ja")
    batch_images: int = setting(32, "images in a batch", low=1)
    bleu_tokenizer: BleuTokenizer = setting(
        BleuTokenizer.auto, "tokenizer of sacreBLEU; auto: chosen by the language and its script"
    )


Crop = Names("Crop", "none padded resized")


@dataclass
class AugmentConfig:
    """Random augmentation of training images, drawn anew in each epoch."""

    crop: Crop = setting(
        Crop.none, "none: the centre, as in evaluation; padded: shifted by up to `padding`; resized: a random part"
    )
    padding: int = setting(4, "crop=padded: maximum shift, in pixels at data.image_size", low=0)
    area_low: float = setting(0.08, "crop=resized: minimum share of the area", low=0.001, high=1)
    aspect: float = setting(4 / 3, "crop=resized: maximum ratio of the longer to the shorter side", low=1)
    flip: float = setting(0.0, "probability of mirroring left to right", low=0, high=1)
    rotation: float = setting(0.0, "maximum rotation to either side, in degrees", low=0, high=180)
    scale: float = setting(0.0, "maximum change of size; 0.1: a factor from 1 / 1.1 to 1.1", low=0, high=4)
    brightness: float = setting(0.0, "maximum change of brightness; 0.4: a factor from 0.6 to 1.4", low=0)
    contrast: float = setting(0.0, "as brightness", low=0)
    saturation: float = setting(0.0, "as brightness", low=0)
    hue: float = setting(0.0, "maximum change of hue, as a share of the colour circle", low=0, high=0.5)
    operations: int = setting(0, "RandAugment: operations per image (N); 0: none", low=0, high=14)
    magnitude: float = setting(9.0, "RandAugment: magnitude of the operations (M), up to 30", low=0, high=30)
    erase: float = setting(0.0, "random erasing: probability of erasing a rectangle", low=0, high=1)
    mixup: float = setting(0.0, "mixup: alpha of the Beta(alpha, alpha) that blends two images; 0: off", low=0)
    cutmix: float = setting(
        0.0, "CutMix: alpha for the share covered by a part of another image; 0: off; with mixup: one of the two", low=0
    )


@dataclass
class PatchMaskingConfig:
    """The masking of patches for training on images without labels."""

    share: float = setting(0.5, "share of the patches that are predicted", low=0.01, high=0.95)
    mask: float = setting(0.8, "of these: share replaced by the mask embedding", low=0, high=1)
    random: float = setting(0.1, "of these: share replaced by another patch; the rest is unchanged", low=0, high=1)
    bits: int = setting(3, "bits per channel of the mean colour that is predicted", low=1, high=5)


TokenizerKind = Names("TokenizerKind", "unigram bpe char")


@dataclass
class TokenizerConfig:
    """A SentencePiece model, trained from the training split unless a path is given."""

    path: str = setting("", "a trained tokenizer: a .model file, or a run folder; empty: train one")
    kind: TokenizerKind = setting(TokenizerKind.unigram, "segmentation algorithm")
    vocab_size: int = setting(8000, "size of the vocabulary, special tokens included", low=8, high=10_000_000)
    joint: bool = setting(True, "use one vocabulary for both languages")
    character_coverage: float = setting(1.0, "share of characters in the text that have a piece", low=0.9, high=1)
    byte_fallback: bool = setting(False, "encode unknown characters as bytes")
    user_symbols: list[str] = setting([], "pieces that are never split")
    lossless: bool = setting(
        False, "keep white space and Unicode forms: decode(encode(x)) == x, except for a space before <mask>"
    )
    lines: int = setting(1_000_000, "maximum number of lines to train on; drawn at random if there are more", low=101)
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
