"""Every setting in one place: the dataclasses that recipes, groups and overrides are checked against.

A recipe composes option groups of `conf/` into one `Experiment`. Each task has its own subclass of `Experiment`,
which fixes the types of its `data` and `model` nodes; the rest is the same for every family. Enumerations are written
in a config by their names (`norm: pre`). A range is stated once, in the field's metadata, and checked by
`tformer_cli.config.compose`.
"""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows its `data` and `model`: nothing is assigned to a configuration once it is composed.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tformer_cli.config.schema.data import (
    AugmentConfig,
    BleuTokenizer,
    ClassNames,
    CorpusDataConfig,
    Crop,
    Cut,
    DataConfig,
    DividedDataConfig,
    Documents,
    Fit,
    ImageDataConfig,
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
    BatchOrGroup,
    BERTConfig,
    ClassifierHeadConfig,
    Combine,
    GPTConfig,
    HeadConfig,
    ImageHeadConfig,
    Norm,
    Pooling,
    Positions,
    ResNetConfig,
    ResNetStem,
    Seq2SeqConfig,
    Stem,
    TextModelConfig,
    TieEmbeddings,
    TransformerConfig,
    ViTConfig,
)
from tformer_cli.config.schema.settings import REQUIRED, Names, setting
from tformer_cli.config.schema.speech import (
    Case,
    ConformerConfig,
    Decoding,
    FeatureConfig,
    Features,
    Normalisation,
    Normalise,
    Numbers,
    Punctuation,
    Spaces,
    SpeechAugmentConfig,
    SpeechDataConfig,
    SpeechDecodeConfig,
    SpeechObjectiveConfig,
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
        model: TransformerConfig | ResNetConfig = field(init=False)


@dataclass
class TextExperiment(Experiment):
    """What every recipe on text sets."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    if TYPE_CHECKING:  # each task's own
        model: TextModelConfig = field(init=False)


Size = Names("Size", "given auto")


@dataclass
class TranslationExperiment(TextExperiment):
    """Text to text with an encoder-decoder."""

    task: str = setting("translation", "entry of the task registry")
    size: Size = setting(
        Size.given, "auto: model, vocabulary, batches and steps by the number of training pairs, where not given"
    )
    data: ParallelDataConfig = field(default_factory=ParallelDataConfig)
    model: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)


@dataclass
class MaskedLanguageModelExperiment(TextExperiment):
    """Running text, hidden tokens from those around them."""

    task: str = setting("masked_language_model", "entry of the task registry")
    data: CorpusDataConfig = field(default_factory=CorpusDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    bert: MaskingConfig = field(default_factory=MaskingConfig)


@dataclass
class LanguageModelExperiment(TextExperiment):
    """Running text, each token from those before it."""

    task: str = setting("language_model", "entry of the task registry")
    data: CorpusDataConfig = field(default_factory=CorpusDataConfig)
    model: GPTConfig = field(default_factory=GPTConfig)


@dataclass
class TextClassificationExperiment(TextExperiment):
    """Texts, or pairs of them, to labels or numbers."""

    task: str = setting("text_classification", "entry of the task registry")
    data: LabelledTextDataConfig = field(default_factory=LabelledTextDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: ClassifierHeadConfig = field(default_factory=ClassifierHeadConfig)


@dataclass
class TokenTaggingExperiment(TextExperiment):
    """Words to tags."""

    task: str = setting("token_tagging", "entry of the task registry")
    data: TaggedDataConfig = field(default_factory=TaggedDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass
class QuestionAnsweringExperiment(TextExperiment):
    """Questions to spans of a text."""

    task: str = setting("question_answering", "entry of the task registry")
    data: QuestionDataConfig = field(default_factory=QuestionDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass
class ImageExperiment(Experiment):
    """What every recipe on pictures sets."""

    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    if TYPE_CHECKING:  # each task's own
        model: ViTConfig | ResNetConfig = field(init=False)


@dataclass
class ImageClassificationExperiment(ImageExperiment):
    """Pictures to labels, with a Vision Transformer."""

    task: str = setting("image_classification", "entry of the task registry")
    model: ViTConfig = field(default_factory=ViTConfig)
    head: ImageHeadConfig = field(default_factory=ImageHeadConfig)


@dataclass
class ResNetClassificationExperiment(ImageExperiment):
    """Pictures to labels, with a convolutional network."""

    task: str = setting("resnet_classification", "entry of the task registry")
    model: ResNetConfig = field(default_factory=ResNetConfig)
    head: ImageHeadConfig = field(default_factory=lambda: ImageHeadConfig(pooling=Pooling.mean))


@dataclass
class MaskedPatchesExperiment(ImageExperiment):
    """Pictures, hidden patches from those around them."""

    task: str = setting("masked_patches", "entry of the task registry")
    model: ViTConfig = field(default_factory=ViTConfig)
    patches: PatchMaskingConfig = field(default_factory=PatchMaskingConfig)


@dataclass
class SpeechRecognitionExperiment(TextExperiment):
    """Recordings to text, with a Conformer."""

    task: str = setting("speech_recognition", "entry of the task registry")
    data: SpeechDataConfig = field(default_factory=SpeechDataConfig)
    transcripts: TranscriptConfig = field(default_factory=TranscriptConfig)
    scoring: TranscriptConfig = field(default_factory=TranscriptConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)
    model: ConformerConfig = field(default_factory=ConformerConfig)
    objective: SpeechObjectiveConfig = field(default_factory=SpeechObjectiveConfig)
    decode: SpeechDecodeConfig = field(default_factory=SpeechDecodeConfig)


EXPERIMENTS: dict[str, type[Experiment]] = {
    "translation": TranslationExperiment,
    "language_model": LanguageModelExperiment,
    "masked_language_model": MaskedLanguageModelExperiment,
    "text_classification": TextClassificationExperiment,
    "token_tagging": TokenTaggingExperiment,
    "question_answering": QuestionAnsweringExperiment,
    "image_classification": ImageClassificationExperiment,
    "resnet_classification": ResNetClassificationExperiment,
    "masked_patches": MaskedPatchesExperiment,
    "speech_recognition": SpeechRecognitionExperiment,
}
