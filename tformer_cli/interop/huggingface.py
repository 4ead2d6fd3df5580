"""Models to and from the Hugging Face format: safetensors and JSON, nothing that could run code.

Neither direction needs `transformers`: its files are simple. What it does with them is held by the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import DecodeConfig, HeadConfig
from tformer_cli.data.core.labels import LabelSet
from tformer_cli.data.text.tagged_words import TaggedWords
from tformer_cli.errors import ConfigError
from tformer_cli.interop import generation
from tformer_cli.interop import huggingface_encoder as encoder
from tformer_cli.interop import huggingface_gpt as gpt
from tformer_cli.interop.gate import Say, check_export, warn
from tformer_cli.interop.huggingface_tokenizer import encoder_files, prompt_files, to_huggingface
from tformer_cli.interop.huggingface_weights import (
    FINAL_BIAS,
    check_exportable,
    export_config,
    export_weights,
    import_config,
    import_weights,
)
from tformer_cli.interop.marian_tokenizer import from_marian
from tformer_cli.interop.picture_models import huggingface_files, timm_files
from tformer_cli.interop.reading import WEIGHTS, read_json, read_weights
from tformer_cli.interop.writing import json_file, weights_file
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.bert.model import BERTClassifier, BERTForPretraining, BERTForSpans, BERTTagger
from tformer_cli.models.gpt import GPTConfig
from tformer_cli.models.gpt.model import GPT
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.seq2seq import Seq2SeqConfig, TieEmbeddings
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.models.vit.model import ViT
from tformer_cli.runs.writing import write_new_folder
from tformer_cli.tasks.registry import ImageClassificationExperiment
from tformer_cli.tokenizers.files import META
from tformer_cli.tokenizers.huggingface import JsonTokenizer
from tformer_cli.tokenizers.tokenizer import Tokenizer, Vocabulary

CONFIG, GENERATION = "config.json", "generation_config.json"
Imported = tuple[Seq2SeqConfig | BERTConfig | GPTConfig, dict[str, Tensor], Vocabulary]


def export_model(
    model: Seq2Seq,
    tokenizer: Vocabulary,
    output: Path,
    decode: DecodeConfig,
    languages: tuple[str, str] = ("source", "target"),
) -> None:
    """Write a folder that `AutoModelForSeq2SeqLM` and `AutoTokenizer` load.

    Args:
        model: a trained model; post-norm becomes a MarianMTModel, pre-norm a PegasusForConditionalGeneration.
        tokenizer: the one it was trained with.
        output: the folder; it must not exist, or be empty.
        decode: the search that `generate` does by default.
        languages: source and target, for separate vocabularies.

    Raises:
        ConfigError: if the model, its positions or its tokenizer have no counterpart there.
        RunError: if the folder holds something already, or cannot be written.
    """
    config = model.config
    check_exportable(config)
    check_export(decode, generation.EXPORTED, "generate", "decode.")
    if not tokenizer.joint and config.tie_embeddings is TieEmbeddings.all:
        raise ConfigError("model.tie_embeddings: all goes with one vocabulary only, the tokenizer has one a language")
    ids = {"pad": tokenizer.pad_id, "bos": tokenizer.bos_id, "eos": tokenizer.eos_id}
    sizes = (model.source_embedding.num_embeddings, model.target_embedding.num_embeddings)
    tensors = export_weights(config, model.state_dict(), model.source_positions.table)
    files = {
        CONFIG: json_file(export_config(config, sizes, ids)),
        GENERATION: json_file(generation.translation_config(decode, config, **ids)),
        WEIGHTS: weights_file(tensors),
        **to_huggingface(tokenizer, languages, config.max_length),
    }
    files |= {
        f"tokenizer/{name}": data for name, data in tokenizer.files().items()
    }  # to be read back by `import_model`
    write_new_folder(output, files)


def export_run(run: Path, output: Path, to: str = "huggingface") -> None:
    """Write a run's model, search settings and tokenizer in the format of Hugging Face, or the model in that of timm.

    Args:
        run: run folder, or one of its checkpoints.
        output: output folder; it must not exist, or be empty.
        to: huggingface, or timm for images.

    Raises:
        ConfigError: if there is no format for the run's model, or it has a setting without a counterpart.
        RunError: if the run cannot be read, or `output` cannot be written.
    """
    from tformer_cli.predictors.translation import Translator
    from tformer_cli.train.restore import open_run

    opened = open_run(run, device="cpu")
    task, model, config = opened.task, opened.model, opened.config
    data: Any = task.data
    if isinstance(model, ImageClassifier) and isinstance(model.encoder, ViT):
        assert isinstance(config, ImageClassificationExperiment)
        files = {"huggingface": huggingface_files, "timm": timm_files}[to]
        write_new_folder(output, files(model, config, list(data.labels.names)))
    elif to == "timm":
        raise ConfigError(
            f"{run}: timm has no {config.model.family} model", "Vision Transformers can be exported to it"
        )
    elif isinstance(model, Encoder):
        labels = getattr(data, "labels", None) or getattr(data, "tags", None)
        encoding = getattr(data, "encoding", None)
        separator = None if encoding is None else encoding.separator(data.tokenizer)
        words = isinstance(data, TaggedWords) and not data.encoding.is_first
        export_encoder(model, data.tokenizer, output, labels, getattr(config, "head", None), separator, words=words)
    elif isinstance(model, GPT):
        export_gpt(model, data.tokenizer, output, getattr(config, "decode", None))
    elif isinstance(task.predictor, Translator) and isinstance(model, Seq2Seq):
        languages = (data.source_language, data.target_language)
        export_model(model, data.tokenizer, output, task.config.decode, languages)
    else:
        cause = f"{run}: a {config.model.family} model of {config.task} cannot be exported yet"
        raise ConfigError(cause, "models of translation, of texts, and Vision Transformers with labels can")


def export_gpt(model: GPT, tokenizer: Vocabulary, output: Path, decode: DecodeConfig | None = None) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` load, as a GPT2LMHeadModel.

    Args:
        model: a trained language model.
        tokenizer: the tokenizer it was trained with; a text begins after its </s>.
        output: output folder; it must not exist, or be empty.
        decode: default search settings of `generate`; None: tformer's defaults.

    Raises:
        ConfigError: if the model or its tokenizer has no counterpart there.
        RunError: if the folder holds something already, or cannot be written.
    """
    decode = DecodeConfig() if decode is None else decode
    gpt.check_exportable(model.config)
    check_export(decode, generation.EXPORTED, "generate", "decode.")
    pad, eos = tokenizer.pad_id, tokenizer.eos_id
    never = {pad, tokenizer.bos_id, tokenizer.unk_id}
    files = {
        CONFIG: json_file(gpt.export_config(model.config, tokenizer.vocab_size, eos, pad)),
        GENERATION: json_file(generation.continuation_config(decode, model.config, pad=pad, eos=eos, never=never)),
        WEIGHTS: weights_file(gpt.export_weights(model.config, model.state_dict())),
        **prompt_files(tokenizer, model.config.max_length),
    }
    files |= {f"tokenizer/{name}": data for name, data in tokenizer.files().items()}
    write_new_folder(output, files)


Encoder = BERTForPretraining | BERTClassifier | BERTTagger | BERTForSpans
"""An encoder with any of its heads."""


def export_encoder(
    model: Encoder,
    tokenizer: Vocabulary,
    output: Path,
    labels: LabelSet | Sequence[str] | None = None,
    head: HeadConfig | None = None,
    separator: list[int] | None = None,
    *,
    words: bool = False,
) -> None:
    """Write a folder that `AutoTokenizer` and the `AutoModelFor...` of the model's task load.

    The class is MaskedLM, SequenceClassification, TokenClassification or QuestionAnswering.

    Args:
        model: a trained encoder with its head.
        tokenizer: the tokenizer it was trained with.
        output: output folder; it must not exist, or be empty.
        labels: labels of a classifier, or tags of a tagger.
        head: settings of a fine-tuned model's head.
        separator: ids between two texts; None: those of the vocabulary.
        words: the model reads lists of words, each as if it followed a space.

    Raises:
        ConfigError: if the model or its tokenizer has no counterpart there.
        RunError: if the folder holds something already, or cannot be written.
    """
    config = model.config
    encoder.check_exportable(config, head)
    if isinstance(model, BERTClassifier) and model.pooler is None:
        raise ConfigError("head.pooling: mean cannot be exported: Hugging Face's BERT takes the first token's vector")
    settings = encoder.export_config(config, tokenizer.vocab_size, tokenizer.pad_id, head)
    settings["architectures"] = [_architecture(model)]
    if isinstance(model, BERTClassifier | BERTTagger):
        if labels is None:
            raise ValueError("a classifier goes with its labels")
        names = (labels.names or ("number",)) if isinstance(labels, LabelSet) else labels
        settings["id2label"] = {str(number): name for number, name in enumerate(names)}
        settings["label2id"] = {name: number for number, name in enumerate(names)}
    if isinstance(labels, LabelSet) and isinstance(model, BERTClassifier):
        problems = {"label": "single_label_classification", "labels": "multi_label_classification"}
        settings["problem_type"] = problems.get(labels.target.name, "regression")
    spans = isinstance(model, BERTForSpans)
    files = {
        CONFIG: json_file(settings),
        WEIGHTS: weights_file(encoder.export_weights(config, model.state_dict(), spans=spans)),
        **encoder_files(tokenizer, config.max_length, config.segments, separator, words=words),
    }
    files |= {f"tokenizer/{name}": data for name, data in tokenizer.files().items()}
    write_new_folder(output, files)


def _architecture(model: Encoder) -> str:
    """Return the class in transformers for an encoder with its head."""
    if isinstance(model, BERTForPretraining):
        return "BertForPreTraining" if model.next_sentence is not None else "BertForMaskedLM"
    names = {
        BERTClassifier: "BertForSequenceClassification",
        BERTTagger: "BertForTokenClassification",
        BERTForSpans: "BertForQuestionAnswering",
    }
    return names[type(model)]


def import_model(path: Path, languages: tuple[str, str] = ("source", "target"), say: Say = warn) -> Imported:
    """Read a MarianMTModel, a PegasusForConditionalGeneration, a BERT, a RoBERTa or a GPT-2 from a folder.

    Args:
        path: folder with config.json, model.safetensors or its shards, and a tokenizer: tformer's, Marian's, or a
            tokenizer.json.
        languages: names of the two sides of a tokenizer with a model for each.
        say: receives warnings about parts that are not imported.

    Returns:
        The model's settings; its weights, for `runs.checkpoint.load_model_tensors`; its tokenizer.

    Raises:
        ConfigError: if the architecture or a setting is not supported, or the weights do not fit.
        DataError: if a file is missing or damaged, or there are pickled weights only.
    """
    path = Path(path)
    where = path / CONFIG
    content = read_json(where)
    kind = str(content.get("model_type"))
    own = path / "tokenizer" / META
    if kind in encoder.PREFIXES or kind == gpt.KIND:
        if kind == gpt.KIND:
            settings = gpt.import_config(content, str(where), say)
            weights = gpt.import_weights(settings, read_weights(path), str(path))
        else:
            settings = encoder.import_config(content, str(where), say)
            weights = encoder.import_weights(settings, content, read_weights(path), str(path), say)
        vocabulary = Tokenizer.load(path) if own.is_file() else JsonTokenizer.from_folder(path)
        return settings, _cut_vocabulary(weights, vocabulary.vocab_size, str(path)), vocabulary
    import_config(content, str(where), final_bias=False, say=say)  # refuses settings before weights are read
    tensors = read_weights(path)
    final_bias = FINAL_BIAS in tensors and bool(tensors[FINAL_BIAS].any())
    config = import_config(content, str(where), final_bias=final_bias, say=lambda line: None)
    state = import_weights(config, tensors, str(path))
    tokenizer = Tokenizer.load(path) if own.is_file() else from_marian(path, content, languages)
    _check_fit(content, state, tokenizer, str(path))
    return config, state, tokenizer


BY_PIECE = ("embedding.weight", "encoder.embedding.weight", "output.weight", "head.bias")
"""Weights with a row for each piece of the vocabulary; only language models have `output.weight`."""


def _cut_vocabulary(weights: dict[str, Tensor], pieces: int, where: str) -> dict[str, Tensor]:
    """Remove the rows that pad a vocabulary to a round number, from weights with a row for each piece.

    Raises:
        ConfigError: if there are fewer rows than pieces.
    """
    language_model = "embedding.weight" in weights
    rows = len(weights["embedding.weight" if language_model else "encoder.embedding.weight"])
    if pieces > rows:
        raise ConfigError(f"{where}: model and tokenizer do not belong together ({rows} embeddings, {pieces} pieces)")
    by_piece = {name for name in BY_PIECE if language_model or name != "output.weight"}
    return {name: value[:pieces].clone() if name in by_piece else value for name, value in weights.items()}


def _check_fit(found: Mapping[str, Any], state: Mapping[str, Tensor], tokenizer: Vocabulary, where: str) -> None:
    """Settings, weights and tokenizer must mean the same ids."""
    wanted = {
        "pad_token_id": tokenizer.pad_id,
        "eos_token_id": tokenizer.eos_id,
        "decoder_start_token_id": tokenizer.bos_id,
    }
    for name, number in wanted.items():
        if found.get(name) != number:
            raise ConfigError(
                f"{where}: {name} is {found.get(name)} in config.json, {number} in the tokenizer",
                "they do not belong together",
            )
    target = state["target_embedding.weight"].shape[0]
    rows = (state.get("source_embedding.weight", state["target_embedding.weight"]).shape[0], target)
    languages = tokenizer.languages or (None, None)
    for language, size in zip(languages, rows, strict=True):
        if tokenizer.vocab_size_of(language) != size:
            sizes = f"{size} embeddings, {tokenizer.vocab_size_of(language)} pieces"
            raise ConfigError(f"{where}: model and tokenizer do not belong together ({sizes})")
