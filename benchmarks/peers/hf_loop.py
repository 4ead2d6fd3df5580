"""Hugging Face's `Trainer` on a job, timed: its own loop, samplers and optimiser; only a clock is added."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
import transformers
from measure import TrainingClock
from transformers import Trainer, TrainerCallback, TrainingArguments

Batch = dict[str, torch.Tensor]


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


class Noted:
    """Before the library's trainer among the bases: notes losses, unread, and mixes the order of grouped batches."""

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


def train(
    job: dict[str, Any],
    model: transformers.PreTrainedModel,
    rows: Any,
    collate: Callable[[list[Any]], Batch],
    sizes_of: Callable[[Batch], tuple[int, int]],
    *,
    trainer: type[Trainer] = Trainer,
    settings: type[TrainingArguments] = TrainingArguments,
    **more: Any,
) -> dict[str, Any]:
    """Train until the clock says that the time is over.

    Args:
        job: precision, batches, learning rate and time.
        model: with fresh weights.
        rows: the training examples.
        collate: examples to a batch.
        sizes_of: what the job counts in a batch, without and with padding.
        trainer: the library's class.
        settings: the class of its arguments.
        more: further arguments of that class.

    Returns:
        What the clock found, and facts about the model.
    """
    clock = TrainingClock(job)
    sizes: list[tuple[int, int]] = []

    def noted_collate(chosen: list[Any]) -> Batch:
        batch = collate(chosen)
        sizes.append(sizes_of(batch))
        return batch

    with tempfile.TemporaryDirectory() as folder:
        arguments = settings(
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
            **more,
        )
        watch = Watch(clock, sizes)
        noted = type("NotedTrainer", (Noted, trainer), {})
        watch.trainer = noted(
            model=model, args=arguments, train_dataset=rows, data_collator=noted_collate, callbacks=[watch]
        )
        watch.trainer.train()
    return clock.result() | {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "attention": model.config._attn_implementation,
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
    }
