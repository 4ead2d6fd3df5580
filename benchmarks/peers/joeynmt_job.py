"""The configuration and data of a job for JoeyNMT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from measure import EOS, Pairs

# The first ids of JoeyNMT are these special tokens; ours are 0 <pad>, 1 <unk>, 2 <s>, 3 </s>. Other tokens have the
# same ids.
SPECIALS = {"unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3}


def write_data(job: dict[str, Any], folder: Path, *, limit: int | None = None) -> Path:
    """Write `train.src`, `train.tgt`, `dev.*` and `vocabulary.txt`, with sentences as written token ids.

    JoeyNMT reads text and splits it at spaces, so that it gets the same ids as the other programs. It needs a
    development set, which is not used during the measurement.
    """
    pairs = Pairs.load(job["data"], "train")
    rows = len(pairs) if limit is None else limit
    for name, read in (("src", pairs.source), ("tgt", pairs.target)):
        lines = [" ".join(map(str, read(row))) + "\n" for row in range(rows)]
        (folder / f"train.{name}").write_text("".join(lines), encoding="utf-8")
        (folder / f"dev.{name}").write_text("".join(lines[:8]), encoding="utf-8")
    words = (f"{index}\n" for index in range(EOS + 1, job["shape"]["vocab_size"]))
    (folder / "vocabulary.txt").write_text("".join(words), encoding="utf-8")
    return folder


def _model(shape: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the model: a post-norm Transformer with ReLU, as in the other programs.

    JoeyNMT's dropout rate also applies to attention weights and inside of the feed-forward layer.
    """
    stack = {
        "type": "transformer",
        "num_heads": shape["heads"],
        "embeddings": {"embedding_dim": shape["dim"], "scale": True, "dropout": shape["dropout"]},
        "hidden_size": shape["dim"],
        "ff_size": shape["ffn_dim"],
        "dropout": shape["dropout"],
        "layer_norm": "post",
        "activation": "relu",
    }
    return {
        "initializer": "xavier_uniform",
        "embed_initializer": "xavier_uniform",
        "embed_init_gain": 1.0,
        "init_gain": 1.0,
        "bias_initializer": "zeros",
        "tied_embeddings": True,
        "tied_softmax": True,
        "encoder": {**stack, "num_layers": shape["encoder_depth"]},
        "decoder": {**stack, "num_layers": shape["decoder_depth"]},
    }


def configuration(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration, as JoeyNMT reads it from a YAML file."""
    side = {
        "level": "word",
        "voc_file": str(folder / "vocabulary.txt"),
        "lowercase": False,
        "normalize": False,
    }
    return {
        "name": "benchmark",
        "joeynmt_version": "2.3.0",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "fp16": False,
        "random_seed": job["seed"],
        "data": {
            "train": str(folder / "train"),
            "dev": str(folder / "dev"),
            "dataset_type": "plain",
            "src": {"lang": "src", **side},
            "trg": {"lang": "tgt", **side},
            "special_symbols": dict(SPECIALS),
        },
        "training": {
            "optimizer": "adamw",
            "adam_betas": [0.9, 0.999],
            "learning_rate": job.get("learning_rate", 1e-3),
            "learning_rate_min": 0.0,
            "scheduling": "exponential",  # with a factor of 1 it is constant; without a schedule training stops
            "decrease_factor": 1.0,
            "clip_grad_norm": 1.0,
            "label_smoothing": job.get("label_smoothing", 0.0),
            "normalization": "tokens",
            "batch_type": "token",
            "batch_size": job.get("batch_tokens", 4096),
            "epochs": 10_000,
            "logging_freq": 100,
            "validation_freq": 1_000_000_000,
        },
        "testing": {"beam_size": 1},
        "model": _model(job["shape"]),
    }
