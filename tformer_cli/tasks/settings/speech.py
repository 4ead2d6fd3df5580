"""The settings of tasks on recordings."""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows the types of `data` and `model`. This is safe, since nothing is assigned to a composed configuration.

from __future__ import annotations

from dataclasses import dataclass, field

from tformer_cli.config.schema import (
    FeatureConfig,
    RegulariseConfig,
    SpeechAugmentConfig,
    SpeechDataConfig,
    SpeechDecodeConfig,
    SpeechObjectiveConfig,
    SpeechTranslationDataConfig,
    TextExperiment,
    TranscriptConfig,
    TransformerDecoderConfig,
    setting,
)
from tformer_cli.errors import ConfigError
from tformer_cli.models.conformer import ConformerConfig


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
        """Check features and augmentation against the recordings, and refuse consistency without a CTC loss.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.features.check_recordings(self.data.sample_rate, self.augment)
        if self.regularise.consistency and self.model.decoder_depth and not self.objective.ctc_weight:
            cause = "regularise.consistency: it compares outputs of CTC, and objective.ctc_weight is 0"
            raise ConfigError(cause, "objective.ctc_weight=0.3")

    def passes_differ(self) -> bool:
        """Return whether two augmented views of a batch differ, by masks or dropout."""
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
        """Check features against the recordings, and refuse joined recordings and a second decoder.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.features.check_recordings(self.data.sample_rate, self.augment)
        self.decoder.check_outputs(self.decode, self.tokenizer)
        if self.augment.join:
            raise ConfigError("augment.join: recordings with translations are not joined", "augment.join=0")
        if self.model.decoder_depth:
            cause = "model.decoder_depth: the decoder of this task has settings of its own"
            raise ConfigError(cause, f"model.decoder_depth=0 decoder.depth={self.model.decoder_depth}")
