"""Every setting in one place: the dataclasses that recipes, groups and overrides are checked against.

A recipe composes option groups of `conf/` into one `Experiment`. Each task has its own subclass of `Experiment`, in
`tformer_cli.tasks.registry`, which fixes the types of its nodes; the settings of a model family are in its package in
`tformer_cli.models`. Enumerations are written in a config by their names (`norm: pre`). A range is stated once, in the
field's metadata. Settings that are fine alone but impossible together are refused by the method `check` of the
dataclass that holds them all; `tformer_cli.config.compose` calls each.
"""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows its `data` and `model`: nothing is assigned to a configuration once it is composed.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tformer_cli.config.schema.data import (
    ONE_LABEL,
    AugmentConfig,
    BleuTokenizer,
    CaptionDataConfig,
    ClassNames,
    CorpusDataConfig,
    Crop,
    Cut,
    DataConfig,
    DividedDataConfig,
    Documents,
    Fit,
    ImageDataConfig,
    LabelledImageDataConfig,
    LabelledTextDataConfig,
    MaskingConfig,
    ParallelDataConfig,
    PatchMaskingConfig,
    QuestionDataConfig,
    Resample,
    Scheme,
    Source,
    TaggedDataConfig,
    Target,
    TokenizerConfig,
    TokenizerKind,
    height_width,
)
from tformer_cli.config.schema.model import (
    ABSOLUTE_POSITIONS,
    GRID_POSITIONS,
    Activation,
    ClassifierHeadConfig,
    Combine,
    HeadConfig,
    ImageHeadConfig,
    ModelConfig,
    Norm,
    Normalisation,
    Pooling,
    Positions,
    TextModelConfig,
    TransformerConfig,
    TransformerDecoderConfig,
)
from tformer_cli.config.schema.settings import REQUIRED, Names, setting
from tformer_cli.config.schema.speech import (
    Case,
    Decoding,
    FeatureConfig,
    Features,
    Normalise,
    Numbers,
    Punctuation,
    Spaces,
    SpeechAugmentConfig,
    SpeechDataConfig,
    SpeechDecodeConfig,
    SpeechObjectiveConfig,
    SpeechTranslationDataConfig,
    TranscriptConfig,
    UnicodeForm,
    Window,
)
from tformer_cli.config.schema.training import (
    Attention,
    Average,
    BadSample,
    DecodeConfig,
    DecodePrecision,
    Device,
    Method,
    OptimConfig,
    Precision,
    Schedule,
    Stopping,
    TrainerConfig,
)
from tformer_cli.errors import ConfigError


@dataclass
class Experiment:
    """What every recipe sets; a task's subclass fixes the types of its own nodes."""

    task: str = setting(REQUIRED, "entry of the task registry")
    recipe: str = setting("", "name of the recipe this came from (filled in)")
    seed: int = setting(1, "everything random is derived from it", low=0)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    if TYPE_CHECKING:  # each task's own
        data: DataConfig = field(init=False)
        model: ModelConfig = field(init=False)

    def check(self) -> None:
        """Refuse settings of different groups that are fine alone but impossible together.

        Raises:
            ConfigError: naming the setting, and what would go.
        """


@dataclass
class TextExperiment(Experiment):
    """What every recipe on text sets."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    if TYPE_CHECKING:  # each task's own
        model: TextModelConfig = field(init=False)


@dataclass
class ImageExperiment(Experiment):
    """What every recipe on pictures sets."""

    data: LabelledImageDataConfig = field(default_factory=LabelledImageDataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def check(self) -> None:
        """Refuse pictures that are no whole number of patches.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        super().check()
        self.data.check_multiple(self.model.limits().multiple)
