"""The settings of tasks on text."""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows the types of `data` and `model`. This is safe, since nothing is assigned to a composed configuration.

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tformer_cli.config.family import family
from tformer_cli.config.schema import (
    ClassifierHeadConfig,
    CorpusDataConfig,
    HeadConfig,
    LabelledTextDataConfig,
    MaskingConfig,
    Names,
    ParallelDataConfig,
    QuestionDataConfig,
    TaggedDataConfig,
    Target,
    TextExperiment,
    TieEmbeddings,
    TranslationDecodeConfig,
    check_replaced,
    setting,
)
from tformer_cli.errors import ConfigError
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.seq2seq import Seq2SeqConfig

Size = Names("Size", "given auto")
EDITING_ONLY = ("iterations", "insertion_penalty", "deletion_threshold")
"""Settings of decoding that only apply to a model that edits its output."""
SEARCH_ONLY = (
    "beam", "sample", "length_penalty", "max_length_a", "max_length_b", "n_best", "stopping", "temperature", "top_k",
    "top_p", "precision", "shortlist", "alignments", "seed",
)  # fmt: skip
"""Settings of decoding that only apply to a model that generates its output token by token."""


@dataclass
class TranslationExperiment(TextExperiment):
    """The settings of translation."""

    samples_segmentations = True
    task: str = setting("translation", "name of the task")
    size: Size = setting(
        Size.given, "auto: choose model, vocabulary, batches and steps by the number of training pairs, unless given"
    )
    data: ParallelDataConfig = field(default_factory=ParallelDataConfig)
    model: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)
    decode: TranslationDecodeConfig = field(default_factory=TranslationDecodeConfig)

    def check(self) -> None:
        """Refuse limits above the model's maximum length, tied embeddings of two vocabularies, and unused settings.

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
            self.decode.check_idle(SEARCH_ONLY, "a model that edits its output", "leave it out")
        else:
            self.decode.check_idle(EDITING_ONLY, "a model that does not edit its output", "leave it out")


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
            reason = "the second sentence may come from another document"
            raise ConfigError(f"data.across_documents: must be true for bert.nsp=true: {reason}", "bert.nsp=false")

    def check_training(self) -> None:
        """Refuse shares of replaced tokens that are more than 1 together.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check_training()
        check_replaced("bert", self.bert.mask, self.bert.random)


@dataclass
class TextClassificationExperiment(TextExperiment):
    """The settings of classification and regression of texts or pairs of texts."""

    task: str = setting("text_classification", "name of the task")
    data: LabelledTextDataConfig = field(default_factory=LabelledTextDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: ClassifierHeadConfig = field(default_factory=ClassifierHeadConfig)

    def check(self) -> None:
        """Check that labels are balanced in one way only.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.head.check_balance(self.data.balance)

    def check_training(self) -> None:
        """Refuse weights of labels where a text does not have exactly one label.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check_training()
        if self.head.class_weights and self.data.target is not Target.label:
            cause = f"head.class_weights: it has no effect, as data.target is {self.data.target.name}"
            raise ConfigError(cause, "head.class_weights=false")

    def unsmoothed(self) -> str:
        """Return the reason why label smoothing has no effect; empty: it has an effect."""
        return "data.target is number" if self.data.target is Target.number else ""


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

    def unsmoothed(self) -> str:
        """Return the reason why label smoothing has no effect."""
        return "the loss of answers does not have it"
