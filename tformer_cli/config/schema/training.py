"""Settings of the optimiser, the training loop and decoding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tformer_cli.config.schema.settings import TRAINED_ENCODER, Names, setting
from tformer_cli.errors import ConfigError

Method = Names("Method", "adamw muon")
Schedule = Names("Schedule", "inverse_square_root cosine linear constant warmup_stable_decay")


@dataclass
class OptimConfig:
    """The optimiser and its learning-rate schedule."""

    method: Method = setting(Method.adamw, "optimiser; muon: orthogonalised momentum for matrices, AdamW for the rest")
    lr: float = setting(1e-3, "peak learning rate", low=0)
    schedule: Schedule = setting(Schedule.inverse_square_root, "shape of the learning rate after warm-up")
    warmup_steps: int = setting(1000, "steps of linear warm-up", low=0)
    decay_steps: int = setting(0, "warmup_stable_decay: steps of the final decay; 0: a fifth of the run", low=0)
    final_lr_ratio: float = setting(
        0.0, "learning rate of the last step divided by the peak (cosine, linear, decay)", low=0, high=1,
        only="schedule=cosine|linear|warmup_stable_decay",
    )  # fmt: skip
    beta1: float = setting(0.9, "decay of the first moment", low=0, high=0.9999)
    beta2: float = setting(0.98, "decay of the second moment", low=0, high=0.99999)
    eps: float = setting(1e-9, "added to the square root of the second moment", low=0)
    momentum: float = setting(0.95, "muon: decay of the momentum", low=0, high=0.9999, only="method=muon")
    layer_decay: float = setting(
        1.0, "learning rate of each block divided by that of the block above it (ULMFiT, ELECTRA)", low=0.01, high=1,
        only=TRAINED_ENCODER,
    )  # fmt: skip
    weight_decay: float = setting(0.0, "decoupled weight decay; not for biases, normalisations and embeddings", low=0)
    clip_norm: float = setting(1.0, "maximum global norm of the gradient; 0: no clipping", low=0)
    label_smoothing: float = setting(
        0.0, "share of the target probability that is spread over all tokens or labels", low=0, high=0.99
    )


AttentionKind = Names("AttentionKind", "all encoder decoder cross")


@dataclass
class RegulariseConfig:
    """Regularisers of attention and outputs, which are described in docs/regularisers.md."""

    disagreement_subspace: float = setting(
        0.0, "weight of the disagreement of heads in their values (Li et al. 2018); 0: off", low=0,
        only=TRAINED_ENCODER,
    )  # fmt: skip
    disagreement_position: float = setting(
        0.0, "weight of the disagreement of heads in their attention weights (Li et al. 2018); 0: off", low=0,
        only=TRAINED_ENCODER,
    )  # fmt: skip
    disagreement_output: float = setting(
        0.0, "weight of the disagreement of heads in their outputs (Li et al. 2018); 0: off", low=0,
        only=TRAINED_ENCODER,
    )  # fmt: skip
    attention: AttentionKind = setting(
        AttentionKind.all,
        "attention whose heads disagree: self-attention of encoder or decoder, cross-attention, or all",
    )
    consistency: float = setting(
        0.0,
        "weight of the divergence of two passes over a batch: alpha of R-Drop (Wu et al. 2021), for CTC that of CR-CTC "
        "(Yao et al. 2025); 0: off",
        low=0,
    )
    consistency_warmup: int = setting(0, "steps in which that weight rises linearly from 0", low=0)

    @property
    def disagreements(self) -> dict[str, float]:
        """Return the weights of the disagreements that are on, by the names of their settings."""
        names = ("disagreement_subspace", "disagreement_position", "disagreement_output")
        return {name: weight for name in names if (weight := getattr(self, name))}

    def check(self) -> None:
        """Refuse a choice of attention without a disagreement.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if self.attention is not AttentionKind.all and not self.disagreements:
            cause = f"regularise.attention: {self.attention.name} has no effect, as no disagreement has a weight"
            raise ConfigError(cause, "regularise.disagreement_output=1")


@dataclass
class AdversarialOptimConfig(OptimConfig):
    """The optimiser of one of two nets that are trained against each other: Adam without momentum, at a fixed rate."""

    lr: float = setting(1e-4, "peak learning rate", low=0)
    schedule: Schedule = setting(Schedule.constant, "shape of the learning rate after warm-up")
    warmup_steps: int = setting(0, "steps of linear warm-up", low=0)
    beta1: float = setting(0.0, "decay of the first moment", low=0, high=0.9999)
    beta2: float = setting(0.9, "decay of the second moment", low=0, high=0.99999)
    eps: float = setting(1e-8, "added to the square root of the second moment", low=0)
    clip_norm: float = setting(0.0, "maximum global norm of the gradient; 0: no clipping", low=0)


Precision = Names("Precision", "auto fp32 bf16")
Device = Names("Device", "auto cpu cuda mps")
Attention = Names("Attention", "auto fused explicit")
Average = Names("Average", "none last best")
BadSample = Names("BadSample", "stop skip")


@dataclass
class TrainerConfig:
    """The training loop: its length, precision, evaluations and checkpoints."""

    steps: int = setting(10_000, "optimiser steps; 0: no limit; the first limit that is reached ends the run", low=0)
    epochs: float = setting(0.0, "passes over the training data; 0: no limit", low=0)
    minutes: float = setting(0.0, "minutes of training, evaluations included; 0: no limit", low=0)
    accumulate: int = setting(1, "batches accumulated in one step", low=1, high=100_000)
    device: Device = setting(Device.auto, "auto: cuda, then cpu; mps lacks float64, which training and search need")
    precision: Precision = setting(Precision.auto, "auto: bf16 if a short measurement shows that it is faster")
    attention: Attention = setting(Attention.auto, "attention backend; auto: the faster one, measured at the start")
    compile: bool = setting(False, "compile each block with torch.compile (faster on a GPU); not for recurrent layers")
    threads: int = setting(0, "CPU threads; 0: one per physical core", low=0, high=1024)
    evaluate_every: int = setting(1000, "steps between evaluations; 0: at the end only", low=0)
    checkpoint_every: int = setting(1000, "steps between checkpoints; 0: with each evaluation and at the end", low=0)
    keep: int = setting(3, "newest checkpoints to keep, in addition to the best ones", low=1)
    keep_best: int = setting(1, "best checkpoints to keep", low=1)
    log_every: int = setting(50, "steps between lines of metrics", low=1)
    metric: str = setting("", "evaluation score by which checkpoints are compared; empty: that of the task")
    patience: int = setting(0, "stop after this many evaluations without a better score; 0: never", low=0)
    ema: float = setting(0.0, "decay of the exponential moving average of the weights; 0: none", low=0, high=0.99999)
    average: Average = setting(Average.none, "at the end, average the weights of the kept last or best checkpoints")
    on_bad_sample: BadSample = setting(
        BadSample.stop,
        "for an unreadable image or recording, or a row without label or text: stop and name it, or skip and count it",
    )
    samples: int = setting(3, "sample predictions to show at each evaluation", low=0)
    evaluate_decoded: bool = setting(True, "decode and score in evaluations, in addition to the loss (slower)")
    evaluate_limit: int = setting(0, "examples to decode in each evaluation during training; 0: all", low=0)
    distributed_timeout: float = setting(
        45.0, "seconds without a heartbeat after which a process of a distributed run counts as lost", low=1
    )

    def check(self) -> None:
        """Refuse a run without an end, and an average of one checkpoint.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if not (self.steps or self.epochs or self.minutes):
            cause = "trainer.steps, trainer.epochs and trainer.minutes are all 0"
            raise ConfigError(cause, "say how long to train: trainer.steps=10000")
        for average, key, kept in ((Average.best, "keep_best", self.keep_best), (Average.last, "keep", self.keep)):
            if self.average is average and kept < 2:
                cause = f"trainer.average: {average.name} has one checkpoint to average, as trainer.{key} is {kept}"
                raise ConfigError(cause, f"trainer.{key}=5")


Stopping = Names("Stopping", "next longest")
DecodePrecision = Names("DecodePrecision", "fp32 int8")


@dataclass
class DecodeConfig:
    """Decoding by search or sampling. The scoring rule is described in docs/decoding.md."""

    beam: int = setting(5, "beam width; 1: greedy search", low=1, high=1024, only="sample=false")
    sample: bool = setting(False, "sample from the model instead of searching")
    length_penalty: float = setting(1.0, "alpha: score = log-probability / length ** alpha")
    max_length: int = setting(0, "maximum output length in tokens; 0: max_length_a * source + max_length_b", low=0)
    max_length_a: float = setting(1.5, "maximum output tokens per source token", low=0)
    max_length_b: int = setting(20, "maximum output tokens in addition to that", low=0)
    n_best: int = setting(1, "hypotheses to return per input; at most beam", low=1)
    stopping: Stopping = setting(
        Stopping.next,
        "stop when no unfinished hypothesis could win if it ended at the next step, or at any length (longest: exact)",
        only="sample=false",
    )
    temperature: float = setting(1.0, "sampling: divisor of the logits", low=1e-4, only="sample=true")
    top_k: int = setting(0, "sampling: draw from the k most probable tokens; 0: all", low=0, only="sample=true")
    top_p: float = setting(
        1.0, "sampling: draw from the smallest set of tokens with probability p", low=0, high=1, only="sample=true"
    )
    batch: int = setting(0, "sentences per batch; 0: as many as have 320 hypotheses, 64 with beam 5", low=0)
    workers: int = setting(0, "decoding processes of one thread, CPU and Linux only; 0: one per physical core", low=0)
    precision: DecodePrecision = setting(DecodePrecision.fp32, "int8: quantised products, on CPUs with VNNI")
    shortlist: str = setting(
        "",
        "restrict outputs to likely tokens of each source: auto (learned once from the training data), or a file or run"
        " that has a shortlist; empty: all tokens",
        is_path=True,
    )
    alignments: bool = setting(False, "also return the source token that each output token is aligned to")
    seed: int = setting(1, "sampling: random seed", only="sample=true")

    def check(self) -> None:
        """Refuse to return more hypotheses than the beam has.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        if self.n_best > self.beam and not self.sample:
            cause = f"decode.n_best: {self.n_best} is more than decode.beam {self.beam}"
            raise ConfigError(cause, f"decode.beam={self.n_best}")

    def check_idle(self, names: Iterable[str], what: str, remedy: str = "") -> None:
        """Refuse settings that have no effect and are not at their defaults.

        Args:
            names: names of those without effect.
            what: what they have no effect on.
            remedy: the remedy; empty: the default value.

        Raises:
            ConfigError: naming the first.
        """
        defaults = type(self)()
        for name in names:
            if getattr(self, name) != getattr(defaults, name):
                value = getattr(defaults, name)
                cause = f"decode.{name}: it has no effect on {what}"
                raise ConfigError(cause, remedy or f"decode.{name}={str(getattr(value, 'name', value)).lower()}")


@dataclass
class GenerationConfig:
    """Generating images with a trained model."""

    count: int = setting(64, "number of images", low=1, high=1_000_000)
    label: str = setting("", "label of all images; empty: each label in turn")
    seed: int = setting(1, "random seed of the noise", low=0)


@dataclass
class GenerationScoreConfig:
    """The scores of generated images."""

    classifier: str = setting(
        "", "run of image classification whose features and labels score images; empty: pixels alone", is_path=True
    )
    images: int = setting(
        2000, "images to generate and to compare with as many real ones; distances depend on this number", low=10
    )


@dataclass
class TranslationDecodeConfig(DecodeConfig):
    """Decoding of translations: by search, or by edits if the model is an editor (docs/editing.md)."""

    iterations: int = setting(10, "editing: maximum number of rounds of deletion, insertion and filling", low=1)
    insertion_penalty: float = setting(
        0.0, "editing: subtracted from the log-probability that nothing is inserted in a gap", low=0
    )
    deletion_threshold: float = setting(
        0.5, "editing: a token is deleted if its probability of deletion is higher", low=0, high=1
    )
