"""Training with Hugging Face's `Seq2SeqTrainer`, at its defaults or with its ordinary options."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
import transformers
from hf_model import build
from measure import EOS, PAD, Pairs, TrainingClock, gemm_gflops, padded, report, start
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback

IGNORED = -100  # the library's mark of a label that is padding


class ShuffledBatches(torch.utils.data.Sampler):
    """The very batches of another sampler, in random order.

    `LengthGroupedSampler` runs from long to short over fifty batches. A measurement of less than that would
    see only the long ones (or the short), so whole batches are shuffled: the batches themselves stay as they
    are.
    """

    def __init__(self, sampler: Any, batch: int, seed: int) -> None:
        self.sampler, self.batch, self.seed = sampler, batch, seed

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self):
        rows = list(self.sampler)
        groups = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]
        order = torch.randperm(len(groups) - 1, generator=torch.Generator().manual_seed(self.seed)).tolist()
        for index in [*order, len(groups) - 1]:  # the last one may be short, and must stay last
            yield from groups[index]


class Trainer(Seq2SeqTrainer):
    """The library's trainer; notes losses (without reading them) and mixes the order of grouped batches."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As in the library."""
        loss = super().training_step(*args, **kwargs)
        self.last_loss = loss
        return loss

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        sampler = super()._get_train_sampler(*args, **kwargs)
        if self.args.train_sampling_strategy == "group_by_length":
            return ShuffledBatches(sampler, self.args.train_batch_size, self.args.seed)
        return sampler


class Watch(TrainerCallback):
    """Ticks the clock after each optimiser step and ends training when the time is over."""

    def __init__(self, clock: TrainingClock, sizes: list[tuple[int, int]]) -> None:
        self.clock, self.sizes, self.trainer = clock, sizes, None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Batches are collated in the order of the steps, though one ahead of them."""
        tokens, cells = self.sizes[len(self.clock.ticks)]
        if self.clock.tick(tokens, cells, self.trainer.last_loss):
            control.should_training_stop = True


def main() -> None:
    """`python hf_train.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    pairs = Pairs.load(job["data"], "train")
    examples = [{"input_ids": [*pairs.source(i), EOS], "labels": [*pairs.target(i), EOS]} for i in range(len(pairs))]
    clock, sizes = TrainingClock(job), []

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        inputs, labels = (
            padded([row[key] for row in rows], fill) for key, fill in (("input_ids", PAD), ("labels", IGNORED))
        )
        sizes.append((int((labels != IGNORED).sum()), labels.numel()))
        return {"input_ids": inputs, "attention_mask": (inputs != PAD).long(), "labels": labels}

    model = build(job["shape"], attention=job.get("attention"))
    with tempfile.TemporaryDirectory() as folder:
        arguments = Seq2SeqTrainingArguments(
            output_dir=folder,
            use_cpu=True,
            bf16=job["precision"] == "bf16",
            per_device_train_batch_size=job["batch_sentences"],
            train_sampling_strategy="group_by_length" if job["grouped"] else "random",
            label_smoothing_factor=job["label_smoothing"],
            learning_rate=job["learning_rate"],
            lr_scheduler_type="constant",
            num_train_epochs=10_000,
            seed=job["seed"],
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        watch = Watch(clock, sizes)
        trainer = Trainer(model=model, args=arguments, train_dataset=examples, data_collator=collate, callbacks=[watch])
        watch.trainer = trainer
        trainer.train()
    result = clock.result()
    result |= {
        "gemm_gflops": [before, gemm_gflops()],
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention": model.config._attn_implementation,
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
    }
    report(output, result)


if __name__ == "__main__":
    main()
