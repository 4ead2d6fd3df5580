"""Timed training with Hugging Face's `Trainer`: its loop, samplers and optimiser are used; only a clock is added."""

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
    """The batches of another sampler in random order.

    `LengthGroupedSampler` goes from long to short sentences over fifty batches. A measurement of fewer batches would
    include only the long ones (or the short ones). The batches are therefore shuffled, without changing their rows.
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


class Recording:
    """A mix-in for the library's trainer, which records losses and shuffles grouped batches."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Call the method of the library, and keep the loss without reading it from the device."""
        loss = super().training_step(*args, **kwargs)
        self.last_loss = loss
        return loss

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        sampler = super()._get_train_sampler(*args, **kwargs)
        if self.args.train_sampling_strategy == "group_by_length":
            return ShuffledBatches(sampler, self.args.train_batch_size, self.args.seed)
        return sampler


class Watch(TrainerCallback):
    """A callback that ticks the clock after each optimiser step, and ends training when the time is over."""

    def __init__(self, clock: TrainingClock, sizes: list[tuple[int, int]]) -> None:
        self.clock, self.sizes, self.trainer = clock, sizes, None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tick the clock; batches are collated in the order of the steps, one step ahead."""
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
    """Train until the time of the clock is over.

    Args:
        job: precision, batches, learning rate and time.
        model: model with initial weights.
        rows: training examples.
        collate: function from examples to a batch.
        sizes_of: function from a batch to the number of counted units, without and with padding.
        trainer: class of the trainer.
        settings: class of its arguments.
        more: further arguments of this class.

    Returns:
        The results of the clock, and facts about the model.
    """
    clock = TrainingClock(job)
    sizes: list[tuple[int, int]] = []

    def recorded_collate(chosen: list[Any]) -> Batch:
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
        recording = type("RecordingTrainer", (Recording, trainer), {})
        watch.trainer = recording(
            model=model, args=arguments, train_dataset=rows, data_collator=recorded_collate, callbacks=[watch]
        )
        watch.trainer.train()
    return clock.result() | {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "attention": model.config._attn_implementation,
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
    }
