"""Every setting in one place: the dataclasses that recipes, groups and overrides are checked against.

A recipe composes option groups of `conf/` into one `Experiment`. Each task has its own subclass of `Experiment`,
which fixes the types of its `data` and `model` nodes; the rest is the same for every family. Enumerations are
written in a
config by their names (`norm: pre`). A range is stated once, in the field's metadata, and checked by
`tformer_cli.config.compose`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

REQUIRED = "???"  # OmegaConf's mark of a value that must be given


def setting(default: Any, about: str, *, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field that says what it is, and between which bounds (both included) it must lie."""
    metadata = {"about": about, "low": low, "high": high}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class Names(Enum):
    """An enumeration written by name; its members' values are their names."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list) -> str:
        return name


# --- model ----------------------------------------------------------------------------------------------------------

Norm = Names("Norm", "pre post")
Activation = Names("Activation", "relu gelu swish glu reglu geglu swiglu")
Positions = Names("Positions", "none sinusoidal learned learnable_sinusoidal rotary t5 shaw transformer_xl")
Combine = Names("Combine", "add concatenate")
TieEmbeddings = Names("TieEmbeddings", "none decoder all")


@dataclass
class TransformerConfig:
    """The core that all Transformer families share."""

    dim: int = setting(512, "width of the residual stream", low=1)
    heads: int = setting(8, "attention heads; must divide dim", low=1)
    ffn_dim: int = setting(2048, "inner width of the position-wise feed-forward layer", low=1)
    norm: Norm = setting(Norm.pre, "layer normalisation before each sub-layer (pre) or after the residual sum (post)")
    activation: Activation = setting(Activation.relu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.sinusoidal, "how the model knows the order of its inputs")
    combine: Combine = setting(Combine.add, "absolute positions are added to the token embedding, or concatenated")
    dropout: float = setting(0.1, "on embeddings and on every sub-layer's output", low=0, high=0.99)
    attention_dropout: float = setting(0.0, "on attention weights", low=0, high=0.99)
    ffn_dropout: float = setting(0.0, "on the feed-forward layer's inner activations", low=0, high=0.99)
    bias: bool = setting(True, "linear layers and layer normalisations have a bias")
    max_length: int = setting(512, "longest sequence, in tokens, special tokens included", low=2)
    relative_distance: int = setting(32, "shaw: distances are clipped here; t5: number of buckets", low=2)


@dataclass
class Seq2SeqConfig(TransformerConfig):
    """Encoder-decoder Transformer (Vaswani et al. 2017)."""

    family: str = setting("seq2seq", "entry of the model registry")
    encoder_depth: int = setting(6, "encoder blocks", low=1)
    decoder_depth: int = setting(6, "decoder blocks", low=1)
    tie_embeddings: TieEmbeddings = setting(
        TieEmbeddings.all, "decoder: target embedding = output weights; all: source too"
    )
    scale_embeddings: bool = setting(True, "multiply embeddings by sqrt(dim) (section 3.4)")
    final_bias: bool = setting(False, "the output projection adds a bias per word of the vocabulary")


# --- data and tokenizer ---------------------------------------------------------------------------------------------

Source = Names("Source", "files hub builtin")


@dataclass
class DataConfig:
    """Where examples come from, and how they are batched."""

    source: Source = setting(Source.files, "files on disk, a Hugging Face datasets id, or data that comes with tformer")
    path: str = setting("", "folder or file (files), dataset id or local snapshot (hub), name (builtin)")
    name: str = setting("", "hub: configuration name of the dataset")
    streaming: bool = setting(False, "hub: read without downloading everything first")
    train: str = setting("train", "split: file stem, file, or split name")
    validation: str = setting("", "as train; empty: val, validation, valid or dev, whichever is there")
    test: str = setting("", "as train; empty: test, or the only test* that is there")
    cache: str = setting("", "folder for tokenised data; empty: the user's cache folder")
    workers: int = setting(0, "processes that prepare batches; 0: the training process does", low=0, high=256)
    batch_tokens: int = setting(4096, "tokens in a batch (rows x longest, source or target, whichever is more)", low=1)
    max_batch: int = setting(0, "most examples in a batch; 0: no limit", low=0)
    size: int = setting(0, "builtin: number of training examples; 0: as it comes", low=0)


@dataclass
class ParallelDataConfig(DataConfig):
    """Sentence pairs."""

    source_language: str = setting(REQUIRED, "language, or column name, that is read")
    target_language: str = setting(REQUIRED, "language, or column name, that is written")
    max_length: int = setting(256, "longer sentences, in tokens, are left out of training (counted and said)", low=1)
    max_ratio: float = setting(
        0.0, "pairs whose token counts differ by more than this factor are left out; 0: none", low=0
    )


TokenizerKind = Names("TokenizerKind", "unigram bpe char")


@dataclass
class TokenizerConfig:
    """A SentencePiece model, trained from the training split unless a path is given."""

    path: str = setting("", "a trained tokenizer: a .model file, or a run folder; empty: train one")
    kind: TokenizerKind = setting(TokenizerKind.unigram, "segmentation")
    vocab_size: int = setting(8000, "pieces, special tokens included", low=8)
    joint: bool = setting(True, "one vocabulary for both languages")
    character_coverage: float = setting(1.0, "share of characters that get a piece", low=0.9, high=1)
    byte_fallback: bool = setting(False, "unknown characters are spelled in bytes")
    user_symbols: list[str] = setting([], "pieces that are never split")
    lossless: bool = setting(False, "keep white space and Unicode forms exactly: decode(encode(x)) == x")
    sampling: float = setting(
        0.0, "training: subword regularisation strength (unigram: alpha; bpe: dropout rate)", low=0, high=1
    )


# --- optimisation, trainer, search ----------------------------------------------------------------------------------

Method = Names("Method", "adamw muon")
Schedule = Names("Schedule", "inverse_square_root cosine linear constant warmup_stable_decay")


@dataclass
class OptimConfig:
    """The optimiser and its learning-rate schedule."""

    method: Method = setting(Method.adamw, "muon: orthogonalised momentum for matrices, adamw for all else")
    lr: float = setting(1e-3, "peak learning rate", low=0)
    schedule: Schedule = setting(Schedule.inverse_square_root, "shape of the learning rate after warm-up")
    warmup_steps: int = setting(1000, "steps of linear warm-up", low=0)
    decay_steps: int = setting(0, "warmup_stable_decay: steps of the final decay; 0: a fifth of all", low=0)
    final_lr_ratio: float = setting(
        0.0, "learning rate at the last step over its peak (cosine, linear, decay)", low=0, high=1
    )
    beta1: float = setting(0.9, "decay of the first moment", low=0, high=0.9999)
    beta2: float = setting(0.98, "decay of the second moment", low=0, high=0.99999)
    eps: float = setting(1e-9, "added to the root of the second moment", low=0)
    momentum: float = setting(0.95, "muon: decay of the momentum", low=0, high=0.9999)
    weight_decay: float = setting(0.0, "decoupled; not on biases, normalisations and embeddings", low=0)
    clip_norm: float = setting(1.0, "largest global gradient norm; 0: no clipping", low=0)
    label_smoothing: float = setting(
        0.0, "share of the target probability spread over the vocabulary", low=0, high=0.99
    )


Precision = Names("Precision", "auto fp32 bf16")
Device = Names("Device", "auto cpu cuda mps")
Attention = Names("Attention", "auto fused explicit")
Average = Names("Average", "none last best")


@dataclass
class TrainerConfig:
    """The loop: how long, how exact, what is kept."""

    steps: int = setting(10_000, "optimiser steps; 0 with minutes: as many as fit", low=0)
    minutes: float = setting(0.0, "training-time budget in minutes; 0: none", low=0)
    accumulate: int = setting(1, "batches summed into one step", low=1)
    device: Device = setting(Device.auto, "auto: cuda, then mps, then cpu")
    precision: Precision = setting(Precision.auto, "auto: bf16 when a short measurement says that it pays")
    attention: Attention = setting(Attention.auto, "auto: the faster of the exact backends, measured at the start")
    compile: bool = setting(False, "compile each block with torch.compile (pays on a GPU)")
    threads: int = setting(0, "CPU threads; 0: one a physical core", low=0)
    evaluate_every: int = setting(1000, "steps between evaluations; 0: at the end only", low=0)
    checkpoint_every: int = setting(1000, "steps between checkpoints; 0: with each evaluation and at the end", low=0)
    keep: int = setting(3, "newest checkpoints kept, beside the best ones", low=1)
    keep_best: int = setting(1, "best checkpoints kept", low=1)
    log_every: int = setting(50, "steps between lines of metrics", low=1)
    metric: str = setting("", "what best means: an evaluation result; empty: the task's own")
    patience: int = setting(0, "stop after so many evaluations without a better metric; 0: never", low=0)
    ema: float = setting(0.0, "decay of the exponential moving average of the weights; 0: none", low=0, high=0.99999)
    average: Average = setting(Average.none, "at the end, average the weights of the last or best kept checkpoints")
    samples: int = setting(3, "sample predictions shown at each evaluation", low=0)
    evaluate_decoded: bool = setting(True, "evaluations also decode and score (slower)")
    evaluate_limit: int = setting(0, "examples decoded in an evaluation while training; 0: all", low=0)


Stopping = Names("Stopping", "next longest")
DecodePrecision = Names("DecodePrecision", "fp32 int8")


@dataclass
class DecodeConfig:
    """Search. The scoring rule is written in docs/decoding.md."""

    beam: int = setting(5, "beam width; 1 is greedy", low=1, high=1024)
    sample: bool = setting(False, "draw from the model instead of searching")
    length_penalty: float = setting(1.0, "alpha: score = log-probability / length ** alpha")
    max_length: int = setting(0, "longest output in tokens; 0: max_length_a * source length + max_length_b", low=0)
    max_length_a: float = setting(1.5, "output tokens per source token", low=0)
    max_length_b: int = setting(20, "output tokens beyond that", low=0)
    n_best: int = setting(1, "hypotheses per input; at most beam", low=1)
    stopping: Stopping = setting(
        Stopping.next, "stop when no hypothesis in progress could win if it ended next, or (exact) at its longest"
    )
    temperature: float = setting(1.0, "sampling: logits are divided by this", low=1e-4)
    top_k: int = setting(0, "sampling: among the k most probable; 0: all", low=0)
    top_p: float = setting(1.0, "sampling: among the smallest set whose probability reaches p", low=0, high=1)
    batch: int = setting(64, "sentences decoded together", low=1)
    precision: DecodePrecision = setting(DecodePrecision.fp32, "int8: quantised products, on CPUs that have VNNI")
    alignments: bool = setting(False, "also say which source token each output token was written from")
    seed: int = setting(1, "sampling: seed")


# --- experiments ----------------------------------------------------------------------------------------------------


@dataclass
class Experiment:
    """What every recipe sets; a task's subclass fixes the types of its own nodes."""

    task: str = setting(REQUIRED, "entry of the task registry")
    recipe: str = setting("", "name of the recipe this came from (filled in)")
    seed: int = setting(1, "everything random is derived from it", low=0)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)


@dataclass
class TranslationExperiment(Experiment):
    """Text to text with an encoder-decoder."""

    task: str = setting("translation", "entry of the task registry")
    data: ParallelDataConfig = field(default_factory=ParallelDataConfig)
    model: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)


EXPERIMENTS: dict[str, type[Experiment]] = {"translation": TranslationExperiment}
