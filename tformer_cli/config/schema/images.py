"""Settings of images: their data, augmentation and the masking of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tformer_cli.config.schema.data import (
    BALANCE,
    ONE_LABEL,
    BleuTokenizer,
    DividedDataConfig,
    StratifiedDataConfig,
)
from tformer_cli.config.schema.settings import Names, setting
from tformer_cli.errors import ConfigError

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

    builtin = "digits"

    size: int = setting(
        0, "number of training images: of built-in data, or drawn from all; 0: all", low=0, high=100_000_000
    )
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

    builtin = "shapes"
    languages = ("language",)

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
    padding: int = setting(4, "crop=padded: maximum shift, in pixels at data.image_size", low=0, only="crop=padded")
    area_low: float = setting(0.08, "crop=resized: minimum share of the area", low=0.001, high=1, only="crop=resized")
    aspect: float = setting(
        4 / 3, "crop=resized: maximum ratio of the longer to the shorter side", low=1, only="crop=resized"
    )
    flip: float = setting(0.0, "probability of mirroring left to right", low=0, high=1)
    rotation: float = setting(0.0, "maximum rotation to either side, in degrees", low=0, high=180)
    scale: float = setting(0.0, "maximum change of size; 0.1: a factor from 1 / 1.1 to 1.1", low=0, high=4)
    brightness: float = setting(0.0, "maximum change of brightness; 0.4: a factor from 0.6 to 1.4", low=0)
    contrast: float = setting(0.0, "as brightness", low=0)
    saturation: float = setting(0.0, "as brightness", low=0, only="data.channels=3")
    hue: float = setting(
        0.0, "maximum change of hue, as a share of the colour circle", low=0, high=0.5, only="data.channels=3"
    )
    operations: int = setting(0, "RandAugment: operations per image (N); 0: none", low=0, high=14)
    magnitude: float = setting(
        9.0, "RandAugment: magnitude of the operations (M), up to 30", low=0, high=30, only="operations"
    )
    erase: float = setting(0.0, "random erasing: probability of erasing a rectangle", low=0, high=1)
    mixup: float = setting(0.0, "mixup: alpha of the Beta(alpha, alpha) that blends two images; 0: off", low=0)
    cutmix: float = setting(
        0.0, "CutMix: alpha for the share covered by a part of another image; 0: off; with mixup: one of the two", low=0
    )

    def refuse_blends(self, reason: str) -> None:
        """Refuse blended images.

        Args:
            reason: the reason why the task has none.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        for key in ("mixup", "cutmix"):
            if getattr(self, key):
                raise ConfigError(f"augment.{key}: {reason}", f"augment.{key}=0")


@dataclass
class PatchMaskingConfig:
    """The masking of patches for training on images without labels."""

    share: float = setting(0.5, "share of the patches that are predicted", low=0.01, high=0.95)
    mask: float = setting(0.8, "of these: share replaced by the mask embedding", low=0, high=1)
    random: float = setting(0.1, "of these: share replaced by another patch; the rest is unchanged", low=0, high=1)
    bits: int = setting(3, "bits per channel of the mean colour that is predicted", low=1, high=5)
