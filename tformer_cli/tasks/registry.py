"""The registry of tasks: the settings of each task, its default model family, and its implementation.

This module does not import torch; the implementation of a task is imported when a configuration names it.
"""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows the types of `data` and `model`. This is safe, since nothing is assigned to a composed configuration.

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from tformer_cli.config.experiments import TaskEntry
from tformer_cli.config.family import family
from tformer_cli.config.schema import (
    ONE_LABEL,
    AdversarialOptimConfig,
    AugmentConfig,
    CaptionDataConfig,
    ClassifierHeadConfig,
    CorpusDataConfig,
    DecodeConfig,
    Experiment,
    FeatureConfig,
    Features,
    GeneratedImageDataConfig,
    GenerationConfig,
    GenerationScoreConfig,
    HeadConfig,
    ImageExperiment,
    ImageHeadConfig,
    LabelledTextDataConfig,
    MaskingConfig,
    Names,
    ParallelDataConfig,
    PatchMaskingConfig,
    Pooling,
    QuestionDataConfig,
    RegulariseConfig,
    SpeechAugmentConfig,
    SpeechDataConfig,
    SpeechDecodeConfig,
    SpeechObjectiveConfig,
    SpeechTranslationDataConfig,
    TaggedDataConfig,
    TextExperiment,
    TieEmbeddings,
    TokenizerConfig,
    TranscriptConfig,
    TransformerDecoderConfig,
    TranslationDecodeConfig,
    setting,
)
from tformer_cli.errors import ConfigError
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.conformer import ConformerConfig
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.sagan import SAGANConfig
from tformer_cli.models.seq2seq import Seq2SeqConfig
from tformer_cli.models.vit import Stem, ViTConfig

Size = Names("Size", "given auto")
EDITING_ONLY = ("iterations", "insertion_penalty", "deletion_threshold")
"""Settings of decoding that only apply to a model that edits its output."""
SEARCH_ONLY = (
    "beam", "sample", "length_penalty", "max_length_a", "max_length_b", "n_best", "stopping", "temperature", "top_k",
    "top_p", "precision", "shortlist", "alignments", "seed",
)  # fmt: skip
"""Settings of decoding that only apply to a model that generates its output token by token."""


def _check_balance(balance: float, head: ClassifierHeadConfig) -> None:
    """Refuse to balance labels both by sampling and by weights.

    Raises:
        ConfigError: if both are set.
    """
    if balance and head.class_weights:
        cause = "data.balance and head.class_weights both raise the weight of rare labels"
        raise ConfigError(cause, "choose one: head.class_weights=false, or data.balance=0")


@dataclass
class TranslationExperiment(TextExperiment):
    """The settings of translation."""

    task: str = setting("translation", "name of the task")
    size: Size = setting(
        Size.given, "auto: choose model, vocabulary, batches and steps by the number of training pairs, unless given"
    )
    data: ParallelDataConfig = field(default_factory=ParallelDataConfig)
    model: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)
    decode: TranslationDecodeConfig = field(default_factory=TranslationDecodeConfig)

    def check(self) -> None:
        """Refuse limits above the model's maximum length, tied embeddings of two vocabularies, and idle settings.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        data, limits = self.data, self.model.limits()
        longest = min(limit for limit in (limits.source, limits.target, math.inf) if limit is not None)
        if data.max_length + 1 > longest:  # <s> or </s>
            cause = f"data.max_length: {data.max_length} and an end mark are more than model.max_length {longest}"
            raise ConfigError(cause, f"data.max_length={longest - 1}")
        if limits.target is not None and self.decode.max_length > limits.target:
            cause = f"decode.max_length: {self.decode.max_length} is more than model.max_length {limits.target}"
            raise ConfigError(cause, f"decode.max_length={limits.target}")
        tied = getattr(self.model, "tie_embeddings", None) is TieEmbeddings.all
        if tied and not (self.tokenizer.joint or self.tokenizer.path):
            cause = "model.tie_embeddings: all needs one vocabulary, and tokenizer.joint is false"
            raise ConfigError(cause, "model.tie_embeddings=decoder")
        if self.decode.alignments and not self.model.aligns:
            raise ConfigError("decode.alignments: the model has no attention to the source", "decode.alignments=false")
        if "token_editor" in family(self.model.family).provides:
            _check_idle(self.decode, SEARCH_ONLY, "a model that edits its output", "leave it out")
        else:
            _check_idle(self.decode, EDITING_ONLY, "a model that does not edit its output", "leave it out")


@dataclass
class LanguageModelExperiment(TextExperiment):
    """The settings of causal language modelling."""

    task: str = setting("language_model", "name of the task")
    data: CorpusDataConfig = field(default_factory=CorpusDataConfig)
    model: GPTConfig = field(default_factory=GPTConfig)


@dataclass
class MaskedLanguageModelExperiment(TextExperiment):
    """The settings of masked language modelling."""

    task: str = setting("masked_language_model", "name of the task")
    data: CorpusDataConfig = field(default_factory=CorpusDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    bert: MaskingConfig = field(default_factory=MaskingConfig)

    def check(self) -> None:
        """Refuse next-sentence prediction with attention limited to documents.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.bert.nsp and not self.data.across_documents:
            cause = "data.across_documents: false does not go with bert.nsp, whose B may be of another document than A"
            raise ConfigError(cause, "bert.nsp=false")


@dataclass
class TextClassificationExperiment(TextExperiment):
    """The settings of classification and regression of texts or pairs of texts."""

    task: str = setting("text_classification", "name of the task")
    data: LabelledTextDataConfig = field(default_factory=LabelledTextDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: ClassifierHeadConfig = field(default_factory=ClassifierHeadConfig)

    def check(self) -> None:
        """Refuse to even out labels twice.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        _check_balance(self.data.balance, self.head)


@dataclass
class TokenTaggingExperiment(TextExperiment):
    """The settings of tagging words."""

    task: str = setting("token_tagging", "name of the task")
    data: TaggedDataConfig = field(default_factory=TaggedDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass
class QuestionAnsweringExperiment(TextExperiment):
    """The settings of extractive question answering."""

    task: str = setting("question_answering", "name of the task")
    data: QuestionDataConfig = field(default_factory=QuestionDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass
class ImageClassificationExperiment(ImageExperiment):
    """The settings of image classification."""

    task: str = setting("image_classification", "name of the task")
    model: ViTConfig = field(default_factory=ViTConfig)
    head: ImageHeadConfig = field(default_factory=ImageHeadConfig)

    def check(self) -> None:
        """Refuse a [class] vector that the model does not have, and to even out labels twice.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        _check_balance(self.data.balance, self.head)
        if self.head.pooling is Pooling.cls and not self.model.has_class_token:
            cause = f"head.pooling: a {self.model.family} has no [class] token"
            if hasattr(self.model, "class_token"):
                cause = "head.pooling: cls needs the [class] token, and model.class_token is false"
            raise ConfigError(cause, "head.pooling=mean")


@dataclass
class CaptioningExperiment(TextExperiment):
    """The settings of image captioning."""

    task: str = setting("captioning", "name of the task")
    data: CaptionDataConfig = field(default_factory=CaptionDataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ViTConfig = field(default_factory=ViTConfig)
    decoder: TransformerDecoderConfig = field(default_factory=TransformerDecoderConfig)

    def check(self) -> None:
        """Refuse an image size that is not a multiple of the patch size, and blended images, which have no caption.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.data.check_multiple(self.model.limits().multiple)
        _check_decoder(self.decode, self.decoder, self.tokenizer)
        for key in ("mixup", "cutmix"):
            if getattr(self.augment, key):
                raise ConfigError(f"augment.{key}: a blend of two images has no caption", f"augment.{key}=0")


@dataclass
class MaskedPatchesExperiment(ImageExperiment):
    """The settings of masked patch prediction."""

    task: str = setting("masked_patches", "name of the task")
    model: ViTConfig = field(default_factory=ViTConfig)
    patches: PatchMaskingConfig = field(default_factory=PatchMaskingConfig)

    def check(self) -> None:
        """Refuse stems whose patches cannot be masked, and balanced labels.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.data.balance:
            raise ConfigError(ONE_LABEL, "data.balance=0")
        if isinstance(self.model, ViTConfig) and self.model.stem is not Stem.patches:
            cause = f"model.stem: {self.model.stem.name} mixes neighbouring patches, so that patches cannot be masked"
            raise ConfigError(cause, "model.stem=patches")


@dataclass
class ImageGenerationExperiment(ImageExperiment):
    """The settings of image generation; `optim` is the optimiser of the discriminator."""

    task: str = setting("image_generation", "name of the task")
    data: GeneratedImageDataConfig = field(default_factory=GeneratedImageDataConfig)
    model: SAGANConfig = field(default_factory=SAGANConfig)
    optim: AdversarialOptimConfig = field(default_factory=lambda: AdversarialOptimConfig(lr=4e-4))
    generator_optim: AdversarialOptimConfig = field(default_factory=AdversarialOptimConfig)
    evaluation: GenerationScoreConfig = field(default_factory=GenerationScoreConfig)
    decode: GenerationConfig = field(default_factory=GenerationConfig)

    def check(self) -> None:
        """Refuse blended images, which a generator would learn to make, and self-attention on too small maps.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        for key in ("mixup", "cutmix"):
            if getattr(self.augment, key):
                raise ConfigError(f"augment.{key}: the generator would learn to blend images", f"augment.{key}=0")
        self.model.check_map(self.data.height_width)


@dataclass
class SpeechRecognitionExperiment(TextExperiment):
    """The settings of speech recognition."""

    task: str = setting("speech_recognition", "name of the task")
    data: SpeechDataConfig = field(default_factory=SpeechDataConfig)
    transcripts: TranscriptConfig = field(default_factory=TranscriptConfig)
    scoring: TranscriptConfig = field(default_factory=TranscriptConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)
    model: ConformerConfig = field(default_factory=ConformerConfig)
    objective: SpeechObjectiveConfig = field(default_factory=SpeechObjectiveConfig)
    decode: SpeechDecodeConfig = field(default_factory=SpeechDecodeConfig)
    regularise: RegulariseConfig = field(default_factory=lambda: RegulariseConfig(consistency_warmup=2000))

    def check(self) -> None:
        """Refuse features that the recordings do not have, augmentation without them, and consistency without CTC.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        _check_features(self.features, self.augment, self.data.sample_rate)
        if self.regularise.consistency and self.model.decoder_depth and not self.objective.ctc_weight:
            cause = "regularise.consistency: it compares outputs of CTC, and objective.ctc_weight is 0"
            raise ConfigError(cause, "objective.ctc_weight=0.3")

    def passes_differ(self) -> bool:
        """Return whether two augmented views of a batch differ: whether there are masks or dropout."""
        augment = self.augment
        time_masks = (augment.time_masks or augment.adaptive_masks) and augment.time_mask_share
        return bool(time_masks or augment.frequency_masks) or super().passes_differ()


@dataclass
class SpeechTranslationExperiment(TextExperiment):
    """The settings of speech translation."""

    task: str = setting("speech_translation", "name of the task")
    data: SpeechTranslationDataConfig = field(default_factory=SpeechTranslationDataConfig)
    transcripts: TranscriptConfig = field(default_factory=TranscriptConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augment: SpeechAugmentConfig = field(default_factory=SpeechAugmentConfig)
    model: ConformerConfig = field(default_factory=ConformerConfig)
    decoder: TransformerDecoderConfig = field(default_factory=TransformerDecoderConfig)

    def check(self) -> None:
        """Refuse joined recordings, two decoders, and features that the recordings do not have.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        _check_features(self.features, self.augment, self.data.sample_rate)
        _check_decoder(self.decode, self.decoder, self.tokenizer)
        if self.augment.join:
            raise ConfigError("augment.join: recordings with translations are not joined", "augment.join=0")
        if self.model.decoder_depth:
            cause = "model.decoder_depth: the decoder of this task has settings of its own"
            raise ConfigError(cause, f"model.decoder_depth=0 decoder.depth={self.model.decoder_depth}")


def _check_decoder(decode: DecodeConfig, decoder: TransformerDecoderConfig, tokenizer: TokenizerConfig) -> None:
    """Refuse a maximum output length above that of the decoder, and settings without effect.

    Raises:
        ConfigError: naming the setting and a valid value.
    """
    if decode.max_length > decoder.max_length:
        cause = f"decode.max_length: {decode.max_length} is more than decoder.max_length {decoder.max_length}"
        raise ConfigError(cause, f"decode.max_length={decoder.max_length}")
    if tokenizer.sampling:
        raise ConfigError("tokenizer.sampling: this task does not sample segmentations", "tokenizer.sampling=0")
    names = ("max_length_a", "max_length_b", "batch", "workers", "precision", "shortlist", "alignments")
    _check_idle(decode, names, "texts for files")


def _check_idle(decode: DecodeConfig, names: Iterable[str], what: str, remedy: str = "") -> None:
    """Refuse settings of decoding that have no effect and are not at their defaults.

    Args:
        decode: the settings.
        names: names of those without effect.
        what: what they have no effect on.
        remedy: the remedy; empty: the default value.

    Raises:
        ConfigError: naming the first.
    """
    defaults = type(decode)()
    for name in names:
        if getattr(decode, name) != getattr(defaults, name):
            value = getattr(defaults, name)
            cause = f"decode.{name}: it has no effect on {what}"
            raise ConfigError(cause, remedy or f"decode.{name}={str(getattr(value, 'name', value)).lower()}")


def _check_features(features: FeatureConfig, augment: SpeechAugmentConfig, sample_rate: int) -> None:
    """Refuse features that the recordings do not have, and augmentation that the features do not allow.

    Raises:
        ConfigError: naming the setting and a valid value.
    """
    if augment.frequency_masks and augment.frequency_mask_bins >= features.bins:
        widest = augment.frequency_mask_bins
        cause = f"augment.frequency_mask_bins: {widest} would mask all of features.bins {features.bins}"
        raise ConfigError(cause, f"augment.frequency_mask_bins={features.bins // 3}")
    if features.kind is Features.stored:
        for key, nothing in (("speeds", [1.0]), ("gain_db", 0), ("noise", 0), ("shift_ms", 0)):
            if getattr(augment, key) != nothing:
                cause = f"augment.{key}: needs sound, and features.kind is stored"
                raise ConfigError(cause, f"augment.{key}={nothing}")
        return
    half = sample_rate / 2
    highest = features.high_hz or half
    if features.high_hz > half:
        cause = f"features.high_hz: {features.high_hz:g} is more than half of data.sample_rate, {half:g}"
        raise ConfigError(cause, "features.high_hz=0")
    if features.low_hz >= highest:
        cause = f"features.low_hz: {features.low_hz:g} is not below the highest frequency, {highest:g}"
        raise ConfigError(cause, "features.low_hz=20")


def _entry(experiment: type[Experiment], implementation: str, *needs: str) -> TaskEntry:
    return TaskEntry(experiment, f"tformer_cli.tasks.{implementation}", needs)


TASKS: dict[str, TaskEntry] = {
    entry.name: entry
    for entry in (
        _entry(TranslationExperiment, "translation:build", "encoder_decoder", "token_editor"),
        _entry(LanguageModelExperiment, "language_model:build", "causal_decoder"),
        _entry(MaskedLanguageModelExperiment, "masked_language_model:build", "masked_token_encoder"),
        _entry(TextClassificationExperiment, "text_classification:build", "token_encoder"),
        _entry(TokenTaggingExperiment, "token_tagging:build", "token_encoder"),
        _entry(QuestionAnsweringExperiment, "question_answering:build", "token_encoder"),
        _entry(ImageClassificationExperiment, "image_classification:build", "image_encoder"),
        _entry(CaptioningExperiment, "captioning:build", "image_memory"),
        _entry(MaskedPatchesExperiment, "masked_patches:build", "patch_encoder"),
        _entry(ImageGenerationExperiment, "image_generation:build", "image_generator"),
        _entry(SpeechRecognitionExperiment, "speech_recognition:build", "speech_recogniser"),
        _entry(SpeechTranslationExperiment, "speech_translation:build", "recording_encoder"),
    )
}
ALIASES: dict[str, tuple[str, str]] = {"resnet_classification": ("image_classification", "resnet")}
"""Former names of tasks: the task, and the family that the name implied."""
