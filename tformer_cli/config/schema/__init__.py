"""All settings: the dataclasses that recipes, option groups and overrides are checked against.

A recipe composes option groups of `conf/` into one `Experiment`. Each task has its own subclass of `Experiment`, in
`tformer_cli.tasks.settings`, which fixes the types of its nodes; the settings of a model family are in its package in
`tformer_cli.models`. Enumerations are written in a config by their names (`norm: pre`). The range of a setting is in
the metadata of its field. Invalid combinations of settings are refused by the method `check` of the dataclass that
contains them; `tformer_cli.config.compose` calls each of these methods.
"""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows the types of `data` and `model`. This is safe, since nothing is assigned to a composed configuration.

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING

from tformer_cli.config.schema.data import (
    ONE_LABEL,
    BleuTokenizer,
    DataConfig,
    DividedDataConfig,
    Source,
)
from tformer_cli.config.schema.images import (
    AugmentConfig,
    CaptionDataConfig,
    ClassNames,
    Crop,
    Fit,
    GeneratedImageDataConfig,
    ImageDataConfig,
    LabelledImageDataConfig,
    PatchMaskingConfig,
    Resample,
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
    TieEmbeddings,
    TransformerConfig,
    TransformerDecoderConfig,
)
from tformer_cli.config.schema.recurrent import Cell, RecurrentConfig
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
from tformer_cli.config.schema.text import (
    CorpusDataConfig,
    Cut,
    Documents,
    LabelledTextDataConfig,
    MaskingConfig,
    ParallelDataConfig,
    QuestionDataConfig,
    Scheme,
    TaggedDataConfig,
    Target,
    TokenizerConfig,
    TokenizerKind,
)
from tformer_cli.config.schema.training import (
    AdversarialOptimConfig,
    Attention,
    AttentionKind,
    Average,
    BadSample,
    DecodeConfig,
    DecodePrecision,
    Device,
    GenerationConfig,
    GenerationScoreConfig,
    Method,
    OptimConfig,
    Precision,
    RegulariseConfig,
    Schedule,
    Stopping,
    TrainerConfig,
    TranslationDecodeConfig,
)
from tformer_cli.errors import ConfigError

RANDOM = ("dropout", "attention_dropout", "ffn_dropout", "stochastic_depth")
"""Settings of a model or head that make its outputs random in training."""


@dataclass
class Experiment:
    """The settings of a recipe of any task; the subclass of a task fixes the types of `data` and `model`."""

    task: str = setting(REQUIRED, "name of the task")
    recipe: str = setting("", "name of the recipe that the configuration was composed from; set by tformer")
    seed: int = setting(1, "seed of all random numbers", low=0)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    regularise: RegulariseConfig = field(default_factory=RegulariseConfig)
    if TYPE_CHECKING:  # defined by the subclass of each task
        data: DataConfig = field(init=False)
        model: ModelConfig = field(init=False)

    def check(self) -> None:
        """Refuse settings of consistency without effect; `objectives.regularisers` refuses disagreement without it.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        node = next(item for item in fields(self) if item.name == "regularise")
        usual: int = node.default_factory().consistency_warmup  # pyright: ignore[reportCallIssue]  # not MISSING
        if not self.regularise.consistency and self.regularise.consistency_warmup != usual:
            cause = "regularise.consistency_warmup: it has no effect, as regularise.consistency is 0"
            raise ConfigError(cause, f"regularise.consistency_warmup={usual}")
        if self.regularise.consistency and not self.passes_differ():
            cause = "regularise.consistency: two passes over a batch are equal, as nothing in them is random"
            raise ConfigError(
                cause, "model.dropout=0.1" if hasattr(self.model, "dropout") else "regularise.consistency=0"
            )

    def passes_differ(self) -> bool:
        """Return whether two passes of the model over one batch differ in training: whether there is dropout."""
        nodes = [node for item in fields(self) if is_dataclass(node := getattr(self, item.name))]
        rates = [getattr(node, item.name) for node in nodes for item in fields(node) if item.name in RANDOM]
        return any(rates)


@dataclass
class TextExperiment(Experiment):
    """The settings of a recipe on text."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    if TYPE_CHECKING:  # defined by the subclass of each task
        model: TextModelConfig = field(init=False)


@dataclass
class ImageExperiment(Experiment):
    """The settings of a recipe on images."""

    data: LabelledImageDataConfig = field(default_factory=LabelledImageDataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def check(self) -> None:
        """Refuse an image size that the model cannot divide into its cells.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.data.check_multiple(self.model.limits().multiple)
