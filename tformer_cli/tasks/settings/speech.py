"""The settings of tasks on recordings."""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows the types of `data` and `model`. This is safe, since nothing is assigned to a composed configuration.

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tformer_cli.config.schema import (
    METHODS_FOR,
    Decoding,
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
    is_random,
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

    @property
    def trains_ctc(self) -> bool:
        """Return whether the output layer of CTC is trained."""
        return not self.model.decoder_depth or self.objective.ctc_weight > 0

    @property
    def trains_decoder(self) -> bool:
        """Return whether there is an attention decoder that is trained."""
        return self.model.decoder_depth > 0 and self.objective.ctc_weight < 1

    @property
    def _selected(self) -> Decoding:
        """The method of the search, not auto, which uses all that is trained."""
        if self.decode.method is not Decoding.auto:
            return self.decode.method
        if self.trains_decoder:
            return Decoding.joint if self.trains_ctc else Decoding.attention
        return Decoding.prefix if self.decode.language_model else Decoding.greedy

    @property
    def decoding(self) -> Decoding:
        """Return the method of the search, not auto.

        `joint` with a weight of 0 for one of its scores is the search with the other.
        """
        if self._selected is Decoding.joint:
            return {0.0: Decoding.attention, 1.0: Decoding.prefix}.get(self.decode.ctc_weight, Decoding.joint)
        return self._selected

    def check(self) -> None:
        """Check features and augmentation against the recordings.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.features.check_recordings(self.data.sample_rate, self.augment)

    def check_training(self) -> None:
        """Refuse consistency without a CTC loss, zeros that are not the mean, and a search that cannot transcribe.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check_training()
        self.features.check_zeros(self.augment)
        if self.regularise.consistency and not self.trains_ctc:
            cause = "regularise.consistency: it compares outputs of CTC, and objective.ctc_weight is 0"
            raise ConfigError(cause, "objective.ctc_weight=0.3")
        self.check_decoding()

    def check_decoding(self) -> None:
        """Refuse a search with outputs that are not trained or with settings that it cannot use.

        The predictor checks it too, since a trained run can be used with other settings.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        decode, method = self.decode, self.decoding
        weight = f"objective.ctc_weight={self.objective.ctc_weight:g}"
        if method in (Decoding.attention, Decoding.joint) and not self.trains_decoder:
            cause = f"decode.method: {method.name} needs a decoder, but the model has none"
            if self.model.decoder_depth:
                cause = f"decode.method: {method.name} needs the decoder, which {weight} does not train"
            raise ConfigError(cause, "decode.method=prefix")
        if method is not Decoding.attention and not self.trains_ctc:
            cause = f"decode.method: {method.name} needs CTC, which {weight} does not train"
            raise ConfigError(cause, "decode.method=attention")
        if method is Decoding.greedy and decode.language_model:
            raise ConfigError(
                "decode.language_model: greedy decoding does not use a language model", "decode.method=prefix"
            )
        if decode.sample and (method is not Decoding.attention or decode.language_model):
            cause = "decode.sample: sampling needs decode.method=attention without a language model"
            remedy = "decode.method=attention decode.language_model=" if self.trains_decoder else "decode.sample=false"
            raise ConfigError(cause, remedy)

    def unused(self, key: str) -> str:
        """Return the reason why the search for transcripts does not use a setting; empty: it uses it."""
        group, _, name = key.partition(".")
        if group != "decode":
            return super().unused(key)
        if name in ("language_model_weight", "unknown_word_penalty") and not self.decode.language_model:
            return "there is no language model: add decode.language_model=RUN"
        method = self._selected if name == "ctc_weight" else self.decoding
        if method in METHODS_FOR.get(name, Decoding):
            return super().unused(key)
        reason = f"decode.method={method.name} does not use this setting"
        if method is Decoding.greedy and name in ("beam", "n_best"):
            reason = "greedy decoding does not search"
        other = self._method_with(name)
        return f"{reason}: add decode.method={other}" if other else reason

    def _method_with(self, name: str) -> str:
        """Return a method that uses a setting of the search and outputs that are trained; empty: there is none."""
        joint = self.trains_ctc and self.trains_decoder and (name == "ctc_weight" or self.decode.ctc_weight < 1)
        usable = {
            Decoding.prefix: self.trains_ctc,
            Decoding.joint: joint,
            Decoding.attention: self.trains_decoder,
        }
        return next((method.name for method in usable if usable[method] and method in METHODS_FOR[name]), "")

    def unsmoothed(self) -> str:
        """Return the reason why label smoothing has no effect; empty: it has an effect."""
        if self.trains_decoder:
            return ""
        off = "objective.ctc_weight is 1" if self.model.decoder_depth else "model.decoder_depth is 0"
        return f"it applies to the decoder, and {off}"

    def passes_differ(self) -> bool:
        """Return whether the outputs of CTC for two augmented views of a batch differ, by masks or dropout."""
        augment, model = self.augment, self.model
        time_masks = (augment.time_masks or augment.adaptive_masks) and augment.time_mask_share
        attention_dropout = model.attention_dropout if model.self_attention else 0.0
        encoder = replace(model, decoder_depth=0, attention_dropout=attention_dropout)
        return bool(time_masks or augment.frequency_masks) or is_random(encoder)


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
        self.decoder.check_outputs(self.decode)
        if self.augment.join:
            raise ConfigError("augment.join: recordings with translations are not joined", "augment.join=0")
        if self.model.decoder_depth:
            cause = "model.decoder_depth: the decoder of this task has settings of its own"
            raise ConfigError(cause, f"model.decoder_depth=0 decoder.depth={self.model.decoder_depth}")

    def check_training(self) -> None:
        """Refuse zeros that are not the mean of the features.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check_training()
        self.features.check_zeros(self.augment)
