"""All settings: the dataclasses that recipes, option groups and overrides are checked against.

A recipe composes option groups of `conf/` into one `Experiment`. Each task has its own subclass of `Experiment`, in
`tformer_cli.tasks.settings`, which fixes the types of its nodes; the settings of a model family are in its package in
`tformer_cli.models`. Enumerations are written in a config by their names (`norm: pre`). The range of a setting is in
the metadata of its field. Invalid combinations of settings are refused by the method `check` of the dataclass that
contains them. Its method `check_training` refuses settings that training would not follow, such as a setting that has
no effect with the others. `tformer_cli.config.compose` calls each of these methods, but for the settings of a trained
run only `check`: a run can be used although an earlier version accepted such a setting. If a setting has an effect only
with some values of another one, its metadata say so (`only` in `setting`). Such a setting is refused where the user
gives it; a recipe's value may be left without effect by other settings of the command line.
"""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows the types of `data` and `model`. This is safe, since nothing is assigned to a composed configuration.

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, ClassVar

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
from tformer_cli.config.schema.settings import REQUIRED, Names, check_replaced, setting
from tformer_cli.config.schema.speech import (
    METHODS_FOR,
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

DROPOUT = ("dropout", "attention_dropout", "ffn_dropout")
"""Settings of a model or head that make its outputs random in training; so does `stochastic_depth`."""
DEPTHS = ("depth", "encoder_depth", "decoder_depth")
"""Settings of a model with the number of blocks of a stack."""


def is_random(node: object) -> bool:
    """Return whether settings of a model or head make its outputs random in training.

    Stochastic depth never skips the first block of a stack.
    """
    skips = getattr(node, "stochastic_depth", 0) and any(getattr(node, name, 0) > 1 for name in DEPTHS)
    return bool(skips) or any(getattr(node, name, 0) for name in DROPOUT)


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
        """Refuse invalid combinations of settings; a subclass adds those of its task.

        Raises:
            ConfigError: naming the setting and a valid value.
        """

    def check_training(self) -> None:
        """Refuse label smoothing and settings of consistency that have no effect.

        `objectives.regularisers` refuses disagreement that has no effect.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        for item in fields(self):
            optim = getattr(self, item.name)
            if isinstance(optim, OptimConfig) and optim.label_smoothing and (reason := self.unsmoothed()):
                cause = f"{item.name}.label_smoothing: it has no effect, as {reason}"
                raise ConfigError(cause, f"{item.name}.label_smoothing=0")
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
        head = getattr(self, "head", None)
        if self.regularise.consistency and isinstance(head, HeadConfig) and head.frozen and not is_random(head):
            cause = "regularise.consistency: two passes over a batch are equal"
            cause += ", as a frozen encoder has no dropout and head.dropout is 0"
            raise ConfigError(cause, "head.dropout=0.1")

    def unsmoothed(self) -> str:
        """Return the reason why label smoothing has no effect; empty: it has an effect."""
        return ""

    def unused(self, key: str) -> str:
        """Return the reason why a setting, by its dotted key, has no effect on this task; empty: it has an effect.

        It is for reasons that need more than the conditions in the metadata (`only` in `setting`). A remedy follows the
        reason after a colon. Training and the use of a trained run refuse such a setting if the user gave it.
        """
        return ""

    def passes_differ(self) -> bool:
        """Return whether two passes of the model over one batch differ in training: whether there is dropout."""
        return any(is_random(getattr(self, item.name)) for item in fields(self))


@dataclass
class TextExperiment(Experiment):
    """The settings of a recipe on text."""

    samples_segmentations: ClassVar[bool] = False
    """The flag says that training samples the segmentations of texts (`tokenizer.sampling`)."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    if TYPE_CHECKING:  # defined by the subclass of each task
        model: TextModelConfig = field(init=False)

    def check_training(self) -> None:
        """Refuse subword regularisation where segmentations are not sampled.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check_training()
        if self.tokenizer.sampling and not self.samples_segmentations:
            cause = f"tokenizer.sampling: it has no effect, as {self.task} does not sample segmentations"
            raise ConfigError(cause, "tokenizer.sampling=0")


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
