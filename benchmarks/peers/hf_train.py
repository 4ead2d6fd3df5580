"""Training with Hugging Face's `Seq2SeqTrainer`, with its defaults or with other options."""

from __future__ import annotations

import torch
from hf_loop import train
from hf_model import build
from measure import EOS, PAD, Pairs, gemm_gflops, padded, report, start
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

IGNORED = -100  # the label of padding in the library


def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad both sides."""
    inputs, labels = (
        padded([row[key] for row in rows], fill) for key, fill in (("input_ids", PAD), ("labels", IGNORED))
    )
    return {"input_ids": inputs, "attention_mask": (inputs != PAD).long(), "labels": labels}


def target_sizes(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Return the number of target tokens, without and with padding."""
    labels = batch["labels"]
    return int((labels != IGNORED).sum()), labels.numel()


def main() -> None:
    """Run `python hf_train.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    pairs = Pairs.load(job["data"], "train")
    examples = [{"input_ids": [*pairs.source(i), EOS], "labels": [*pairs.target(i), EOS]} for i in range(len(pairs))]
    model = build(job["shape"], attention=job.get("attention"))
    classes = {"trainer": Seq2SeqTrainer, "settings": Seq2SeqTrainingArguments}
    result = train(job, model, examples, collate, target_sizes, **classes)
    report(output, result | {"gemm_gflops": [before, gemm_gflops()]})


if __name__ == "__main__":
    main()
