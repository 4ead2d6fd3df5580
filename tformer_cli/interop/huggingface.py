"""Models to and from the Hugging Face format: safetensors and JSON, nothing that could run code.

Neither direction needs `transformers`: its files are simple. What it does with them is held by the tests.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tformer_cli.config.schema import (
    BERTConfig,
    DecodeConfig,
    GPTConfig,
    ImageClassificationExperiment,
    Seq2SeqConfig,
    Stopping,
    TieEmbeddings,
)
from tformer_cli.data.labelled import LabelSet
from tformer_cli.errors import ConfigError, RunError
from tformer_cli.interop import huggingface_encoder as encoder
from tformer_cli.interop import huggingface_gpt as gpt
from tformer_cli.interop.huggingface_tokenizer import encoder_files, plain_files, to_huggingface
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
from tformer_cli.models.bert import BERTClassifier, BERTForPretraining
from tformer_cli.models.gpt import GPT
from tformer_cli.models.seq2seq import Seq2Seq
from tformer_cli.models.vit import ViTClassifier
from tformer_cli.tokenizer import META, Tokenizer, Vocabulary
from tformer_cli.tokenizer_json import JsonTokenizer

CONFIG, GENERATION = "config.json", "generation_config.json"
EARLY_STOPPING = {Stopping.longest: "never", Stopping.next: False}
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
    if not tokenizer.joint and config.tie_embeddings is TieEmbeddings.all:
        raise ConfigError("model.tie_embeddings: all goes with one vocabulary only, the tokenizer has one a language")
    ids = {"pad": tokenizer.pad_id, "bos": tokenizer.bos_id, "eos": tokenizer.eos_id}
    sizes = (model.source_embedding.num_embeddings, model.target_embedding.num_embeddings)
    tensors = export_weights(config, model.state_dict(), model.source_positions.table)
    files = {
        CONFIG: json_file(export_config(config, sizes, ids)),
        GENERATION: json_file(generation_config(decode, config, ids)),
        WEIGHTS: weights_file(tensors),
        **to_huggingface(tokenizer, languages, config.max_length),
    }
    files |= {
        f"tokenizer/{name}": data for name, data in tokenizer.files().items()
    }  # to be read back by `import_model`
    _write(output, files)


def export_run(run: Path, output: Path, to: str = "huggingface") -> None:
    """Write a run's model in the Hugging Face format, with its search settings and tokenizer; or in timm's.

    Args:
        run: run folder, or one checkpoint in it.
        output: the folder; it must not exist, or be empty.
        to: huggingface, or timm for pictures.

    Raises:
        ConfigError: if the run is not an encoder-decoder, or has a setting with no counterpart there.
        RunError: if the run cannot be read, or `output` cannot be written.
    """
    from tformer_cli.tasks.image_classification import ImageClassification
    from tformer_cli.tasks.text import TextTask
    from tformer_cli.tasks.text_classification import TextClassification
    from tformer_cli.tasks.translation import Translation
    from tformer_cli.train.restore import open_run

    opened = open_run(run, device="cpu")
    task, model, config = opened.task, opened.model, opened.config
    if isinstance(model, ViTClassifier) and isinstance(task, ImageClassification):
        assert isinstance(config, ImageClassificationExperiment)
        files = {"huggingface": huggingface_files, "timm": timm_files}[to]
        _write(output, files(model, config, list(task.labels.names)))
    elif to == "timm":
        raise ConfigError(
            f"{run}: timm has no {config.model.family} model", "Vision Transformers can be exported to it"
        )
    elif isinstance(task, TextClassification) and isinstance(model, BERTClassifier):
        export_encoder(model, task.tokenizer, output, task.labels)
    elif isinstance(task, TextTask) and isinstance(model, BERTForPretraining):
        export_encoder(model, task.tokenizer, output)
    elif isinstance(task, TextTask) and isinstance(model, GPT):
        export_gpt(model, task.tokenizer, output)
    elif isinstance(task, Translation) and isinstance(model, Seq2Seq):
        languages = (task.source_language, task.target_language)
        export_model(model, task.tokenizer, output, task.config.decode, languages)
    else:
        cause = f"{run}: a {config.model.family} model of {config.task} cannot be exported yet"
        raise ConfigError(cause, "seq2seq, bert, gpt and vit models can")


def export_gpt(model: GPT, tokenizer: Vocabulary, output: Path) -> None:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` load, as a GPT2LMHeadModel.

    Args:
        model: a trained language model.
        tokenizer: the one it was trained with; a text begins after its </s>.
        output: the folder; it must not exist, or be empty.

    Raises:
        ConfigError: if the model or its tokenizer has no counterpart there.
        RunError: if the folder holds something already, or cannot be written.
    """
    gpt.check_exportable(model.config)
    files = {
        CONFIG: json_file(gpt.export_config(model.config, tokenizer.vocab_size, tokenizer.eos_id)),
        WEIGHTS: weights_file(gpt.export_weights(model.config, model.state_dict())),
        **plain_files(tokenizer, model.config.max_length),
    }
    files |= {f"tokenizer/{name}": data for name, data in tokenizer.files().items()}
    _write(output, files)


def export_encoder(
    model: BERTForPretraining | BERTClassifier,
    tokenizer: Vocabulary,
    output: Path,
    labels: LabelSet | None = None,
) -> None:
    """Write a folder that `AutoModelForMaskedLM`, or `AutoModelForSequenceClassification`, and `AutoTokenizer` load.

    Args:
        model: a trained encoder with its head.
        tokenizer: the one it was trained with.
        output: the folder; it must not exist, or be empty.
        labels: of a classifier.

    Raises:
        ConfigError: if the model or its tokenizer has no counterpart there.
        RunError: if the folder holds something already, or cannot be written.
    """
    config = model.config
    encoder.check_exportable(config)
    found = encoder.export_config(config, tokenizer.vocab_size, tokenizer.pad_id)
    if isinstance(model, BERTClassifier):
        if model.pooler is None:
            raise ConfigError(
                "head.pooling: mean cannot be exported: Hugging Face's BERT takes the first token's vector"
            )
        found["architectures"] = ["BertForSequenceClassification"]
        if labels is None:
            raise ValueError("a classifier goes with its labels")
        names = labels.names or ("number",)
        found["id2label"] = {str(number): name for number, name in enumerate(names)}
        found["label2id"] = {name: number for number, name in enumerate(names)}
        problems = {"label": "single_label_classification", "labels": "multi_label_classification"}
        found["problem_type"] = problems.get(labels.target.name, "regression")
    else:
        found["architectures"] = ["BertForPreTraining" if model.next_sentence is not None else "BertForMaskedLM"]
    files = {
        CONFIG: json_file(found),
        WEIGHTS: weights_file(encoder.export_weights(config, model.state_dict())),
        **encoder_files(tokenizer, config.max_length),
    }
    files |= {f"tokenizer/{name}": data for name, data in tokenizer.files().items()}
    _write(output, files)


def import_model(path: Path, languages: tuple[str, str] = ("source", "target")) -> Imported:
    """Read a MarianMTModel, a PegasusForConditionalGeneration, a BERT, a RoBERTa or a GPT-2 from a folder.

    Args:
        path: holds config.json, model.safetensors or its shards, and a tokenizer: tformer's own, Marian's, or a
            tokenizer.json.
        languages: names for the two sides of a tokenizer that has a model for each.

    Returns:
        The model's settings; its weights, for `train.checkpoint.load_model_tensors`; its tokenizer.

    Raises:
        ConfigError: if the architecture or a setting is not supported, or the weights do not fit.
        DataError: if a file is missing or damaged, or there are pickled weights only.
    """
    path = Path(path)
    where = path / CONFIG
    found = read_json(where)
    kind = found.get("model_type")
    if kind in encoder.PREFIXES or kind == gpt.KIND:
        tensors = read_weights(path)
        if kind == gpt.KIND:
            settings = gpt.import_config(found, str(where))
            weights = gpt.import_weights(settings, tensors, str(path))
        else:
            settings = encoder.import_config(found, str(where))
            weights = encoder.import_weights(settings, found, tensors, str(path))
        own = path / "tokenizer" / META
        vocabulary = Tokenizer.load(path) if own.is_file() else JsonTokenizer.from_folder(path)
        rows = len(weights["embedding.weight" if kind == gpt.KIND else "encoder.embedding.weight"])
        if vocabulary.vocab_size > rows:
            sizes = f"{rows} embeddings, {vocabulary.vocab_size} pieces"
            raise ConfigError(f"{path}: model and tokenizer do not belong together ({sizes})")
        weights = {name: _first(value, rows, vocabulary.vocab_size) for name, value in weights.items()}
        return settings, weights, vocabulary
    tensors = read_weights(path)
    final_bias = FINAL_BIAS in tensors and bool(tensors[FINAL_BIAS].any())
    config = import_config(found, str(where), final_bias=final_bias)
    state = import_weights(config, tensors, str(path))
    own = path / "tokenizer" / META
    tokenizer = Tokenizer.load(path) if own.is_file() else from_marian(path, found, languages)
    _check_fit(found, state, tokenizer, str(path))
    return config, state, tokenizer


def _first(value: Tensor, rows: int, pieces: int) -> Tensor:
    """Without the rows that pad a vocabulary to a round number."""
    return value[:pieces].clone() if value.shape[0] == rows else value


def generation_config(decode: DecodeConfig, config: Seq2SeqConfig, ids: Mapping[str, int]) -> dict[str, Any]:
    """Their `generation_config.json` for our search.

    The score is the same. Where `generate` differs: its limit on the output's length does not grow with the input's,
    </s> costs nothing at that limit, and it goes on until it has found `num_beams` hypotheses, so that it sometimes
    finds another one.
    """
    limit = min(decode.max_length or config.max_length - 1, config.max_length - 1)
    found: dict[str, Any] = {
        "bos_token_id": ids["bos"],
        "eos_token_id": ids["eos"],
        "pad_token_id": ids["pad"],
        "decoder_start_token_id": ids["bos"],
        "forced_eos_token_id": ids["eos"],
        "max_length": limit + 2,  # theirs counts <s> and </s>
        "suppress_tokens": sorted({ids["pad"], ids["bos"]}),
        "do_sample": decode.sample,
        "num_beams": 1 if decode.sample else decode.beam,
    }
    if decode.sample:
        found |= {"temperature": decode.temperature, "top_k": decode.top_k, "top_p": decode.top_p}
    elif decode.beam > 1:
        found |= {"length_penalty": decode.length_penalty, "early_stopping": EARLY_STOPPING[decode.stopping]}
    return found


def _write(output: Path, files: Mapping[str, bytes]) -> None:
    """Write beside `output`, then rename, so that it is whole or not there."""
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise RunError(f"{output}: is there already", "name another folder, or remove it")
        beside = output.with_name(f".{output.name}.writing")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            for name, content in files.items():
                place = beside / name
                place.parent.mkdir(parents=True, exist_ok=True)
                with open(place, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if output.exists():
                output.rmdir()
            os.replace(beside, output)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    except OSError as error:
        raise RunError(
            f"{output}: cannot be written: {error.strerror or error}", "free space, or name another folder"
        ) from error


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
