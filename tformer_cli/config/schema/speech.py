"""Settings of speech recognition: recordings, transcripts, features, augmentation and decoding."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.schema.data import BleuTokenizer, DividedDataConfig
from tformer_cli.config.schema.settings import REQUIRED, Names, setting
from tformer_cli.config.schema.training import DecodeConfig
from tformer_cli.errors import ConfigError


@dataclass
class SpeechDataConfig(DividedDataConfig):
    """Recordings and their transcripts."""

    builtin = "numbers"

    audio: str = setting(
        "", "tables: column of the recording, a path or bytes; empty: file_name, audio, path or audio_filepath"
    )
    text: str = setting("", "tables: column of the transcript; empty: transcription, transcript, sentence or text")
    split_column: str = setting("split", "tables: column with the split of each row, if there is one")
    only: str = setting("", "tables: use only rows with COLUMN=VALUE, or only rows with COLUMN!=VALUE")
    lower_case: bool = setting(False, "convert transcripts to lower case; the same as transcripts.case=lower")
    sample_rate: int = setting(
        16_000, "samples per second; recordings of other rates are resampled", low=1000, high=192_000
    )
    max_seconds: float = setting(30.0, "longer recordings are left out of training and counted", low=0.1)
    join_low: int = setting(1, "validation, test: minimum number of recordings concatenated to one example", low=1)
    join_high: int = setting(1, "validation, test: maximum of that number; it is drawn at random", low=1)
    batch_seconds: float = setting(120.0, "seconds of audio in a batch: recordings x the longest of them", low=0.1)
    max_batch: int = setting(0, "maximum number of recordings in a batch; 0: no limit", low=0)

    @property
    def builtin_language(self) -> str:
        """Return the language of the texts of built-in recordings."""
        return "en"

    def check(self) -> None:
        """Refuse a minimum number of joined recordings above the maximum.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.join_low > self.join_high:
            cause = f"data.join_low: {self.join_low} is more than data.join_high {self.join_high}"
            raise ConfigError(cause, f"data.join_high={self.join_low}")


@dataclass
class SpeechTranslationDataConfig(SpeechDataConfig):
    """Recordings and their translations."""

    languages = ("target_language",)

    text: str = setting("translation", "tables: column of the translation")
    target_language: str = setting(REQUIRED, "language of the translations; built-in numbers: en or ja")
    bleu_tokenizer: BleuTokenizer = setting(
        BleuTokenizer.auto, "how sacreBLEU divides text into words; auto: by the language and its script"
    )

    @property
    def builtin_language(self) -> str:
        """Return the language of the texts of built-in recordings."""
        return self.target_language

    def check(self) -> None:
        """Refuse to join recordings: their translations are not joined.

        Raises:
            ConfigError: naming the setting.
        """
        super().check()
        if self.join_high > 1:
            cause = "data.join_high: recordings with translations are not joined"
            raise ConfigError(cause, "data.join_low=1 data.join_high=1")


Case = Names("Case", "keep lower")
Punctuation = Names("Punctuation", "keep remove")
Numbers = Names("Numbers", "keep words")
Spaces = Names("Spaces", "single remove")
UnicodeForm = Names("UnicodeForm", "keep nfc nfkc")


@dataclass
class TranscriptConfig:
    """Settings of the normalisation of transcripts."""

    case: Case = setting(Case.keep, "lower: convert to lower case by Unicode; in Turkish and Azeri I becomes ı")
    punctuation: Punctuation = setting(
        Punctuation.keep,
        "remove: replace punctuation and symbols by spaces, except within words (don't) and numbers (3.5)",
    )
    numbers: Numbers = setting(Numbers.keep, "words: write digits as words of `language`, by num2words")
    spaces: Spaces = setting(Spaces.single, "single: one space between words; remove: no spaces, for scripts without")
    unicode_form: UnicodeForm = setting(
        UnicodeForm.keep, "Unicode normalisation; nfkc also replaces full-width characters and ligatures"
    )
    language: str = setting("", "language code for numbers and for the case of I, such as en, tr, pt_BR")


Features = Names("Features", "log_mel stored")
Window = Names("Window", "povey hann")
Normalise = Names("Normalise", "none utterance corpus")


@dataclass
class FeatureConfig:
    """The features of a recording: a vector for each frame."""

    kind: Features = setting(Features.log_mel, "log_mel: computed from audio; stored: read from the data's files")
    bins: int = setting(80, "number of mel filters; stored: features per frame", low=1, high=512)
    window_ms: float = setting(25.0, "length of a frame, in milliseconds", low=1, high=1000, only="kind=log_mel")
    hop_ms: float = setting(10.0, "distance between the starts of frames, in milliseconds", low=1, high=1000)
    window: Window = setting(Window.povey, "window function; povey: that of Kaldi", only="kind=log_mel")
    low_hz: float = setting(20.0, "lowest frequency of the mel filters, in Hz", low=0, only="kind=log_mel")
    high_hz: float = setting(
        0.0, "highest frequency of the mel filters, in Hz; 0: half of data.sample_rate", low=0, only="kind=log_mel"
    )
    preemphasis: float = setting(
        0.97, "pre-emphasis: factor of the previous sample that is subtracted", low=0, high=1, only="kind=log_mel"
    )
    margin: int = setting(
        0, "frames of zeros, the mean of normalised features, added at both ends, for transcripts that are long for "
        "their recordings", low=0, high=1000,
    )  # fmt: skip
    normalise: Normalise = setting(
        Normalise.utterance, "normalise each bin to mean 0 and variance 1, over the utterance or the training data"
    )

    def check_recordings(self, sample_rate: int, augment: SpeechAugmentConfig) -> None:
        """Refuse features that the recordings do not have, and augmentation that the features do not allow.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if augment.frequency_masks and augment.frequency_mask_bins >= self.bins:
            widest = augment.frequency_mask_bins
            cause = f"augment.frequency_mask_bins: {widest} would mask all of features.bins {self.bins}"
            raise ConfigError(cause, f"augment.frequency_mask_bins={self.bins // 3}")
        if self.kind is Features.stored:
            for key, nothing in (("speeds", [1.0]), ("gain_db", 0), ("noise", 0), ("shift_ms", 0)):
                if getattr(augment, key) != nothing:
                    cause = f"augment.{key}: needs sound, and features.kind is stored"
                    raise ConfigError(cause, f"augment.{key}={nothing}")
            return
        half = sample_rate / 2
        highest = self.high_hz or half
        if self.high_hz > half:
            cause = f"features.high_hz: {self.high_hz:g} is more than half of data.sample_rate, {half:g}"
            raise ConfigError(cause, "features.high_hz=0")
        if self.low_hz >= highest:
            cause = f"features.low_hz: {self.low_hz:g} is not below the highest frequency, {highest:g}"
            raise ConfigError(cause, "features.low_hz=20")

    def check_zeros(self, augment: SpeechAugmentConfig) -> None:
        """Refuse frames of zeros in log-mel features that are not normalised, where 0 is louder than most speech.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if self.kind is not Features.log_mel or self.normalise is not Normalise.none:
            return
        zeros = {
            "features.margin": self.margin,
            "augment.time_masks": augment.time_masks,
            "augment.adaptive_masks": augment.adaptive_masks,
            "augment.frequency_masks": augment.frequency_masks,
        }
        if name := next((name for name, value in zeros.items() if value), ""):
            cause = f"{name}: sets features to 0, which is the mean only if features.normalise is not none"
            raise ConfigError(cause, f"features.normalise=utterance, or {name}=0")


TIME_MASKS = ("time_masks", "adaptive_masks")
"""Settings one of which is the number of time masks."""


@dataclass
class SpeechAugmentConfig:
    """Random augmentation of training recordings, drawn anew in each epoch."""

    time_masks: int = setting(0, "SpecAugment: number of time masks", low=0)
    time_mask_frames: int = setting(
        40, "SpecAugment: maximum length of a time mask (T), in frames; 0: no limit", low=0, only=TIME_MASKS
    )
    time_mask_share: float = setting(
        0.1, "SpecAugment: maximum as a share of the utterance (p)", low=0, high=1, only=TIME_MASKS
    )
    adaptive_masks: float = setting(
        0.0, "SpecAugment: number of time masks as a share of the frames, at most 20 (Park et al. 2020)",
        low=0, high=1,
    )  # fmt: skip
    frequency_masks: int = setting(0, "SpecAugment: number of frequency masks", low=0)
    frequency_mask_bins: int = setting(
        27, "SpecAugment: maximum width of a frequency mask (F), in bins", low=1, only="frequency_masks"
    )
    time_warp: int = setting(0, "SpecAugment: maximum time warp (W), in frames", low=0)
    speeds: list[float] = setting([1.0], "speed perturbation: factors, one of which is drawn for each utterance")
    gain_db: float = setting(0.0, "maximum change of loudness, in decibels", low=0, high=60)
    noise: float = setting(0.0, "share of utterances with white noise, or with recordings of noise_path", low=0, high=1)
    noise_low_db: float = setting(5.0, "minimum signal-to-noise ratio, in decibels", only="noise")
    noise_high_db: float = setting(30.0, "maximum signal-to-noise ratio, in decibels", only="noise")
    noise_path: str = setting("", "folder of recordings of noise; empty: white noise")
    shift_ms: float = setting(0.0, "maximum silence added before and after an utterance, in milliseconds", low=0)
    join: float = setting(0.0, "share of utterances to which others are concatenated", low=0, high=1)
    join_most: int = setting(2, "maximum number of utterances concatenated to one example", low=2, only="join")

    def check(self) -> None:
        """Refuse empty ranges, and settings that contradict each other.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if not self.speeds or not all(0.1 <= speed <= 10 for speed in self.speeds):
            raise ConfigError(f"augment.speeds: {self.speeds} must be from 0.1 to 10", "augment.speeds=[0.9,1.0,1.1]")
        if not self.noise_low_db <= self.noise_high_db:
            cause = f"augment.noise_low_db: {self.noise_low_db:g} is more than noise_high_db {self.noise_high_db:g}"
            raise ConfigError(cause, f"augment.noise_high_db={self.noise_low_db:g}")
        if self.noise_path and not self.noise:
            raise ConfigError("augment.noise_path: no utterance has noise, as augment.noise is 0", "augment.noise=0.5")
        if self.time_masks and self.adaptive_masks:
            cause = f"augment.adaptive_masks: augment.time_masks {self.time_masks} sets the number of masks too"
            raise ConfigError(cause, "augment.time_masks=0")


@dataclass
class SpeechObjectiveConfig:
    """The training loss of a speech recogniser."""

    ctc_weight: float = setting(
        0.3, "weight of CTC in the loss; the decoder's loss has the rest; without a decoder it is 1", low=0, high=1,
        only="model.decoder_depth",
    )  # fmt: skip


Decoding = Names("Decoding", "auto greedy prefix attention joint")

BY_TOKENS = (Decoding.attention, Decoding.joint)
"""Methods that generate a transcript token by token."""
METHODS_FOR = {
    **dict.fromkeys(("beam", "n_best"), (Decoding.prefix, *BY_TOKENS)),
    **dict.fromkeys(("sample", "length_penalty", "max_length", "stopping"), BY_TOKENS),
    **dict.fromkeys(("temperature", "top_k", "top_p", "seed"), BY_TOKENS),
    "ctc_weight": (Decoding.joint,),
    "word_bonus": (Decoding.prefix,),
}
"""The methods that use a setting of decoding, for each setting that some methods do not use."""


@dataclass
class SpeechDecodeConfig(DecodeConfig):
    """The search for transcripts."""

    method: Decoding = setting(
        Decoding.auto,
        "greedy, prefix: CTC; attention: the decoder; joint: both; auto: of what objective.ctc_weight trains: joint, "
        "attention, or for CTC alone prefix with a language model and greedy without one",
    )
    ctc_weight: float = setting(0.3, "joint: weight of CTC in the score of a hypothesis", low=0, high=1)
    language_model: str = setting(
        "", "prefix, attention, joint: a run of a language model, or an ARPA file of n-grams", is_path=True
    )
    language_model_weight: float = setting(0.5, "weight of the language model's log-probabilities", low=0)
    unknown_word_penalty: float = setting(
        0.0, "subtracted from the log-probability of each word that an ARPA file of words does not contain", low=0
    )
    word_bonus: float = setting(0.0, "prefix: score of each word, since language models favour short outputs")
