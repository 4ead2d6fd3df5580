"""Settings that data of several kinds share: its source and splits, the size of batches, and scoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tformer_cli.config.schema.settings import Names, setting
from tformer_cli.errors import ConfigError

Source = Names("Source", "files hub builtin")


BUILTIN_LANGUAGES = ("en", "ja")
"""Languages of built-in data."""
MISSING = ["NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"]
"""Texts that stand for a missing value in tables written by pandas or R."""
BALANCE = "training: sampling of labels: 0: as often as in the data; 1: each equally often; 0.5: half way between"
ONE_LABEL = "data.balance: balances labels, one of which each example must have"


@dataclass
class DataConfig:
    """The source of the examples and how they are batched.

    Attributes:
        builtin: name of the built-in data; empty: there are none of this kind.
        languages: settings that name the languages of the data.
    """

    builtin: ClassVar[str] = ""
    languages: ClassVar[tuple[str, ...]] = ()

    source: Source = setting(Source.files, "files on disk, a Hugging Face datasets id, or data that comes with tformer")
    path: str = setting("", "folder or file (files), dataset id or local snapshot (hub), name (builtin)")
    name: str = setting("", "hub: configuration name of the dataset")
    streaming: bool = setting(False, "hub: read without downloading everything first")
    train: str = setting("train", "training split: file stem, file, or split name")
    validation: str = setting("", "validation split, as train; empty: val, validation, valid or dev, if one exists")
    test: str = setting("", "test split, as train; empty: test, testing, or the only name that begins with test")
    cache: str = setting("", "folder for tokenised text, decoded images and audio; empty: the user's cache folder")
    workers: int = setting(0, "processes that prepare batches; 0: the training process itself", low=0, high=256)
    size: int = setting(
        0, "number of training examples of built-in data; 0: the default size", low=0, high=100_000_000,
        only="source=builtin",
    )  # fmt: skip
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
