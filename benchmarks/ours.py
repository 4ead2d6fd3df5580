"""tformer as a program of the benchmarks: training, evaluation of images, and decoding.

Training runs the code of `tformer pretrain` on the same text or audio with the same SentencePiece model, or on the same
images. It includes reading, batching, loss, optimiser and all other work of the loop; only the clock is added.
Decoding reads the weights that the peers read. Inference is the evaluation of the validation images.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from tformer_cli.machine import tune_process

tune_process()  # as the command line does: before torch allocates anything

import numpy as np  # noqa: E402
import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from measure import (  # noqa: E402
    BOS,
    EOS,
    PAD,
    TrainingClock,
    decoding_batches,
    decoding_result,
    gemm_gflops,
    inference_result,
    report,
    start,
)

from tformer_cli import machine  # noqa: E402
from tformer_cli.config.experiments import experiment as experiment_of  # noqa: E402
from tformer_cli.config.schema import (  # noqa: E402
    Activation,
    AugmentConfig,
    Cell,
    ClassifierHeadConfig,
    CorpusDataConfig,
    Crop,
    DecodeConfig,
    Experiment,
    FeatureConfig,
    LabelledImageDataConfig,
    LabelledTextDataConfig,
    Norm,
    OptimConfig,
    ParallelDataConfig,
    Positions,
    Precision,
    Schedule,
    SpeechDataConfig,
    TokenizerConfig,
    TrainerConfig,
)
from tformer_cli.models.bert import BERTConfig  # noqa: E402
from tformer_cli.models.conformer import ConformerConfig  # noqa: E402
from tformer_cli.models.gpt import GPTConfig  # noqa: E402
from tformer_cli.models.recurrent_seq2seq import RecurrentAttentionKind, RecurrentSeq2SeqConfig  # noqa: E402
from tformer_cli.models.seq2seq import Seq2SeqConfig  # noqa: E402
from tformer_cli.models.seq2seq.model import Seq2Seq  # noqa: E402
from tformer_cli.models.vit import ViTConfig  # noqa: E402
from tformer_cli.tasks.settings.images import ImageClassificationExperiment  # noqa: E402
from tformer_cli.tasks.settings.speech import SpeechRecognitionExperiment  # noqa: E402
from tformer_cli.tasks.settings.text import (  # noqa: E402
    LanguageModelExperiment,
    MaskedLanguageModelExperiment,
    TextClassificationExperiment,
    TranslationExperiment,
)


def model_config(shape: dict[str, Any]) -> Seq2SeqConfig:
    """Return the Transformer of the peers: post-norm, ReLU, sinusoidal positions, all embeddings tied."""
    sizes = {key: shape[key] for key in ("dim", "heads", "ffn_dim", "encoder_depth", "decoder_depth", "dropout")}
    return Seq2SeqConfig(norm=Norm.post, **sizes)


def recurrent_config(shape: dict[str, Any]) -> RecurrentSeq2SeqConfig:
    """Return the recurrent encoder-decoder of the plain loop, all embeddings tied."""
    kind, cell = RecurrentAttentionKind[shape["attention"]], Cell[shape["cell"]]
    sizes = {key: shape[key] for key in ("dim", "bidirectional", "dropout")}
    return RecurrentSeq2SeqConfig(attention=kind, cell=cell, **sizes)


def bert_config(shape: dict[str, Any]) -> BERTConfig:
    """Return the BERT of the peers: post-norm, gelu, learned positions, dropout of attention weights too."""
    sizes = {key: shape[key] for key in ("dim", "heads", "ffn_dim", "depth", "max_length", "dropout")}
    return BERTConfig(attention_dropout=shape["dropout"], **sizes)


def gpt_config(shape: dict[str, Any]) -> GPTConfig:
    """Return the GPT of the peers: pre-norm, gelu by tanh, learned positions, dropout of attention weights too."""
    sizes = {key: shape[key] for key in ("dim", "heads", "ffn_dim", "depth", "max_length", "dropout")}
    return GPTConfig(norm=Norm.pre, activation=Activation.gelu_tanh, attention_dropout=shape["dropout"], **sizes)


def vit_config(shape: dict[str, Any]) -> ViTConfig:
    """Return the Vision Transformer of timm: pre-norm, gelu, learned positions, a [class] token, no dropout."""
    sizes = {key: shape[key] for key in ("dim", "heads", "ffn_dim", "depth", "patch_size")}
    return ViTConfig(dropout=0.0, **sizes)


def conformer_config(shape: dict[str, Any]) -> ConformerConfig:
    """Return the Conformer of torchaudio: no positions, batch normalisation, dropout of attention weights too."""
    sizes = {key: shape[key] for key in ("dim", "heads", "ffn_dim", "depth", "kernel_size", "dropout")}
    return ConformerConfig(positions=Positions.none, attention_dropout=shape["dropout"], **sizes)


def augmentation(size: int) -> AugmentConfig:
    """Return shifts by up to an eighth, mirroring, and two operations of RandAugment."""
    return AugmentConfig(crop=Crop.padded, padding=size // 8, flip=0.5, operations=2, magnitude=9.0)


def experiment(job: dict[str, Any]) -> Experiment:
    """Return the configuration of a job."""
    shape = job["shape"]
    data = {"path": job["corpus"], "cache": str(Path(job["work"]) / "tformer-cache")}
    common: dict[str, Any] = {
        "recipe": "benchmark",
        "seed": job["seed"],
        "optim": OptimConfig(
            lr=job["learning_rate"],
            schedule=Schedule.constant,
            warmup_steps=0,
            beta2=0.999,
            eps=1e-8,
            label_smoothing=job.get("label_smoothing", 0.0),
        ),
        "trainer": TrainerConfig(
            steps=1_000_000,
            precision=Precision[job["precision"]],
            threads=job["threads"],
            evaluate_every=0,
            checkpoint_every=0,
        ),
    }
    if job["task"] == "image_classification":
        size = shape["image_size"]
        images = LabelledImageDataConfig(image_size=size, crop_share=1.0, batch_images=job["batch_images"], **data)
        augment = augmentation(size) if job.get("augmented") else AugmentConfig()
        return ImageClassificationExperiment(data=images, augment=augment, model=vit_config(shape), **common)
    common["tokenizer"] = TokenizerConfig(path=job["tokenizer"])
    if job["task"] == "speech_recognition":
        recordings = SpeechDataConfig(batch_seconds=job["batch_seconds"], **data)
        features = FeatureConfig(bins=shape["bins"])
        return SpeechRecognitionExperiment(data=recordings, features=features, model=conformer_config(shape), **common)
    data["batch_tokens"] = job["batch_tokens"]
    if job["task"] == "translation":
        source, target = job["languages"]
        pairs = ParallelDataConfig(source_language=source, target_language=target, **data)
        if "cell" in shape:
            model = recurrent_config(shape)
            return experiment_of("translation", model.family)(data=pairs, model=model, **common)
        return TranslationExperiment(data=pairs, model=model_config(shape), **common)
    if job["task"] == "masked_language_model":
        return MaskedLanguageModelExperiment(data=CorpusDataConfig(**data), model=bert_config(shape), **common)
    if job["task"] == "language_model":
        return LanguageModelExperiment(data=CorpusDataConfig(**data), model=gpt_config(shape), **common)
    texts, head = LabelledTextDataConfig(**data), ClassifierHeadConfig(dropout=shape["dropout"])
    return TextClassificationExperiment(data=texts, model=bert_config(shape), head=head, **common)


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train until the time of the clock is over."""
    from tformer_cli.train import loop
    from tformer_cli.train.launch import launch

    clock, reached, waits = TrainingClock(job), {}, []
    step, add = loop.Trainer.train_step, loop.Throughput.add

    def timed_step(self: loop.Trainer, micro_batches: list[Any]) -> dict[str, Any]:
        sums = step(self, micro_batches)
        if not self.stopper.number:
            count = int(sums["count"])
            if job["task"] == "translation":  # its target tokens are counted
                real, cells = count, sum(batch.targets.numel() for batch in micro_batches)
            else:
                real, cells = (sum(sizes) for sizes in zip(*(batch.sizes() for batch in micro_batches), strict=True))
            if clock.tick(real, cells, float(sums["loss"]) / count):
                self.stopper.number = signal.SIGINT  # ends the run after a step
            reached.update(machine=self.machine, model=self.model)
        return sums

    def timed_add(self: loop.Throughput, micro_batches: list[Any], waited: float, counts: list[torch.Tensor]) -> None:
        waits.append(waited)
        add(self, micro_batches, waited, counts)

    loop.Trainer.train_step, loop.Throughput.add = timed_step, timed_add
    # A run that is asked to stop ends with the exit status of the signal.
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(SystemExit):
        launch(experiment(job), Path(folder) / "run", quiet=True)
    result = clock.result()
    return result | {
        "data_wait_percent": 100 * sum(waits[job["warm_up"] :]) / result["seconds"],
        "parameters": sum(p.numel() for p in reached["model"].parameters() if p.requires_grad),
        "precision": reached["machine"].precision,
        "attention": reached["machine"].attention,
    }


def infer(job: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the validation images repeatedly, as in training."""
    from tformer_cli import tasks
    from tformer_cli.evaluators.base import Scoring

    config = experiment(job)
    task = tasks.build(config)
    task.prepare(Path(job["work"]))
    chosen = machine.prepare(config.trainer, **config.model.attention_shape(task.data.usual_length))
    model = task.model().eval()
    count = sum(len(task.view("validation").rows(0, index)) for index in range(task.view("validation").num_batches))

    @torch.inference_mode()
    def all_pictures() -> int:
        with torch.autocast("cpu", torch.bfloat16, enabled=chosen.precision == "bf16"):
            task.evaluate(model, "validation", Scoring(thorough=False, samples=0))
        return count

    return inference_result(job, all_pictures) | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "precision": chosen.precision,
        "attention": chosen.attention,
    }


def write_weights(job: dict[str, Any]) -> dict[str, Any]:
    """Export random weights, as `tformer export` does, for all decoders."""
    from tformer_cli.interop.huggingface_seq2seq import export_files
    from tformer_cli.runs.writing import write_new_folder
    from tformer_cli.tokenizers.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(Path(job["tokenizer"]))
    model = Seq2Seq(model_config(job["shape"]), tokenizer.vocab_size, tokenizer.vocab_size)
    write_new_folder(Path(job["weights"]), export_files(model, tokenizer, DecodeConfig()))
    return {"parameters": sum(p.numel() for p in model.parameters())}


def decode(job: dict[str, Any]) -> dict[str, Any]:
    """Decode with greedy or beam search, with the weights that the peers read."""
    from tformer_cli.data.text.encoded import pad
    from tformer_cli.decode.search import search
    from tformer_cli.decode.workers import Workers
    from tformer_cli.interop.foreign import read_foreign
    from tformer_cli.runs.checkpoint import load_model_tensors

    foreign = read_foreign(Path(job["weights"]))
    sizes: Any = foreign.model
    rows = foreign.weights["target_embedding.weight"].shape[0]
    model = Seq2Seq(sizes, rows, rows)
    load_model_tensors(model, foreign.weights, job["weights"])
    model.eval()
    trainer = TrainerConfig(precision=Precision[job["precision"]], threads=job["threads"])
    chosen = machine.prepare(trainer, heads=sizes.heads, head_dim=sizes.dim // sizes.heads, length=32)
    config = DecodeConfig(beam=job["beam"], length_penalty=1.0, batch=job["batch"])
    batches = list(decoding_batches(job))
    forced = job["forced_length"]

    @torch.inference_mode()
    def decode_batch(batch: tuple[list[int], list[list[int]], int, int]) -> dict[int, list[int]]:
        rows, sources, _, max_length = batch
        # A search that may not choose </s> continues to the maximum length, and takes another step for </s>. With one
        # token less it takes as many steps as the peers.
        with torch.autocast("cpu", torch.bfloat16, enabled=chosen.precision == "bf16"):
            source, lengths = pad([np.asarray(row) for row in sources], PAD, end=EOS)
            limits = torch.full((len(rows),), max_length - forced)
            results = search(
                model,
                model.start(model.encode(source, lengths), job["beam"], int(limits.max())),
                config=config,
                bos_id=BOS,
                eos_id=EOS,
                forbidden=(PAD, BOS, EOS) if forced else (PAD, BOS),
                max_lengths=limits,
            )
        return {row: best[0].tokens for row, best in zip(rows, results, strict=True)}

    decode_batch((*batches[-1][:2], 2, 2))
    with Workers(decode_batch, 0, chosen.device) as workers:  # as in `tformer translate`
        result = decoding_result(job, lambda: {k: v for part in workers.map(batches) for k, v in part.items()})
    return result | {"precision": chosen.precision, "attention": chosen.attention, "workers": workers.count}


def main() -> None:
    """Run `python ours.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    result = {"train": train, "infer": infer, "decode": decode, "weights": write_weights}[job["kind"]](job)
    versions = {"tformer": importlib.metadata.version("tformer-cli"), "torch": torch.__version__}
    report(output, result | {"gemm_gflops": [before, gemm_gflops()], "versions": versions})


if __name__ == "__main__":
    main()
