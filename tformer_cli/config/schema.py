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
Activation = Names("Activation", "relu gelu gelu_tanh swish glu reglu geglu swiglu")
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
    norm_eps: float = setting(1e-5, "added to the variance in layer normalisations", low=0)
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


@dataclass
class GPTConfig(TransformerConfig):
    """Causal language model (Radford et al. 2018): the decoder alone."""

    family: str = setting("gpt", "entry of the model registry")
    depth: int = setting(6, "blocks", low=1)
    activation: Activation = setting(Activation.gelu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "how the model knows the order of its inputs")
    tie_embeddings: bool = setting(True, "the output weights are the token embedding")


@dataclass
class BERTConfig(TransformerConfig):
    """Bidirectional encoder (Devlin et al. 2019)."""

    family: str = setting("bert", "entry of the model registry")
    depth: int = setting(4, "blocks", low=1)
    norm: Norm = setting(Norm.post, "layer normalisation before each sub-layer (pre) or after the residual sum (post)")
    activation: Activation = setting(Activation.gelu, "of the feed-forward layer; glu, reglu, geglu, swiglu are gated")
    positions: Positions = setting(Positions.learned, "how the model knows the order of its inputs")
    norm_eps: float = setting(1e-12, "added to the variance in layer normalisations", low=0)
    segments: int = setting(2, "segment embeddings; 0: none (RoBERTa)", low=0)


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


Documents = Names("Documents", "file line blank")


@dataclass
class CorpusDataConfig(DataConfig):
    """Running text."""

    batch_tokens: int = setting(4096, "tokens in a batch: so many whole blocks, at least one", low=1)
    column: str = setting("text", "column of a table that holds the text")
    documents: Documents = setting(
        Documents.file, "a text file is one document, or has one a line, or blank lines between them"
    )
    validation_share: float = setting(
        0.1, "share of the training split's end that becomes validation, where there is no such split", low=0, high=0.5
    )
    across_documents: bool = setting(True, "a token may attend to the documents before its own in the same block")


Target = Names("Target", "label number labels")


@dataclass
class LabelledTextDataConfig(DataConfig):
    """Texts, or pairs of them, with what is to be said of each."""

    text: str = setting("text", "column of the text")
    second: str = setting("", "column of a second text, for pairs; empty: single texts")
    label: str = setting("label", "column of the label, the number, or the labels")
    target: Target = setting(Target.label, "one label a text, a number (regression), or any number of labels")
    separator: str = setting(",", "between several labels of a text")
    columns: list[str] = setting([], "names of the columns, for a TSV or CSV file without a first line of names")
    validation_share: float = setting(
        0.1, "share of the training texts that become validation, where there is no such split", low=0, high=0.5
    )


@dataclass
class TaggedDataConfig(DataConfig):
    """Sentences of words, each with a tag."""

    words: str = setting("tokens", "tables: column of the words, a list a row")
    tags: str = setting("tags", "tables: column of the tags, as many")
    word_column: int = setting(0, "CoNLL files (a word a line): its column, from 0; -1 is the last")
    tag_column: int = setting(-1, "CoNLL files: the tag's column, from 0; -1 is the last")
    validation_share: float = setting(
        0.1, "share of the training sentences that become validation, where there is no such split", low=0, high=0.5
    )


@dataclass
class QuestionDataConfig(DataConfig):
    """Questions that a text answers by one of its spans."""

    stride: int = setting(64, "tokens of text that one window shares with the next", low=0)
    max_answer: int = setting(30, "longest answer, in tokens", low=1)
    validation_share: float = setting(
        0.1, "share of the training questions that become validation, where there is no such split", low=0, high=0.5
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


Pooling = Names("Pooling", "cls mean")


@dataclass
class HeadConfig:
    """What fine-tuning puts on an encoder."""

    pooling: Pooling = setting(Pooling.cls, "a text's vector: its first token's, by the pooler, or the mean of all")
    dropout: float = setting(0.1, "on that vector", low=0, high=0.99)
    frozen: bool = setting(False, "train the head alone, on the encoder's features")
    class_weights: bool = setting(False, "rare labels count more: by 1 / their share")


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
    layer_decay: float = setting(
        1.0, "learning rate of each block over that of the block above it (ULMFiT, ELECTRA)", low=0.01, high=1
    )
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


@dataclass
class MaskingConfig:
    """What is hidden from a masked language model, and what else it learns."""

    share: float = setting(0.15, "share of the tokens that are to be predicted", low=0.01, high=0.9)
    mask: float = setting(0.8, "of these: share that becomes <mask>", low=0, high=1)
    random: float = setting(0.1, "of these: share that becomes a random token; the rest stays as it is", low=0, high=1)
    whole_words: bool = setting(False, "hide all pieces of a word together")
    nsp: bool = setting(False, "next-sentence prediction: does B follow A? Documents need a sentence a line")


@dataclass
class MaskedLanguageModelExperiment(Experiment):
    """Running text, hidden tokens from those around them."""

    task: str = setting("masked_language_model", "entry of the task registry")
    data: CorpusDataConfig = field(default_factory=CorpusDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    bert: MaskingConfig = field(default_factory=MaskingConfig)


@dataclass
class LanguageModelExperiment(Experiment):
    """Running text, each token from those before it."""

    task: str = setting("language_model", "entry of the task registry")
    data: CorpusDataConfig = field(default_factory=CorpusDataConfig)
    model: GPTConfig = field(default_factory=GPTConfig)


@dataclass
class TextClassificationExperiment(Experiment):
    """Texts, or pairs of them, to labels or numbers."""

    task: str = setting("text_classification", "entry of the task registry")
    data: LabelledTextDataConfig = field(default_factory=LabelledTextDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass
class TokenTaggingExperiment(Experiment):
    """Words to tags."""

    task: str = setting("token_tagging", "entry of the task registry")
    data: TaggedDataConfig = field(default_factory=TaggedDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: HeadConfig = field(default_factory=HeadConfig)


@dataclass
class QuestionAnsweringExperiment(Experiment):
    """Questions to spans of a text."""

    task: str = setting("question_answering", "entry of the task registry")
    data: QuestionDataConfig = field(default_factory=QuestionDataConfig)
    model: BERTConfig = field(default_factory=BERTConfig)
    head: HeadConfig = field(default_factory=HeadConfig)


EXPERIMENTS: dict[str, type[Experiment]] = {
    "translation": TranslationExperiment,
    "language_model": LanguageModelExperiment,
    "masked_language_model": MaskedLanguageModelExperiment,
    "text_classification": TextClassificationExperiment,
    "token_tagging": TokenTaggingExperiment,
    "question_answering": QuestionAnsweringExperiment,
}
