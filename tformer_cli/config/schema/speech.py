"""Settings of recordings: how they are read, what is computed and augmented of them, and what recognises speech."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.schema.data import BleuTokenizer, DividedDataConfig
from tformer_cli.config.schema.settings import REQUIRED, Names, setting
from tformer_cli.config.schema.training import DecodeConfig
from tformer_cli.errors import ConfigError


@dataclass
class SpeechDataConfig(DividedDataConfig):
    """Recordings and their transcripts."""

    audio: str = setting(
        "", "tables: column of the recording, its path or bytes; empty: file_name, audio, path or audio_filepath"
    )
    text: str = setting("", "tables: column of the transcript; empty: transcription, transcript, sentence or text")
    split_column: str = setting("split", "tables: column that says which split a row is of, where there is one")
    only: str = setting("", "tables: of the rows, those with COLUMN=VALUE alone, or (COLUMN!=VALUE) all but those")
    lower_case: bool = setting(False, "transcripts are put in lower case; the same as transcripts.case=lower")
    sample_rate: int = setting(
        16_000, "samples a second; recordings of other rates are resampled", low=1000, high=192_000
    )
    max_seconds: float = setting(30.0, "longer recordings are left out of training (counted and said)", low=0.1)
    join_low: int = setting(1, "validation, test: fewest recordings joined to one (strings of single words)", low=1)
    join_high: int = setting(1, "validation, test: most recordings joined to one; the seed draws how many", low=1)
    batch_seconds: float = setting(120.0, "seconds of sound in a batch: its rows times the longest of them", low=0.1)
    max_batch: int = setting(0, "most recordings in a batch; 0: no limit", low=0)

    @property
    def builtin_language(self) -> str:
        """Return the language of the texts of built-in recordings."""
        return "en"

    def check(self) -> None:
        """Refuse to join more recordings than at most.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        super().check()
        if self.join_low > self.join_high:
            cause = f"data.join_low: {self.join_low} is more than data.join_high {self.join_high}"
            raise ConfigError(cause, f"data.join_high={self.join_low}")


@dataclass
class SpeechTranslationDataConfig(SpeechDataConfig):
    """Recordings and their translations."""

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

    case: Case = setting(Case.keep, "lower: in lower case, by Unicode; in Turkish and Azeri I becomes ı")
    punctuation: Punctuation = setting(
        Punctuation.keep,
        "remove: marks and symbols become spaces, except within words (don't) and numbers (3.5)",
    )
    numbers: Numbers = setting(Numbers.keep, "words: digits are written in words of `language`, by num2words")
    spaces: Spaces = setting(Spaces.single, "single: one between words; remove: none at all, for scripts without them")
    unicode_form: UnicodeForm = setting(
        UnicodeForm.keep, "nfc: characters composed; nfkc: also full width, ligatures and the like made plain"
    )
    language: str = setting("", "language of the numbers, and of I in Turkish and Azeri, as en, de, pt_BR")


Features = Names("Features", "log_mel stored")
Window = Names("Window", "povey hann")
Normalise = Names("Normalise", "none utterance corpus")


@dataclass
class FeatureConfig:
    """What the model sees of a recording: a vector a frame."""

    kind: Features = setting(Features.log_mel, "log_mel: computed from sound; stored: as the data's files hold them")
    bins: int = setting(80, "mel filters; stored: numbers a frame", low=1, high=512)
    window_ms: float = setting(25.0, "length of a frame, in milliseconds", low=1, high=1000)
    hop_ms: float = setting(10.0, "from the start of a frame to that of the next, in milliseconds", low=1, high=1000)
    window: Window = setting(Window.povey, "weights of a frame's samples; povey: as Kaldi's features have them")
    low_hz: float = setting(20.0, "lowest frequency of the filters", low=0)
    high_hz: float = setting(0.0, "highest frequency of the filters; 0: half of data.sample_rate", low=0)
    preemphasis: float = setting(0.97, "share of the sample before that is subtracted from each", low=0, high=1)
    margin: int = setting(
        0, "frames of 0, the mean, before and after each recording: room for long transcripts of short sounds", low=0,
        high=1000,
    )  # fmt: skip
    normalise: Normalise = setting(
        Normalise.utterance, "to mean 0 and variance 1 a bin: over the utterance, or over the training data"
    )


@dataclass
class SpeechAugmentConfig:
    """What is done to a recording before training sees it, anew in each epoch."""

    time_masks: int = setting(0, "SpecAugment: stretches of time that are hidden", low=0)
    time_mask_frames: int = setting(40, "SpecAugment: longest of them (T), in frames; 0: the share alone", low=0)
    time_mask_share: float = setting(0.1, "SpecAugment: longest of them as a share of the utterance (p)", low=0, high=1)
    adaptive_masks: float = setting(
        0.0, "SpecAugment: their number as a share of the frames, 20 at most, if time_masks is 0 (Park et al. 2020)",
        low=0, high=1,
    )  # fmt: skip
    frequency_masks: int = setting(0, "SpecAugment: bands of frequency that are hidden", low=0)
    frequency_mask_bins: int = setting(27, "SpecAugment: widest of them (F), in bins", low=1)
    time_warp: int = setting(0, "SpecAugment: farthest shift of a point in time (W), in frames", low=0)
    speeds: list[float] = setting([1.0], "factors of speed, one of which each utterance is played at")
    gain_db: float = setting(0.0, "largest change of loudness, in decibels", low=0, high=60)
    noise: float = setting(0.0, "share of utterances with white noise, or with noises of noise_path", low=0, high=1)
    noise_low_db: float = setting(5.0, "lowest ratio of speech to noise, in decibels")
    noise_high_db: float = setting(30.0, "highest ratio of speech to noise, in decibels")
    noise_path: str = setting("", "folder of recordings of noise; empty: white noise")
    shift_ms: float = setting(0.0, "longest silence that is put before and after an utterance, in milliseconds", low=0)
    join: float = setting(0.0, "share of utterances that others are joined to", low=0, high=1)
    join_most: int = setting(2, "most utterances joined to one", low=2)

    def check(self) -> None:
        """Refuse ranges without a value, and settings that contradict each other.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        if not self.speeds or not all(0.1 <= speed <= 10 for speed in self.speeds):
            raise ConfigError(f"augment.speeds: {self.speeds} must be from 0.1 to 10", "augment.speeds=[0.9,1.0,1.1]")
        if not self.noise_low_db <= self.noise_high_db:
            cause = f"augment.noise_low_db: {self.noise_low_db:g} is more than noise_high_db {self.noise_high_db:g}"
            raise ConfigError(cause, f"augment.noise_high_db={self.noise_low_db:g}")
        if self.noise_path and not self.noise:
            raise ConfigError("augment.noise_path: no utterance has noise, as augment.noise is 0", "augment.noise=0.5")
        if self.time_masks and self.adaptive_masks:
            cause = f"augment.adaptive_masks: augment.time_masks {self.time_masks} says already how many there are"
            raise ConfigError(cause, "augment.time_masks=0")


@dataclass
class SpeechObjectiveConfig:
    """What a recogniser is trained for."""

    ctc_weight: float = setting(
        0.3, "share of CTC in the loss, the rest is the attention decoder's; without one it is all", low=0, high=1
    )


Decoding = Names("Decoding", "auto greedy prefix attention joint")


@dataclass
class SpeechDecodeConfig(DecodeConfig):
    """How a transcript is searched for."""

    method: Decoding = setting(
        Decoding.auto,
        "greedy, prefix: by CTC; attention: by the decoder; joint: by both; auto: joint with a decoder, greedy without",
    )
    ctc_weight: float = setting(0.3, "joint: share of CTC in a hypothesis's score", low=0, high=1)
    language_model: str = setting(
        "", "prefix, attention, joint: a run of a language model, or an ARPA file of n-grams", is_place=True
    )
    language_model_weight: float = setting(0.5, "by which its log-probabilities are multiplied", low=0)
    unknown_word_penalty: float = setting(
        0.0, "taken from the log-probability of each word that an ARPA file of words lacks", low=0
    )
    word_bonus: float = setting(0.0, "prefix: added to the score for each word, against a language model's shortness")
