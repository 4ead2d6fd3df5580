"""Export and import of a Marian or Pegasus model, as a folder in the format of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import DecodeConfig, TieEmbeddings
from tformer_cli.data.text.pairs import Pairs
from tformer_cli.errors import ConfigError
from tformer_cli.interop import generation
from tformer_cli.interop.formats import Foreign, Importer, not_exported
from tformer_cli.interop.gate import Say, check_export, warn
from tformer_cli.interop.huggingface_tokenizer import to_huggingface
from tformer_cli.interop.huggingface_weights import (
    ARCHITECTURES,
    FINAL_BIAS,
    check_exportable,
    export_config,
    export_weights,
    import_config,
    import_weights,
)
from tformer_cli.interop.marian_tokenizer import from_marian
from tformer_cli.interop.reading import CONFIG, WEIGHTS, read_weights
from tformer_cli.interop.writing import json_file, tokenizer_files, weights_file
from tformer_cli.models.seq2seq.model import Seq2Seq
from tformer_cli.tokenizers.files import META
from tformer_cli.tokenizers.tokenizer import Tokenizer, Vocabulary
from tformer_cli.trained.opening import Opened


def export(opened: Opened, say: Say = warn) -> dict[str, bytes]:
    """Return the files of a run, see `export_files`.

    Raises:
        ConfigError: if the model, its positions or its tokenizer have no counterpart in transformers.
    """
    model, data = opened.model, opened.task.data
    if not (isinstance(model, Seq2Seq) and isinstance(data, Pairs)):
        raise not_exported(opened, ("translation",))
    languages = (data.source_language, data.target_language)
    return export_files(model, data.tokenizer, opened.task.config.decode, languages)


def export_files(
    model: Seq2Seq,
    tokenizer: Vocabulary,
    decode: DecodeConfig,
    languages: tuple[str, str] = ("source", "target"),
) -> dict[str, bytes]:
    """Return the files that `AutoModelForSeq2SeqLM` and `AutoTokenizer` load, by name.

    Args:
        model: a trained model; post-norm becomes a MarianMTModel, pre-norm a PegasusForConditionalGeneration.
        tokenizer: the tokenizer it was trained with.
        decode: the search that `generate` does by default.
        languages: source and target, for separate vocabularies.

    Raises:
        ConfigError: if the model, its positions or its tokenizer have no counterpart in transformers.
    """
    config = model.config
    check_exportable(config)
    check_export(decode, generation.EXPORTED, "generate", "decode.")
    if not tokenizer.joint and config.tie_embeddings is TieEmbeddings.all:
        raise ConfigError("model.tie_embeddings: all needs a joint vocabulary, but the tokenizer has one per language")
    ids = {"pad": tokenizer.pad_id, "bos": tokenizer.bos_id, "eos": tokenizer.eos_id}
    sizes = (model.source_embedding.num_embeddings, model.target_embedding.num_embeddings)
    tensors = export_weights(config, model.state_dict(), model.source_positions.table)
    return {
        CONFIG: json_file(export_config(config, sizes, ids)),
        generation.GENERATION: json_file(generation.translation_config(decode, config, **ids)),
        WEIGHTS: weights_file(tensors),
        **to_huggingface(tokenizer, languages, config.max_length),
        **tokenizer_files(tokenizer),
    }


def _accepts(settings: Mapping[str, Any]) -> bool:
    """Return whether a `config.json` is of a Marian or Pegasus model."""
    return settings.get("model_type") in [model_type for model_type, _ in ARCHITECTURES.values()]


def _read(path: Path, settings: Mapping[str, Any], languages: tuple[str, str], say: Say = warn) -> Foreign:
    """Read a MarianMTModel or a PegasusForConditionalGeneration; see `Importer.read`."""
    where = str(path / CONFIG)
    import_config(settings, where, final_bias=False, say=say)  # refuses settings before weights are read
    tensors = read_weights(path)
    final_bias = FINAL_BIAS in tensors and bool(tensors[FINAL_BIAS].any())
    config = import_config(settings, where, final_bias=final_bias, say=lambda line: None)
    weights = import_weights(config, tensors, str(path))
    is_ours = (path / "tokenizer" / META).is_file()
    tokenizer = Tokenizer.load(path) if is_ours else from_marian(path, settings, languages)
    _check_fit(settings, weights, tokenizer, str(path))
    return Foreign(config, weights, tokenizer)


def _check_fit(settings: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Vocabulary, where: str) -> None:
    """Check that settings, weights and tokenizer agree on the special ids and the sizes of the vocabularies.

    Raises:
        ConfigError: if they do not.
    """
    expected_ids = {
        "pad_token_id": tokenizer.pad_id,
        "eos_token_id": tokenizer.eos_id,
        "decoder_start_token_id": tokenizer.bos_id,
    }
    for name, number in expected_ids.items():
        if settings.get(name) != number:
            raise ConfigError(
                f"{where}: {name} is {settings.get(name)} in config.json, {number} in the tokenizer",
                "they do not belong together",
            )
    target = weights["target_embedding.weight"].shape[0]
    rows = (weights.get("source_embedding.weight", weights["target_embedding.weight"]).shape[0], target)
    languages = tokenizer.languages or (None, None)
    for language, size in zip(languages, rows, strict=True):
        if tokenizer.vocab_size_of(language) != size:
            sizes = f"{size} embeddings, {tokenizer.vocab_size_of(language)} pieces"
            raise ConfigError(f"{where}: model and tokenizer do not belong together ({sizes})")


IMPORTER = Importer([architecture for _, architecture in ARCHITECTURES.values()], _accepts, _read)
