"""Settings of optimisation, of the loop, and of search."""

from __future__ import annotations

from dataclasses import dataclass

from tformer_cli.config.schema.settings import Names, setting
from tformer_cli.errors import ConfigError

Method = Names("Method", "adamw muon")
Schedule = Names("Schedule", "inverse_square_root cosine linear constant warmup_stable_decay")


@dataclass
class OptimConfig:
    """The optimiser and its learning-rate schedule."""

    method: Method = setting(Method.adamw, "muon: orthogonalised momentum for matrices, adamw for all else")
    lr: float = setting(1e-3, "peak learning rate", low=0)
    schedule: Schedule = setting(Schedule.inverse_square_root, "shape of the learning rate after warm-up")
    warmup_steps: int = setting(1000, "steps of linear warm-up", low=0)
    decay_steps: int = setting(0, "warmup_stable_decay: steps of the final decay; 0: a fifth of the run", low=0)
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
BadSample = Names("BadSample", "stop skip")


@dataclass
class TrainerConfig:
    """The loop: how long, how exact, what is kept."""

    steps: int = setting(10_000, "optimiser steps; 0: no limit. The first limit that is reached ends the run", low=0)
    epochs: float = setting(0.0, "passes over the training data; 0: no limit", low=0)
    minutes: float = setting(0.0, "minutes of training, evaluations included; 0: no limit", low=0)
    accumulate: int = setting(1, "batches summed into one step", low=1, high=100_000)
    device: Device = setting(Device.auto, "auto: cuda, then mps, then cpu")
    precision: Precision = setting(Precision.auto, "auto: bf16 when a short measurement says that it pays")
    attention: Attention = setting(Attention.auto, "auto: the faster of the exact backends, measured at the start")
    compile: bool = setting(False, "compile each block with torch.compile (pays on a GPU)")
    threads: int = setting(0, "CPU threads; 0: one a physical core", low=0, high=1024)
    evaluate_every: int = setting(1000, "steps between evaluations; 0: at the end only", low=0)
    checkpoint_every: int = setting(1000, "steps between checkpoints; 0: with each evaluation and at the end", low=0)
    keep: int = setting(3, "newest checkpoints kept, beside the best ones", low=1)
    keep_best: int = setting(1, "best checkpoints kept", low=1)
    log_every: int = setting(50, "steps between lines of metrics", low=1)
    metric: str = setting("", "what best means: an evaluation result; empty: the task's own")
    patience: int = setting(0, "stop after so many evaluations without a better metric; 0: never", low=0)
    ema: float = setting(0.0, "decay of the exponential moving average of the weights; 0: none", low=0, high=0.99999)
    average: Average = setting(Average.none, "at the end, average the weights of the last or best kept checkpoints")
    on_bad_sample: BadSample = setting(
        BadSample.stop,
        "a picture or recording that cannot be read, a row without label or text: stop and name it, or leave it out"
        " and count",
    )
    samples: int = setting(3, "sample predictions shown at each evaluation", low=0)
    evaluate_decoded: bool = setting(True, "evaluations also decode and score (slower)")
    evaluate_limit: int = setting(0, "examples decoded in an evaluation while training; 0: all", low=0)
    distributed_timeout: float = setting(
        45.0, "seconds without a sign of life after which a process of several counts as lost", low=1
    )

    def check(self) -> None:
        """Refuse a run without an end, and an average of one checkpoint.

        Raises:
            ConfigError: naming the setting, and what would go.
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
    batch: int = setting(0, "sentences decoded together; 0: as many as have 320 hypotheses: 64 at beam 5", low=0)
    workers: int = setting(0, "processes of one thread, on a CPU under Linux; 0: one a physical core", low=0)
    precision: DecodePrecision = setting(DecodePrecision.fp32, "int8: quantised products, on CPUs that have VNNI")
    alignments: bool = setting(False, "also say which source token each output token was written from")
    seed: int = setting(1, "sampling: seed")

    def check(self) -> None:
        """Refuse to give more hypotheses than there are.

        Raises:
            ConfigError: naming the setting, and what would go.
        """
        if self.n_best > self.beam and not self.sample:
            cause = f"decode.n_best: {self.n_best} is more than decode.beam {self.beam}"
            raise ConfigError(cause, f"decode.beam={self.n_best}")
