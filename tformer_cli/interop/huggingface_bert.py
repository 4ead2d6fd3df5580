"""Export and import of a BERT with one of its heads, as a folder in the format of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tformer_cli.config.schema import Cut, HeadConfig
from tformer_cli.data.core.labels import LabelSet
from tformer_cli.data.text.tagged_words import TaggedWords
from tformer_cli.errors import ConfigError
from tformer_cli.interop import huggingface_encoder as encoder
from tformer_cli.interop.formats import Foreign, Importer, not_exported
from tformer_cli.interop.gate import Say, warn
from tformer_cli.interop.huggingface_tokenizer import encoder_files, read_tokenizer
from tformer_cli.interop.reading import CONFIG, WEIGHTS, cut_vocabulary, label_names, read_weights
from tformer_cli.interop.writing import json_file, tokenizer_files, weights_file
from tformer_cli.models.token_heads import MaskedLanguageModel, SequenceClassifier, SpanClassifier, TokenClassifier
from tformer_cli.tokenizers.tokenizer import Vocabulary
from tformer_cli.trained.opening import Opened

WithHead = MaskedLanguageModel | SequenceClassifier | TokenClassifier | SpanClassifier
"""An encoder with any of its heads."""


def export(opened: Opened, say: Say = warn) -> dict[str, bytes]:
    """Return the files of a run, see `export_files`.

    Raises:
        ConfigError: if the model or its tokenizer has no counterpart in transformers.
    """
    model = opened.model
    data: Any = opened.task.data
    if not isinstance(model, WithHead):
        raise not_exported(opened, ("masked_language_model", *encoder.TASKS))
    labels = getattr(data, "labels", None) or getattr(data, "tags", None)
    encoding = getattr(data, "encoding", None)
    separator = None if encoding is None else encoding.separator(data.tokenizer)
    words = isinstance(data, TaggedWords) and data.encoding.spaces_words(data.tokenizer)
    head = getattr(opened.config, "head", None)
    cut = getattr(opened.config.data, "cut", Cut.end)
    if cut is Cut.middle:
        cause = "Hugging Face's tokenizers cut the end of texts that are too long"
        say(f"warning: data.cut: {cut.name} is not exported: {cause}")
    return export_files(model, data.tokenizer, labels, head, separator, words=words, cut=cut)


def export_files(
    model: WithHead,
    tokenizer: Vocabulary,
    labels: LabelSet | Sequence[str] | None = None,
    head: HeadConfig | None = None,
    separator: list[int] | None = None,
    *,
    words: bool = False,
    cut: Cut = Cut.end,
) -> dict[str, bytes]:
    """Return the files that `AutoTokenizer` and the `AutoModelFor...` of the model's task load, by name.

    The class is MaskedLM, SequenceClassification, TokenClassification or QuestionAnswering.

    Args:
        model: a trained encoder with its head.
        tokenizer: the tokenizer it was trained with.
        labels: labels of a classifier, or tags of a tagger.
        head: settings of a fine-tuned model's head.
        separator: ids between two texts; None: `tokenizer.pair_separator`.
        words: whether the model reads lists of words, each as if it followed a space.
        cut: part that is cut from texts that are too long, see `encoder_files`.

    Raises:
        ConfigError: if the model or its tokenizer has no counterpart in transformers.
    """
    config = model.config
    encoder.check_exportable(config, head)
    if isinstance(model, SequenceClassifier) and model.pooler is None:
        raise ConfigError("head.pooling: mean cannot be exported: Hugging Face's BERT takes the first token's vector")
    settings = encoder.export_config(config, tokenizer.vocab_size, tokenizer.pad_id, head)
    settings["architectures"] = [_architecture(model)]
    if isinstance(model, SequenceClassifier | TokenClassifier):
        if labels is None:
            raise ValueError("a classifier goes with its labels")
        names = (labels.names or ("number",)) if isinstance(labels, LabelSet) else labels
        settings["id2label"] = {str(number): name for number, name in enumerate(names)}
        settings["label2id"] = {name: number for number, name in enumerate(names)}
    if isinstance(labels, LabelSet) and isinstance(model, SequenceClassifier):
        problems = {"label": "single_label_classification", "labels": "multi_label_classification"}
        settings["problem_type"] = problems.get(labels.target.name, "regression")
    spans = isinstance(model, SpanClassifier)
    return {
        CONFIG: json_file(settings),
        WEIGHTS: weights_file(encoder.export_weights(config, model.state_dict(), spans=spans)),
        **encoder_files(tokenizer, config.max_length, config.segments, separator, words=words, cut=cut),
        **tokenizer_files(tokenizer),
    }


def _architecture(model: nn.Module) -> str:
    """Return the class in transformers for an encoder with its head."""
    if isinstance(model, MaskedLanguageModel):
        return "BertForPreTraining" if model.next_sentence is not None else "BertForMaskedLM"
    names = {
        SequenceClassifier: "BertForSequenceClassification",
        TokenClassifier: "BertForTokenClassification",
        SpanClassifier: "BertForQuestionAnswering",
    }
    return names[type(model)]


def _accepts(settings: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is of a BERT, a RoBERTa or a DistilBERT."""
    return str(settings.get("model_type")) in encoder.PREFIXES


def _read(path: Path, settings: Mapping[str, Any], languages: tuple[str, str], say: Say = warn) -> Foreign:
    """Read a BERT, a RoBERTa or a DistilBERT, with a head that tformer has too; see `Importer.read`."""
    config = encoder.import_config(settings, str(path / CONFIG), say)
    weights = encoder.import_weights(config, settings, read_weights(path), str(path), say)
    tokenizer = read_tokenizer(path)
    weights = cut_vocabulary(weights, tokenizer.vocab_size, str(path))
    head = encoder.head_kind(settings)
    labels = label_names(settings, weights) if head in ("sequence", "tokens") else ()
    return Foreign(config, weights, tokenizer, head=head, heads=encoder.TASKS, labels=labels)


IMPORTER = Importer(("BERT", "RoBERTa", "DistilBERT"), _accepts, _read)
